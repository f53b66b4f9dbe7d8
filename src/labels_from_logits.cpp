// Labels from logits: upsampled bilinearly as torch does (align_corners=False), then the largest, the first of equals.
//
// Most of a picture is easy. Between four neighbouring logit places every upsampled value is a weighted mean of theirs,
// so that where one class is the largest at all four it is the largest everywhere between them: only the places where
// classes meet are upsampled. Nothing but the labels is ever as large as the picture.

#include <algorithm>
#include <memory>
#include <vector>

#include "bilinear.hpp"
#include "vectors.hpp"

namespace {

struct LogitSizes {
  int64_t classes, height, width;
  int64_t class_stride, row_stride, column_stride;  // in elements
};

// The largest class of each logit place, and whether all logits are finite.
struct LargestClasses {
  LogitSizes size;
  const float* logits;
  uint8_t* largest;
  bool* row_is_finite;

  template <Cpu>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    const bool are_side_by_side = size.class_stride == 1 && size.classes >= LANES<float>;
    for (int64_t row = first_row; row < end_row; ++row) {
      row_is_finite[row] = are_side_by_side ? row_by_lanes(row) : row_by_classes(row);
    }
  }

  // Any layout, one class after the other.
  ALWAYS_INLINE bool row_by_classes(int64_t row) const {
    float times_zero = 0;  // nan for nan and infinities
    for (int64_t column = 0; column < size.width; ++column) {
      const float* place = logits + row * size.row_stride + column * size.column_stride;
      float best = place[0];
      int64_t best_class = 0;
      for (int64_t label = 0; label < size.classes; ++label) {
        const float logit = place[label * size.class_stride];
        times_zero += logit * 0.0f;
        if (logit > best) best = logit, best_class = label;
      }
      largest[row * size.width + column] = static_cast<uint8_t>(best_class);
    }
    return times_zero == 0.0f;
  }

  // A place's classes side by side in memory. Most places show what the one before showed: it is asked about first.
  ALWAYS_INLINE bool row_by_lanes(int64_t row) const {
    const LogitSizes size = this->size;  // copied: a byte that is written might be a part of it
    const float* place = logits + row * size.row_stride;
    uint8_t* target = largest + row * size.width;
    Vector<float> times_zero = {};
    int64_t label = 0;
    for (int64_t column = 0; column < size.width; ++column, place += size.column_stride) {
      Vector<int32_t> is_beaten = {};
      for (int64_t first = 0; first < size.classes; first += LANES<float>) {
        // The last vector ends with the last class; those that it sees again change nothing.
        const Vector<float> logits = load(place + std::min(first, size.classes - LANES<float>));
        times_zero += logits * 0.0f;
        is_beaten |= logits > place[label];
      }
      const bool has_changed = reduce(is_beaten, [](auto a, auto b) ALWAYS_INLINE_LAMBDA { return a | b; });
      const int64_t end = has_changed ? size.classes : label;
      float best = place[label];
      for (int64_t other = 0; other < end; ++other) {
        // Of equals the first: one before `label` need only be as large.
        if (place[other] > best || (other < label && place[other] == best)) best = place[other], label = other;
      }
      target[column] = static_cast<uint8_t>(label);
    }
    return sum(times_zero) == 0.0f;
  }
};

struct LabelRows {
  LogitSizes size;
  const float* logits;
  const uint8_t* largest;
  const BilinearAxis& rows;
  const BilinearAxis& columns;
  uint8_t* labels;

  template <Cpu>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    const int64_t width = columns.low.size();
    const int32_t* low = columns.low.data();
    std::vector<float> sides(2 * size.classes);
    std::vector<uint8_t> differs(size.width);
    for (int64_t row = first_row; row < end_row; ++row) {
      const uint8_t* upper = largest + rows.low[row] * size.width;
      const uint8_t* lower = largest + rows.high[row] * size.width;
      uint8_t* target = labels + row * width;
      for (int64_t pixel = 0; pixel < width; ++pixel) target[pixel] = upper[low[pixel]];
      mark_where_classes_meet(upper, lower, differs.data());
      for (int64_t column = 0; column < size.width; ++column) {
        if (differs[column]) label_run(row, column, sides.data());
      }
    }
  }

  // For each place, whether it and those to the right of it, below it and below to the right are not all of one class.
  ALWAYS_INLINE void mark_where_classes_meet(const uint8_t* upper, const uint8_t* lower, uint8_t* differs) const {
    const int64_t last = size.width - 1;
    for (int64_t column = 0; column < last; ++column) {
      const uint8_t label = upper[column];
      differs[column] = (label ^ upper[column + 1]) | (label ^ lower[column]) | (label ^ lower[column + 1]);
    }
    differs[last] = upper[last] ^ lower[last];
  }

  // The pixels of a row that lie between `column` and the one to the right of it.
  ALWAYS_INLINE void label_run(int64_t row, int64_t column, float* sides) const {
    uint8_t* target = labels + row * columns.low.size();
    const int64_t first = columns.first_between[column], end = columns.first_between[column + 1];
    if (first == end) return;
    const int64_t top = rows.low[row], bottom = rows.high[row];
    between_rows(top, bottom, column, rows.weight[row], sides);
    between_rows(top, bottom, columns.high[first], rows.weight[row], sides + size.classes);
    for (int64_t pixel = first; pixel < end; pixel += LANES<float>) {
      int32_t found[LANES<float>];
      label_vector(load(columns.weight.data() + pixel), sides, found);
      for (int64_t lane = 0; lane < std::min(LANES<float>, end - pixel); ++lane) {
        target[pixel + lane] = static_cast<uint8_t>(found[lane]);
      }
    }
  }

  ALWAYS_INLINE void between_rows(int64_t top, int64_t bottom, int64_t column, float weight, float* side) const {
    const float* upper = logits + top * size.row_stride + column * size.column_stride;
    const float* lower = logits + bottom * size.row_stride + column * size.column_stride;
    for (int64_t label = 0; label < size.classes; ++label) {
      const int64_t at = label * size.class_stride;
      side[label] = (1.0f - weight) * upper[at] + weight * lower[at];
    }
  }

  // The largest class at eight pixels that lie `weight` of the way from the left side to the right one.
  ALWAYS_INLINE void label_vector(const Vector<float>& weight, const float* sides, int32_t* found) const {
    const float* right = sides + size.classes;
    Vector<float> best = (1.0f - weight) * sides[0] + weight * right[0];
    Vector<int32_t> best_class = {};
    for (int64_t label = 1; label < size.classes; ++label) {
      const Vector<float> value = (1.0f - weight) * sides[label] + weight * right[label];
      const Vector<int32_t> is_larger = value > best;
      best = is_larger ? value : best;
      best_class = is_larger ? Vector<int32_t>{} + static_cast<int32_t>(label) : best_class;
    }
    store(found, best_class);
  }
};

}  // namespace

// Labels (height, width) from logits of `size`; false, and no labels, if a logit is nan or infinite.
extern "C" __attribute__((visibility("default"))) bool labels_from_logits(
    const float* logits, LogitSizes size, uint8_t* labels, int64_t height, int64_t width, int thread_count) {
  std::vector<uint8_t> largest(size.height * size.width);
  const auto row_is_finite = std::make_unique<bool[]>(size.height);
  parallel_rows(size.height, thread_count, LargestClasses{size, logits, largest.data(), row_is_finite.get()});
  if (!std::all_of(row_is_finite.get(), row_is_finite.get() + size.height, [](bool finite) { return finite; })) {
    return false;
  }
  const BilinearAxis rows(height, size.height), columns(width, size.width);
  parallel_rows(height, thread_count, LabelRows{size, logits, largest.data(), rows, columns, labels});
  return true;
}
