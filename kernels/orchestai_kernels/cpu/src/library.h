// What leaves the library, and the choice of instruction set.
#ifndef ORCHESTAI_KERNELS_CPU_LIBRARY_H_
#define ORCHESTAI_KERNELS_CPU_LIBRARY_H_

#include <string_view>
#include <vector>

#include "kernels.h"

// Only symbols with this leave the library.
#if defined(_WIN32)
#define ORCHESTAI_EXPORT extern "C" __declspec(dllexport)
#else
#define ORCHESTAI_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace orchestai {

// The instruction sets that this processor has, best first.
const std::vector<const Kernels*>& supported();

// The named set, or the best for "auto"; null where this processor lacks it.
const Kernels* find(std::string_view name);

}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_LIBRARY_H_
