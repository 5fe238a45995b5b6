"""Compiles the C++ library into the package: `python -m orchestai_kernels.cpu.build`; the wheel's build hook does too.

It needs a C++17 compiler (the environment variable CXX, else c++, g++ or clang++) and the FFI headers that come with
jaxlib. Only the standard library is imported here: the build hook loads this file where nothing is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

SOURCES = pathlib.Path(__file__).parent / "src"
LIBRARY = pathlib.Path(__file__).parent / "liborchestai_kernels.so"
"""The compiled library; beside it a .json says what it was made of and with."""

# Without fused multiplication and addition: x · s is rounded before it is rounded to an integer, as in the definition.
_FLAGS = ("-O3", "-std=c++17", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-DNDEBUG", "-w")
_FUSED = ("-ffp-contract=fast",)
"""Float32 products are fused with their additions."""
_X86_FLAGS = {
    "avx2": ("-mavx2",),
    "avx512_vnni": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
    "encoder_avx2": ("-mavx2", "-mfma", *_FUSED),
    "encoder_avx512": ("-mavx512f", "-mavx512vl", "-mfma", *_FUSED),
}
_ARM_FLAGS = {"neon_dotprod": ("-march=armv8.2-a+dotprod",)}


class BuildError(RuntimeError):
    """The library cannot be compiled here; the message says why, in one line."""


def source_hash() -> str:
    """SHA-256 over the C++ sources and how they are compiled, by which a library is known to be theirs."""
    digest = hashlib.sha256(repr((_FLAGS, _FUSED, _X86_FLAGS, _ARM_FLAGS)).encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".cc", ".h"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def build(library: pathlib.Path = LIBRARY) -> pathlib.Path:
    """Compile, and put the library and its .json in place at once. Returns its path; raises BuildError."""
    headers = ffi_headers()
    compiler = _compiler()
    extra = {"x86_64": _X86_FLAGS, "amd64": _X86_FLAGS, "aarch64": _ARM_FLAGS, "arm64": _ARM_FLAGS}
    targets = dict.fromkeys(("matmul", "cached_attention", "encoder_block", "ternary_encoder_block"), (f"-I{headers}",))
    plain = {"portable": (), "encoder_portable": _FUSED, "library": ()}
    units = {**plain, **targets, **extra.get(platform.machine().lower(), {})}
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for name, flags in units.items():
            objects.append(str(pathlib.Path(folder) / f"{name}.o"))
            _run([*compiler, *_FLAGS, *flags, "-c", str(SOURCES / f"{name}.cc"), "-o", objects[-1]])
        made = pathlib.Path(folder) / library.name
        _run([*compiler, "-shared", *objects, "-o", str(made), *(() if sys.platform == "darwin" else ("-lpthread",))])
        about = {
            "sources": source_hash(),
            "ffi_api": ffi_version(),
            "compiler": _version(compiler),
            "machine": platform.machine(),
        }
        _replace(library, made.read_bytes())
        _replace(about_path(library), json.dumps(about, indent=1).encode())
    return library


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Write a file whole. A process that has the old library open keeps it: the name moves to a new file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise BuildError(f"{path.name} cannot be written: {error}") from error


def about_path(library: pathlib.Path) -> pathlib.Path:
    """The file that says what a library was made of and with."""
    return library.with_suffix(".json")


def ffi_headers() -> pathlib.Path:
    """The folder of the FFI headers that come with jaxlib. Raises BuildError."""
    spec = importlib.util.find_spec("jaxlib")
    if spec is None or spec.origin is None:
        raise BuildError("no jaxlib, whose FFI headers are needed")
    folder = pathlib.Path(spec.origin).parent / "include"
    if not (folder / "xla" / "ffi" / "api" / "ffi.h").is_file():
        raise BuildError(f"no xla/ffi/api/ffi.h under {folder}")
    return folder


def ffi_version() -> list[int]:
    """[major, minor] of the FFI interface of the jaxlib that is here. Raises BuildError."""
    text = (ffi_headers() / "xla" / "ffi" / "api" / "c_api.h").read_text(encoding="utf-8")
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
    if None in found:
        raise BuildError("xla/ffi/api/c_api.h does not say its version")
    return [int(match[1]) for match in found if match]


def _compiler() -> list[str]:
    named = os.environ.get("CXX")
    if named:
        return shlex.split(named)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler: neither CXX is set nor are c++, g++ or clang++ there")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise BuildError(f"{command[0]} failed with {done.returncode}{': ' + lines[0] if lines else ''}")
    return done.stdout


def _version(compiler: list[str]) -> str:
    return _run([*compiler, "--version"]).splitlines()[0]


if __name__ == "__main__":
    try:
        print(build())
    except BuildError as error:
        print(f"not built: {error}", file=sys.stderr)
        sys.exit(1)
