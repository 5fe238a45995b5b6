"""One block of a ternary BERT encoder: `encoder_block` with packed matrices and BitNet's sub-norms."""

from orchestai_kernels.ternary_encoder_block.api import TERNARY_ENCODER_BLOCK, ternary_encoder_block
from orchestai_kernels.ternary_encoder_block.weights import TernaryBlockWeights, TernaryDense

__all__ = [
    "TERNARY_ENCODER_BLOCK",
    "TernaryBlockWeights",
    "TernaryDense",
    "ternary_encoder_block",
]
