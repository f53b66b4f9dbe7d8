// A key frame's logits carried along the optical flow to the current frame's, where the picture bears the flow out.
// They are read bicubically: bilinearly, what is two places wide grows fainter with each part of a place that it moves.
//
// key, result           (h, w, C), the classes of a place side by side
// current               (h / r, w / r, r, r, C), r places a side folded into one; r = 1 is as the key frame's
// flow                  (h, w, 2), x and y from a place to where it was in the key frame, in places
// doubt                 (h, w), 0 where the flow is borne out, 1 where it is not
// coarse_doubt          (h', w'), enlarged bilinearly, another reason to doubt it; or null
// alone                 (h', w', C), enlarged bilinearly: takes the current frame's place by the coarse doubt; or null

#include <algorithm>

#include "bilinear.hpp"
#include "vectors.hpp"

namespace {

struct CarriedSizes {
  int64_t height, width, classes, coarse_height, coarse_width, fineness;
};

struct Corner {
  const float* logits;
  float weight;
};

// The four places of an axis around a position, and what each weighs: Keys' cubic with a = -0.75, as torch's
// grid_sample and OpenCV have it. Beyond its ends a picture goes on as it ends.
struct CubicAxis {
  static constexpr float a = -0.75f;
  int64_t offsets[4];  // of the places from the axis' first, in numbers
  float weights[4];

  // `step`: numbers from place to place.
  ALWAYS_INLINE CubicAxis(float position, int64_t size, int64_t step) {
    const int64_t low = static_cast<int64_t>(position);
    const float t = position - static_cast<float>(low);
    for (int64_t tap = 0; tap < 4; ++tap) offsets[tap] = step * std::clamp<int64_t>(low + tap - 1, 0, size - 1);
    weights[0] = outer(t + 1), weights[1] = inner(t), weights[2] = inner(1 - t), weights[3] = outer(2 - t);
  }

  static ALWAYS_INLINE float inner(float distance) {
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  }
  static ALWAYS_INLINE float outer(float distance) {
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a;
  }
};

// The current frame's logits of a place, and where it alone knows better those of the four coarse places around it.
struct Own {
  const float* logits;
  Corner alone[4];
  float share = 1;
};

struct CarriedLogits {
  CarriedSizes size;
  const float *key, *current, *flow, *doubt, *coarse_doubt, *alone;
  const BilinearAxis &rows, &columns;  // of the coarse doubt
  float* result;

  // One register of SSE or NEON: compilers take vectors of two apart by way of the stack.
  template <Cpu CPU>
  using Register = typename VectorOf<float, CPU == Cpu::any ? 16 : 32>::type;

  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    for (int64_t row = first_row; row < end_row; ++row) {
      for (int64_t column = 0; column < size.width; ++column) carry<Register<CPU>>(row, column);
    }
  }

  // What comes from outside, or from nowhere (nan), is not carried.
  template <typename Lanes>
  ALWAYS_INLINE void carry(int64_t row, int64_t column) const {
    const int64_t place = row * size.width + column;
    const float x = static_cast<float>(column) + flow[2 * place], y = static_cast<float>(row) + flow[2 * place + 1];
    const float right_end = static_cast<float>(size.width - 1), lower_end = static_cast<float>(size.height - 1);
    const bool is_inside = x >= 0 && y >= 0 && x <= right_end && y <= lower_end;
    const float share = is_inside ? 1.0f - doubt_at(row, column) : 0.0f;
    const CubicAxis across(is_inside ? x : 0.0f, size.width, size.classes);
    CubicAxis down(is_inside ? y : 0.0f, size.height, size.width * size.classes);
    for (float& weight : down.weights) weight *= share;
    const Own own = own_at(row, column);
    constexpr int64_t lanes = sizeof(Lanes) / sizeof(float);
    if (size.classes >= lanes) {
      for (int64_t label = 0; label < size.classes; label += lanes) {
        // The last vector ends with the last class; what it computes again is written again.
        mix<Lanes>(place, std::min(label, size.classes - lanes), 1.0f - share, own, down, across);
      }
    } else {
      for (int64_t label = 0; label < size.classes; ++label) mix<float>(place, label, 1.0f - share, own, down, across);
    }
  }

  // Where the current frame's own logits stand, and those of it alone around the place.
  ALWAYS_INLINE Own own_at(int64_t row, int64_t column) const {
    const int64_t r = size.fineness, folded = (row / r) * (size.width / r) + column / r;
    Own own{current + (folded * r * r + row % r * r + column % r) * size.classes, {}};
    if (alone == nullptr) return own;
    const float doubt = coarse_doubt_at(row, column), down = rows.weight[row], to_right = columns.weight[column];
    const float* upper = alone + rows.low[row] * size.coarse_width * size.classes;
    const float* lower = alone + rows.high[row] * size.coarse_width * size.classes;
    const int64_t left = columns.low[column] * size.classes, right = columns.high[column] * size.classes;
    own.alone[0] = {upper + left, doubt * (1 - down) * (1 - to_right)};
    own.alone[1] = {upper + right, doubt * (1 - down) * to_right};
    own.alone[2] = {lower + left, doubt * down * (1 - to_right)};
    own.alone[3] = {lower + right, doubt * down * to_right};
    own.share = 1 - doubt;
    return own;
  }

  // The larger of both doubts; of nan and a number, the nan.
  ALWAYS_INLINE float doubt_at(int64_t row, int64_t column) const {
    const float fine = doubt[row * size.width + column];
    if (coarse_doubt == nullptr) return fine;
    const float coarse = coarse_doubt_at(row, column);
    return coarse <= fine ? fine : coarse;
  }

  ALWAYS_INLINE float coarse_doubt_at(int64_t row, int64_t column) const {
    const float* upper = coarse_doubt + rows.low[row] * size.coarse_width;
    const float* lower = coarse_doubt + rows.high[row] * size.coarse_width;
    const int64_t left = columns.low[column], right = columns.high[column];
    const float down = rows.weight[row], to_right = columns.weight[column];
    return (1 - down) * ((1 - to_right) * upper[left] + to_right * upper[right]) +
           down * ((1 - to_right) * lower[left] + to_right * lower[right]);
  }

  template <typename Lanes>
  ALWAYS_INLINE void mix(
      int64_t place, int64_t label, float own_share, const Own& own, const CubicAxis& down,
      const CubicAxis& across) const {
    const auto lanes_at = [label](const float* logits) ALWAYS_INLINE_LAMBDA {
      Lanes lanes;
      std::memcpy(&lanes, logits + label, sizeof lanes);
      return lanes;
    };
    Lanes sum = own.share * lanes_at(own.logits);
    if (alone != nullptr) {
#pragma GCC unroll 4
      for (int corner = 0; corner < 4; ++corner) sum += own.alone[corner].weight * lanes_at(own.alone[corner].logits);
    }
    sum *= own_share;
#pragma GCC unroll 4
    for (int row = 0; row < 4; ++row) {
      const float* places = key + down.offsets[row];
      Lanes in_row = across.weights[0] * lanes_at(places + across.offsets[0]);
#pragma GCC unroll 3
      for (int tap = 1; tap < 4; ++tap) in_row += across.weights[tap] * lanes_at(places + across.offsets[tap]);
      sum += down.weights[row] * in_row;
    }
    std::memcpy(result + place * size.classes + label, &sum, sizeof sum);
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void carry_logits(
    const float* key, const float* current, const float* flow, const float* doubt, const float* coarse_doubt,
    const float* alone, float* result, CarriedSizes size, int thread_count) {
  const bool is_coarse = coarse_doubt != nullptr;
  const BilinearAxis rows(is_coarse ? size.height : 0, size.coarse_height);
  const BilinearAxis columns(is_coarse ? size.width : 0, size.coarse_width);
  parallel_rows(
      size.height, thread_count,
      CarriedLogits{size, key, current, flow, doubt, coarse_doubt, alone, rows, columns, result});
}
