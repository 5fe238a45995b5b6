// The XLA FFI target of an encoder's block: self-attention and feed-forward, each added and normalised (post-norm).
#include "sequences.h"

namespace orchestai {
namespace {

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
bool run_group(ffi::ThreadPool& pool, const Block& block, const std::vector<Sequence>& group, float* x, int64_t rows,
               float* between) {
  const int64_t hidden = block.hidden, wide = block.wide;
  const Weights& w = block.weights;
  float* q = between;
  float* k = q + rows * hidden;
  float* v = k + rows * hidden;
  float* mixed = v + rows * hidden;
  if (!dense(pool, block, x, rows, hidden, w.query, w.query_bias, hidden, q) ||
      !dense(pool, block, x, rows, hidden, w.key, w.key_bias, hidden, k) ||
      !dense(pool, block, x, rows, hidden, w.value, w.value_bias, hidden, v) ||
      !attend_group(pool, block.kernels, group, block.heads, hidden, q, k, v, hidden, mixed)) {
    return false;
  }
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
  Batch batch;
  const ffi::Error error = batch_of(x, mask, y, &batch);
  if (error.failure()) return error;
  const int64_t hidden = batch.hidden, wide = static_cast<int64_t>(up_bias.element_count());
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
  const Block block = {kernels->encoder, hidden, wide, heads, epsilon,
                       {query.typed_data(), query_bias.typed_data(), key.typed_data(), key_bias.typed_data(),
                        value.typed_data(), value_bias.typed_data(), out.typed_data(), out_bias.typed_data(),
                        norm_scale.typed_data(), norm_bias.typed_data(), up.typed_data(), up_bias.typed_data(),
                        down.typed_data(), down_bias.typed_data(), last_scale.typed_data(), last_bias.typed_data()}};
  const Memory between = room(batch.capacity() * (hidden + std::max(3 * hidden, wide)));
  if (between == nullptr) return no_memory();
  return by_groups(batch, [&](const std::vector<Sequence>& group, float* tokens, int64_t rows) {
    return run_group(pool, block, group, tokens, rows, between.get());
  });
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
