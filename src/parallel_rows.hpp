// Rows of a picture, shared out over torch's threads and computed with the best instructions this CPU has.
#pragma once

#include <cstdint>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define ALWAYS_INLINE_LAMBDA __attribute__((always_inline))  // after a lambda's parameters

// The calls that compilers make of `#pragma omp parallel`, only declared here: the library is linked with no OpenMP.
// torch has loaded one for the whole process, and the dynamic loader binds these to it. A second runtime would bring a
// second set of threads, and both sets wait by spinning.
extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned thread_count, unsigned flags);
extern "C" int omp_get_thread_num();
extern "C" int omp_get_num_threads();

// A portable binary with three copies of the code. `rows.compute` is always inlined, so that each copy compiles it anew.
enum class Cpu { any, avx2, avx512 };

// The copy to run: the best that this CPU can, unless a test has asked for a lesser one.
Cpu used_cpu();

// Never inlined into each other, so that each has the registers of its innermost loop to itself.
template <typename Rows>
__attribute__((noinline)) void compute_on_any_cpu(const Rows& rows, int64_t first, int64_t end) {
  rows.template compute<Cpu::any>(first, end);
}

#if defined(__x86_64__)
template <typename Rows>
__attribute__((noinline, target("avx2,fma"))) void compute_with_avx2(const Rows& rows, int64_t first, int64_t end) {
  rows.template compute<Cpu::avx2>(first, end);
}

template <typename Rows>
__attribute__((noinline, target("avx512f,fma"))) void compute_with_avx512(
    const Rows& rows, int64_t first, int64_t end) {
  rows.template compute<Cpu::avx512>(first, end);
}
#endif

// The copy for `CPU`, for what is called from within such a copy.
template <Cpu CPU, typename Rows>
void compute_with(const Rows& rows, int64_t first, int64_t end) {
#if defined(__x86_64__)
  if constexpr (CPU == Cpu::avx512) return compute_with_avx512(rows, first, end);
  if constexpr (CPU == Cpu::avx2) return compute_with_avx2(rows, first, end);
#endif
  compute_on_any_cpu(rows, first, end);
}

template <typename Rows>
void compute_rows(const Rows& rows, int64_t first, int64_t end) {
  switch (used_cpu()) {
    case Cpu::avx512: return compute_with<Cpu::avx512>(rows, first, end);
    case Cpu::avx2: return compute_with<Cpu::avx2>(rows, first, end);
    case Cpu::any: return compute_with<Cpu::any>(rows, first, end);
  }
}

// Calls rows(first, end) on up to thread_count threads, which together see each of 0 .. row_count - 1 once.
template <typename Rows>
void parallel_rows(int64_t row_count, int thread_count, const Rows& rows) {
  if (thread_count <= 1 || row_count <= 1) return compute_rows(rows, 0, row_count);
  struct Work {
    const Rows& rows;
    int64_t row_count;
  } work{rows, row_count};
  const auto compute_share = [](void* data) {
    const Work& work = *static_cast<const Work*>(data);
    const int64_t share = omp_get_thread_num(), shares = omp_get_num_threads();
    compute_rows(work.rows, work.row_count * share / shares, work.row_count * (share + 1) / shares);
  };
  GOMP_parallel(compute_share, &work, static_cast<unsigned>(thread_count), 0);
}
