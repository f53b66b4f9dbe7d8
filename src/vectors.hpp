// Vectors of 32 bytes in the compilers' own extension: one register of AVX, two of SSE or NEON.
#pragma once

#include <cstring>

#include "parallel_rows.hpp"

template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(32)));
};

template <typename T>
using Vector = typename VectorOf<T>::type;

template <typename T>
constexpr int64_t LANES = 32 / sizeof(T);

template <typename T>
ALWAYS_INLINE Vector<T> load(const T* source) {
  Vector<T> vector;
  std::memcpy(&vector, source, sizeof vector);  // one unaligned load
  return vector;
}

template <typename T>
ALWAYS_INLINE void store(T* target, const Vector<T>& vector) {
  std::memcpy(target, &vector, sizeof vector);
}

template <typename T>
ALWAYS_INLINE T sum(const Vector<T>& vector) {
  T total = 0;
  for (int64_t lane = 0; lane < LANES<T>; ++lane) total += vector[lane];
  return total;
}
