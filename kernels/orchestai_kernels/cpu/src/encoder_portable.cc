// The encoder's block for every processor.
#define ORCHESTAI_LANES 4
#define ORCHESTAI_ROWS 4
#include "encoder.h"

namespace orchestai {

const EncoderKernels* encoder_portable() {
  static const EncoderKernels kernels = {dense, attend_sequence, add_norm, finish};
  return &kernels;
}

}  // namespace orchestai
