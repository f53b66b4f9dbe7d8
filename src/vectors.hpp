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

// The sum of the lanes: halves are added until an SSE or NEON register is left.
template <typename T, int BYTES>
ALWAYS_INLINE T sum_of_lanes(typename VectorOf<T, BYTES>::type vector) {
  if constexpr (BYTES > 16) {
    typename VectorOf<T, BYTES / 2>::type halves[2];
    std::memcpy(halves, &vector, sizeof vector);
    return sum_of_lanes<T, BYTES / 2>(halves[0] + halves[1]);
  } else {
    T total = vector[0];
    for (size_t lane = 1; lane < BYTES / sizeof(T); ++lane) total += vector[lane];
    return total;
  }
}

template <typename T, Cpu CPU = Cpu::any>
ALWAYS_INLINE T sum(Vector<T, CPU> vector) {
  return sum_of_lanes<T, VECTOR_BYTES<CPU>>(vector);
}
