// Which copy of the kernels runs.

#include <algorithm>

#include "parallel_rows.hpp"

namespace {

Cpu find_best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return Cpu::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Cpu::avx2;
#endif
  return Cpu::any;
}

Cpu used = find_best();

}  // namespace

Cpu used_cpu() { return used; }

// The number of the best copy that this CPU can run.
extern "C" __attribute__((visibility("default"))) int best_cpu() { return static_cast<int>(find_best()); }

// For tests: run the copy of number `wanted`, or the best one that this CPU can, and return which it is.
extern "C" __attribute__((visibility("default"))) int use_cpu(int wanted) {
  used = std::min(static_cast<Cpu>(wanted), find_best());
  return static_cast<int>(used);
}
