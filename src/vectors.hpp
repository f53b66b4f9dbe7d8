// Vectors in the compilers' own extension: whatever registers the CPU has are made of them.
#pragma once

#include <cstring>

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

// The sum of the lanes: both halves are added first, each an SSE or NEON register.
template <typename T>
ALWAYS_INLINE T sum(const Vector<T>& vector) {
  typename VectorOf<T, 16>::type halves[2];
  std::memcpy(halves, &vector, sizeof vector);
  const auto half = halves[0] + halves[1];
  T total = half[0];
  for (size_t lane = 1; lane < 16 / sizeof(T); ++lane) total += half[lane];
  return total;
}
