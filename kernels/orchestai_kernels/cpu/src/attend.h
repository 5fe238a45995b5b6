// Attention of the newest token over a cache: vectors of the compiler's own kind, which each instruction set fills its
// registers with.
#ifndef ORCHESTAI_KERNELS_CPU_ATTEND_H_
#define ORCHESTAI_KERNELS_CPU_ATTEND_H_

#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "quantize.h"

namespace orchestai {
namespace {

constexpr int64_t kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef int8_t Bytes __attribute__((vector_size(16)));

inline Floats load_floats(const float* at) {
  Floats x;
  memcpy(&x, at, sizeof x);
  return x;
}

inline Floats load_floats(const int8_t* at) {
  Bytes x;
  memcpy(&x, at, sizeof x);
  return __builtin_convertvector(__builtin_convertvector(x, Ints), Floats);
}

template <typename Stored>
inline float dot(const float* a, const Stored* b, int64_t size) {
  Floats sums = {};
  int64_t k = 0;
  for (; k + kLanes <= size; k += kLanes) sums += load_floats(a + k) * load_floats(b + k);
  float lanes[kLanes];
  memcpy(lanes, &sums, sizeof lanes);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  float sum = lanes[0];
  for (; k < size; ++k) sum += a[k] * static_cast<float>(b[k]);
  return sum;
}

// e^x for x <= 0, within 2 units in the last place (Cephes' expf); 0 below the smallest normal result; NaN for NaN.
inline float exponential(float x) {
  if (x < -87.0f) return 0.0f;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // rounds to an integer, as in quantize_token
  const float n = shifted - 12582912.0f;
  const float r = x - n * 0.693359375f - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const uint32_t power = static_cast<uint32_t>(bits_of(shifted)) - 0x4b400000u + 127u;
  return (p * r * r + r + 1.0f) * float_of(static_cast<int32_t>(power << 23));
}

// One token of one head to int8: the largest absolute value is 127 steps, ties to even; 0 where no step stands for it.
inline void store(const float* x, int64_t size, int8_t* q, float* scale) {
  int32_t largest = 0;
  for (int64_t k = 0; k < size; ++k) {
    const int32_t bits = bits_of(x[k]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  *scale = float_of(largest) / 127.0f;
  for (int64_t k = 0; k < size; ++k) {
    const float steps = x[k] / *scale;
    const bool finite = (bits_of(steps) & 0x7fffffff) < 0x7f800000;
    q[k] = finite ? static_cast<int8_t>(bits_of(steps + 12582912.0f) - 0x4b400000) : 0;
  }
}

inline void store(const float* x, int64_t size, float* kept, float*) { memcpy(kept, x, size * sizeof(float)); }

// out = sum over the cache's tokens of weight · value, kVectors registers of columns at a time.
template <int kVectors, typename Stored>
inline void mix_columns(const CachedHead& head, const Stored* values, const float* weights, float* out) {
  Floats sums[kVectors] = {};
  for (int64_t t = 0; t < head.count; ++t) {
    const float weight = weights[t];
#pragma GCC unroll 6
    for (int i = 0; i < kVectors; ++i) sums[i] += load_floats(values + t * head.head_dim + i * kLanes) * weight;
  }
  memcpy(out, sums, sizeof sums);
}

template <typename Stored>
inline void mix(const CachedHead& head, const Stored* values, const float* weights, float* out) {
  int64_t k = 0;
  for (; k + 6 * kLanes <= head.head_dim; k += 6 * kLanes) mix_columns<6>(head, values + k, weights, out + k);
  for (; k + 2 * kLanes <= head.head_dim; k += 2 * kLanes) mix_columns<2>(head, values + k, weights, out + k);
  for (; k + kLanes <= head.head_dim; k += kLanes) mix_columns<1>(head, values + k, weights, out + k);
  for (; k < head.head_dim; ++k) {
    float sum = 0;
    for (int64_t t = 0; t < head.count; ++t) sum += weights[t] * static_cast<float>(values[t * head.head_dim + k]);
    out[k] = sum;
  }
}

template <typename Stored>
inline void attend_stored(const CachedHead& head, const Stored* keys, const Stored* values) {
  for (int64_t g = 0; g < head.group; ++g) {
    const float* query = head.queries + g * head.head_dim;
    float* out = head.out + g * head.head_dim;
    float* weights = head.weights;
    float newest = dot(query, head.new_key, head.head_dim) * head.scale;
    float largest = newest;
    for (int64_t t = 0; t < head.count; ++t) {
      const float of_key = head.key_scale == nullptr ? head.scale : head.scale * head.key_scale[t];
      weights[t] = dot(query, keys + t * head.head_dim, head.head_dim) * of_key;
      // What is not greater than a NaN leaves it, and a NaN is not greater: either way the exponentials below are NaN.
      largest = weights[t] > largest ? weights[t] : largest;
    }
    newest = exponential(newest - largest);
    float total = newest;
    for (int64_t t = 0; t < head.count; ++t) weights[t] = exponential(weights[t] - largest);
    for (int64_t t = 0; t < head.count; ++t) total += weights[t];
    if (head.value_scale != nullptr) {
      for (int64_t t = 0; t < head.count; ++t) weights[t] *= head.value_scale[t];
    }
    mix(head, values, weights, out);
    const float reciprocal = 1.0f / total;
    for (int64_t k = 0; k < head.head_dim; ++k) out[k] = (out[k] + newest * head.new_value[k]) * reciprocal;
  }
}

template <typename Stored>
inline void attend_and_store(const CachedHead& head) {
  Stored* keys = static_cast<Stored*>(head.keys);
  Stored* values = static_cast<Stored*>(head.values);
  attend_stored<Stored>(head, keys, values);
  const int64_t at = head.count, size = head.head_dim;
  store(head.new_key, size, keys + at * size, head.key_scale == nullptr ? nullptr : head.key_scale + at);
  store(head.new_value, size, values + at * size, head.value_scale == nullptr ? nullptr : head.value_scale + at);
}

inline void attend(const CachedHead& head) {
  head.key_scale == nullptr ? attend_and_store<float>(head) : attend_and_store<int8_t>(head);
}

}  // namespace
}  // namespace orchestai

#endif  // ORCHESTAI_KERNELS_CPU_ATTEND_H_
