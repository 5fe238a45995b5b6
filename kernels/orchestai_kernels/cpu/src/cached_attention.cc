// The XLA FFI targets of one step of decoding: attention to a layered cache, in place.
#include <string>
#include <vector>

#include "targets.h"

namespace orchestai {
namespace {

// A layered cache; the scales are null where it holds floats.
template <typename Stored>
struct Cache {
  Stored* keys;
  Stored* values;
  float* key_scale;
  float* value_scale;
};

// Attends from the newest token to a layer's slots start .. length - 1 and to itself, and writes it to slot `length`, in
// place. Buffers: queries [batch, heads, dim]; new [batch, kv_heads, dim]; stored [layers, batch, kv_heads, capacity, dim],
// int8 with scales of the same axes but the last.
template <typename Stored>
ffi::Error attend(ffi::ThreadPool& pool, const Floats& queries, const Floats& new_key, const Floats& new_value,
                  const Indices& layer, const Indices& start, const Indices& length,
                  ffi::Span<const int64_t> stored_dims, const Cache<Stored>& cache, float* out, float scale,
                  std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return lacks(instructions);
  const auto q = queries.dimensions(), k = new_key.dimensions();
  if (q.size() != 3 || k.size() != 3 || stored_dims.size() != 5 || k[0] != q[0] || k[2] != q[2] || k[1] == 0 ||
      q[1] % k[1] || stored_dims[1] != k[0] || stored_dims[2] != k[1] || stored_dims[4] != k[2] ||
      new_value.element_count() != new_key.element_count() || start.element_count() != static_cast<size_t>(q[0])) {
    return wrong("queries, new token and cache do not fit");
  }
  const int64_t batch = q[0], heads = k[1], dim = q[2], group = q[1] / heads, capacity = stored_dims[3];
  const int64_t at = *layer.typed_data(), filled = *length.typed_data();
  if (at < 0 || at >= stored_dims[0] || filled < 0 || filled >= capacity) {
    return wrong("layer " + std::to_string(at) + " of " + std::to_string(stored_dims[0]) + ", slot " +
                 std::to_string(filled) + " of " + std::to_string(capacity));
  }
  for (int64_t row = 0; row < batch; ++row) {
    if (start.typed_data()[row] < 0 || start.typed_data()[row] > filled) return wrong("a row starts outside the cache");
  }
  std::vector<float> weights(batch * heads * filled);
  const int64_t bytes = (filled + 1) * dim * 2 * static_cast<int64_t>(sizeof(Stored));
  parallel(pool, batch * heads, piece_of(bytes, 1, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = start.typed_data()[i / heads];
      const int64_t slots = (at * batch * heads + i) * capacity;
      kernels->attend({group, dim, filled - first, scale, queries.typed_data() + i * group * dim,
                       new_key.typed_data() + i * dim, new_value.typed_data() + i * dim,
                       cache.keys + (slots + first) * dim, cache.values + (slots + first) * dim,
                       cache.key_scale == nullptr ? nullptr : cache.key_scale + slots + first,
                       cache.value_scale == nullptr ? nullptr : cache.value_scale + slots + first,
                       weights.data() + i * filled, out + i * group * dim});
    }
  });
  return ffi::Error::Success();
}

ffi::Error cached_attention(ffi::ThreadPool pool, Floats queries, Floats new_key, Floats new_value, Indices layer,
                            Indices start, Indices length, Floats, Floats, ffi::Result<Floats> out,
                            ffi::Result<Floats> keys, ffi::Result<Floats> values, float scale,
                            std::string_view instructions) {
  const Cache<float> cache = {keys->typed_data(), values->typed_data(), nullptr, nullptr};
  return attend(pool, queries, new_key, new_value, layer, start, length, keys->dimensions(), cache, out->typed_data(),
                scale, instructions);
}

using Integers = ffi::Buffer<ffi::S8>;

ffi::Error cached_attention_int8(ffi::ThreadPool pool, Floats queries, Floats new_key, Floats new_value, Indices layer,
                                 Indices start, Indices length, Integers, Floats, Integers, Floats,
                                 ffi::Result<Floats> out, ffi::Result<Integers> keys, ffi::Result<Floats> key_scale,
                                 ffi::Result<Integers> values, ffi::Result<Floats> value_scale, float scale,
                                 std::string_view instructions) {
  const Cache<int8_t> cache = {keys->typed_data(), values->typed_data(), key_scale->typed_data(),
                               value_scale->typed_data()};
  return attend(pool, queries, new_key, new_value, layer, start, length, keys->dimensions(), cache, out->typed_data(),
                scale, instructions);
}

}  // namespace
}  // namespace orchestai

ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiCachedAttention(XLA_FFI_CallFrame* call_frame);
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiCachedAttentionInt8(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiCachedAttention, orchestai::cached_attention,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<float>("scale")
                                  .Attr<std::string_view>("instructions"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiCachedAttentionInt8, orchestai::cached_attention_int8,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::S8>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::S8>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<float>("scale")
                                  .Attr<std::string_view>("instructions"));
