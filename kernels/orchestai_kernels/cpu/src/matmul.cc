// The XLA FFI targets of matrix products, and the leading axes that vmap gives them.
#include <string>
#include <vector>

#include "quantized.h"
#include "targets.h"

namespace orchestai {
namespace {

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

// Whether x and y have the last two axes that are read from each; asked before any is.
bool have_axes(ffi::Span<const int64_t> x_dims, ffi::Span<const int64_t> y_dims) {
  return x_dims.size() >= 2 && y_dims.size() == x_dims.size();
}

constexpr char kWrongAxes[] = "x and y need the same axes, two at least";

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
  if (kernels == nullptr) return lacks(instructions);
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
  if (kernels == nullptr) return lacks(instructions);
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

}  // namespace
}  // namespace orchestai

ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiTernaryMatmul(XLA_FFI_CallFrame* call_frame);
ORCHESTAI_EXPORT XLA_FFI_Error* OrchestaiInt8Matmul(XLA_FFI_CallFrame* call_frame);

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
