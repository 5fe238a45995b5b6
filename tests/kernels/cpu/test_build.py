"""Compiling the C++ library: with a compiler, without one, and what is found wrong with a library that is there."""

import json
import os
import re
import subprocess
import sys

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
