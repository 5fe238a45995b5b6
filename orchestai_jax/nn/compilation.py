"""Compiled programs kept on disk, so that a second start of the same command compiles nothing."""

import os
import pathlib

import jax

from orchestai_jax.config import SystemConfig


def enable_compilation_cache(config: SystemConfig | None = None) -> pathlib.Path | None:
    """Switch JAX's persistent compilation cache on, and return its folder (null where the configuration says off).

    The folder is `compilation_cache_dir`, else what JAX is already set to (JAX_COMPILATION_CACHE_DIR), else
    `orchestai/jax` under XDG_CACHE_HOME or `~/.cache`. Call it before the first compilation.
    """
    config = config or SystemConfig()
    if not config.compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    jax.config.update("jax_enable_compilation_cache", True)
    already = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if config.compilation_cache_dir is not None:
        folder = pathlib.Path(config.compilation_cache_dir).expanduser()
    elif already:
        folder = pathlib.Path(already)
    else:
        home = os.environ.get("XDG_CACHE_HOME")
        folder = (pathlib.Path(home) if home else pathlib.Path.home() / ".cache") / "orchestai" / "jax"
    folder.mkdir(parents=True, exist_ok=True)
    if str(folder) != already:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # JAX keeps only programs that took over a second; the planner's many small buckets take less.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder
