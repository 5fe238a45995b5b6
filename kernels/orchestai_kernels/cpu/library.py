"""Loads the compiled library once and gives its targets to XLA."""

from __future__ import annotations

import ctypes
import functools
import json

import jax

from orchestai_kernels.cpu import build

TARGETS = {
    "orchestai_ternary_matmul": "OrchestaiTernaryMatmul",
    "orchestai_int8_matmul": "OrchestaiInt8Matmul",
    "orchestai_cached_attention": "OrchestaiCachedAttention",
    "orchestai_cached_attention_int8": "OrchestaiCachedAttentionInt8",
    "orchestai_encoder_block": "OrchestaiEncoderBlock",
    "orchestai_ternary_encoder_block": "OrchestaiTernaryEncoderBlock",
}
"""Names of the FFI targets, with the symbols behind them."""


class LibraryError(RuntimeError):
    """The compiled library is missing or does not fit; the message says why and what to do."""


@functools.cache
def load() -> ctypes.CDLL:
    """The library, its targets registered. Raises LibraryError, the same each time."""
    reason = problem()
    if reason is not None:
        raise LibraryError(reason)
    library = ctypes.CDLL(str(build.LIBRARY))
    for target, symbol in TARGETS.items():
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, symbol)), platform="cpu")
    library.orchestai_instructions.restype = ctypes.c_char_p
    library.orchestai_read.restype = ctypes.c_uint64
    library.orchestai_read.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
    return library


@functools.cache
def problem() -> str | None:
    """Why the library cannot be used here, or None. Found out once a process."""
    again = "build it with `python -m orchestai_kernels.cpu.build`"
    if not build.LIBRARY.is_file():
        return f"cpu kernel not built: no {build.LIBRARY.name} in {build.LIBRARY.parent}; {again}"
    try:
        about = json.loads(build.about_path(build.LIBRARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"cpu kernel of unknown origin: {error}; {again}"
    if about.get("sources") != build.source_hash():
        return f"cpu kernel not built: {build.LIBRARY.name} is of other C++ sources; {again}"
    try:
        made_for, here = about.get("ffi_api"), build.ffi_version()
    except build.BuildError as error:
        return f"cpu kernel cannot be checked: {error}"
    # XLA goes on supporting older minor versions, but knows nothing of newer ones.
    if not isinstance(made_for, list) or made_for[:1] != here[:1] or made_for > here:
        return f"cpu kernel was compiled for FFI {made_for}, this jaxlib has {here}; {again}"
    try:
        library = ctypes.CDLL(str(build.LIBRARY))
        for symbol in (*TARGETS.values(), "orchestai_instructions", "orchestai_read"):
            getattr(library, symbol)
    except (OSError, AttributeError) as error:
        return f"cpu kernel does not load: {error}; {again}"
    return None


@functools.cache
def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that the library can use on this processor, best first. Raises LibraryError."""
    return tuple(load().orchestai_instructions().decode().split())
