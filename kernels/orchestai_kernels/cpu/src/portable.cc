// Plain C++ for every processor.
#include "attend.h"
#include "kernels.h"
#include "quantize.h"

namespace orchestai {
namespace {

void ternary(const Tokens& tokens, const Ternary& weight, int64_t begin, int64_t end) {
  const int64_t quads = tokens.columns / 4;
  for (int64_t block = begin; block < end; ++block) {
    const uint8_t* codes = weight.codes + block * quads * 32;
    const int64_t row = block * kRowBlock;
    const int64_t rows = weight.rows - row < kRowBlock ? weight.rows - row : kRowBlock;
    for (int64_t t = 0; t < tokens.count; ++t) {
      const int8_t* q = tokens.values + t * tokens.columns;
      int32_t lanes[4][32] = {};  // [group of 8 rows][byte]
      for (int64_t quad = 0; quad < quads; ++quad) {
        int8_t repeated[32];
        for (int i = 0; i < 32; ++i) repeated[i] = q[quad * 4 + i % 4];
        for (int g = 0; g < 4; ++g) {
          for (int i = 0; i < 32; ++i) {
            lanes[g][i] += static_cast<int16_t>((codes[quad * 32 + i] >> (2 * g)) & 3) * repeated[i];
          }
        }
      }
      int32_t sums[kRowBlock];
      for (int r = 0; r < kRowBlock; ++r) {
        const int32_t* lane = lanes[r / 8] + r % 8 * 4;
        uint32_t sum = 0;  // of codes, which may leave int32: it wraps, as the subtraction below does
        for (int i = 0; i < 4; ++i) sum += static_cast<uint32_t>(lane[i]);
        sums[r] = static_cast<int32_t>(sum);
      }
      // A code is the weight + 1: the sums hold the token's own sum once too often.
      rescale(sums, rows, tokens.sums[t], tokens.reciprocal[t], weight.scale + row * weight.scale_stride,
              weight.scale_stride, weight.y + t * weight.rows + row);
    }
  }
}

void int8(const Tokens& tokens, const Int8& weight, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int8_t* w = weight.values + row * weight.columns;
    for (int64_t t = 0; t < tokens.count; ++t) {
      const int8_t* q = tokens.values + t * tokens.columns;
      int32_t sum = 0;
      for (int64_t k = 0; k < weight.columns; ++k) sum += static_cast<int16_t>(w[k]) * static_cast<int16_t>(q[k]);
      rescale(&sum, 1, 0, tokens.reciprocal[t], weight.scale + row, 1, weight.y + t * weight.rows + row);
    }
  }
}

// Plain rows, whatever tile was asked for: this path gains nothing from tiles.
void quantize(const float* x, int64_t columns, const Tokens& tokens) {
  Tokens rows = tokens;
  rows.tile = 1;
  quantize_tokens(x, columns, rows);
}

}  // namespace

const Kernels* portable_kernels() {
  static const Kernels kernels = {"portable", quantize, ternary, int8, attend, encoder_portable()};
  return &kernels;
}

}  // namespace orchestai
