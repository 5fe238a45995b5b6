"""One block of a BERT encoder: self-attention and feed-forward, each added to its input and normalised."""

from orchestai_kernels.encoder_block.api import ENCODER_BLOCK, encoder_block
from orchestai_kernels.encoder_block.weights import BlockWeights, Dense, Norm

__all__ = [
    "ENCODER_BLOCK",
    "BlockWeights",
    "Dense",
    "Norm",
    "encoder_block",
]
