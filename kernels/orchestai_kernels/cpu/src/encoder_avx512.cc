// The encoder's block with AVX-512.
#define ORCHESTAI_LANES 16
#define ORCHESTAI_ROWS 12
#include "encoder.h"

namespace orchestai {

const EncoderKernels* encoder_avx512() {
  static const EncoderKernels kernels = {dense, attend_sequence, add_norm, finish};
  return &kernels;
}

}  // namespace orchestai
