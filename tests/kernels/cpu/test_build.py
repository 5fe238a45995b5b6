"""Compiling the C++ library: with a compiler, without one, and what is found wrong with a library that is there."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels.cpu import build, library


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing looked up yet, and a place for another library."""
    monkeypatch.setattr(build, "LIBRARY", tmp_path / build.LIBRARY.name)
    for cached in (library.problem, library.load):
        cached.cache_clear()
    yield tmp_path
    for cached in (library.problem, library.load):
        cached.cache_clear()


def copy_of(original, folder):
    for path in (original, build.about_path(original)):
        (folder / path.name).write_bytes(path.read_bytes())


ORIGINAL = build.LIBRARY


def test_the_library_of_this_installation_fits():
    assert library.problem() is None
    assert library.instruction_sets()[-1] == "portable"


def test_it_compiles_and_loads(fresh):
    assert build.build(build.LIBRARY) == build.LIBRARY
    assert library.problem() is None
    # registered under the names that XLA calls, from another file: in a process of its own
    code = (
        "import pathlib, sys; from orchestai_kernels.cpu import build, library;"
        "build.LIBRARY = pathlib.Path(sys.argv[1]); print(*library.instruction_sets())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(build.LIBRARY)], capture_output=True, text=True, check=True, cwd=fresh
    )
    assert done.stdout.split()[-1] == "portable"


@pytest.mark.parametrize(
    "compiler, told",
    [("/bin/false", "/bin/false failed with 1"), ("no-such-compiler", "no-such-compiler does not run")],
)
def test_without_a_compiler_it_says_so(fresh, monkeypatch, compiler, told):
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(build.BuildError, match=told):
        build.build(build.LIBRARY)
    assert "cpu kernel not built: no liborchestai_kernels.so" in library.problem()
    with pytest.raises(library.LibraryError, match="not built"):
        library.load()


def test_as_a_command(tmp_path):
    environment = {**os.environ, "CXX": "/bin/false"}
    command = [sys.executable, "-m", "orchestai_kernels.cpu.build"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "not built: /bin/false failed with 1\n"


def test_no_compiler_on_the_path(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        build.build()


@pytest.mark.parametrize(
    "change, told",
    [
        ({"sources": "0" * 64}, "is of other C\\+\\+ sources"),
        ({"ffi_api": [0, 99]}, r"compiled for FFI \[0, 99\], this jaxlib has"),
        ({"ffi_api": [1, 0]}, r"compiled for FFI \[1, 0\]"),
        ({"ffi_api": None}, "compiled for FFI None"),
    ],
)
def test_a_library_of_another_version_is_not_used(fresh, change, told):
    copy_of(ORIGINAL, fresh)
    about = build.about_path(build.LIBRARY)
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    assert re.search(told, library.problem())


def test_a_library_that_does_not_load(fresh):
    copy_of(ORIGINAL, fresh)
    build.LIBRARY.write_bytes(b"not a library")
    assert "cpu kernel does not load" in library.problem()
    build.about_path(build.LIBRARY).write_text("{")
    assert "cpu kernel of unknown origin" in library.problem.__wrapped__()


@pytest.fixture
def quick(monkeypatch, tmp_path_factory):
    """A compiler that writes empty files: what follows the compilation is looked at."""
    script = tmp_path_factory.mktemp("compiler") / "c++"
    script.write_text('#!/bin/sh\necho quick\nwhile [ $# -gt 0 ]; do [ "$1" != -o ] || : > "$2"; shift; done\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))


@pytest.mark.usefixtures("quick")
def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path):
    assert build.build(tmp_path / "libkernels.so").read_bytes() == b""
    with pytest.raises(build.BuildError, match=r"libkernels.so cannot be written: .*No such file or directory"):
        build.build(tmp_path / "missing" / "libkernels.so")


@pytest.mark.usefixtures("quick")
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(build.BuildError, match="No space left on device"):
        build.build(tmp_path / "libkernels.so")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def hook(monkeypatch):
    """The build hook of the distribution and what it has warned of."""
    pytest.importorskip("hatchling")
    path = pathlib.Path(__file__).parents[3] / "kernels" / "build_hook.py"
    spec = importlib.util.spec_from_file_location("build_hook", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.CompileKernels(str(path.parents[1]), {}, None, None, str(path.parents[1]), "wheel")
    warned = []
    monkeypatch.setattr(
        module.CompileKernels, "app", property(lambda _: types.SimpleNamespace(display_warning=warned.append))
    )
    return made, module, warned


@pytest.mark.parametrize("version", ["editable", "standard"])
def test_what_cannot_be_written_does_not_fail_the_installation(hook, monkeypatch, version):
    made, module, warned = hook

    def read_only(*args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(module, "_build_module", lambda path: types.SimpleNamespace(
        build=read_only, LIBRARY=build.LIBRARY, BuildError=build.BuildError, about_path=build.about_path
    ))  # fmt: skip
    data = {"force_include": {}}
    made.initialize(version, data)
    assert data == {"force_include": {}}
    assert warned == ["cpu kernel not built: [Errno 30] Read-only file system; the reference will run instead"]


def test_a_folder_for_it_that_cannot_be_made_does_not_either(hook, monkeypatch):
    made, module, warned = hook

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", full)
    made.initialize("standard", {"force_include": {}})
    assert len(warned) == 1
    assert "No space left on device" in warned[0]


def call_library(target, *arguments):
    library.load()
    return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((), jnp.float32))(*arguments, instructions="portable")


@pytest.mark.parametrize(
    "target, weight, scale",
    [
        ("orchestai_ternary_matmul", jnp.ones((1, 1, 16, 32), jnp.uint8), jnp.ones(1)),
        ("orchestai_int8_matmul", jnp.ones((1, 32, 64), jnp.int8), jnp.ones((1, 32))),
    ],
)
@pytest.mark.parametrize("x", [jnp.float32(1), jnp.ones(64)])
def test_without_axes_the_library_looks_at_none(target, weight, scale, x):
    with pytest.raises(jax.errors.JaxRuntimeError, match="x and y need the same axes, two at least"):
        jax.block_until_ready(call_library(target, x, weight, scale, jnp.int32(0)))
