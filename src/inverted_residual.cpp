// MobileNetV2's block (expand by a 1x1, filter each channel alone, project by a 1x1) without its hidden picture.
//
// The hidden picture is six times as large as what goes in or comes out. A band of a few of its rows at a time is
// expanded, filtered and projected while it lies in the cache; the whole of it is never written to memory.
//
// picture, result   (h, w, C), the channels of a place side by side
// pointwise weights (C_out / 32, C_in, 32), rounded up with zeros: an input's weights for 32 results side by side
// depthwise weights (kernel_size * kernel_size, hidden)
// biases            as many as results, rounded up with zeros to a multiple of 32

#include <algorithm>
#include <type_traits>
#include <vector>

#include "vectors.hpp"

namespace {

constexpr int64_t BLOCK = 32;           // results whose weights for an input lie side by side
constexpr int64_t BAND_PLACES = 48;     // of a band at least, so that weights once read serve many places
constexpr float HIGHEST = 6.0f;         // of ReLU6

template <Cpu CPU>
using Floats = Vector<float, CPU>;

template <Cpu CPU>
ALWAYS_INLINE Floats<CPU> relu6(Floats<CPU> value) {
  const Floats<CPU> zero = {}, six = zero + HIGHEST;
  value = value < zero ? zero : value;  // in this order nan stays nan, which the stream looks for
  return value > six ? six : value;
}

// Pointers to places that lie `step` apart. Three share a register, since an address may add a register once or twice.
template <int PLACES>
struct Strided {
  const float* thirds[(PLACES + 2) / 3];
  int64_t step;

  ALWAYS_INLINE Strided(const float* first, int64_t step) : step(step) {
    for (int third = 0; third < (PLACES + 2) / 3; ++third) thirds[third] = first + third * 3 * step;
  }
  ALWAYS_INLINE const float* operator[](int place) const { return thirds[place / 3] + place % 3 * step; }
  ALWAYS_INLINE void advance(int64_t floats) {
    for (const float*& third : thirds) third += floats;
  }
};

// VECTORS vectors of results of a 1x1 convolution, at any places.
template <int VECTORS, bool IS_CLAMPED>
struct PointwiseBlock {
  const float* source;  // (places, inputs)
  int64_t inputs;
  const float* weights;
  const float* bias;
  float* const* targets;  // of each place, where the block's results go
  int64_t left;           // results from the block's first one on
  const float* addend;    // (places, addend_step), or null
  int64_t addend_step;

  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t first, int64_t end) const {
    // Sums held in registers: with two vectors 24 of AVX-512's 32, 12 of AVX's 16.
    constexpr int places = CPU == Cpu::avx512 ? 12 : 6;
    if (end - first < places) {
      for (int64_t place = first; place < end; ++place) tile<CPU, 1>(place);
      return;
    }
    // The last tile begins where it ends with the last place; what it computes again is written again.
    for (int64_t place = first; place < end; place += places) tile<CPU, places>(std::min(place, end - places));
  }

  template <Cpu CPU, int PLACES>
  ALWAYS_INLINE void tile(int64_t place) const {
    constexpr int64_t lanes = LANES<float, CPU>;
    Floats<CPU> sums[PLACES][VECTORS];
    for (int index = 0; index < PLACES; ++index) {
      for (int vector = 0; vector < VECTORS; ++vector) sums[index][vector] = load<float, CPU>(bias + vector * lanes);
    }
    Strided<PLACES> input(source + place * inputs, inputs);
    const float* weight = weights;
    for (int64_t channel = 0; channel < inputs; ++channel, weight += BLOCK, input.advance(1)) {
      Floats<CPU> row[VECTORS];
      for (int vector = 0; vector < VECTORS; ++vector) row[vector] = load<float, CPU>(weight + vector * lanes);
#pragma GCC unroll 12
      for (int index = 0; index < PLACES; ++index) {
        for (int vector = 0; vector < VECTORS; ++vector) sums[index][vector] += *input[index] * row[vector];
      }
    }
    // By way of memory: a register that is still needed after the calls below would not be one in the loop above.
    float results[PLACES][VECTORS * lanes];
#pragma GCC unroll 12
    for (int index = 0; index < PLACES; ++index) {
      for (int vector = 0; vector < VECTORS; ++vector) {
        store(results[index] + vector * lanes, IS_CLAMPED ? relu6<CPU>(sums[index][vector]) : sums[index][vector]);
      }
    }
    for (int index = 0; index < PLACES; ++index) {
      const float* addends = addend == nullptr ? nullptr : addend + (place + index) * addend_step;
      // The length of the first is known to the compiler, and so no call.
      if (left >= VECTORS * lanes) finish(results[index], addends, targets[place + index], VECTORS * lanes);
      else finish(results[index], addends, targets[place + index], left);
    }
  }

  ALWAYS_INLINE static void finish(const float* results, const float* addends, float* target, int64_t count) {
    if (addends == nullptr) {
      std::memcpy(target, results, count * sizeof(float));
    } else {
      for (int64_t channel = 0; channel < count; ++channel) target[channel] = results[channel] + addends[channel];
    }
  }
};

// A 1x1 convolution of `places` places: (places, inputs) to `outputs` floats at each target.
template <Cpu CPU, bool IS_CLAMPED>
ALWAYS_INLINE void pointwise(
    const float* source, int64_t places, int64_t inputs, const float* weights, const float* bias, int64_t outputs,
    float** targets, const float* addend) {
  constexpr int64_t lanes = LANES<float, CPU>;
  for (int64_t first = 0; first < outputs; first += 2 * lanes) {
    const auto compute = [&](auto vectors) {
      compute_with<CPU>(
          PointwiseBlock<decltype(vectors)::value, IS_CLAMPED>{
              source, inputs, weights + first / BLOCK * BLOCK * inputs + first % BLOCK, bias + first, targets,
              outputs - first, addend == nullptr ? nullptr : addend + first, outputs},
          0, places);
    };
    if (outputs - first > lanes) compute(std::integral_constant<int, 2>());
    else compute(std::integral_constant<int, 1>());
    for (int64_t place = 0; place < places; ++place) targets[place] += 2 * lanes;
  }
}

struct Sizes {
  int64_t height, width, in_channels, hidden, channels, kernel_size, stride, dilation, is_expanding, is_residual;

  int64_t padding() const { return dilation * (kernel_size / 2); }
  int64_t out_height() const { return (height - 1) / stride + 1; }
  int64_t out_width() const { return (width - 1) / stride + 1; }
  // Floats of a hidden row, which has a margin of zeros on either side.
  int64_t row() const { return (width + 2 * padding()) * hidden; }
  // Hidden rows that `rows` rows of the result look at.
  int64_t window(int64_t rows) const { return (rows - 1) * stride + 2 * padding() + 1; }
};

struct Pointers {
  const float *picture, *expand, *expand_bias, *depthwise, *depthwise_bias, *project, *project_bias;
  float* result;
};

// Rows of the depthwise convolution: channels first .. end - 1, multiples of 16, at all their places.
struct Filter {
  const Sizes& size;
  const Pointers& at;
  const float* const* window;  // the hidden rows that these rows look at
  int64_t rows;
  float* target;

  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t first, int64_t end) const {
    // Row after row of a few channels, so that what the rows share stays in L1.
    for (int64_t channel = first; channel < end; channel += LANES<float, CPU>) {
      for (int64_t row = 0; row < rows; ++row) filter_row<CPU>(channel, row);
    }
  }

  template <Cpu CPU>
  ALWAYS_INLINE void filter_row(int64_t channel, int64_t row) const {
    const int64_t width = size.out_width();
    if (width < 8) {
      for (int64_t column = 0; column < width; ++column) places<CPU, 1>(channel, row, column);
      return;
    }
    for (int64_t column = 0; column < width; column += 8) places<CPU, 8>(channel, row, std::min(column, width - 8));
  }

  template <Cpu CPU, int PLACES>
  ALWAYS_INLINE void places(int64_t channel, int64_t row, int64_t column) const {
    Floats<CPU> sums[PLACES];
    for (int place = 0; place < PLACES; ++place) sums[place] = load<float, CPU>(at.depthwise_bias + channel);
    const float* weight = at.depthwise + channel;
    const int64_t corner = column * size.stride * size.hidden + channel;
    for (int64_t u = 0; u < size.kernel_size; ++u) {
      Strided<PLACES> source(window[row * size.stride + u * size.dilation] + corner, size.stride * size.hidden);
      for (int64_t v = 0; v < size.kernel_size; ++v, weight += size.hidden) {
        const Floats<CPU> tap = load<float, CPU>(weight);
#pragma GCC unroll 8
        for (int place = 0; place < PLACES; ++place) sums[place] += tap * load<float, CPU>(source[place]);
        source.advance(size.dilation * size.hidden);
      }
    }
    for (int place = 0; place < PLACES; ++place) {
      store(target + (row * size.out_width() + column + place) * size.hidden + channel, relu6<CPU>(sums[place]));
    }
  }
};

// What a thread computes with, kept from call to call.
struct Workspace {
  std::vector<float> floats;
  std::vector<float*> window, places;
};

struct Block {
  Sizes size;
  Pointers at;

  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    if (first_row >= end_row) return;  // more threads than rows
    thread_local Workspace workspace;
    const int64_t band = std::min(end_row - first_row, (BAND_PLACES + size.out_width() - 1) / size.out_width());
    const int64_t slots = size.window(band);
    workspace.floats.resize(std::max<size_t>(
        workspace.floats.size(), slots * size.row() + band * size.out_width() * size.hidden));
    float* filtered = workspace.floats.data() + slots * size.row();
    clear_margins(workspace.floats.data(), slots);
    int64_t known_end = first_row * size.stride - size.padding();  // hidden rows before this one need no expanding
    for (int64_t row = first_row; row < end_row; row += band) {
      const int64_t rows = std::min(band, end_row - row), start = row * size.stride - size.padding();
      // A hidden row stays in its slot until the window has moved past it.
      workspace.window.clear();
      for (int64_t index = 0; index < size.window(rows); ++index) {
        const int64_t slot = (start + size.padding() + index) % slots;
        workspace.window.push_back(workspace.floats.data() + slot * size.row());
      }
      const int64_t first_new = std::max(start, known_end);
      known_end = start + size.window(rows);
      expand<CPU>(first_new, known_end, workspace.window.data() + (first_new - start), workspace.places);
      compute_with<CPU>(Filter{size, at, workspace.window.data(), rows, filtered}, 0, size.hidden);
      project<CPU>(row, rows, filtered, workspace.places);
    }
  }

  void clear_margins(float* rows, int64_t count) const {
    const int64_t margin = size.padding() * size.hidden;
    for (float* row = rows; row < rows + count * size.row(); row += size.row()) {
      std::fill(row, row + margin, 0.0f);
      std::fill(row + size.row() - margin, row + size.row(), 0.0f);
    }
  }

  // Hidden rows first .. end - 1 into their slots; what lies outside the picture is zero.
  template <Cpu CPU>
  ALWAYS_INLINE void expand(int64_t first, int64_t end, float* const* slots, std::vector<float*>& places) const {
    const int64_t margin = size.padding() * size.hidden;
    const int64_t inside = std::clamp<int64_t>(first, 0, size.height), outside = std::clamp<int64_t>(end, 0, size.height);
    for (int64_t row = first; row < std::min(end, inside); ++row) clear_row(slots[row - first]);
    for (int64_t row = std::max(first, outside); row < end; ++row) clear_row(slots[row - first]);
    const float* source = at.picture + inside * size.width * size.in_channels;
    if (!size.is_expanding) {
      for (int64_t row = inside; row < outside; ++row, source += size.width * size.hidden) {
        std::copy(source, source + size.width * size.hidden, slots[row - first] + margin);
      }
      return;
    }
    places.clear();
    for (int64_t row = inside; row < outside; ++row) {
      for (int64_t column = 0; column < size.width; ++column) {
        places.push_back(slots[row - first] + margin + column * size.hidden);
      }
    }
    pointwise<CPU, true>(source, places.size(), size.in_channels, at.expand, at.expand_bias, size.hidden, places.data(),
                         nullptr);
  }

  void clear_row(float* row) const { std::fill(row, row + size.row(), 0.0f); }

  template <Cpu CPU>
  ALWAYS_INLINE void project(int64_t row, int64_t rows, const float* filtered, std::vector<float*>& places) const {
    const int64_t first = row * size.out_width();
    places.resize(rows * size.out_width());
    for (size_t place = 0; place < places.size(); ++place) places[place] = at.result + (first + place) * size.channels;
    pointwise<CPU, false>(filtered, places.size(), size.hidden, at.project, at.project_bias, size.channels,
                          places.data(), size.is_residual ? at.picture + first * size.channels : nullptr);
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void inverted_residual(Pointers at, Sizes size, int thread_count) {
  parallel_rows(size.out_height(), thread_count, Block{size, at});
}
