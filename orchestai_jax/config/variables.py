"""Environment variables in configurations: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`."""

import os
import pathlib
import re
from collections.abc import Mapping, MutableMapping

import dotenv

from orchestai_jax.config.errors import ConfigError
from orchestai_jax.config.redaction import looks_secret

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def expand_variables(text: str, env: Mapping[str, str], field: str) -> str:
    """Replace every reference in a string. An empty variable counts as unset where a default is given.

    Raises ConfigError (naming `field`) for a variable that is unset and has no default, a malformed reference, and a
    variable whose name looks like a secret's: configurations are written into work folders and checkpoints.
    """

    def value_of(match: re.Match[str]) -> str:
        if match.group(0) == "$${":
            return "${"
        name, has_default, default = (match.group("body") or "").partition(":-")
        if not _NAME.match(name):
            raise ConfigError(f"{field}: {match.group(0)!r} is malformed; write ${{NAME}} or ${{NAME:-default}}")
        if looks_secret(name):
            raise ConfigError(
                f"{field}: ${{{name}}} looks like a secret, and configurations are saved with the run; "
                "leave secrets in the environment, where the code that needs them reads them"
            )
        value = env.get(name)
        if value is None and not has_default:
            raise ConfigError(
                f"{field}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            )
        return value if value or not has_default else default  # type: ignore[return-value]

    return _REFERENCE.sub(value_of, text)


def load_env_file(path: str | os.PathLike[str] = ".env", env: MutableMapping[str, str] = os.environ) -> list[str]:
    """Add the variables of a `.env` file to the environment, where they are not set. Returns the names added.

    A file that does not exist adds nothing.
    """
    added: list[str] = []
    for name, value in read_env_file(path).items():
        if name not in env:
            env[name] = value
            added.append(name)
    return added


def read_env_file(path: str | os.PathLike[str] = ".env") -> dict[str, str]:
    """The variables of a `.env` file, empty where it does not exist. Raises ConfigError for one that is not UTF-8."""
    if not pathlib.Path(path).is_file():
        return {}
    try:
        return {name: value for name, value in dotenv.dotenv_values(path).items() if value is not None}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{os.fspath(path)}: not UTF-8 text ({error.reason} at byte {error.start})") from None
