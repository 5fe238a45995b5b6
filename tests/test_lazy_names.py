"""Public names that are imported late are all there, and importing their packages leaves the heavy ones alone."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["config", "data", "checkpoint"])
def test_every_public_name_is_there(package):
    module = importlib.import_module(f"orchestai_jax.{package}")
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match=rf"module 'orchestai_jax.{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_a_planner_imports_no_orbax_and_nothing_that_makes_samples():
    heavy = ("orbax", "orchestai_jax.data.synthesis", "orchestai_jax.config.language_model")
    code = f"import sys, orchestai_jax.planner; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
