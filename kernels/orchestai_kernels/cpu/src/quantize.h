// Quantising tokens and scaling sums: plain loops that the compiler vectorises for each instruction set.
#ifndef ORCHESTAI_KERNELS_CPU_QUANTIZE_H_
#define ORCHESTAI_KERNELS_CPU_QUANTIZE_H_

#include <stdint.h>
#include <string.h>

#include "kernels.h"

namespace orchestai {
namespace {

inline int32_t bits_of(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(int32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// One token: a = max(max|x|, 1e-5), s = 127 / a, q = round(x · s) with ties to even. Returns the sum of q.
inline int32_t quantize_token(const float* x, int64_t columns, int64_t padded, int8_t* q, float* reciprocal) {
  // Without its sign a float orders as an integer does, with infinity above every number and NaN above infinity.
  int32_t largest = bits_of(1e-5f);
  for (int64_t k = 0; k < columns; ++k) {
    const int32_t bits = bits_of(x[k]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  const float scale = 127.0f / float_of(largest);
  *reciprocal = 1.0f / scale;
  memset(q + columns, 0, padded - columns);
  if (largest >= 0x7f800000) {
    memset(q, 0, columns);
    return 0;
  }
  int32_t sum = 0;
  for (int64_t k = 0; k < columns; ++k) {
    // Adding 1.5 · 2^23 leaves no bits below one, so the addition itself rounds to the nearest even integer.
    // (Compiled with -ffp-contract=off: fused with the multiplication it would round what the definition does not.)
    const int32_t rounded = bits_of(x[k] * scale + 12582912.0f) - 0x4b400000;
    q[k] = static_cast<int8_t>(rounded);
    sum += rounded;
  }
  return sum;
}

inline void quantize_tokens(const float* x, int64_t columns, const Tokens& tokens) {
  const int64_t padded = tokens.columns;
  if (tokens.tile == 1) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      tokens.sums[t] =
          quantize_token(x + t * columns, columns, padded, tokens.values + t * padded, tokens.reciprocal + t);
    }
    return;
  }
  // Behind the last token there is room for one more: each row is made there, then dealt out to its tile.
  int8_t* row = tokens.values + tokens.count * padded;
  for (int64_t first = 0; first < tokens.count; first += tokens.tile) {
    const int64_t width = tokens.count - first < tokens.tile ? tokens.count - first : tokens.tile;
    int8_t* tile = tokens.values + first * padded;
    for (int64_t t = 0; t < width; ++t) {
      tokens.sums[first + t] =
          quantize_token(x + (first + t) * columns, columns, padded, row, tokens.reciprocal + first + t);
      for (int64_t quad = 0; quad < padded / 4; ++quad) {
        memcpy(tile + (quad * width + t) * 4, row + quad * 4, 4);
      }
    }
  }
}

// Sums to outputs, in the reference's order of multiplications. The subtraction wraps: sums of codes, which are weights
// + 1, may have left int32 where what is left after it has not.
inline float exact(int32_t sum, int32_t subtract) {
  return static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(sum) - static_cast<uint32_t>(subtract)));
}

inline void rescale(const int32_t* sums, int64_t count, int32_t subtract, float reciprocal, const float* scale,
                    int64_t scale_stride, float* y) {
  if (scale_stride == 0) {
    const float one = *scale;
    for (int64_t r = 0; r < count; ++r) y[r] = exact(sums[r], subtract) * reciprocal * one;
  } else {
    for (int64_t r = 0; r < count; ++r) y[r] = exact(sums[r], subtract) * reciprocal * scale[r];
  }
}

}  // namespace
}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_QUANTIZE_H_
