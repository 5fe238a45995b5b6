// Sequences of a batch without their padding, in groups, and what encoders' blocks share: memory, attention by heads.
#ifndef ORCHESTAI_KERNELS_CPU_SEQUENCES_H_
#define ORCHESTAI_KERNELS_CPU_SEQUENCES_H_

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "targets.h"

namespace orchestai {

// So many tokens are taken through a block together: what lies between its products stays in the caches.
constexpr int64_t kGroup = 256;

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<float, Free>;

inline Memory room(int64_t count) {
  return Memory(static_cast<float*>(std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64)));
}

inline ffi::Error no_memory() {
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for activations");
}

// A sequence of the batch: as many tokens as its last that is no padding, and where they begin in the group.
struct Sequence {
  int64_t row;
  int64_t count;
  int64_t first;
  const uint8_t* seen;  // [count]: tokens that may be attended to
};

// x and y [leading axes, length, hidden], mask [leading axes, length]. Under vmap a buffer that is the same for all has
// leading axes of 1: it is read again for each.
struct Batch {
  int64_t hidden, length, sequences, x_rows, mask_rows;
  const float* x;
  const uint8_t* mask;
  float* y;

  // Rows of the largest group.
  int64_t capacity() const { return std::min(sequences * length, std::max(kGroup, length)); }
};

inline ffi::Error batch_of(const Floats& x, const ffi::Buffer<ffi::PRED>& mask, ffi::Result<Floats>& y, Batch* batch) {
  const auto dims = y->dimensions();
  if (dims.size() < 3 || x.dimensions().size() != dims.size() || mask.dimensions().size() + 1 != dims.size()) {
    return wrong("x and y need the same axes, three at least, and the mask one less");
  }
  const int64_t hidden = dims.back(), length = dims[dims.size() - 2];
  const int64_t one = std::max<int64_t>(1, length * hidden), tokens = std::max<int64_t>(1, length);
  *batch = {hidden,
            length,
            static_cast<int64_t>(y->element_count()) / one,
            static_cast<int64_t>(x.element_count()) / one,
            static_cast<int64_t>(mask.element_count()) / tokens,
            x.typed_data(),
            reinterpret_cast<const uint8_t*>(mask.typed_data()),
            y->typed_data()};
  for (const int64_t rows : {batch->x_rows, batch->mask_rows}) {
    if (rows != batch->sequences && rows != dims[dims.size() - 3]) return wrong("leading axes are batched in part");
  }
  return ffi::Error::Success();
}

// work(group, x, rows) makes of a group's tokens x [rows, hidden] the block's output, in place, and returns whether
// memory was enough. Padding comes out as zeros.
template <typename Work>
ffi::Error by_groups(const Batch& batch, const Work& work) {
  const int64_t hidden = batch.hidden, length = batch.length;
  std::memset(batch.y, 0, batch.sequences * length * hidden * sizeof(float));
  const Memory tokens = room(batch.capacity() * hidden);
  if (tokens == nullptr) return no_memory();
  for (int64_t next = 0; next < batch.sequences;) {
    std::vector<Sequence> group;
    int64_t rows = 0;
    for (; next < batch.sequences && (rows == 0 || rows + length <= kGroup); ++next) {
      const uint8_t* seen = batch.mask + next % batch.mask_rows * length;
      int64_t count = length;
      while (count > 0 && !seen[count - 1]) --count;
      if (count == 0) continue;
      group.push_back({next, count, rows, seen});
      rows += count;
    }
    if (rows == 0) continue;
    for (const Sequence& of : group) {
      std::memcpy(tokens.get() + of.first * hidden, batch.x + of.row % batch.x_rows * length * hidden,
                  of.count * hidden * sizeof(float));
    }
    if (!work(group, tokens.get(), rows)) return no_memory();
    for (const Sequence& of : group) {
      std::memcpy(batch.y + of.row * length * hidden, tokens.get() + of.first * hidden,
                  of.count * hidden * sizeof(float));
    }
  }
  return ffi::Error::Success();
}

// mixed [rows, hidden] = attention of each sequence to itself; rows of queries, keys and values lie `stride` apart.
// False where memory ran out.
inline bool attend_group(ffi::ThreadPool& pool, const EncoderKernels* kernels, const std::vector<Sequence>& group,
                         int64_t heads, int64_t hidden, const float* queries, const float* keys, const float* values,
                         int64_t stride, float* mixed) {
  const int64_t dim = hidden / heads;
  int64_t longest = 0;
  for (const Sequence& sequence : group) longest = std::max(longest, sequence.count);
  std::atomic<bool> ok{true};
  parallel(pool, static_cast<int64_t>(group.size()) * heads, 1, [&](int64_t begin, int64_t end) {
    const Memory scratch = room(attend_scratch(longest, dim));
    if (scratch == nullptr) {
      ok = false;
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const Sequence& sequence = group[i / heads];
      const int64_t column = i % heads * dim, at = sequence.first * stride + column;
      kernels->attend({sequence.count, dim, stride, hidden, 1.0f / std::sqrt(static_cast<float>(dim)), queries + at,
                       keys + at, values + at, sequence.seen, mixed + sequence.first * hidden + column,
                       scratch.get()});
    }
  });
  return ok;
}

}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_SEQUENCES_H_
