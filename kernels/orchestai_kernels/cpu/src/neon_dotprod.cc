// 64-bit Arm with the dot-product instructions: four signed bytes by four signed bytes, added to an int32 lane.
#include <arm_neon.h>

#include "attend.h"
#include "kernels.h"
#include "quantize.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace orchestai {
namespace {

inline int8x16_t broadcast_quad(const int8_t* q) {
  int32_t quad;
  memcpy(&quad, q, sizeof quad);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

// One block of 32 rows by kTokens tokens of a tile of `width`; adds to sums [kTokens][32]. Sums of codes wrap as int32
// does; what is left after taking off the token's own sum has not.
template <int kTokens>
void tile(const uint8_t* codes, const int8_t* q, int64_t width, int64_t quads, int32_t* sums) {
  const uint8x16_t mask = vdupq_n_u8(3);
  int32x4_t total[kTokens][4][2];
  for (int t = 0; t < kTokens; ++t) {
    for (int g = 0; g < 4; ++g) total[t][g][0] = total[t][g][1] = vdupq_n_s32(0);
  }
  for (int64_t quad = 0; quad < quads; ++quad) {
    const uint8x16_t low = vld1q_u8(codes + quad * 32), high = vld1q_u8(codes + quad * 32 + 16);
    const int8x16_t w[4][2] = {
        {vreinterpretq_s8_u8(vandq_u8(low, mask)), vreinterpretq_s8_u8(vandq_u8(high, mask))},
        {vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(low, 2), mask)), vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(high, 2), mask))},
        {vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(low, 4), mask)), vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(high, 4), mask))},
        {vreinterpretq_s8_u8(vshrq_n_u8(low, 6)), vreinterpretq_s8_u8(vshrq_n_u8(high, 6))}};
    for (int t = 0; t < kTokens; ++t) {
      const int8x16_t x = broadcast_quad(q + (quad * width + t) * 4);
      for (int g = 0; g < 4; ++g) {
        total[t][g][0] = vdotq_s32(total[t][g][0], w[g][0], x);
        total[t][g][1] = vdotq_s32(total[t][g][1], w[g][1], x);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int g = 0; g < 4; ++g) {
      vst1q_s32(sums + t * 32 + g * 8, total[t][g][0]);
      vst1q_s32(sums + t * 32 + g * 8 + 4, total[t][g][1]);
    }
  }
}

void ternary(const Tokens& tokens, const Ternary& weight, int64_t begin, int64_t end) {
  const int64_t quads = tokens.columns / 4;
  for (int64_t block = begin; block < end; ++block) {
    const uint8_t* codes = weight.codes + block * quads * 32;
    const int64_t row = block * kRowBlock;
    const int64_t rows = weight.rows - row < kRowBlock ? weight.rows - row : kRowBlock;
    for (int64_t first = 0; first < tokens.count; first += kTile) {
      const int64_t width = tokens.count - first < kTile ? tokens.count - first : kTile;
      const int8_t* q = tokens.values + first * tokens.columns;
      int32_t sums[kTile * 32];
      for (int64_t t = 0; t < width; t += 2) {
        if (width - t == 1) {
          tile<1>(codes, q + t * 4, width, quads, sums + t * 32);
        } else {
          tile<2>(codes, q + t * 4, width, quads, sums + t * 32);
        }
      }
      for (int64_t t = 0; t < width; ++t) {
        rescale(sums + t * 32, rows, tokens.sums[first + t], tokens.reciprocal[first + t],
                weight.scale + row * weight.scale_stride, weight.scale_stride,
                weight.y + (first + t) * weight.rows + row);
      }
    }
  }
}

void int8(const Tokens& tokens, const Int8& weight, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int8_t* w = weight.values + row * weight.columns;
    for (int64_t t = 0; t < tokens.count; ++t) {
      const int8_t* q = tokens.values + t * tokens.columns;
      int32x4_t total[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
      int64_t k = 0;
      for (; k + 32 <= weight.columns; k += 32) {
        total[0] = vdotq_s32(total[0], vld1q_s8(w + k), vld1q_s8(q + k));
        total[1] = vdotq_s32(total[1], vld1q_s8(w + k + 16), vld1q_s8(q + k + 16));
      }
      int32_t sum = vaddvq_s32(vaddq_s32(total[0], total[1]));
      for (; k < weight.columns; ++k) sum += static_cast<int32_t>(w[k]) * q[k];
      rescale(&sum, 1, 0, tokens.reciprocal[t], weight.scale + row, 1, weight.y + t * weight.rows + row);
    }
  }
}

bool has_dotprod() {
#if defined(__linux__)
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProduct) != 0;
#elif defined(__APPLE__)
  return true;  // every 64-bit Mac with an Arm processor
#else
  return false;
#endif
}

}  // namespace

const Kernels* neon_dotprod_kernels() {
  static const Kernels kernels = {"neon_dotprod", quantize_tokens, ternary, int8, attend, encoder_portable()};
  return has_dotprod() ? &kernels : nullptr;
}

}  // namespace orchestai
