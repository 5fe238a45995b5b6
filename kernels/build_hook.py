"""Hatch's build hook: compiles the C++ library of the CPU kernels into wheels and into editable installations."""

from __future__ import annotations

import importlib.util
import pathlib
import tempfile
import types
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

_PLACE = "orchestai_kernels/cpu"


class CompileKernels(BuildHookInterface):
    """Without a compiler, the FFI headers or room to write the installation succeeds: the reference runs then."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are gathered; a wheel that holds the library is tagged with its platform."""
        if self.target_name != "wheel":
            return
        build = _build_module(pathlib.Path(self.root) / "kernels" / _PLACE / "build.py")
        try:
            if version == "editable":
                build.build()
                return
            self.folder = tempfile.TemporaryDirectory()
            library = build.build(pathlib.Path(self.folder.name) / build.LIBRARY.name)
        except (build.BuildError, OSError) as error:  # a read-only tree and a full disk too
            self.app.display_warning(f"cpu kernel not built: {error}; the reference will run instead")
            return
        for path in (library, build.about_path(library)):
            build_data["force_include"][str(path)] = f"{_PLACE}/{path.name}"
        build_data["pure_python"] = False
        # The library knows nothing of Python's version.
        build_data["tag"] = f"py3-none-{next(sys_tags()).platform}"


def _build_module(path: pathlib.Path) -> types.ModuleType:
    """The package is not installed yet: its build module is read from where it lies."""
    spec = importlib.util.spec_from_file_location("orchestai_kernels_cpu_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
