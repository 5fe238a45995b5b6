"""Secrets never reach a log: the values of environment variables that hold them are masked.

Those are the variables whose names look like secrets, and those that a catalog names as keys, whatever they are called.
"""

import functools
import logging
import os
import re
import traceback
from collections.abc import Iterable, Mapping

MASK = "***"
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?(?=_|\Z)", re.IGNORECASE)
_HARMLESS = re.compile(r"true|false|none|null|yes|no|on|off|\d{1,5}\Z", re.IGNORECASE)
_SHORTEST = 4
_SETTING = re.compile(r"(PATH|HOME|USER|LOGNAME|SHELL|TERM|PWD|TMPDIR|TZ|LANG|LANGUAGE|LC_[A-Z]+)\Z")
"""Variables of the system, whose values stand in paths and texts everywhere."""
_REGISTERED: set[str] = set()


@functools.lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether an environment variable's name says that its value is a secret (`HF_TOKEN`, `OPENAI_API_KEY`, …)."""
    return _SECRET_NAME.search(name) is not None


def register_secret_names(names: Iterable[str]) -> None:
    """Mask the values of these variables too, from now on and in the whole process.

    For variables that hold keys though their names do not say so; settings of the system such as PATH are left out.
    """
    _REGISTERED.update(name for name in names if not _SETTING.match(name))


def secret_values(env: Mapping[str, str] | None = None) -> list[str]:
    """The values to mask, longest first.

    Values under 4 characters, flags and small numbers (`MAX_TOKENS=512`) are left out: masking them would only garble.
    """
    env = os.environ if env is None else env
    values = {env.get(name, "").strip() for name in env if looks_secret(name) or name in _REGISTERED}
    values = {value for value in values if len(value) >= _SHORTEST and not _HARMLESS.fullmatch(value)}
    return sorted(values, key=lambda value: (-len(value), value))


def redact(text: str, env: Mapping[str, str] | None = None) -> str:
    """The text with every secret value replaced by `***`. The environment is read anew at each call."""
    for value in secret_values(env):
        text = text.replace(value, MASK)
    return text


class RedactingFilter(logging.Filter):
    """Masks secrets in a record's message, traceback and stack before any handler formats it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never drops one."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and record.exc_info[0] is not None:
            # Formatters use exc_text where it is set; exc_info itself still holds the secret, so it goes.
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            record.exc_info = None
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True
