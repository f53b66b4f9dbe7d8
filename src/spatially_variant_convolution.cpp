// Equation 1 of the paper and its gradients, over rows of channels-last tensors.
//
// feature, result  (B, h, w, C), the channels of a place side by side
// kernels          (B, h, w, H_K * H_K), the taps of a place side by side, (u, v) row by row from (-D, -D)

#include <algorithm>

#include "vectors.hpp"

namespace {

struct Sizes {
  int64_t batch, height, width, channels, reach;

  int64_t kernel_size() const { return 2 * reach + 1; }
  int64_t taps() const { return kernel_size() * kernel_size(); }
};

// The offsets -reach .. reach that lead from `place` to a place inside 0 .. size - 1, when they are added to it.
struct Offsets {
  int64_t first, last;

  Offsets(int64_t place, int64_t size, int64_t reach)
      : first(std::max(-reach, -place)), last(std::min(reach, size - 1 - place)) {}
};

// result(i, j) = sum of weight * source(i + du, j + dv) over the neighbours (du, dv) inside the picture.
//
// Forward, equation 1: the neighbour (-u, -v) has the weight W_ij(u, v), from the kernel of the result's place.
// Backward, gradient of the feature: the neighbour (u, v) has the weight W_{i+u, j+v}(u, v), from its own kernel.
template <typename T, bool backward>
struct Gather {
  Sizes size;
  const T* source;
  const T* kernels;
  T* result;

  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    constexpr int64_t lanes = LANES<T, CPU>;
    for (int64_t row = first_row; row < end_row; ++row) {
      // A few channels of a whole row before the next few: what the taps of neighbouring places share stays in L1.
      int64_t channel = 0;
      for (; channel + 8 * lanes <= size.channels; channel += 8 * lanes) gather_row<CPU, 8>(row, channel);
      for (; channel + 4 * lanes <= size.channels; channel += 4 * lanes) gather_row<CPU, 4>(row, channel);
      for (; channel + lanes <= size.channels; channel += lanes) gather_row<CPU, 1>(row, channel);
      for (; channel < size.channels; ++channel) gather_row_of_one_channel(row, channel);
    }
  }

  // VECTORS vectors of channels from `channel` on, their sums held in registers.
  template <Cpu CPU, int VECTORS>
  ALWAYS_INLINE void gather_row(int64_t row, int64_t channel) const {
    constexpr int64_t lanes = LANES<T, CPU>;
    for (int64_t column = 0; column < size.width; ++column) {
      Vector<T, CPU> sums[VECTORS] = {};
      for_each_tap(row, column, [&](T weight, const T* neighbour) ALWAYS_INLINE_LAMBDA {
#pragma GCC unroll 8
        for (int index = 0; index < VECTORS; ++index) {
          sums[index] += weight * load<T, CPU>(neighbour + channel + index * lanes);
        }
      });
      T* target = result + (row * size.width + column) * size.channels + channel;
#pragma GCC unroll 8
      for (int index = 0; index < VECTORS; ++index) store(target + index * lanes, sums[index]);
    }
  }

  ALWAYS_INLINE void gather_row_of_one_channel(int64_t row, int64_t channel) const {
    for (int64_t column = 0; column < size.width; ++column) {
      T sum = 0;
      for_each_tap(row, column, [&](T weight, const T* neighbour) ALWAYS_INLINE_LAMBDA {
        sum += weight * neighbour[channel];
      });
      result[(row * size.width + column) * size.channels + channel] = sum;
    }
  }

  // use(weight, channels of the neighbour) for every neighbour inside the picture. `row` counts through the batch.
  template <typename Use>
  ALWAYS_INLINE void for_each_tap(int64_t row, int64_t column, const Use& use) const {
    const int64_t reach = size.reach, taps = size.taps(), side = backward ? 1 : -1;
    const Offsets rows(row % size.height, size.height, reach), columns(column, size.width, reach);
    for (int64_t du = rows.first; du <= rows.last; ++du) {
      const int64_t neighbour_row = (row + du) * size.width + column;
      const int64_t kernel_row = backward ? neighbour_row : row * size.width + column;
      const int64_t tap_row = (reach + side * du) * size.kernel_size() + reach;
      for (int64_t dv = columns.first; dv <= columns.last; ++dv) {
        const int64_t kernel = backward ? kernel_row + dv : kernel_row;
        use(kernels[kernel * taps + tap_row + side * dv], source + (neighbour_row + dv) * size.channels);
      }
    }
  }
};

// Gradient of the kernels: dW_ij(u, v) = sum over c of the result's gradient (c, i, j) * F_k(c, i - u, j - v).
template <typename T>
struct KernelGradient {
  Sizes size;
  const T* feature;
  const T* result_gradient;
  T* gradient;

  template <Cpu>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    for (int64_t row = first_row; row < end_row; ++row) {
      for (int64_t column = 0; column < size.width; ++column) at_place(row, column);
    }
  }

  ALWAYS_INLINE void at_place(int64_t row, int64_t column) const {
    const int64_t reach = size.reach, place = row * size.width + column;
    const Offsets rows(row % size.height, size.height, reach), columns(column, size.width, reach);
    T* target = gradient + place * size.taps();
    std::fill(target, target + size.taps(), T{0});
    for (int64_t du = rows.first; du <= rows.last; ++du) {
      T* tap_row = target + (reach - du) * size.kernel_size() + reach;
      for (int64_t dv = columns.first; dv <= columns.last; ++dv) {
        tap_row[-dv] = dot(place, place + du * size.width + dv);
      }
    }
  }

  ALWAYS_INLINE T dot(int64_t gradient_place, int64_t feature_place) const {
    const T* left = result_gradient + gradient_place * size.channels;
    const T* right = feature + feature_place * size.channels;
    // Short vectors on every CPU: few channels are summed, and the lanes of a long one take longer to add up.
    Vector<T> sums[4] = {};  // four, so that an addition need not wait for the one before
    int64_t channel = 0;
    for (; channel + 4 * LANES<T> <= size.channels; channel += 4 * LANES<T>) {
#pragma GCC unroll 4
      for (int64_t index = 0; index < 4; ++index) {
        const int64_t at = channel + index * LANES<T>;
        sums[index] += load(left + at) * load(right + at);
      }
    }
    T total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; channel < size.channels; ++channel) total += left[channel] * right[channel];
    return total;
  }
};

template <typename T, bool backward>
void gather(const T* source, const T* kernels, T* result, const Sizes& size, int thread_count) {
  parallel_rows(size.batch * size.height, thread_count, Gather<T, backward>{size, source, kernels, result});
}

template <typename T>
void kernel_gradient(const T* feature, const T* result_gradient, T* gradient, const Sizes& size, int thread_count) {
  parallel_rows(size.batch * size.height, thread_count, KernelGradient<T>{size, feature, result_gradient, gradient});
}

}  // namespace

// What lowlat_seg_ros/kernels/cpp.py calls, for float and double.
#define EXPORT extern "C" __attribute__((visibility("default"))) void
#define EXPORT_FOR(T)                                                                                               \
  EXPORT convolve_##T(const T* feature, const T* kernels, T* result, Sizes size, int thread_count) {                \
    gather<T, false>(feature, kernels, result, size, thread_count);                                                 \
  }                                                                                                                 \
  EXPORT feature_gradient_##T(const T* result_gradient, const T* kernels, T* gradient, Sizes size, int threads) {   \
    gather<T, true>(result_gradient, kernels, gradient, size, threads);                                             \
  }                                                                                                                 \
  EXPORT kernel_gradient_##T(const T* feature, const T* result_gradient, T* gradient, Sizes size, int threads) {    \
    kernel_gradient(feature, result_gradient, gradient, size, threads);                                             \
  }

EXPORT_FOR(float)
EXPORT_FOR(double)
