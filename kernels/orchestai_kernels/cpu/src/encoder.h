// A transformer encoder's block in float32: products with panels of weights, attention, layer norm. Vectors of the
// compiler's own kind, as many lanes and registers as the file that includes this one says:
//   ORCHESTAI_LANES    floats in a register
//   ORCHESTAI_ROWS     rows of a tile of a product; a tile is two registers wide
#ifndef ORCHESTAI_KERNELS_CPU_ENCODER_H_
#define ORCHESTAI_KERNELS_CPU_ENCODER_H_

#include <stdint.h>
#include <string.h>

#include "kernels.h"

namespace orchestai {
namespace {

constexpr int64_t kLanes = ORCHESTAI_LANES;
constexpr int kMostRows = ORCHESTAI_ROWS;
constexpr int64_t kWidth = 2 * kLanes;
static_assert(kPanel % kWidth == 0, "a panel holds whole tiles");
typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));

inline Vector load(const float* at) {
  Vector x;
  memcpy(&x, at, sizeof x);
  return x;
}

inline void store(float* at, Vector x) { memcpy(at, &x, sizeof x); }

inline float sum_of(Vector x) {
  float lanes[kLanes];
  memcpy(lanes, &x, sizeof lanes);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

inline float largest_of(Vector x) {
  float lanes[kLanes];
  memcpy(lanes, &x, sizeof lanes);
  float largest = lanes[0];
  for (int64_t i = 1; i < kLanes; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

// e^x for x <= 0 (Cephes' expf); e^-87 for all that is smaller.
inline Vector exponential(Vector x) {
  x = x < -87.0f ? Vector{} - 87.0f : x;
  const Vector shifted = x * 1.44269504088896341f + 12582912.0f;  // rounds to an integer: no bits below one are left
  const Vector n = shifted - 12582912.0f;
  const Vector r = x - n * 0.693359375f - n * -2.12194440e-4f;
  Vector p = Vector{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
  Vector scale;
  memcpy(&scale, &power, sizeof scale);
  return p * scale;
}

// x / 2 (1 + erf(x / sqrt 2)); erf as the quotient of polynomials that Eigen takes for float32.
inline Vector gelu(Vector x) {
  Vector z = x * 0.70710678118654752f;
  z = z > 4.0f ? Vector{} + 4.0f : z;
  z = z < -4.0f ? Vector{} - 4.0f : z;
  const Vector s = z * z;
  Vector p = Vector{} - 2.72614225801306e-10f;
  p = p * s + 2.77068142495902e-08f;
  p = p * s - 2.10102402082508e-06f;
  p = p * s - 5.69250639462346e-05f;
  p = p * s - 7.34990630326855e-04f;
  p = p * s - 2.95459980854025e-03f;
  p = p * s - 1.60960333262415e-02f;
  Vector q = Vector{} - 1.45660718464996e-05f;
  q = q * s - 2.13374055278905e-04f;
  q = q * s - 1.68282697438203e-03f;
  q = q * s - 7.37332916720468e-03f;
  q = q * s - 1.42647390514189e-02f;
  return 0.5f * x * (1.0f + z * p / q);
}

// out [kRows, kWidth] = x [kRows, depth] panel [depth, kWidth] + bias; strides are in floats. `next` is fetched meanwhile.
template <int kRows>
inline void tile(const float* x, int64_t x_stride, const float* panel, int64_t panel_stride, int64_t depth,
                 const float* bias, const float* next, int64_t next_stride, float* out, int64_t out_stride) {
  Vector sums[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    sums[r][0] = bias == nullptr ? Vector{} : load(bias);
    sums[r][1] = bias == nullptr ? Vector{} : load(bias + kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Vector left = load(panel + k * panel_stride), right = load(panel + k * panel_stride + kLanes);
    if (next != nullptr) {
      __builtin_prefetch(next + k * next_stride, 0, 2);
      if (kWidth > 16) __builtin_prefetch(next + k * next_stride + 16, 0, 2);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const float of_row = x[r * x_stride + k];
      sums[r][0] += of_row * left;
      sums[r][1] += of_row * right;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    store(out + r * out_stride, sums[r][0]);
    store(out + r * out_stride + kLanes, sums[r][1]);
  }
}

template <int kRows>
inline void tile_of(int rows, const float* x, int64_t x_stride, const float* panel, int64_t panel_stride, int64_t depth,
                    const float* bias, const float* next, int64_t next_stride, float* out, int64_t out_stride) {
  if constexpr (kRows > 1) {
    if (rows < kRows) {
      return tile_of<kRows - 1>(rows, x, x_stride, panel, panel_stride, depth, bias, next, next_stride, out,
                                out_stride);
    }
  }
  tile<kRows>(x, x_stride, panel, panel_stride, depth, bias, next, next_stride, out, out_stride);
}

// All rows against one panel of kWidth columns, in tiles of nearly equal height.
inline void rows_by_panel(const float* x, int64_t x_stride, int64_t rows, const float* panel, int64_t panel_stride,
                          int64_t depth, const float* bias, const float* next, int64_t next_stride, float* out,
                          int64_t out_stride) {
  const int64_t tiles = (rows + kMostRows - 1) / kMostRows;
  for (int64_t t = 0, first = 0; t < tiles; ++t) {
    const int height = static_cast<int>((rows - first + tiles - t - 1) / (tiles - t));
    tile_of<kMostRows>(height, x + first * x_stride, x_stride, panel, panel_stride, depth, bias,
                       t == 0 ? next : nullptr, next_stride, out + first * out_stride, out_stride);
    first += height;
  }
}

// The panels of kPanel columns from `begin` up to `end`; `packed` has room for [depth, kWidth].
void dense(const Dense& of, int64_t begin, int64_t end, float* packed) {
  for (int64_t column = begin * kPanel; column < end * kPanel; column += kWidth) {
    const float* panel = of.weight + column;
    int64_t stride = of.columns;
    if (of.rows > kMostRows) {  // read more than once: rows of a panel side by side
      for (int64_t k = 0; k < of.depth; ++k) {
        store(packed + k * kWidth, load(panel + k * stride));
        store(packed + k * kWidth + kLanes, load(panel + k * stride + kLanes));
      }
      panel = packed;
      stride = kWidth;
    }
    const float* next = column + kWidth < of.columns ? of.weight + column + kWidth : nullptr;
    rows_by_panel(of.x, of.depth, of.rows, panel, stride, of.depth, of.bias == nullptr ? nullptr : of.bias + column,
                  next, of.columns, of.y + column, of.columns);
    if (of.gelu) {
      for (int64_t row = 0; row < of.rows; ++row) {
        float* y = of.y + row * of.columns + column;
        store(y, gelu(load(y)));
        store(y + kLanes, gelu(load(y + kLanes)));
      }
    }
  }
}

// One head of one sequence: out = softmax(scale · q kᵀ) v over the keys that `seen` allows, one at least.
void attend_sequence(const AttendedHead& head) {
  constexpr float kLowest = -3.4028235e38f;
  const int64_t count = head.count, dim = head.head_dim;
  const int64_t padded = (count + kWidth - 1) / kWidth * kWidth;
  float* penalty = head.scratch;                                  // [padded]
  float* panel = penalty + padded;                                // [dim, kWidth]
  float* weights = panel + kWidth * dim;                          // [count, padded]
  for (int64_t j = 0; j < padded; ++j) penalty[j] = j < count && head.seen[j] ? 0.0f : kLowest;
  for (int64_t first = 0; first < padded; first += kWidth) {
    const int64_t width = count - first < kWidth ? count - first : kWidth;
    for (int64_t k = 0; k < dim; ++k) {
      for (int64_t j = 0; j < width; ++j) panel[k * kWidth + j] = head.keys[(first + j) * head.stride + k];
      for (int64_t j = width; j < kWidth; ++j) panel[k * kWidth + j] = 0.0f;
    }
    rows_by_panel(head.queries, head.stride, count, panel, kWidth, dim, nullptr, nullptr, 0, weights + first, padded);
  }
  for (int64_t i = 0; i < count; ++i) {
    float* row = weights + i * padded;
    Vector most = Vector{} + kLowest;
    for (int64_t j = 0; j < padded; j += kLanes) {
      const Vector score = load(row + j) * head.scale + load(penalty + j);
      store(row + j, score);
      most = score > most ? score : most;
    }
    const float largest = largest_of(most);
    Vector total = {};
    for (int64_t j = 0; j < padded; j += kLanes) {
      const Vector weight = exponential(load(row + j) - largest);  // of what is not seen: too small to count
      store(row + j, weight);
      total += weight;
    }
    const float reciprocal = 1.0f / sum_of(total);
    for (int64_t j = 0; j < padded; j += kLanes) store(row + j, load(row + j) * reciprocal);
  }
  for (int64_t column = 0; column < dim; column += kWidth) {
    rows_by_panel(weights, padded, count, head.values + column, head.stride, count, nullptr, nullptr, 0,
                  head.out + column, head.out_stride);
  }
}

// Each row of x: normalised x + added, times scale, plus bias. `columns` is a multiple of kPanel.
void add_norm(float* x, const float* added, int64_t rows, int64_t columns, const float* scale, const float* bias,
              float epsilon) {
  for (int64_t row = 0; row < rows; ++row) {
    float* of_row = x + row * columns;
    const float* more = added + row * columns;
    Vector total = {};
    for (int64_t k = 0; k < columns; k += kLanes) {
      const Vector both = load(of_row + k) + load(more + k);
      store(of_row + k, both);
      total += both;
    }
    const float mean = sum_of(total) / static_cast<float>(columns);
    Vector squares = {};
    for (int64_t k = 0; k < columns; k += kLanes) {
      const Vector centred = load(of_row + k) - mean;
      squares += centred * centred;
    }
    const float reciprocal = 1.0f / __builtin_sqrtf(sum_of(squares) / static_cast<float>(columns) + epsilon);
    for (int64_t k = 0; k < columns; k += kLanes) {
      store(of_row + k, (load(of_row + k) - mean) * (reciprocal * load(scale + k)) + load(bias + k));
    }
  }
}

// Each row of x: plus bias, GELU where wanted, then over its root mean square (Zhang & Sennrich 2019) and times `norm`.
void finish(float* x, int64_t rows, int64_t columns, const float* bias, bool gelu_wanted, const float* norm,
            float epsilon) {
  for (int64_t row = 0; row < rows; ++row) {
    float* of_row = x + row * columns;
    Vector squares = {};
    for (int64_t k = 0; k < columns; k += kLanes) {
      Vector value = load(of_row + k);
      if (bias != nullptr) value += load(bias + k);
      if (gelu_wanted) value = gelu(value);
      squares += value * value;
      store(of_row + k, value);
    }
    if (norm == nullptr) continue;
    const float reciprocal = 1.0f / __builtin_sqrtf(sum_of(squares) / static_cast<float>(columns) + epsilon);
    for (int64_t k = 0; k < columns; k += kLanes) store(of_row + k, load(of_row + k) * reciprocal * load(norm + k));
  }
}

}  // namespace
}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_ENCODER_H_
