// AVX2: pairs of unsigned by signed bytes summed in int16, moved to int32 before they could overflow.
#include <immintrin.h>

#include "attend.h"
#include "kernels.h"
#include "quantize.h"

namespace orchestai {
namespace {

// Bytes of weights fetched ahead, across the page's end where the processor's own prefetcher stops; as data that is used
// once, so that it does not drive the rest out of the second-level cache.
constexpr int64_t kAhead = 4096;
constexpr int64_t kSpan = 64;         // quads (256 columns) whose unpacked codes are kept in the first-level cache
constexpr int64_t kTokensAtOnce = 120;  // whose int32 sums are kept beside them

inline __m256i broadcast_quad(const int8_t* q) {
  int32_t quad;
  memcpy(&quad, q, sizeof quad);
  return _mm256_set1_epi32(quad);
}

inline __m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }

// Keeps the compiler from moving multiplications ahead of the additions that free their registers (g++ 12 spills).
inline void settle(__m256i& x) { asm volatile("" : "+x"(x)); }

inline void add_to(int32_t* sums, __m256i pairs) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i* at = reinterpret_cast<__m256i*>(sums);
  _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), _mm256_madd_epi16(pairs, ones)));
}

// One token, one block: codes are masked where they lie, so that groups 1 and 3 come out times 4 (divided at the end).
// In int16 a step adds at most 2 · (2 · 4) · 127 = 2032 in absolute value, and 16 steps 32,512 < 32,768.
void one_token(const uint8_t* codes, const int8_t* q, int64_t quads, int32_t* sums) {
  const __m256i low = _mm256_set1_epi8(0x03), high = _mm256_set1_epi8(0x0c), ones = _mm256_set1_epi16(1);
  __m256i total[4] = {};
  for (int64_t quad = 0; quad < quads; quad += 16) {
    // With a long row the weights have driven the activations out of the first-level cache: fetch them in time.
    _mm_prefetch(reinterpret_cast<const char*>(q + quad * 4 + 128), _MM_HINT_T0);
    __m256i pairs[4] = {};
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; ++i) {
      const __m256i w = load(codes + (quad + i) * 32), shifted = _mm256_srli_epi16(w, 4);
      if (i % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(codes + (quad + i) * 32 + kAhead), _MM_HINT_NTA);
      const __m256i x = broadcast_quad(q + (quad + i) * 4);
      pairs[0] = _mm256_add_epi16(pairs[0], _mm256_maddubs_epi16(_mm256_and_si256(w, low), x));
      pairs[1] = _mm256_add_epi16(pairs[1], _mm256_maddubs_epi16(_mm256_and_si256(w, high), x));
      pairs[2] = _mm256_add_epi16(pairs[2], _mm256_maddubs_epi16(_mm256_and_si256(shifted, low), x));
      pairs[3] = _mm256_add_epi16(pairs[3], _mm256_maddubs_epi16(_mm256_and_si256(shifted, high), x));
      for (__m256i& pair : pairs) settle(pair);
    }
    for (int g = 0; g < 4; ++g) total[g] = _mm256_add_epi32(total[g], _mm256_madd_epi16(pairs[g], ones));
    if ((quad & 0x3ff0) == 0x3ff0 || quad + 16 >= quads) {
      // Groups 1 and 3 hold four times their sums, 1016 a column at most: 65,536 columns are far from 2^31.
      for (int g = 0; g < 4; ++g) {
        __m256i* at = reinterpret_cast<__m256i*>(sums + g * 8);
        const __m256i exact = g % 2 == 0 ? total[g] : _mm256_srai_epi32(total[g], 2);
        _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), exact));
        total[g] = _mm256_setzero_si256();
      }
    }
  }
}

// Unpacks quads of a block to [quad][group][32 bytes] of codes 0 to 2.
void unpack(const uint8_t* codes, int64_t quads, uint8_t* unpacked) {
  const __m256i mask = _mm256_set1_epi8(0x03);
  for (int64_t quad = 0; quad < quads; ++quad) {
    const __m256i w = load(codes + quad * 32);
    _mm_prefetch(reinterpret_cast<const char*>(codes + quad * 32 + kAhead), _MM_HINT_T0);
    __m256i* out = reinterpret_cast<__m256i*>(unpacked + quad * 128);
    _mm256_store_si256(out, _mm256_and_si256(w, mask));
    _mm256_store_si256(out + 1, _mm256_and_si256(_mm256_srli_epi16(w, 2), mask));
    _mm256_store_si256(out + 2, _mm256_and_si256(_mm256_srli_epi16(w, 4), mask));
    _mm256_store_si256(out + 3, _mm256_and_si256(_mm256_srli_epi16(w, 6), mask));
  }
}

// 16 rows (two groups) by kTokens tokens over at most kSpan quads: a step adds at most 2 · 2 · 127 = 508 in int16, and 64
// steps 32,512 < 32,768. Adds to sums [kTokens][32].
template <int kTokens>
void tile(const uint8_t* unpacked, const int8_t* q, int64_t quads, int32_t* sums) {
  __m256i pairs[kTokens][2];
  for (int t = 0; t < kTokens; ++t) pairs[t][0] = pairs[t][1] = _mm256_setzero_si256();
  for (int64_t quad = 0; quad < quads; ++quad) {
    const __m256i w0 = load(unpacked + quad * 128), w1 = load(unpacked + quad * 128 + 32);
#pragma GCC unroll 6
    for (int t = 0; t < kTokens; ++t) {
      const __m256i x = broadcast_quad(q + (quad * kTokens + t) * 4);
      pairs[t][0] = _mm256_add_epi16(pairs[t][0], _mm256_maddubs_epi16(w0, x));
      pairs[t][1] = _mm256_add_epi16(pairs[t][1], _mm256_maddubs_epi16(w1, x));
      settle(pairs[t][0]);
      settle(pairs[t][1]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    add_to(sums + t * 32, pairs[t][0]);
    add_to(sums + t * 32 + 8, pairs[t][1]);
  }
}

void many_tokens(const Tokens& tokens, int64_t from, int64_t to, const uint8_t* codes, int32_t* sums) {
  alignas(32) uint8_t unpacked[kSpan * 128];
  const int64_t quads = tokens.columns / 4;
  for (int64_t quad = 0; quad < quads; quad += kSpan) {
    const int64_t span = quads - quad < kSpan ? quads - quad : kSpan;
    unpack(codes + quad * 32, span, unpacked);
    for (int64_t first = from; first < to; first += kTile) {
      const int64_t width = to - first < kTile ? to - first : kTile;
      const int8_t* q = tokens.values + first * tokens.columns + quad * width * 4;
      for (int half = 0; half < 2; ++half) {
        const uint8_t* w = unpacked + half * 64;
        int32_t* out = sums + (first - from) * 32 + half * 16;
        switch (width) {
          case 1: tile<1>(w, q, span, out); break;
          case 2: tile<2>(w, q, span, out); break;
          case 3: tile<3>(w, q, span, out); break;
          case 4: tile<4>(w, q, span, out); break;
          case 5: tile<5>(w, q, span, out); break;
          default: tile<6>(w, q, span, out); break;
        }
      }
    }
  }
}

void ternary(const Tokens& tokens, const Ternary& weight, int64_t begin, int64_t end) {
  const int64_t quads = tokens.columns / 4;
  for (int64_t block = begin; block < end; ++block) {
    const uint8_t* codes = weight.codes + block * quads * 32;
    const int64_t row = block * kRowBlock;
    const int64_t rows = weight.rows - row < kRowBlock ? weight.rows - row : kRowBlock;
    for (int64_t from = 0; from < tokens.count; from += kTokensAtOnce) {
      const int64_t to = tokens.count - from < kTokensAtOnce ? tokens.count : from + kTokensAtOnce;
      int32_t sums[kTokensAtOnce * 32];
      memset(sums, 0, (to - from) * 32 * sizeof(int32_t));
      if (tokens.count == 1) {
        one_token(codes, tokens.values, quads, sums);
      } else {
        many_tokens(tokens, from, to, codes, sums);
      }
      for (int64_t t = from; t < to; ++t) {
        rescale(sums + (t - from) * 32, rows, tokens.sums[t], tokens.reciprocal[t],
                weight.scale + row * weight.scale_stride, weight.scale_stride, weight.y + t * weight.rows + row);
      }
    }
  }
}

inline int32_t total_of(__m256i x) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

// kRows rows by kTokens tokens. |q| times the weight with q's sign: a pair is at most 2 · 127 · 127 = 32,258 in int16.
template <int kRows, int kTokens>
void int8_tile(const int8_t* const* w, int64_t from, int64_t to, const int8_t* q, int64_t q_stride,
               int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i total[kRows][kTokens];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) total[r][t] = _mm256_setzero_si256();
  }
  for (int64_t k = from; k < to; k += 32) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256i x = load(q + t * q_stride + k), size = _mm256_abs_epi8(x);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256i bytes = load(w[r] + k - from);
        if (kTokens == 1 && (k - from) % 64 == 0) {
          _mm_prefetch(reinterpret_cast<const char*>(w[r] + k - from + kAhead), _MM_HINT_NTA);
        }
        const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(bytes, x));
        total[r][t] = _mm256_add_epi32(total[r][t], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) sums[t * kRows + r] += total_of(total[r][t]);
  }
}

template <int kRows>
void int8_span(const int8_t* const* w, int64_t from, int64_t to, const int8_t* q, int64_t q_stride,
               int64_t width, int32_t* sums) {
  if (width == 1) {
    int8_tile<kRows, 1>(w, from, to, q, q_stride, sums);
  } else {
    int8_tile<kRows, 2>(w, from, to, q, q_stride, sums);
  }
}

template <int kRows>
void int8_rows(const Tokens& tokens, const Int8& weight, int64_t row) {
  const int64_t whole = weight.columns / 32 * 32, left = weight.columns - whole;
  const int8_t* w[kRows];
  const int8_t* last[kRows];
  int8_t padded[kRows][32] = {};  // the last columns, so that nothing behind the weights is read
  for (int r = 0; r < kRows; ++r) {
    w[r] = weight.values + (row + r) * weight.columns;
    if (left) memcpy(padded[r], w[r] + whole, left);
    last[r] = padded[r];
  }
  for (int64_t first = 0; first < tokens.count; first += 2) {
    const int64_t width = tokens.count - first < 2 ? 1 : 2;
    const int8_t* q = tokens.values + first * tokens.columns;
    int32_t sums[2 * kRows] = {};
    int8_span<kRows>(w, 0, whole, q, tokens.columns, width, sums);
    if (left) int8_span<kRows>(last, whole, whole + 32, q, tokens.columns, width, sums);
    for (int64_t t = 0; t < width; ++t) {
      rescale(sums + t * kRows, kRows, 0, tokens.reciprocal[first + t], weight.scale + row, 1,
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

uint64_t folded(const __m256i* all, int count) {
  __m256i x = all[0];
  for (int i = 1; i < count; ++i) x = _mm256_xor_si256(x, all[i]);
  return static_cast<uint64_t>(_mm256_extract_epi64(x, 0) ^ _mm256_extract_epi64(x, 1) ^ _mm256_extract_epi64(x, 2) ^
                               _mm256_extract_epi64(x, 3));
}

// kStreams places read side by side; 128 bytes of each a step.
template <int kStreams, int kPrefetch>
uint64_t read_streams(const uint8_t* bytes, int64_t count) {
  __m256i all[4] = {};
  const int64_t part = count / kStreams / 128 * 128;
  for (int64_t i = 0; i < part; i += 128) {
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) {
      const uint8_t* at = bytes + s * part + i;
      if (kPrefetch) {
        _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetch), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(at + kPrefetch + 64), _MM_HINT_T0);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) all[j] = _mm256_xor_si256(all[j], load(at + j * 32));
    }
  }
  return folded(all, 4);
}

}  // namespace

const Kernels* avx2_kernels() {
  static const Kernels kernels = {"avx2", quantize_tokens, ternary, int8, attend, encoder_avx2()};
  return &kernels;
}

uint64_t avx2_read(int loop, const uint8_t* bytes, int64_t count) {
  switch (loop) {
    case 0: return read_streams<1, 0>(bytes, count);
    case 1: return read_streams<1, 2048>(bytes, count);
    case 2: return read_streams<2, 1024>(bytes, count);
    default: return read_streams<4, 1024>(bytes, count);
  }
}

}  // namespace orchestai
