// What the CPU library computes, and the table of functions that each instruction set fills in.
//
// The files of an instruction set are compiled with its own flags, so they include nothing of the standard library but
// plain integer types: an inline function of a standard header, compiled for AVX-512 and kept by the linker for
// everybody, would crash on other processors.
#ifndef ORCHESTAI_KERNELS_CPU_KERNELS_H_
#define ORCHESTAI_KERNELS_CPU_KERNELS_H_

#include <stdint.h>

namespace orchestai {

// Tokens are quantised into tiles of this many; within a tile the values lie [columns / 4][tokens of the tile][4], so
// that one 4-byte broadcast feeds a step. The last tile holds what is left, in the same form with fewer tokens.
constexpr int64_t kTile = 6;
// Rows of a packed block, and the multiple that columns are padded to (see TernaryArray).
constexpr int64_t kRowBlock = 32;
constexpr int64_t kColumnBlock = 64;

// Quantised activations.
struct Tokens {
  int64_t count;
  int64_t columns;  // padded to kColumnBlock with zeros
  int64_t tile;     // tokens in a tile: kTile, or 1 for plain rows
  int8_t* values;   // [count, columns], and room for one token more
  int32_t* sums;      // of each token's values
  float* reciprocal;  // 1 / s of each token; NaN or infinity for a token that is not finite (its values are 0)
};

// Packed ternary weights (the layout of TernaryArray) and where the result goes.
struct Ternary {
  const uint8_t* codes;
  int64_t rows;
  const float* scale;
  int64_t scale_stride;  // 1: one a row; 0: one a matrix
  float* y;              // [tokens, rows]
};

// Int8 weights, row-major, one scale a row.
struct Int8 {
  const int8_t* values;
  int64_t rows;
  int64_t columns;
  const float* scale;
  float* y;  // [tokens, rows]
};

// One key head of one row of a cache, and the newest token, which enters the cache behind its `count`.
struct CachedHead {
  int64_t group;  // query heads that read this key head
  int64_t head_dim;
  int64_t count;
  float scale;
  const float* queries;    // [group, head_dim]
  const float* new_key;    // [head_dim]
  const float* new_value;  // [head_dim]
  void* keys;              // [count + 1, head_dim], float, or int8 where there are scales
  void* values;
  float* key_scale;  // [count + 1], or null
  float* value_scale;
  float* weights;  // room for [count]
  float* out;      // [group, head_dim]
};

// Columns of weights that are handed out together, and the multiple that an encoder's widths must be of.
constexpr int64_t kPanel = 32;

// y = x weight + bias, then GELU where wanted. All row-major.
struct Dense {
  const float* x;  // [rows, depth]
  int64_t rows;
  int64_t depth;
  const float* weight;  // [depth, columns]
  const float* bias;    // [columns]
  int64_t columns;      // a multiple of kPanel
  float* y;             // [rows, columns]
  bool gelu;
};

// One head of one sequence; rows of queries, keys and values lie `stride` floats apart, those of `out` `out_stride`.
struct AttendedHead {
  int64_t count;     // tokens
  int64_t head_dim;  // a multiple of kPanel
  int64_t stride;
  int64_t out_stride;
  float scale;
  const float* queries;
  const float* keys;
  const float* values;
  const uint8_t* seen;  // [count]: keys that may be attended to
  float* out;
  float* scratch;  // room for attend_scratch(count, head_dim)
};

constexpr int64_t attend_scratch(int64_t count, int64_t head_dim) {
  return (count + 1) * ((count + kPanel - 1) / kPanel * kPanel) + kPanel * head_dim;
}

// What encoders' blocks compute in float32.
struct EncoderKernels {
  // The panels from `begin` up to `end`; `packed` has room for [depth, kPanel].
  void (*dense)(const Dense& of, int64_t begin, int64_t end, float* packed);
  void (*attend)(const AttendedHead& head);
  // x = layer norm of x + added, both [rows, columns].
  void (*add_norm)(float* x, const float* added, int64_t rows, int64_t columns, const float* scale, const float* bias,
                   float epsilon);
  // Each row of x [rows, columns], columns a multiple of kPanel: plus `bias` where there is one, GELU where wanted, then
  // over its root mean square and times `norm` where there is one.
  void (*finish)(float* x, int64_t rows, int64_t columns, const float* bias, bool gelu, const float* norm,
                 float epsilon);
};

const EncoderKernels* encoder_portable();
#if defined(__x86_64__)
const EncoderKernels* encoder_avx2();
const EncoderKernels* encoder_avx512();
#endif

struct Kernels {
  const char* name;
  // x [count, columns] to tokens.
  void (*quantize)(const float* x, int64_t columns, const Tokens& tokens);
  // The blocks of kRowBlock rows from `begin` up to `end`.
  void (*ternary)(const Tokens& tokens, const Ternary& weight, int64_t begin, int64_t end);
  // The rows from `begin` up to `end`; tokens in plain rows.
  void (*int8)(const Tokens& tokens, const Int8& weight, int64_t begin, int64_t end);
  // softmax(scale · queries · keys) values, and the newest token stored.
  void (*attend)(const CachedHead& head);
  const EncoderKernels* encoder;
};

const Kernels* portable_kernels();
#if defined(__x86_64__)
const Kernels* avx2_kernels();
const Kernels* avx512_vnni_kernels();
// Reads every byte once, by one of several loops; the result only keeps the compiler from dropping the reads.
constexpr int kReadLoops = 4;
uint64_t avx2_read(int loop, const uint8_t* bytes, int64_t count);
#elif defined(__aarch64__)
const Kernels* neon_dotprod_kernels();
#endif

}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_KERNELS_H_
