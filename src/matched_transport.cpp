// Equation 1 with kernels from matching: correlation, softmax and gathering a few places at a time.
//
// The kernels of a picture, 81 numbers a place, are never written: they are made for as many places of a row as a vector
// has lanes, stay in the nearest cache, and are used up there.
//
// key_guidance, guidance  (h, w, G), unit length at each place
// prior                   (H_K * H_K), of each tap, (u, v) row by row from (-D, -D)
// features, results       (h, w, C) of each, the channels of a place side by side
// sensitivity, gate       (G) and (h, w), or null: 0 where the key frame's guidance, moved too, is the current one, towards
//                         1 the more they differ, each channel's difference times its sensitivity

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.hpp"

namespace {

struct MatchSizes {
  int64_t height, width, guidance_channels, reach;
  float sharpness;
};

struct Moved {
  const float* feature;
  float* result;
  int64_t channels;
};

struct Gate {
  const float *key_guidance, *guidance, *sensitivity;
  float* result;
};

constexpr int64_t WIDEST = 16;  // lanes of any vector: rows are padded to whole vectors

// A picture's rows as (row, channel, column), with zeros around it; columns are then lanes.
struct Planes {
  int64_t channels, stride, margin;
  std::vector<float> values;

  Planes(const float* picture, int64_t height, int64_t width, int64_t channels, int64_t margin)
      : channels(channels),
        stride((width + WIDEST - 1) / WIDEST * WIDEST + 2 * margin),
        margin(margin),
        values((height + 2 * margin) * channels * stride) {
    for (int64_t row = 0; row < height; ++row) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        float* target = &values[((row + margin) * channels + channel) * stride + margin];
        const float* source = picture + row * width * channels + channel;
        for (int64_t column = 0; column < width; ++column) target[column] = source[column * channels];
      }
    }
  }

  // From (-margin, -margin) on, of the first channel.
  const float* at(int64_t row, int64_t column) const { return &values[row * channels * stride + column]; }
};

struct MatchedTransport {
  MatchSizes size;
  const Planes& key;      // with a margin of `reach`
  const Planes& current;  // with none
  const float* prior;
  const Moved* moved;
  int64_t moved_count;
  Gate gate;

  int64_t kernel_size() const { return 2 * size.reach + 1; }

  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    constexpr int64_t lanes = LANES<float, CPU>;
    std::vector<float> weights(kernel_size() * kernel_size() * lanes), moved_guidance(lanes * size.guidance_channels);
    for (int64_t row = first_row; row < end_row; ++row) {
      for (int64_t column = 0; column < size.width; column += lanes) {
        correlate<CPU>(row, column, weights.data());
        soften<CPU>(weights.data());
        const int64_t end = std::min(column + lanes, size.width);
        for (int64_t index = 0; index < moved_count; ++index) {
          gather<CPU>(moved[index], row, column, end, weights.data(), row * size.width);
        }
        if (gate.result == nullptr) continue;
        const Moved guidance{gate.key_guidance, moved_guidance.data(), size.guidance_channels};
        gather<CPU>(guidance, row, column, end, weights.data(), -column);
        open_gate<CPU>(row, column, end, moved_guidance.data());
      }
    }
  }

  // How alike the places from `column` on and those around them in the key frame are: (taps, lanes).
  template <Cpu CPU>
  ALWAYS_INLINE void correlate(int64_t row, int64_t column, float* likeness) const {
    const int64_t taps = kernel_size();
    for (int64_t u = 0; u < taps; ++u) {
      int64_t v = 0;
      for (; v + 9 <= taps; v += 9) correlate_taps<CPU, 9>(row, column, u, v, likeness);
      for (; v + 3 <= taps; v += 3) correlate_taps<CPU, 3>(row, column, u, v, likeness);
      for (; v < taps; ++v) correlate_taps<CPU, 1>(row, column, u, v, likeness);
    }
  }

  template <Cpu CPU, int TAPS>
  ALWAYS_INLINE void correlate_taps(int64_t row, int64_t column, int64_t u, int64_t v, float* likeness) const {
    const float* query = current.at(row, column);
    // Tap (u, v), counted from 0, is the key frame's place D - u rows below and D - v columns to the right.
    const float* neighbour = key.at(row + 2 * size.reach - u, column + 2 * size.reach - v);
    Vector<float, CPU> sums[TAPS] = {};
    for (int64_t channel = 0; channel < size.guidance_channels; ++channel) {
      const Vector<float, CPU> wanted = load<float, CPU>(query + channel * current.stride);
#pragma GCC unroll 9
      for (int tap = 0; tap < TAPS; ++tap) {
        sums[tap] += wanted * load<float, CPU>(neighbour + channel * key.stride - tap);
      }
    }
    float* target = likeness + (u * kernel_size() + v) * LANES<float, CPU>;
#pragma GCC unroll 9
    for (int tap = 0; tap < TAPS; ++tap) store(target + tap * LANES<float, CPU>, sums[tap]);
  }

  // A softmax over the taps in each lane.
  template <Cpu CPU>
  ALWAYS_INLINE void soften(float* weights) const {
    constexpr int64_t lanes = LANES<float, CPU>;
    const int64_t taps = kernel_size() * kernel_size();
    Vector<float, CPU> largest = size.sharpness * load<float, CPU>(weights) + prior[0];
    for (int64_t tap = 0; tap < taps; ++tap) {
      const Vector<float, CPU> logit = size.sharpness * load<float, CPU>(weights + tap * lanes) + prior[tap];
      largest = logit > largest ? logit : largest;
      store(weights + tap * lanes, logit);
    }
    Vector<float, CPU> sum = {};
    for (int64_t tap = 0; tap < taps; ++tap) {
      const Vector<float, CPU> share = exponential<CPU>(load<float, CPU>(weights + tap * lanes) - largest);
      sum += share;
      store(weights + tap * lanes, share);
    }
    const Vector<float, CPU> scale = 1.0f / sum;
    for (int64_t tap = 0; tap < taps; ++tap) {
      store(weights + tap * lanes, load<float, CPU>(weights + tap * lanes) * scale);
    }
  }

  // How far the current guidance is from the moved one, at the places `column` to `end` of a row.
  template <Cpu CPU>
  ALWAYS_INLINE void open_gate(int64_t row, int64_t column, int64_t end, const float* moved_guidance) const {
    const int64_t channels = size.guidance_channels;
    float exponents[LANES<float, CPU>] = {};
    for (int64_t place = column; place < end; ++place, moved_guidance += channels) {
      const float* guidance = gate.guidance + (row * size.width + place) * channels;
      Row sums = {};
      int64_t channel = 0;
      for (; channel + ROW <= channels; channel += ROW) {
        const Row difference = load_row(guidance + channel) - load_row(moved_guidance + channel);
        sums += load_row(gate.sensitivity + channel) * (difference < 0 ? -difference : difference);
      }
      float total = sum(sums);
      for (; channel < channels; ++channel) {
        total += gate.sensitivity[channel] * std::abs(guidance[channel] - moved_guidance[channel]);
      }
      exponents[place - column] = -total;
    }
    const Vector<float, CPU> exponent = load<float, CPU>(exponents);
    Vector<float, CPU> closed = exponential<CPU>(exponent);
    closed = exponent == exponent ? closed : exponent;  // nan
    for (int64_t place = column; place < end; ++place) {
      gate.result[row * size.width + place] = 1.0f - closed[place - column];
    }
  }

  static constexpr int64_t ROW = 8;
  using Row = VectorOf<float, 4 * ROW>::type;

  static ALWAYS_INLINE Row load_row(const float* from) {
    Row row;
    std::memcpy(&row, from, sizeof row);
    return row;
  }

  // The places `column` to `end` of a row of one result, in which they stand `shift` places on.
  template <Cpu CPU>
  ALWAYS_INLINE void gather(
      const Moved& picture, int64_t row, int64_t column, int64_t end, const float* weights, int64_t shift) const {
    constexpr int64_t lanes = LANES<float, CPU>;
    const int64_t channels = picture.channels;
    int64_t channel = 0;
    for (; channel + 6 * lanes <= channels; channel += 6 * lanes) {
      gather_channels<CPU, 6>(picture, row, column, end, weights, channel, shift);
    }
    for (; channel + 2 * lanes <= channels; channel += 2 * lanes) {
      gather_channels<CPU, 2>(picture, row, column, end, weights, channel, shift);
    }
    for (; channel + lanes <= channels; channel += lanes) {
      gather_channels<CPU, 1>(picture, row, column, end, weights, channel, shift);
    }
    for (; channel < channels; ++channel) gather_one_channel<CPU>(picture, row, column, end, weights, channel, shift);
  }

  template <Cpu CPU, int VECTORS>
  ALWAYS_INLINE void gather_channels(
      const Moved& picture, int64_t row, int64_t column, int64_t end, const float* weights, int64_t channel,
      int64_t shift) const {
    constexpr int64_t lanes = LANES<float, CPU>;
    for (int64_t place = column; place < end; ++place) {
      Vector<float, CPU> sums[2][VECTORS] = {};
      for_each_tap<CPU>(picture, row, place, weights + (place - column), [&](int half, float weight, const float* from)
          ALWAYS_INLINE_LAMBDA {
#pragma GCC unroll 6
        for (int index = 0; index < VECTORS; ++index) {
          sums[half][index] += weight * load<float, CPU>(from + channel + index * lanes);
        }
      });
      float* target = picture.result + (place + shift) * picture.channels + channel;
#pragma GCC unroll 6
      for (int index = 0; index < VECTORS; ++index) store(target + index * lanes, sums[0][index] + sums[1][index]);
    }
  }

  template <Cpu CPU>
  ALWAYS_INLINE void gather_one_channel(
      const Moved& picture, int64_t row, int64_t column, int64_t end, const float* weights, int64_t channel,
      int64_t shift) const {
    for (int64_t place = column; place < end; ++place) {
      float sum = 0;
      for_each_tap<CPU>(picture, row, place, weights + (place - column), [&](int, float weight, const float* from)
          ALWAYS_INLINE_LAMBDA { sum += weight * from[channel]; });
      picture.result[(place + shift) * picture.channels + channel] = sum;
    }
  }

  // use(half, weight, channels of the neighbour) for every neighbour inside the picture. `half` is 0 and 1 in turn: with
  // a sum for each, an addition need not wait for the one before.
  template <Cpu CPU, typename Use>
  ALWAYS_INLINE void for_each_tap(
      const Moved& picture, int64_t row, int64_t column, const float* weights, const Use& use) const {
    const int64_t taps = kernel_size(), lower = row + size.reach, right = column + size.reach;
    const int64_t last_u = std::min(taps - 1, lower), last_v = std::min(taps - 1, right);
    const int64_t first_v = std::max<int64_t>(0, right - size.width + 1);
    for (int64_t u = std::max<int64_t>(0, lower - size.height + 1); u <= last_u; ++u) {
      const float* weight = weights + u * taps * LANES<float, CPU>;
      const float* from = picture.feature + ((lower - u) * size.width + right) * picture.channels;
      int64_t v = first_v;
      for (; v + 1 <= last_v; v += 2) {
        use(0, weight[v * LANES<float, CPU>], from - v * picture.channels);
        use(1, weight[(v + 1) * LANES<float, CPU>], from - (v + 1) * picture.channels);
      }
      if (v == last_v) use(0, weight[v * LANES<float, CPU>], from - v * picture.channels);
    }
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void matched_transport(
    const float* key_guidance, const float* guidance, const float* prior, const Moved* moved, int64_t moved_count,
    const float* sensitivity, float* gate, MatchSizes size, int thread_count) {
  const Planes key(key_guidance, size.height, size.width, size.guidance_channels, size.reach);
  const Planes current(guidance, size.height, size.width, size.guidance_channels, 0);
  parallel_rows(size.height, thread_count, MatchedTransport{
      size, key, current, prior, moved, moved_count, {key_guidance, guidance, sensitivity, gate}});
}
