// The XLA FFI targets: shapes and leading axes, the choice of instruction set, threads.
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

#if defined(_WIN32)
#define ORCHESTAI_EXPORT extern "C" __declspec(dllexport)
#else
#define ORCHESTAI_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace orchestai {
namespace {

namespace ffi = xla::ffi;

// The instruction sets that this processor has, best first.
const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*> found = [] {
    std::vector<const Kernels*> sets;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2");
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

// The named set, or the best for "auto"; null where this processor lacks it.
const Kernels* find(std::string_view name) {
  if (name == "auto") return supported().front();
  for (const Kernels* set : supported()) {
    if (name == set->name) return set;
  }
  return nullptr;
}

// Runs work(begin, end) over [0, count) in pieces of `piece`, on this thread and on those of the pool that come in time.
// Never waits for a thread that has not begun: a full pool costs nothing but the help.
template <typename Work>
void parallel(ffi::ThreadPool& pool, int64_t count, int64_t piece, const Work& work) {
  const int64_t pieces = (count + piece - 1) / piece;
  const int64_t threads = pieces > 1 ? pool.num_threads() : 1;
  if (threads <= 1) {
    if (count > 0) work(0, count);
    return;
  }
  struct State {
    std::atomic<int64_t> next{0};
    std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto state = std::make_shared<State>();
  // A helper that comes late finds no piece left and does not touch `work`, which is gone by then.
  const auto help = [state, pieces, piece, count, &work] {
    for (int64_t i; (i = state->next.fetch_add(1)) < pieces;) {
      const int64_t end = (i + 1) * piece;
      work(i * piece, end < count ? end : count);
      if (state->done.fetch_add(1) + 1 == pieces) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->all_done.notify_all();
      }
    }
  };
  for (int64_t i = 1; i < threads && i < pieces; ++i) pool.Schedule([help] { help(); });
  help();
  // The last piece is a few microseconds away: sleeping and waking would take longer.
  for (int spin = 0; spin < 2000; ++spin) {
    if (state->done.load(std::memory_order_acquire) == pieces) return;
  }
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all_done.wait(lock, [&] { return state->done.load() == pieces; });
}

// Leading axes of a call under vmap: each buffer has the whole size or 1 there.
struct Lead {
  std::vector<int64_t> sizes;

  int64_t count() const {
    int64_t n = 1;
    for (int64_t size : sizes) n *= size;
    return n;
  }
  // Where entry `index` (row-major over the leading axes) lies in a buffer, in units of its inner part.
  int64_t place(int64_t index, ffi::Span<const int64_t> dims) const {
    int64_t place = 0, step = 1;
    for (int64_t axis = static_cast<int64_t>(sizes.size()) - 1; axis >= 0; --axis) {
      const int64_t at = index % sizes[axis];
      index /= sizes[axis];
      place += (dims[axis] == 1 ? 0 : at) * step;
      step *= dims[axis];
    }
    return place;
  }
};

bool shared(const Lead& lead, ffi::Span<const int64_t> dims) {
  for (size_t axis = 0; axis < lead.sizes.size(); ++axis) {
    if (dims[axis] != 1) return false;
  }
  return true;
}

bool fits(const Lead& lead, ffi::Span<const int64_t> dims) {
  if (dims.size() < lead.sizes.size()) return false;
  for (size_t axis = 0; axis < lead.sizes.size(); ++axis) {
    if (dims[axis] != 1 && dims[axis] != lead.sizes[axis]) return false;
  }
  return true;
}

// Memory for quantised tokens, freed with the object.
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

ffi::Error wrong(const std::string& what) { return ffi::Error::InvalidArgument("orchestai_kernels: " + what); }

// Whether x and y have the last two axes that are read from each; asked before any is.
bool have_axes(ffi::Span<const int64_t> x_dims, ffi::Span<const int64_t> y_dims) {
  return x_dims.size() >= 2 && y_dims.size() == x_dims.size();
}

constexpr char kWrongAxes[] = "x and y need the same axes, two at least";

int64_t padded(int64_t columns) { return (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock; }

// Units of a piece of work: about 128 KB of weights to read for one token, fewer where more tokens make more of it.
int64_t piece_of(int64_t bytes_a_unit, int64_t multiple, int64_t tokens) {
  const int64_t units = bytes_a_unit > 0 ? (128 << 10) / (1 + tokens / 8) / bytes_a_unit : 1;
  return (units < multiple ? multiple : units / multiple * multiple);
}

using Indices = ffi::Buffer<ffi::S32>;

// One call or a batch of them, of x and y that have their axes: finds the inner parts and calls body(x, weight's index,
// scale's index, y, tokens). Weights are stacks, [leading axes, stack, w_inner axes], of which `index` says which.
template <typename Body>
ffi::Error each(const ffi::Span<const int64_t> x_dims, ffi::Span<const int64_t> w_dims, size_t w_inner,
                ffi::Span<const int64_t> scale_dims, const Indices& index, ffi::Span<const int64_t> y_dims,
                const float* x, float* y, int64_t* scale_stride, const Body& body) {
  Lead lead;
  lead.sizes.assign(y_dims.begin(), y_dims.end() - 2);
  const size_t axes = lead.sizes.size();
  const auto index_dims = index.dimensions();
  if (w_dims.size() != axes + 1 + w_inner || index_dims.size() != axes || !fits(lead, x_dims) || !fits(lead, w_dims) ||
      !fits(lead, scale_dims) || !fits(lead, index_dims)) {
    return wrong("leading axes do not fit");
  }
  const int64_t tokens = x_dims[axes], columns = x_dims[axes + 1], rows = y_dims[axes + 1], stack = w_dims[axes];
  if (y_dims[axes] != tokens) return wrong("x and y differ in tokens");
  *scale_stride = scale_dims.size() == axes + 1 ? 0 : 1;
  if (scale_dims.size() < axes + 1 || scale_dims[axes] != stack ||
      (*scale_stride == 1 && (scale_dims.size() != axes + 2 || scale_dims[axes + 1] != rows))) {
    return wrong("scale is neither one number a matrix nor one a row");
  }
  if (tokens == 0 || rows == 0) return ffi::Error::Success();
  for (size_t i = 0; i < index.element_count(); ++i) {
    const int64_t at = index.typed_data()[i];
    if (at < 0 || at >= stack) return wrong("index " + std::to_string(at) + " of a stack of " + std::to_string(stack));
  }
  const int64_t scale_step = *scale_stride == 1 ? rows : 1;
  const bool same_weight = shared(lead, w_dims) && shared(lead, scale_dims) && shared(lead, index_dims);
  // The same weight for all: one product with all the tokens (when x has a leading axis of 1, it is not one product).
  if (same_weight && lead.count() * tokens * columns == [&] {
        int64_t all = 1;
        for (int64_t size : x_dims) all *= size;
        return all;
      }()) {
    const int64_t at = *index.typed_data();
    return body(x, at, at * scale_step, y, lead.count() * tokens);
  }
  for (int64_t i = 0; i < lead.count(); ++i) {
    const int64_t at = index.typed_data()[lead.place(i, index_dims)];
    ffi::Error error =
        body(x + lead.place(i, x_dims) * tokens * columns, lead.place(i, w_dims) * stack + at,
             (lead.place(i, scale_dims) * stack + at) * scale_step, y + i * tokens * rows, tokens);
    if (error.failure()) return error;
  }
  return ffi::Error::Success();
}

ffi::Error ternary_matmul(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::U8> codes,
                          ffi::Buffer<ffi::F32> scale, Indices index, ffi::Result<ffi::Buffer<ffi::F32>> y,
                          std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return wrong("this processor lacks " + std::string(instructions));
  if (!have_axes(x.dimensions(), y->dimensions())) return wrong(kWrongAxes);
  const auto w_dims = codes.dimensions();
  if (w_dims.size() < 4) return wrong("codes need four axes at least");
  const int64_t blocks = w_dims[w_dims.size() - 3], quads = w_dims[w_dims.size() - 2];
  const int64_t rows = y->dimensions().back(), columns = x.dimensions().back();
  if (w_dims.back() != 32 || blocks != (rows + kRowBlock - 1) / kRowBlock || quads * 4 != padded(columns)) {
    return wrong("codes do not fit x and y");
  }
  int64_t scale_stride = 0;
  return each(x.dimensions(), w_dims, 3, scale.dimensions(), index, y->dimensions(), x.typed_data(), y->typed_data(),
              &scale_stride, [&](const float* tokens_in, int64_t w, int64_t s, float* out, int64_t count) {
                Quantized quantized(count, quads * 4, kTile);
                if (!quantized.ok()) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for activations");
                kernels->quantize(tokens_in, columns, quantized.tokens);
                const Ternary weight = {codes.typed_data() + w * blocks * quads * 32, rows, scale.typed_data() + s,
                                        scale_stride, out};
                parallel(pool, blocks, piece_of(quads * 32, 2, count), [&](int64_t begin, int64_t end) {
                  kernels->ternary(quantized.tokens, weight, begin, end);
                });
                return ffi::Error::Success();
              });
}

ffi::Error int8_matmul(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::S8> values,
                       ffi::Buffer<ffi::F32> scale, Indices index, ffi::Result<ffi::Buffer<ffi::F32>> y,
                       std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return wrong("this processor lacks " + std::string(instructions));
  if (!have_axes(x.dimensions(), y->dimensions())) return wrong(kWrongAxes);
  const auto w_dims = values.dimensions();
  if (w_dims.size() < 3) return wrong("values need three axes at least");
  const int64_t rows = y->dimensions().back(), columns = x.dimensions().back();
  if (w_dims[w_dims.size() - 2] != rows || w_dims.back() != columns) return wrong("values do not fit x and y");
  int64_t scale_stride = 0;
  return each(x.dimensions(), w_dims, 2, scale.dimensions(), index, y->dimensions(), x.typed_data(), y->typed_data(),
              &scale_stride, [&](const float* tokens_in, int64_t w, int64_t s, float* out, int64_t count) {
                if (scale_stride != 1) return wrong("int8 weights need a scale a row");
                Quantized quantized(count, padded(columns), 1);
                if (!quantized.ok()) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for activations");
                kernels->quantize(tokens_in, columns, quantized.tokens);
                const Int8 weight = {values.typed_data() + w * rows * columns, rows, columns, scale.typed_data() + s,
                                     out};
                parallel(pool, rows, piece_of(columns, 4, count), [&](int64_t begin, int64_t end) {
                  kernels->int8(quantized.tokens, weight, begin, end);
                });
                return ffi::Error::Success();
              });
}

using Floats = ffi::Buffer<ffi::F32>;

// Attends from the newest token to a layer's slots start .. length - 1 and to itself, and writes it to slot `length`, in
// place. Buffers: queries [batch, heads, dim]; new [batch, kv_heads, dim]; stored [layers, batch, kv_heads, capacity, dim],
// int8 with scales of the same axes but the last.
template <typename Stored>
struct Cache {
  Stored* keys;
  Stored* values;
  float* key_scale;
  float* value_scale;
};

template <typename Stored>
ffi::Error attend(ffi::ThreadPool& pool, const Floats& queries, const Floats& new_key, const Floats& new_value,
                  const Indices& layer, const Indices& start, const Indices& length,
                  ffi::Span<const int64_t> stored_dims, const Cache<Stored>& cache, float* out, float scale,
                  std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return wrong("this processor lacks " + std::string(instructions));
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

// The only symbols, with those below, that leave the library.
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiTernaryMatmul(XLA_FFI_CallFrame* call_frame);
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiInt8Matmul(XLA_FFI_CallFrame* call_frame);
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiCachedAttention(XLA_FFI_CallFrame* call_frame);
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiCachedAttentionInt8(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiTernaryMatmul, orchestai::ternary_matmul,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<std::string_view>("instructions"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiInt8Matmul, orchestai::int8_matmul,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<std::string_view>("instructions"));

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
