// Labels from logits: upsampled bilinearly as torch does (align_corners=False), then the largest, the first of equals.
//
// Most of a picture is easy. Between four neighbouring logit places every upsampled value is a weighted mean of theirs,
// so that where one class is the largest at all four it is the largest everywhere between them: only the places where
// classes meet are upsampled. Nothing but the labels is ever as large as the picture.

#include <algorithm>
#include <memory>
#include <vector>

#include "vectors.hpp"

namespace {

// Where the pixels of one axis lie between its logits: pixel p between `low[p]` and `high[p]`, `weight[p]` towards high.
struct Axis {
  std::vector<int32_t> low, high;
  std::vector<float> weight;  // padded, so that a whole vector may be loaded from any pixel on

  Axis(int64_t pixels, int64_t logits) : low(pixels), high(pixels), weight(pixels + LANES<float>) {
    const float scale = static_cast<float>(logits) / static_cast<float>(pixels);
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const float position = std::max(0.0f, scale * (static_cast<float>(pixel) + 0.5f) - 0.5f);
      low[pixel] = std::min(static_cast<int32_t>(position), static_cast<int32_t>(logits - 1));
      high[pixel] = std::min(low[pixel] + 1, static_cast<int32_t>(logits - 1));
      weight[pixel] = std::min(position - static_cast<float>(low[pixel]), 1.0f);
    }
  }
};

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
    for (int64_t row = first_row; row < end_row; ++row) {
      bool is_finite = true;
      for (int64_t column = 0; column < size.width; ++column) {
        const float* place = logits + row * size.row_stride + column * size.column_stride;
        float best = place[0], times_zero = 0;
        int64_t best_class = 0;
        for (int64_t label = 0; label < size.classes; ++label) {
          const float logit = place[label * size.class_stride];
          times_zero += logit * 0.0f;  // nan for nan and infinities
          if (logit > best) best = logit, best_class = label;
        }
        is_finite &= times_zero == 0.0f;
        largest[row * size.width + column] = static_cast<uint8_t>(best_class);
      }
      row_is_finite[row] = is_finite;
    }
  }
};

struct LabelRows {
  LogitSizes size;
  const float* logits;
  const uint8_t* largest;
  const Axis& rows;
  const Axis& columns;
  uint8_t* labels;

  template <Cpu>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    const int64_t width = columns.low.size();
    std::vector<float> sides(2 * size.classes);
    for (int64_t row = first_row; row < end_row; ++row) {
      for (int64_t first = 0, end; first < width; first = end) {
        const int32_t low = columns.low[first];
        end = first + 1;
        while (end < width && columns.low[end] == low) ++end;
        label_run(row, first, end, sides.data());
      }
    }
  }

  // Pixels `first` to `end` of a row, which lie between the same four logit places.
  ALWAYS_INLINE void label_run(int64_t row, int64_t first, int64_t end, float* sides) const {
    uint8_t* target = labels + row * columns.low.size();
    const int64_t top = rows.low[row], bottom = rows.high[row], left = columns.low[first], right = columns.high[first];
    const uint8_t label = largest[top * size.width + left];
    if (label == largest[top * size.width + right] && label == largest[bottom * size.width + left] &&
        label == largest[bottom * size.width + right]) {
      std::fill(target + first, target + end, label);
      return;
    }
    between_rows(top, bottom, left, rows.weight[row], sides);
    between_rows(top, bottom, right, rows.weight[row], sides + size.classes);
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
  const Axis rows(height, size.height), columns(width, size.width);
  parallel_rows(height, thread_count, LabelRows{size, logits, largest.data(), rows, columns, labels});
  return true;
}
