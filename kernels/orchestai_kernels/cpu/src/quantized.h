// Memory for quantised tokens.
#ifndef ORCHESTAI_KERNELS_CPU_QUANTIZED_H_
#define ORCHESTAI_KERNELS_CPU_QUANTIZED_H_

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels.h"

namespace orchestai {

inline int64_t padded(int64_t columns) { return (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock; }

// Freed with the object.
class Quantized {
 public:
  Quantized(int64_t count, int64_t columns, int64_t tile)
      : values_(static_cast<int8_t*>(std::malloc((count + 1) * columns + 64))), sums_(count), reciprocal_(count) {
    tokens = {count, columns, tile, values_.get(), sums_.data(), reciprocal_.data()};
  }
  bool ok() const { return values_ != nullptr; }
  Tokens tokens;

 private:
  struct Free {
    void operator()(int8_t* p) const { std::free(p); }
  };
  std::unique_ptr<int8_t, Free> values_;
  std::vector<int32_t> sums_;
  std::vector<float> reciprocal_;
};

}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_QUANTIZED_H_
