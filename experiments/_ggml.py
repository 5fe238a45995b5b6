"""llama.cpp's matrix product through ctypes: TQ2_0 weights, as its CPU backend computes them.

The shared libraries are those of an installed llama-cpp-python; its own Python code is not imported.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import pathlib
from collections.abc import Sequence

import numpy as np

TQ2_0 = 35
"""GGML_TYPE_TQ2_0: blocks of 256 ternary weights at 2.0625 bits."""
_F32 = 0


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


class Ggml:
    """The functions used, declared. Raises FileNotFoundError where llama-cpp-python or its libraries are not there."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.origin is None:
            raise FileNotFoundError("llama-cpp-python is not installed (extra `llama`)")
        folder = pathlib.Path(spec.origin).parent / "lib"
        self.version = _version()
        self.base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.cpu = ctypes.CDLL(str(folder / "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        for library, name, result, arguments in (
            (self.base, "ggml_init", pointer, (_InitParams,)),
            (self.base, "ggml_free", None, (pointer,)),
            (self.base, "ggml_new_tensor_2d", pointer, (pointer, ctypes.c_int, number, number)),
            (self.base, "ggml_mul_mat", pointer, (pointer, pointer, pointer)),
            (self.base, "ggml_get_data", pointer, (pointer,)),
            (self.base, "ggml_nbytes", ctypes.c_size_t, (pointer,)),
            (self.base, "ggml_type_name", ctypes.c_char_p, (ctypes.c_int,)),
            (self.base, "ggml_new_graph_custom", pointer, (pointer, ctypes.c_size_t, ctypes.c_bool)),
            (self.base, "ggml_build_forward_expand", None, (pointer, pointer)),
            (
                self.base,
                "ggml_quantize_chunk",
                ctypes.c_size_t,
                (ctypes.c_int, pointer, pointer, number, number, number, pointer),
            ),
            (self.cpu, "ggml_cpu_init", None, ()),
            (self.cpu, "ggml_graph_compute_with_ctx", ctypes.c_int, (pointer, pointer, ctypes.c_int)),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        if self.base.ggml_type_name(TQ2_0) != b"tq2_0":
            raise FileNotFoundError(f"this ggml has no tq2_0 as type {TQ2_0}: {self.base.ggml_type_name(TQ2_0)!r}")
        self.cpu.ggml_cpu_init()


class TernaryProducts:
    """x Wᵀ for several W of one size, in one graph, on one thread. `close` frees it."""

    def __init__(self, ggml: Ggml, weights: Sequence[np.ndarray], copies: int, x: np.ndarray):
        """`weights` float32 [rows, columns] of -1, 0 and 1, quantised and laid down `copies` times in turn; x float32
        [tokens, columns].
        """
        self.ggml = ggml
        rows, columns = weights[0].shape
        outputs = 4 * len(x) * rows * copies
        # tensors, their alignment, and what computing takes (the activations as Q8_K)
        size = copies * (rows * columns // 256 * 66 + 4096) + outputs + 2 * x.nbytes + (64 << 20)
        self.context = ggml.base.ggml_init(_InitParams(size, None, False))
        if not self.context:
            raise MemoryError(f"ggml_init of {size} bytes")
        base = ggml.base
        self.x = base.ggml_new_tensor_2d(self.context, _F32, columns, len(x))
        ctypes.memmove(base.ggml_get_data(self.x), np.ascontiguousarray(x, np.float32).ctypes.data, x.nbytes)
        self.graph = base.ggml_new_graph_custom(self.context, copies * 2 + 16, False)
        self.outputs, packed = [], []
        for weight in weights:
            dense = np.ascontiguousarray(weight, np.float32)
            buffer = np.empty(rows * columns // 256 * 66, np.uint8)
            base.ggml_quantize_chunk(TQ2_0, dense.ctypes.data, buffer.ctypes.data, 0, rows, columns, None)
            packed.append(buffer)
        for copy in range(copies):
            tensor = base.ggml_new_tensor_2d(self.context, TQ2_0, columns, rows)
            buffer = packed[copy % len(packed)]
            if base.ggml_nbytes(tensor) != buffer.nbytes:
                raise ValueError(f"ggml wants {base.ggml_nbytes(tensor)} bytes of weights, got {buffer.nbytes}")
            ctypes.memmove(base.ggml_get_data(tensor), buffer.ctypes.data, buffer.nbytes)
            self.outputs.append(base.ggml_mul_mat(self.context, tensor, self.x))
            base.ggml_build_forward_expand(self.graph, self.outputs[-1])
        self.shape = (len(x), rows)

    def run(self) -> None:
        """All the products once."""
        status = self.ggml.cpu.ggml_graph_compute_with_ctx(self.context, self.graph, 1)
        if status:
            raise RuntimeError(f"ggml_graph_compute_with_ctx returned {status}")

    def result(self, index: int) -> np.ndarray:
        """What the last run computed with weight `index`."""
        data = self.ggml.base.ggml_get_data(self.outputs[index])
        count = self.shape[0] * self.shape[1]
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(data)).reshape(self.shape).copy()

    def close(self) -> None:
        """Free its memory."""
        self.ggml.base.ggml_free(self.context)


def _version() -> str:

    return importlib.metadata.version("llama_cpp_python")
