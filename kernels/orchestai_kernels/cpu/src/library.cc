// What the library tells about this processor, beside the FFI targets: instruction sets, and how fast memory is read.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "library.h"

namespace orchestai {

const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*> found = [] {
    std::vector<const Kernels*> sets;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
      sets.push_back(avx512_vnni_kernels());
    }
    if (avx2) sets.push_back(avx2_kernels());
#elif defined(__aarch64__)
    if (const Kernels* neon = neon_dotprod_kernels()) sets.push_back(neon);
#endif
    sets.push_back(portable_kernels());
    return sets;
  }();
  return found;
}

const Kernels* find(std::string_view name) {
  if (name == "auto") return supported().front();
  for (const Kernels* set : supported()) {
    if (name == set->name) return set;
  }
  return nullptr;
}

}  // namespace orchestai

// Names of the instruction sets that this processor has, best first, separated by spaces.
ORCHESTAI_EXPORT const char* orchestai_instructions() {
  static const std::string names = [] {
    std::string all;
    for (const orchestai::Kernels* set : orchestai::supported()) all += (all.empty() ? "" : " ") + std::string(set->name);
    return all;
  }();
  return names.c_str();
}

// How many loops `orchestai_read` knows on this processor.
ORCHESTAI_EXPORT int orchestai_read_loops() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") ? orchestai::kReadLoops : 0;
#else
  return 0;
#endif
}

// Reads `count` bytes once, for measuring what memory gives.
ORCHESTAI_EXPORT uint64_t orchestai_read(int loop, const uint8_t* bytes, int64_t count) {
#if defined(__x86_64__)
  return orchestai::avx2_read(loop, bytes, count);
#else
  (void)loop, (void)bytes, (void)count;
  return 0;
#endif
}
