// The XLA FFI target of a ternary encoder's block: int8 products with packed weights, the rest in float32 (post-norm,
// with BitNet's sub-norms where there are any).
#include "quantized.h"
#include "sequences.h"

namespace orchestai {
namespace {

using Codes = ffi::Buffer<ffi::U8>;

// y = scale · (x Wᵀ) of quantised x; the bias comes after.
struct Matrix {
  const uint8_t* codes;
  const float *scale, *bias;
  int64_t rows, columns;
};

struct Block {
  const Kernels* kernels;
  int64_t hidden, wide, heads;
  float epsilon, sub_epsilon;
  Matrix qkv, out, up, down;
  const float *attention_sub_norm, *feed_forward_sub_norm;  // or null
  const float *norm_scale, *norm_bias, *last_scale, *last_bias;
};

bool product(ffi::ThreadPool& pool, const Kernels* kernels, const float* x, int64_t tokens, const Matrix& of, float* y) {
  Quantized quantized(tokens, padded(of.columns), kTile);
  if (!quantized.ok()) return false;
  kernels->quantize(x, of.columns, quantized.tokens);
  const int64_t bytes = quantized.tokens.columns / 4 * 32;
  parallel(pool, (of.rows + kRowBlock - 1) / kRowBlock, piece_of(bytes, 2, tokens), [&](int64_t begin, int64_t end) {
    kernels->ternary(quantized.tokens, {of.codes, of.rows, of.scale, 1, y}, begin, end);
  });
  return true;
}

// Bias, GELU and sub-norm, some rows at a time.
void finish(ffi::ThreadPool& pool, const Block& block, float* x, int64_t rows, int64_t columns, const float* bias,
            bool gelu, const float* norm) {
  parallel(pool, rows, 16, [&](int64_t begin, int64_t end) {
    block.kernels->encoder->finish(x + begin * columns, end - begin, columns, bias, gelu, norm, block.sub_epsilon);
  });
}

// x [rows, hidden] becomes the block's output. False where memory ran out.
bool run_group(ffi::ThreadPool& pool, const Block& block, const std::vector<Sequence>& group, float* x, int64_t rows,
               float* between) {
  const int64_t hidden = block.hidden, wide = block.wide;
  const EncoderKernels* encoder = block.kernels->encoder;
  float* added = between;
  float* qkv = added + rows * hidden;
  float* mixed = qkv + rows * 3 * hidden;
  if (!product(pool, block.kernels, x, rows, block.qkv, qkv)) return false;
  finish(pool, block, qkv, rows, 3 * hidden, block.qkv.bias, false, nullptr);
  if (!attend_group(pool, encoder, group, block.heads, hidden, qkv, qkv + hidden, qkv + 2 * hidden, 3 * hidden, mixed)) {
    return false;
  }
  if (block.attention_sub_norm != nullptr) {
    finish(pool, block, mixed, rows, hidden, nullptr, false, block.attention_sub_norm);
  }
  if (!product(pool, block.kernels, mixed, rows, block.out, added)) return false;
  finish(pool, block, added, rows, hidden, block.out.bias, false, nullptr);
  encoder->add_norm(x, added, rows, hidden, block.norm_scale, block.norm_bias, block.epsilon);
  float* raised = qkv;  // no longer needed
  if (!product(pool, block.kernels, x, rows, block.up, raised)) return false;
  finish(pool, block, raised, rows, wide, block.up.bias, true, block.feed_forward_sub_norm);
  if (!product(pool, block.kernels, raised, rows, block.down, added)) return false;
  finish(pool, block, added, rows, hidden, block.down.bias, false, nullptr);
  encoder->add_norm(x, added, rows, hidden, block.last_scale, block.last_bias, block.epsilon);
  return true;
}

bool fits(const Codes& codes, const Floats& scale, const Floats& bias, int64_t rows, int64_t columns) {
  const int64_t bytes = (rows + kRowBlock - 1) / kRowBlock * (padded(columns) / 4) * 32;
  return static_cast<int64_t>(codes.element_count()) == bytes && static_cast<int64_t>(scale.element_count()) == rows &&
         static_cast<int64_t>(bias.element_count()) == rows;
}

ffi::Error ternary_encoder_block(ffi::ThreadPool pool, Floats x, ffi::Buffer<ffi::PRED> mask, Codes qkv,
                                 Floats qkv_scale, Floats qkv_bias, Floats attention_sub_norm, Codes out,
                                 Floats out_scale, Floats out_bias, Floats norm_scale, Floats norm_bias, Codes up,
                                 Floats up_scale, Floats up_bias, Floats feed_forward_sub_norm, Codes down,
                                 Floats down_scale, Floats down_bias, Floats last_scale, Floats last_bias,
                                 ffi::Result<Floats> y, int64_t heads, float epsilon, float sub_epsilon,
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
  if (!fits(qkv, qkv_scale, qkv_bias, 3 * hidden, hidden) || !fits(out, out_scale, out_bias, hidden, hidden) ||
      !fits(up, up_scale, up_bias, wide, hidden) || !fits(down, down_scale, down_bias, hidden, wide)) {
    return wrong("packed matrices do not fit, or are batched");
  }
  for (const Floats& vector : {norm_scale, norm_bias, last_scale, last_bias}) {
    if (static_cast<int64_t>(vector.element_count()) != hidden) return wrong("norms must have a number a hidden column");
  }
  const int64_t subs[2] = {static_cast<int64_t>(attention_sub_norm.element_count()),
                           static_cast<int64_t>(feed_forward_sub_norm.element_count())};
  if ((subs[0] != 0 && subs[0] != hidden) || (subs[1] != 0 && subs[1] != wide)) return wrong("sub-norms do not fit");
  if (y->element_count() == 0) return ffi::Error::Success();
  const Block block = {kernels, hidden, wide, heads, epsilon, sub_epsilon,
                       {qkv.typed_data(), qkv_scale.typed_data(), qkv_bias.typed_data(), 3 * hidden, hidden},
                       {out.typed_data(), out_scale.typed_data(), out_bias.typed_data(), hidden, hidden},
                       {up.typed_data(), up_scale.typed_data(), up_bias.typed_data(), wide, hidden},
                       {down.typed_data(), down_scale.typed_data(), down_bias.typed_data(), hidden, wide},
                       subs[0] == 0 ? nullptr : attention_sub_norm.typed_data(),
                       subs[1] == 0 ? nullptr : feed_forward_sub_norm.typed_data(),
                       norm_scale.typed_data(), norm_bias.typed_data(), last_scale.typed_data(),
                       last_bias.typed_data()};
  const Memory between = room(batch.capacity() * (hidden + std::max(4 * hidden, wide)));
  if (between == nullptr) return no_memory();
  return by_groups(batch, [&](const std::vector<Sequence>& group, float* tokens, int64_t rows) {
    return run_group(pool, block, group, tokens, rows, between.get());
  });
}

}  // namespace
}  // namespace orchestai

ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiTernaryEncoderBlock(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiTernaryEncoderBlock, orchestai::ternary_encoder_block,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::PRED>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<int64_t>("heads")
                                  .Attr<float>("epsilon")
                                  .Attr<float>("sub_epsilon")
                                  .Attr<std::string_view>("instructions"));
