"""Log lines of the command: one handler on stderr, secrets masked."""

import logging
import sys

from orchestai_jax.config.redaction import RedactingFilter

_HANDLER_NAME = "orchestai"


def set_up_logging(level: str = "info") -> logging.Handler:
    """Send log lines of at least `level` (debug, info, warning, error) to stderr, secrets masked.

    Calling it again replaces the handler, so that nothing is written twice. Other libraries speak from warning on,
    unless `level` is debug. Every handler that the root logger already has masks secrets too.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.get_name() == _HANDLER_NAME:
            root.removeHandler(handler)
        elif not any(isinstance(f, RedactingFilter) for f in handler.filters):
            handler.addFilter(RedactingFilter())
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER_NAME)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(RedactingFilter())
    root.addHandler(handler)
    number = getattr(logging, level.upper())
    root.setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))
    logging.getLogger("orchestai_jax").setLevel(number)
    # Orbax speaks through absl: its warnings are about its own timing, and its errors are raised to us anyway.
    logging.getLogger("absl").setLevel(number if number <= logging.DEBUG else logging.ERROR)
    return handler
