"""Fixtures that every room's tests share, the persistent compilation cache, and what is watched in every test."""

import importlib.metadata
import os
import pathlib
import sys

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "orchestai" / "jax-tests"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# What the tests compile is small and runs once or twice: compiling it fast matters, not running it fast. XLA ends the
# process for a flag that it does not know, so only the version that these were seen to work with gets them.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    fast_to_compile = (
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false",
    )
    os.environ["XLA_FLAGS"] = " ".join([*fast_to_compile, os.environ.get("XLA_FLAGS", "")]).strip()

sys.path.insert(0, str(pathlib.Path(__file__).parent / "plugins"))
import expected_skips
import shape_checks

shape_checks.install("orchestai_jax")
shape_checks.install("orchestai_kernels")


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory):
    """Tests keep vectors of descriptions in a folder of their own, not in the user's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def pytest_configure(config):
    expected_skips.register(config)


def data_folder() -> pathlib.Path:
    """The folder of public data sets: `ORCHESTAI_DATA`, or `../shared/data` beside the project."""
    given = os.environ.get("ORCHESTAI_DATA")
    return pathlib.Path(given) if given else pathlib.Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def public_data():
    """Gives the path of a file of the public data, or skips with the missing file's name."""

    def find(name: str) -> pathlib.Path:
        path = data_folder() / name
        if not path.exists():
            pytest.skip(f"public data file missing: {path} (set ORCHESTAI_DATA)")
        return path

    return find
