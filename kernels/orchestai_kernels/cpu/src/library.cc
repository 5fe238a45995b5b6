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

// One call or a batch of them, of x and y that have their axes: finds the inner parts and calls body(x, weight's index, scale's index, y, tokens).
template <typename Body>
ffi::Error each(const ffi::Span<const int64_t> x_dims, ffi::Span<const int64_t> w_dims, size_t w_inner,
                ffi::Span<const int64_t> scale_dims, ffi::Span<const int64_t> y_dims, const float* x, float* y,
                int64_t* scale_stride, const Body& body) {
  Lead lead;
  lead.sizes.assign(y_dims.begin(), y_dims.end() - 2);
  const size_t axes = lead.sizes.size();
  if (w_dims.size() != axes + w_inner || !fits(lead, x_dims) || !fits(lead, w_dims) || !fits(lead, scale_dims)) {
    return wrong("leading axes do not fit");
  }
  const int64_t tokens = x_dims[axes], columns = x_dims[axes + 1], rows = y_dims[axes + 1];
  if (y_dims[axes] != tokens) return wrong("x and y differ in tokens");
  *scale_stride = scale_dims.size() == axes ? 0 : 1;
  if (*scale_stride == 1 && (scale_dims.size() != axes + 1 || scale_dims[axes] != rows)) {
    return wrong("scale is neither one number nor one a row");
  }
  if (tokens == 0 || rows == 0) return ffi::Error::Success();
  const int64_t scale_step = *scale_stride == 1 ? rows : 1;
  const bool same_weight = shared(lead, w_dims) && shared(lead, scale_dims);
  // The same weight for all: one product with all the tokens (when x has a leading axis of 1, it is not one product).
  if (same_weight && lead.count() * tokens * columns == [&] {
        int64_t all = 1;
        for (int64_t size : x_dims) all *= size;
        return all;
      }()) {
    return body(x, 0, 0, y, lead.count() * tokens);
  }
  for (int64_t i = 0; i < lead.count(); ++i) {
    ffi::Error error = body(x + lead.place(i, x_dims) * tokens * columns, lead.place(i, w_dims),
                            lead.place(i, scale_dims) * scale_step, y + i * tokens * rows, tokens);
    if (error.failure()) return error;
  }
  return ffi::Error::Success();
}

ffi::Error ternary_matmul(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::U8> codes,
                          ffi::Buffer<ffi::F32> scale, ffi::Result<ffi::Buffer<ffi::F32>> y,
                          std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return wrong("this processor lacks " + std::string(instructions));
  if (!have_axes(x.dimensions(), y->dimensions())) return wrong(kWrongAxes);
  const auto w_dims = codes.dimensions();
  if (w_dims.size() < 3) return wrong("codes need three axes at least");
  const int64_t blocks = w_dims[w_dims.size() - 3], quads = w_dims[w_dims.size() - 2];
  const int64_t rows = y->dimensions().back(), columns = x.dimensions().back();
  if (w_dims.back() != 32 || blocks != (rows + kRowBlock - 1) / kRowBlock || quads * 4 != padded(columns)) {
    return wrong("codes do not fit x and y");
  }
  int64_t scale_stride = 0;
  return each(x.dimensions(), w_dims, 3, scale.dimensions(), y->dimensions(), x.typed_data(), y->typed_data(),
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
                       ffi::Buffer<ffi::F32> scale, ffi::Result<ffi::Buffer<ffi::F32>> y,
                       std::string_view instructions) {
  const Kernels* kernels = find(instructions);
  if (kernels == nullptr) return wrong("this processor lacks " + std::string(instructions));
  if (!have_axes(x.dimensions(), y->dimensions())) return wrong(kWrongAxes);
  const auto w_dims = values.dimensions();
  if (w_dims.size() < 2) return wrong("values need two axes at least");
  const int64_t rows = y->dimensions().back(), columns = x.dimensions().back();
  if (w_dims[w_dims.size() - 2] != rows || w_dims.back() != columns) return wrong("values do not fit x and y");
  int64_t scale_stride = 0;
  return each(x.dimensions(), w_dims, 2, scale.dimensions(), y->dimensions(), x.typed_data(), y->typed_data(),
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

}  // namespace
}  // namespace orchestai

// The only symbols, with those below, that leave the library.
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiTernaryMatmul(XLA_FFI_CallFrame* call_frame);
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiInt8Matmul(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiTernaryMatmul, orchestai::ternary_matmul,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Attr<std::string_view>("instructions"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(OrchestaiInt8Matmul, orchestai::int8_matmul,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
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
