// The XLA FFI target of an encoder's block: self-attention and feed-forward, each added and normalised (post-norm).
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "targets.h"

namespace orchestai {
namespace {

// So many tokens are taken through the block together: what lies between its products stays in the caches.
constexpr int64_t kGroup = 256;

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Memory = std::unique_ptr<float, Free>;

Memory room(int64_t count) {
  return Memory(static_cast<float*>(std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64)));
}

// A sequence of the batch: as many tokens as its last that is no padding, and where they begin in the group.
struct Sequence {
  int64_t row;
  int64_t count;
  int64_t first;
};

struct Weights {
  const float *query, *query_bias, *key, *key_bias, *value, *value_bias, *out, *out_bias, *norm_scale, *norm_bias, *up,
      *up_bias, *down, *down_bias, *last_scale, *last_bias;
};

struct Block {
  const EncoderKernels* kernels;
  int64_t hidden, wide, heads;
  float epsilon;
  Weights weights;
};

bool dense(ffi::ThreadPool& pool, const Block& block, const float* x, int64_t rows, int64_t depth, const float* weight,
           const float* bias, int64_t columns, float* y, bool gelu = false) {
  const Dense of = {x, rows, depth, weight, bias, columns, y, gelu};
  const int64_t panels = columns / kPanel;
  std::atomic<bool> ok{true};
  parallel(pool, panels, 1, [&](int64_t begin, int64_t end) {
    const Memory packed = room(depth * kPanel);
    if (packed == nullptr) {
      ok = false;
      return;
    }
    block.kernels->dense(of, begin, end, packed.get());
  });
  return ok;
}

// x [rows, hidden] becomes the block's output. False where memory ran out.
bool run_group(ffi::ThreadPool& pool, const Block& block, const std::vector<Sequence>& group, const uint8_t* mask,
               int64_t length, float* x, int64_t rows, float* between) {
  const int64_t hidden = block.hidden, wide = block.wide, dim = hidden / block.heads;
  const Weights& w = block.weights;
  float* q = between;
  float* k = q + rows * hidden;
  float* v = k + rows * hidden;
  float* mixed = v + rows * hidden;
  if (!dense(pool, block, x, rows, hidden, w.query, w.query_bias, hidden, q) ||
      !dense(pool, block, x, rows, hidden, w.key, w.key_bias, hidden, k) ||
      !dense(pool, block, x, rows, hidden, w.value, w.value_bias, hidden, v)) {
    return false;
  }
  int64_t longest = 0;
  for (const Sequence& sequence : group) longest = std::max(longest, sequence.count);
  std::atomic<bool> ok{true};
  parallel(pool, static_cast<int64_t>(group.size()) * block.heads, 1, [&](int64_t begin, int64_t end) {
    const Memory scratch = room(attend_scratch(longest, dim));
    if (scratch == nullptr) {
      ok = false;
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const Sequence& sequence = group[i / block.heads];
      const int64_t at = sequence.first * hidden + i % block.heads * dim;
      block.kernels->attend({sequence.count, dim, hidden, 1.0f / std::sqrt(static_cast<float>(dim)), q + at, k + at,
                             v + at, mask + sequence.row * length, mixed + at, scratch.get()});
    }
  });
  if (!ok) return false;
  float* added = q;  // no longer needed
  if (!dense(pool, block, mixed, rows, hidden, w.out, w.out_bias, hidden, added)) return false;
  block.kernels->add_norm(x, added, rows, hidden, w.norm_scale, w.norm_bias, block.epsilon);
  float* raised = between + rows * hidden;
  if (!dense(pool, block, x, rows, hidden, w.up, w.up_bias, wide, raised, true) ||
      !dense(pool, block, raised, rows, wide, w.down, w.down_bias, hidden, added)) {
    return false;
  }
  block.kernels->add_norm(x, added, rows, hidden, w.last_scale, w.last_bias, block.epsilon);
  return true;
}

ffi::Error encoder_block(ffi::ThreadPool pool, Floats x, ffi::Buffer<ffi::PRED> mask, Floats query, Floats query_bias,
                         Floats key, Floats key_bias, Floats value, Floats value_bias, Floats out, Floats out_bias,
                         Floats norm_scale, Floats norm_bias, Floats up, Floats up_bias, Floats down, Floats down_bias,
                         Floats last_scale, Floats last_bias, ffi::Result<Floats> y, int64_t heads, float epsilon,
                         std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return lacks(instructions);
  const auto dims = y->dimensions();
  if (dims.size() < 3 || x.dimensions().size() != dims.size() || mask.dimensions().size() + 1 != dims.size()) {
    return wrong("x and y need the same axes, three at least, and the mask one less");
  }
  const int64_t hidden = dims.back(), length = dims[dims.size() - 2], wide = static_cast<int64_t>(up_bias.element_count());
  if (heads < 1 || hidden % heads != 0 || hidden / heads % kPanel != 0 || wide % kPanel != 0) {
    return wrong("widths of heads and of the feed-forward must be multiples of " + std::to_string(kPanel));
  }
  const size_t square = static_cast<size_t>(hidden * hidden), flat = static_cast<size_t>(hidden);
  for (const Floats& matrix : {query, key, value, out}) {
    if (matrix.element_count() != square) return wrong("projections must be hidden by hidden, and not batched");
  }
  for (const Floats& vector : {query_bias, key_bias, value_bias, out_bias, norm_scale, norm_bias, down_bias, last_scale,
                               last_bias}) {
    if (vector.element_count() != flat) return wrong("biases and norms must have one number a hidden column");
  }
  if (up.element_count() != flat * wide || down.element_count() != flat * wide) return wrong("up and down do not fit");
  if (y->element_count() == 0) return ffi::Error::Success();
  const int64_t sequences = static_cast<int64_t>(y->element_count()) / (length * hidden);
  // Under vmap a buffer that is the same for all has leading axes of 1: it is read again for each.
  const int64_t x_rows = static_cast<int64_t>(x.element_count()) / (length * hidden);
  const int64_t mask_rows = static_cast<int64_t>(mask.element_count()) / length;
  for (const int64_t rows : {x_rows, mask_rows}) {
    if (rows != sequences && rows != dims[dims.size() - 3]) return wrong("leading axes are batched in part");
  }
  const Block block = {kernels->encoder, hidden, wide, heads, epsilon,
                       {query.typed_data(), query_bias.typed_data(), key.typed_data(), key_bias.typed_data(),
                        value.typed_data(), value_bias.typed_data(), out.typed_data(), out_bias.typed_data(),
                        norm_scale.typed_data(), norm_bias.typed_data(), up.typed_data(), up_bias.typed_data(),
                        down.typed_data(), down_bias.typed_data(), last_scale.typed_data(), last_bias.typed_data()}};
  const uint8_t* seen = reinterpret_cast<const uint8_t*>(mask.typed_data());
  std::memset(y->typed_data(), 0, y->size_bytes());
  Memory tokens, between;
  int64_t capacity = 0;
  for (int64_t next = 0; next < sequences;) {
    std::vector<Sequence> group;
    int64_t rows = 0;
    for (; next < sequences && (rows == 0 || rows + length <= kGroup); ++next) {
      const uint8_t* of_row = seen + next % mask_rows * length;
      int64_t count = length;
      while (count > 0 && !of_row[count - 1]) --count;
      if (count == 0) continue;
      group.push_back({next, count, rows});
      rows += count;
    }
    if (rows == 0) continue;
    if (rows > capacity) {
      capacity = std::max(rows, std::min(kGroup, sequences * length));
      tokens = room(capacity * hidden);
      between = room(capacity * (hidden + std::max(3 * hidden, wide)));
      if (tokens == nullptr || between == nullptr) {
        return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for activations");
      }
    }
    for (Sequence& sequence : group) {
      std::memcpy(tokens.get() + sequence.first * hidden,
                  x.typed_data() + sequence.row % x_rows * length * hidden, sequence.count * hidden * sizeof(float));
    }
    std::vector<Sequence> by_mask = group;
    for (Sequence& sequence : by_mask) sequence.row %= mask_rows;
    if (!run_group(pool, block, by_mask, seen, length, tokens.get(), rows, between.get())) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for activations");
    }
    for (const Sequence& sequence : group) {
      std::memcpy(y->typed_data() + sequence.row * length * hidden, tokens.get() + sequence.first * hidden,
                  sequence.count * hidden * sizeof(float));
    }
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace orchestai

ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiEncoderBlock(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiEncoderBlock, orchestai::encoder_block,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::PRED>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<int64_t>("heads")
                                  .Attr<float>("epsilon")
                                  .Attr<std::string_view>("instructions"));
