// Vectors in the compilers' own extension: whatever registers the CPU has are made of them.
#pragma once

#include <cstring>
#include <type_traits>

#include "parallel_rows.hpp"

// Bytes: one register of AVX-512; one of AVX, two of SSE or NEON.
template <Cpu CPU>
constexpr int VECTOR_BYTES = CPU == Cpu::avx512 ? 64 : 32;

template <typename T, int BYTES>
struct VectorOf {
  typedef T type __attribute__((vector_size(BYTES)));
};

template <typename T, Cpu CPU = Cpu::any>
using Vector = typename VectorOf<T, VECTOR_BYTES<CPU>>::type;

template <typename T, Cpu CPU = Cpu::any>
constexpr int64_t LANES = VECTOR_BYTES<CPU> / sizeof(T);

template <typename T, Cpu CPU = Cpu::any>
ALWAYS_INLINE Vector<T, CPU> load(const T* source) {
  Vector<T, CPU> vector;
  std::memcpy(&vector, source, sizeof vector);  // one unaligned load
  return vector;
}

template <typename T, typename Lanes>
ALWAYS_INLINE void store(T* target, const Lanes& vector) {
  std::memcpy(target, &vector, sizeof vector);
}

// One lane made of all, two at a time: both halves first, each an SSE or NEON register.
template <typename Lanes, typename Combine>
ALWAYS_INLINE auto reduce(const Lanes& vector, Combine combine) {
  using T = std::decay_t<decltype(vector[0])>;
  static_assert(sizeof vector == 32);
  typename VectorOf<T, 16>::type halves[2];
  std::memcpy(halves, &vector, sizeof vector);
  const auto half = combine(halves[0], halves[1]);
  T result = half[0];
  for (size_t lane = 1; lane < 16 / sizeof(T); ++lane) result = combine(result, half[lane]);
  return result;
}

template <typename Lanes>
ALWAYS_INLINE auto sum(const Lanes& vector) {
  return reduce(vector, [](auto a, auto b) ALWAYS_INLINE_LAMBDA { return a + b; });
}

// e to the power of each lane, to two units in the last place; 0 below -87, where the result would be subnormal.
//
// By Cody and Waite: x = n ln 2 + f, and e^f from its polynomial (the coefficients are those of Cephes' expf).
template <Cpu CPU>
ALWAYS_INLINE Vector<float, CPU> exponential(const Vector<float, CPU>& x) {
  constexpr float to_nearest = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  const Vector<float, CPU> rounded = x * 1.44269504f + to_nearest;
  const Vector<float, CPU> whole = rounded - to_nearest;
  const Vector<float, CPU> rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector<float, CPU> power = 1.9875691500e-4f * rest + 1.3981999507e-3f;
  power = power * rest + 8.3334519073e-3f;
  power = power * rest + 4.1665795894e-2f;
  power = power * rest + 1.6666665459e-1f;
  power = power * rest + 5.0000001201e-1f;
  power = power * rest * rest + rest + 1.0f;
  Vector<int32_t, CPU> bits, exponent;
  std::memcpy(&bits, &power, sizeof bits);
  std::memcpy(&exponent, &rounded, sizeof exponent);
  bits += exponent << 23;  // the low bits of `rounded` are n, and those above are shifted out
  Vector<float, CPU> result;
  std::memcpy(&result, &bits, sizeof result);
  return x < -87.0f ? Vector<float, CPU>{} : result;
}
