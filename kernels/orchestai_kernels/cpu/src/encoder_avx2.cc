// The encoder's block with AVX2.
#define ORCHESTAI_LANES 8
#define ORCHESTAI_ROWS 5
#include "encoder.h"

namespace orchestai {

const EncoderKernels* encoder_avx2() {
  static const EncoderKernels kernels = {dense, attend_sequence, add_norm, finish};
  return &kernels;
}

}  // namespace orchestai
