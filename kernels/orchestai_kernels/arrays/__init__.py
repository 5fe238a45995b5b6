"""Packed weights and quantised activations: pytrees with stated invariants, and functions that make and read them."""

from orchestai_kernels.arrays.activations import dequantize_activations, quantize_activations
from orchestai_kernels.arrays.base3 import pack_base3, unpack_base3
from orchestai_kernels.arrays.binary import BinaryArray, binarize, pack_binary, unpack_binary
from orchestai_kernels.arrays.block_codec import BlockArray, decode_blocks, encode_blocks, encoded_ratio
from orchestai_kernels.arrays.int8 import Int8Array, dequantize_int8, quantize_int8
from orchestai_kernels.arrays.stacked import StackedMatrix, alone, in_stack, is_ternary
from orchestai_kernels.arrays.ternary import TernaryArray, dequantize_ternary, pack_ternary, ternarize, unpack_ternary

__all__ = [
    "BinaryArray",
    "BlockArray",
    "Int8Array",
    "StackedMatrix",
    "TernaryArray",
    "alone",
    "binarize",
    "decode_blocks",
    "dequantize_activations",
    "dequantize_int8",
    "dequantize_ternary",
    "encode_blocks",
    "encoded_ratio",
    "in_stack",
    "is_ternary",
    "pack_base3",
    "pack_binary",
    "pack_ternary",
    "quantize_activations",
    "quantize_int8",
    "ternarize",
    "unpack_base3",
    "unpack_binary",
    "unpack_ternary",
]
