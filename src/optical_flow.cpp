// Dense optical flow by inverse search (DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).
//
// OpenCV has it too. This one takes a third of the time for labels that are no worse (docs/design.md).
//
// From coarse to fine: patches of 8x8 pixels, four pixels apart, begin where the coarser picture's flow has them, where the
// caller does or where a neighbour is, whichever fits best, and go on by a few steps of Newton's method; each pixel then
// takes the mean of its patches, those that fit its own grey counting more.
//
// current, key   (h, w) uint8
// flow           (h, w, 2) float, x and y in pixels from the current picture to the key frame's: where to begin, and the result

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.hpp"

namespace {

constexpr int64_t PATCH = 8, STRIDE = 4, AREA = PATCH * PATCH;
constexpr int64_t MARGIN = 2 * PATCH;  // a patch may lie outside by its own width, and interpolation looks a pixel further
constexpr int STEPS = 3;               // of Newton's method, in either direction of the passes over the patches
constexpr float LEAST_CURVATURE = 64;  // grey levels squared: added, so that where there is nothing to see nothing moves

using Row = VectorOf<float, 4 * PATCH>::type;  // of a patch

struct FlowSize {
  int64_t height, width;
};

struct Shift {
  float x, y;
};

// A picture with its border going on around it.
struct Plane {
  int64_t height, width, stride;
  std::vector<float> values;

  Plane(int64_t height, int64_t width)
      : height(height), width(width), stride(width + 2 * MARGIN), values((height + 2 * MARGIN) * stride) {}

  float* row(int64_t y) { return &values[(y + MARGIN) * stride + MARGIN]; }
  const float* row(int64_t y) const { return &values[(y + MARGIN) * stride + MARGIN]; }

  ALWAYS_INLINE void extend() {
    for (int64_t y = 0; y < height; ++y) {
      float* line = row(y);
      for (int64_t x = 1; x <= MARGIN; ++x) line[-x] = line[0], line[width - 1 + x] = line[width - 1];
    }
    for (int64_t y = 1; y <= MARGIN; ++y) {
      std::copy_n(row(0) - MARGIN, stride, row(-y) - MARGIN);
      std::copy_n(row(height - 1) - MARGIN, stride, row(height - 1 + y) - MARGIN);
    }
  }
};

ALWAYS_INLINE void halve(const Plane& fine, Plane& coarse, float scale) {
  for (int64_t y = 0; y < coarse.height; ++y) {
    const float *upper = fine.row(2 * y), *lower = fine.row(2 * y + 1);
    float* target = coarse.row(y);
    for (int64_t x = 0; x < coarse.width; ++x) {
      target[x] = scale * (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]);
    }
  }
  coarse.extend();
}

// Twice as many pixels, bilinearly; a shift is twice as many of them.
ALWAYS_INLINE void enlarge_shifts(const Plane& coarse, Plane& fine) {
  for (int64_t y = 0; y < fine.height; ++y) {
    const float *near = coarse.row(y / 2), *far = coarse.row(y / 2 + (y % 2 ? 1 : -1));
    float* target = fine.row(y);
    for (int64_t x = 0; x < fine.width; ++x) {
      const int64_t at = x / 2, beside = x % 2 ? at + 1 : at - 1;
      target[x] = 1.125f * near[at] + 0.375f * (near[beside] + far[at]) + 0.125f * far[beside];
    }
  }
}

// Both pictures at one size, the current one's derivatives, where to begin, and the flow so far.
struct Level {
  Plane current, key, dx, dy, start_x, start_y, flow_x, flow_y;

  Level(int64_t height, int64_t width)
      : current(height, width), key(height, width), dx(height, width), dy(height, width), start_x(height, width),
        start_y(height, width), flow_x(height, width), flow_y(height, width) {}

  // By Sobel's filter, in grey levels a pixel.
  ALWAYS_INLINE void derive() {
    for (int64_t y = 0; y < current.height; ++y) {
      const float *upper = current.row(y - 1), *middle = current.row(y), *lower = current.row(y + 1);
      float *to_x = dx.row(y), *to_y = dy.row(y);
      for (int64_t x = 0; x < current.width; ++x) {
        const float above = upper[x + 1] - upper[x - 1], beside = middle[x + 1] - middle[x - 1];
        const float below = lower[x + 1] - lower[x - 1];
        to_x[x] = 0.125f * (above + 2 * beside + below);
        const float left = lower[x - 1] - upper[x - 1], centre = lower[x] - upper[x];
        to_y[x] = 0.125f * (left + 2 * centre + lower[x + 1] - upper[x + 1]);
      }
    }
  }
};

// The patches of one level in one direction, and what is known of each.
struct Patches {
  int64_t rows, columns;
  std::vector<Shift> shifts, slopes;
  std::vector<float> misfits;

  Patches(int64_t height, int64_t width)
      : rows(count(height)), columns(count(width)), shifts(rows * columns), slopes(rows * columns),
        misfits(rows * columns) {}

  static int64_t count(int64_t pixels) { return (pixels - PATCH + STRIDE - 1) / STRIDE + 1; }

  // The last one ends with the picture.
  static int64_t start(int64_t index, int64_t pixels) { return std::min(index * STRIDE, pixels - PATCH); }
};

// How far a patch with some shift is from the key frame, its mean apart, and where that grows.
struct Fit {
  float misfit;
  Shift slope;
};

struct FlowSearch {
  FlowSize size;
  const uint8_t *picture, *key;
  float* flow;

  // parallel_rows' form; a picture is one row.
  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t, int64_t) const {
    std::vector<Level> levels;
    levels.reserve(16);
    make_levels(levels);
    for (size_t index = levels.size(); index-- > 0;) {
      search_level<CPU>(levels[index]);
      if (index > 0) {
        enlarge_shifts(levels[index].flow_x, levels[index - 1].flow_x);
        enlarge_shifts(levels[index].flow_y, levels[index - 1].flow_y);
      }
    }
    for (int64_t y = 0; y < size.height; ++y) {
      const float *x_shifts = levels[0].flow_x.row(y), *y_shifts = levels[0].flow_y.row(y);
      float* target = flow + 2 * y * size.width;
      for (int64_t x = 0; x < size.width; ++x) target[2 * x] = x_shifts[x], target[2 * x + 1] = y_shifts[x];
    }
  }

  // As many as leave the longer side four patches and the shorter one.
  int64_t level_count() const {
    const auto longer = static_cast<float>(std::max(size.height, size.width)) / (4 * PATCH);
    const auto shorter = static_cast<float>(std::min(size.height, size.width)) / PATCH;
    return 1 + std::max<int64_t>(0, std::min<int64_t>(std::lround(std::log2(longer)), std::log2(shorter)));
  }

  ALWAYS_INLINE void make_levels(std::vector<Level>& levels) const {
    levels.emplace_back(size.height, size.width);
    Level& finest = levels[0];
    for (int64_t y = 0; y < size.height; ++y) {
      const int64_t first = y * size.width;
      float *current_row = finest.current.row(y), *key_row = finest.key.row(y);
      float *x_shifts = finest.start_x.row(y), *y_shifts = finest.start_y.row(y);
      for (int64_t x = 0; x < size.width; ++x) {
        current_row[x] = picture[first + x], key_row[x] = key[first + x];
        x_shifts[x] = flow[2 * (first + x)], y_shifts[x] = flow[2 * (first + x) + 1];
      }
    }
    finest.current.extend(), finest.key.extend();
    for (int64_t index = 1; index < level_count(); ++index) {
      const Level& finer = levels[index - 1];
      levels.emplace_back(finer.current.height / 2, finer.current.width / 2);
      halve(finer.current, levels[index].current, 0.25f);
      halve(finer.key, levels[index].key, 0.25f);
      halve(finer.start_x, levels[index].start_x, 0.125f);
      halve(finer.start_y, levels[index].start_y, 0.125f);
    }
    for (Level& level : levels) level.derive();
  }

  template <Cpu CPU>
  ALWAYS_INLINE void search_level(Level& level) const {
    const int64_t height = level.current.height, width = level.current.width;
    Patches patches(height, width);
    for (int64_t row = 0; row < patches.rows; ++row) {
      for (int64_t column = 0; column < patches.columns; ++column) search<+1>(level, patches, row, column);
    }
    Plane weights(height, width);
    std::fill(level.flow_x.values.begin(), level.flow_x.values.end(), 0.0f);
    std::fill(level.flow_y.values.begin(), level.flow_y.values.end(), 0.0f);
    for (int64_t row = patches.rows; row-- > 0;) {
      for (int64_t column = patches.columns; column-- > 0;) {
        search<-1>(level, patches, row, column);
        add_to_pixels(level, patches, row, column, weights);
      }
    }
    for (int64_t y = 0; y < height; ++y) {
      float *x_shifts = level.flow_x.row(y), *y_shifts = level.flow_y.row(y);
      const float* weight = weights.row(y);
      for (int64_t x = 0; x < width; ++x) x_shifts[x] /= weight[x], y_shifts[x] /= weight[x];
    }
    level.flow_x.extend(), level.flow_y.extend();
  }

  // One patch, after those that lie before it in that direction.
  template <int DIRECTION>
  ALWAYS_INLINE void search(const Level& level, Patches& patches, int64_t row, int64_t column) const {
    const int64_t y = Patches::start(row, level.current.height), x = Patches::start(column, level.current.width);
    const int64_t own = row * patches.columns + column;
    const int64_t middle_x = x + PATCH / 2, middle_y = y + PATCH / 2;
    Shift best;
    Fit found;
    if (DIRECTION > 0) {
      best = {level.start_x.row(middle_y)[middle_x], level.start_y.row(middle_y)[middle_x]};
      found = fit(level, y, x, best);
    } else {
      best = patches.shifts[own], found = {patches.misfits[own], patches.slopes[own]};
    }
    const auto try_shift = [&](const Shift& shift) ALWAYS_INLINE_LAMBDA {
      const Fit other = fit(level, y, x, shift);
      const bool is_better = other.misfit < found.misfit;
      if (is_better) best = shift, found = other;
      return is_better;
    };
    if (DIRECTION > 0) try_shift({level.flow_x.row(middle_y)[middle_x], level.flow_y.row(middle_y)[middle_x]});
    const int64_t left = column - DIRECTION, above = row - DIRECTION;
    if (left >= 0 && left < patches.columns) try_shift(patches.shifts[own - DIRECTION]);
    if (above >= 0 && above < patches.rows) try_shift(patches.shifts[own - DIRECTION * patches.columns]);
    descend(level, y, x, best, found, try_shift);
    patches.shifts[own] = best, patches.misfits[own] = found.misfit, patches.slopes[own] = found.slope;
  }

  template <typename Try>
  ALWAYS_INLINE void descend(
      const Level& level, int64_t y, int64_t x, const Shift& best, const Fit& found, const Try& try_shift) const {
    float xx = LEAST_CURVATURE, xy = 0, yy = LEAST_CURVATURE;
    add_curvature(level, y, x, xx, xy, yy);
    const float scale = 1.0f / (xx * yy - xy * xy);
    const Shift first = best;
    for (int step = 0; step < STEPS; ++step) {
      const Shift slope = found.slope;
      const Shift next{
          best.x - scale * (yy * slope.x - xy * slope.y), best.y - scale * (xx * slope.y - xy * slope.x)};
      // Farther than itself it finds nothing that it has seen.
      if (std::abs(next.x - first.x) > PATCH || std::abs(next.y - first.y) > PATCH || !try_shift(next)) return;
    }
  }

  ALWAYS_INLINE void add_curvature(const Level& level, int64_t y, int64_t x, float& xx, float& xy, float& yy) const {
    Row sum_xx = {}, sum_xy = {}, sum_yy = {}, sum_x = {}, sum_y = {};
    for (int64_t line = 0; line < PATCH; ++line) {
      const Row dx = load_row(level.dx.row(y + line) + x), dy = load_row(level.dy.row(y + line) + x);
      sum_xx += dx * dx, sum_xy += dx * dy, sum_yy += dy * dy, sum_x += dx, sum_y += dy;
    }
    const float mean_x = sum(sum_x) / AREA, mean_y = sum(sum_y) / AREA;
    xx += sum(sum_xx) - AREA * mean_x * mean_x;
    xy += sum(sum_xy) - AREA * mean_x * mean_y;
    yy += sum(sum_yy) - AREA * mean_y * mean_y;
  }

  // Where a patch's first pixel lies in the key frame: on a pixel and between it and the next ones.
  struct Source {
    const float* first;
    int64_t stride;
    float to_right, down;

    ALWAYS_INLINE Source(const Plane& key, int64_t y, int64_t x, const Shift& shift) : stride(key.stride) {
      const float at_x = std::clamp(
          static_cast<float>(x) + shift.x, -static_cast<float>(PATCH), static_cast<float>(key.width));
      const float at_y = std::clamp(
          static_cast<float>(y) + shift.y, -static_cast<float>(PATCH), static_cast<float>(key.height));
      // Above zero, where cutting off the fraction rounds down.
      const auto column = static_cast<int64_t>(at_x + PATCH), row = static_cast<int64_t>(at_y + PATCH);
      to_right = at_x + PATCH - static_cast<float>(column), down = at_y + PATCH - static_cast<float>(row);
      first = key.row(row - PATCH) + column - PATCH;
    }

    ALWAYS_INLINE Row line(int64_t index) const {
      const float* from = first + index * stride;
      const Row left = load_row(from);
      return left + to_right * (load_row(from + 1) - left);
    }
  };

  static ALWAYS_INLINE Row load_row(const float* from) {
    Row row;
    std::memcpy(&row, from, sizeof row);
    return row;
  }

  ALWAYS_INLINE Fit fit(const Level& level, int64_t y, int64_t x, const Shift& shift) const {
    const Source source(level.key, y, x, shift);
    Row squares = {}, slopes_x = {}, slopes_y = {}, differences = {}, sum_x = {}, sum_y = {};
    Row upper = source.line(0);
#pragma GCC unroll 8
    for (int64_t line = 0; line < PATCH; ++line) {
      const Row lower = source.line(line + 1);
      const Row difference = upper + source.down * (lower - upper) - load_row(level.current.row(y + line) + x);
      const Row dx = load_row(level.dx.row(y + line) + x), dy = load_row(level.dy.row(y + line) + x);
      squares += difference * difference, differences += difference;
      slopes_x += difference * dx, slopes_y += difference * dy;
      sum_x += dx, sum_y += dy;
      upper = lower;
    }
    const float mean = sum(differences) / AREA;
    return {
        sum(squares) - AREA * mean * mean, {sum(slopes_x) - mean * sum(sum_x), sum(slopes_y) - mean * sum(sum_y)}};
  }

  // What a patch says of its pixels: it counts less the more one's grey differs, from one level on.
  ALWAYS_INLINE void add_to_pixels(
      Level& level, const Patches& patches, int64_t row, int64_t column, Plane& weights) const {
    const int64_t y = Patches::start(row, level.current.height), x = Patches::start(column, level.current.width);
    const Shift shift = patches.shifts[row * patches.columns + column];
    const Source source(level.key, y, x, shift);
    Row upper = source.line(0);
    for (int64_t line = 0; line < PATCH; ++line) {
      const Row lower = source.line(line + 1);
      Row difference = upper + source.down * (lower - upper) - load_row(level.current.row(y + line) + x);
      difference = difference < 0 ? -difference : difference;
      const Row weight = 1.0f / (difference < 1 ? Row{} + 1.0f : difference);
      add(level.flow_x.row(y + line) + x, shift.x * weight);
      add(level.flow_y.row(y + line) + x, shift.y * weight);
      add(weights.row(y + line) + x, weight);
      upper = lower;
    }
  }

  static ALWAYS_INLINE void add(float* target, const Row& values) { store(target, load_row(target) + values); }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void find_flow(
    const uint8_t* current, const uint8_t* key, float* flow, FlowSize size) {
  parallel_rows(1, 1, FlowSearch{size, current, key, flow});
}
