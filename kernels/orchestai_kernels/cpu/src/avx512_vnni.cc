// AVX-512 with VNNI: one instruction multiplies four unsigned by four signed bytes and adds the sum to an int32 lane.
#include <immintrin.h>

#include "attend.h"
#include "kernels.h"
#include "quantize.h"

namespace orchestai {
namespace {

// A masked code of group 3 is 2 · 64 at most, an activation 127: 131,072 columns stay below 2^31. Longer rows are summed
// in spans.
constexpr int64_t kSpanQuads = 131072 / 4;
// Bytes of weights fetched ahead, across the page's end where the processor's own prefetcher stops; as data that is used
// once, so that it does not drive the rest out of the second-level cache.
constexpr int64_t kAhead = 4096;

inline __m512i broadcast_quad(const int8_t* q) {
  int32_t quad;
  memcpy(&quad, q, sizeof quad);
  return _mm512_set1_epi32(quad);
}

// total += sums of four unsigned (w) by signed (x) bytes. As assembly, because g++ 12 copies the register before and after
// the intrinsic, which doubles the instructions of the loops below.
template <typename Vector>
inline void multiply_add(Vector& total, Vector w, Vector x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(total) : "v"(w), "v"(x));
}

// Two blocks of 32 rows (`even` in the low half of each register, `odd` in the high half) by a tile of kTokens tokens:
// adds to sums [kTokens][64]. The four groups of codes are masked where they lie, times 1, 4, 16 and 64, and the sums
// divided at the end: no shifts in the loop. kUnroll chains of additions hide the instruction's latency.
template <int kTokens, int kUnroll>
void tile(const uint8_t* even, const uint8_t* odd, const int8_t* q, int64_t quads, int32_t* sums) {
  const __m512i masks[4] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30),
                            _mm512_set1_epi8(static_cast<char>(0xc0))};
  __m512i total[kUnroll][4][kTokens];
  for (int u = 0; u < kUnroll; ++u) {
    for (int g = 0; g < 4; ++g) {
      for (int t = 0; t < kTokens; ++t) total[u][g][t] = _mm512_setzero_si512();
    }
  }
  for (int64_t quad = 0; quad < quads; quad += kUnroll) {
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t at = (quad + u) * 32;
      const __m512i codes = _mm512_inserti64x4(
          _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(even + at))),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd + at)), 1);
      const __m512i w0 = _mm512_and_si512(codes, masks[0]), w1 = _mm512_and_si512(codes, masks[1]),
                    w2 = _mm512_and_si512(codes, masks[2]), w3 = _mm512_and_si512(codes, masks[3]);
#pragma GCC unroll 6
      for (int t = 0; t < kTokens; ++t) {
        const __m512i x = broadcast_quad(q + ((quad + u) * kTokens + t) * 4);
        multiply_add(total[u][0][t], w0, x);
        multiply_add(total[u][1][t], w1, x);
        multiply_add(total[u][2][t], w2, x);
        multiply_add(total[u][3][t], w3, x);
      }
    }
  }
#pragma GCC unroll 6
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      __m512i all = total[0][g][t];
      for (int u = 1; u < kUnroll; ++u) all = _mm512_add_epi32(all, total[u][g][t]);
      all = _mm512_srai_epi32(all, 2 * g);  // exact: the sum is a multiple of 4^g
      __m256i* low = reinterpret_cast<__m256i*>(sums + t * 64 + g * 8);
      __m256i* high = reinterpret_cast<__m256i*>(sums + t * 64 + 32 + g * 8);
      _mm256_storeu_si256(low, _mm256_add_epi32(_mm256_loadu_si256(low), _mm512_castsi512_si256(all)));
      _mm256_storeu_si256(high, _mm256_add_epi32(_mm256_loadu_si256(high), _mm512_extracti64x4_epi64(all, 1)));
    }
  }
}

// One token, one block: 32 rows, read as one stream.
void one_token(const uint8_t* codes, const int8_t* q, int64_t quads, int32_t* sums) {
  const __m256i masks[4] = {_mm256_set1_epi8(0x03), _mm256_set1_epi8(0x0c), _mm256_set1_epi8(0x30),
                            _mm256_set1_epi8(static_cast<char>(0xc0))};
  __m256i total[2][4] = {};
  for (int64_t quad = 0; quad < quads; quad += 16) {
    // With a long row the weights have driven the activations out of the first-level cache: fetch them in time.
    _mm_prefetch(reinterpret_cast<const char*>(q + quad * 4 + 128), _MM_HINT_T0);
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; ++i) {
      const uint8_t* at = codes + (quad + i) * 32;
      if (i % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(at + kAhead), _MM_HINT_NTA);
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
      int32_t four;
      memcpy(&four, q + (quad + i) * 4, sizeof four);
      const __m256i x = _mm256_set1_epi32(four);
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) multiply_add(total[i % 2][g], _mm256_and_si256(w, masks[g]), x);
    }
  }
  for (int g = 0; g < 4; ++g) {
    __m256i* at = reinterpret_cast<__m256i*>(sums + g * 8);
    const __m256i exact = _mm256_srai_epi32(_mm256_add_epi32(total[0][g], total[1][g]), 2 * g);
    _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), exact));
  }
}

void ternary_one(const Tokens& tokens, const Ternary& weight, int64_t begin, int64_t end) {
  const int64_t quads = tokens.columns / 4;
  for (int64_t block = begin; block < end; ++block) {
    const uint8_t* codes = weight.codes + block * quads * 32;
    int32_t sums[kRowBlock] = {};
    for (int64_t quad = 0; quad < quads; quad += kSpanQuads) {
      const int64_t span = quads - quad < kSpanQuads ? quads - quad : kSpanQuads;
      one_token(codes + quad * 32, tokens.values + quad * 4, span, sums);
    }
    const int64_t row = block * kRowBlock;
    rescale(sums, weight.rows - row < kRowBlock ? weight.rows - row : kRowBlock, *tokens.sums, *tokens.reciprocal,
            weight.scale + row * weight.scale_stride, weight.scale_stride, weight.y + row);
  }
}

void ternary(const Tokens& tokens, const Ternary& weight, int64_t begin, int64_t end) {
  if (tokens.count == 1) {
    ternary_one(tokens, weight, begin, end);
    return;
  }
  const int64_t quads = tokens.columns / 4;
  for (int64_t block = begin; block < end; block += 2) {
    const uint8_t* even = weight.codes + block * quads * 32;
    const int64_t second = block + 1 < end ? block + 1 : block;  // a block left alone is computed twice, stored once
    const uint8_t* odd = weight.codes + second * quads * 32;
    const int64_t row = block * kRowBlock;
    const int64_t most = (block + 1 < end ? 2 : 1) * kRowBlock;
    const int64_t rows = weight.rows - row < most ? weight.rows - row : most;
    for (int64_t first = 0; first < tokens.count; first += kTile) {
      const int64_t width = tokens.count - first < kTile ? tokens.count - first : kTile;
      const int8_t* q = tokens.values + first * tokens.columns;
      int32_t sums[kTile * 64] = {};
      for (int64_t quad = 0; quad < quads; quad += kSpanQuads) {
        const int64_t span = quads - quad < kSpanQuads ? quads - quad : kSpanQuads;
        const uint8_t* e = even + quad * 32;
        const uint8_t* o = odd + quad * 32;
        const int8_t* x = q + quad * width * 4;
        switch (width) {
          case 1: tile<1, 4>(e, o, x, span, sums); break;
          case 2: tile<2, 2>(e, o, x, span, sums); break;
          case 3: tile<3, 2>(e, o, x, span, sums); break;
          case 4: tile<4, 1>(e, o, x, span, sums); break;
          case 5: tile<5, 1>(e, o, x, span, sums); break;
          default: tile<6, 1>(e, o, x, span, sums); break;
        }
      }
      for (int64_t t = 0; t < width; ++t) {
        rescale(sums + t * 64, rows, tokens.sums[first + t], tokens.reciprocal[first + t],
                weight.scale + row * weight.scale_stride, weight.scale_stride,
                weight.y + (first + t) * weight.rows + row);
      }
    }
  }
}

// kRows rows by kTokens tokens: sums of weights made unsigned by adding 128, which flipping the top bit does. In long rows
// they wrap around, and so does 128 times the token's sum that is taken off them: the difference is exact.
template <int kRows, int kTokens>
void int8_tile(const int8_t* w, const int8_t* q, int64_t q_stride, int64_t columns, int32_t* sums) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i total[kRows][kTokens];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) total[r][t] = _mm512_setzero_si512();
  }
  for (int64_t k = 0; k < columns; k += 64) {
    // Activations are padded with zeros to 64 columns: what a masked-out weight becomes does not matter.
    const __mmask64 inside = columns - k >= 64 ? ~0ull : (1ull << (columns - k)) - 1;
    __m512i x[kTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) x[t] = _mm512_loadu_si512(q + t * q_stride + k);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512i bytes = _mm512_xor_si512(_mm512_maskz_loadu_epi8(inside, w + r * columns + k), flip);
      if (kTokens == 1) _mm_prefetch(reinterpret_cast<const char*>(w + r * columns + k + kAhead), _MM_HINT_NTA);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) multiply_add(total[r][t], bytes, x[t]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) sums[t * kRows + r] = _mm512_reduce_add_epi32(total[r][t]);
  }
}

template <int kRows>
void int8_rows(const Tokens& tokens, const Int8& weight, int64_t row) {
  const int64_t columns = weight.columns;
  const int8_t* w = weight.values + row * columns;
  for (int64_t first = 0; first < tokens.count; first += 4) {
    const int64_t width = tokens.count - first < 4 ? tokens.count - first : 4;
    const int8_t* q = tokens.values + first * tokens.columns;
    int32_t sums[4 * kRows];
    switch (width) {
      case 1: int8_tile<kRows, 1>(w, q, tokens.columns, columns, sums); break;
      case 2: int8_tile<kRows, 2>(w, q, tokens.columns, columns, sums); break;
      case 3: int8_tile<kRows, 3>(w, q, tokens.columns, columns, sums); break;
      default: int8_tile<kRows, 4>(w, q, tokens.columns, columns, sums); break;
    }
    for (int64_t t = 0; t < width; ++t) {
      const int32_t added = static_cast<int32_t>(128u * static_cast<uint32_t>(tokens.sums[first + t]));
      rescale(sums + t * kRows, kRows, added, tokens.reciprocal[first + t], weight.scale + row, 1,
              weight.y + (first + t) * weight.rows + row);
    }
  }
}

void int8(const Tokens& tokens, const Int8& weight, int64_t begin, int64_t end) {
  int64_t row = begin;
  // One token is bound by memory, which is read fastest as one stream; with more, four rows share each activation.
  for (; tokens.count > 1 && row + 4 <= end; row += 4) int8_rows<4>(tokens, weight, row);
  for (; row < end; ++row) int8_rows<1>(tokens, weight, row);
}

}  // namespace

const Kernels* avx512_vnni_kernels() {
  static const Kernels kernels = {"avx512_vnni", quantize_tokens, ternary, int8, attend, encoder_avx512()};
  return &kernels;
}

}  // namespace orchestai
