"""What a service or the way to it did wrong, as one line that holds no key."""

from __future__ import annotations

import os
from typing import Any

import openai

from orchestai_jax.config import redact
from orchestai_jax.config.redaction import MASK
from orchestai_jax.workers.plain_http import leaks_key
from orchestai_jax.workers.retry_after import exhausted_until, retry_after
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.connections import OpenAIConnection


def key_of(connection: OpenAIConnection) -> str | None:
    """The key, from the environment; None where the endpoint wants none.

    Raises:
        WorkerError: the variable is not set, or the key would travel unencrypted.
    """
    if connection.key_env is None:
        return None
    key = os.environ.get(connection.key_env, "").strip()
    if not key:
        raise WorkerError(
            f"the environment variable {connection.key_env} is not set; set it to the key of {connection.base_url} "
            "(or put it into .env), or write key_env: null where the endpoint wants none"
        )
    if any(ord(character) < 33 or ord(character) > 126 for character in key):
        raise WorkerError(f"the value of {connection.key_env} holds blanks or letters that no key has")
    if not connection.allow_plain_http and leaks_key(connection.base_url):
        raise WorkerError(
            f"{connection.base_url} would get the key of {connection.key_env} unencrypted; use https, or write "
            "allow_plain_http: true"
        )
    return key


def worker_error(error: Exception, connection: OpenAIConnection) -> WorkerError:
    """The error for whatever the client library raised."""
    # `*` stands for whichever model there is, where an endpoint is asked which there are
    where = connection.base_url if connection.model == "*" else f"{connection.model} at {connection.base_url}"
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, connection, where)
    if isinstance(error, openai.APITimeoutError):
        return WorkerError(f"{where} sent nothing for {connection.stall_s:g} s", retryable=True)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        line = without_secrets(f"{cause}" or type(cause).__name__, connection)
        return WorkerError(f"{where} cannot be reached or broke off: {line}", retryable=True)
    line = without_secrets(str(error) or type(error).__name__, connection)
    return WorkerError(f"{where} answered something that cannot be read: {line}", retryable=True)


def without_secrets(text: str, connection: OpenAIConnection, at_most: int = 300) -> str:
    """One line without the key and whatever else in the environment looks secret."""
    text = redact(" ".join(text.split()))
    key = os.environ.get(connection.key_env, "").strip() if connection.key_env else ""
    if key:
        text = text.replace(key, MASK)
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def headers_of(response: Any) -> dict[str, str]:
    """Response headers by their names in small letters."""
    return {name.lower(): value for name, value in response.headers.items()}


def _of_status(error: openai.APIStatusError, connection: OpenAIConnection, where: str) -> WorkerError:
    status = error.status_code
    said = without_secrets(error.message, connection)
    if status in (401, 403):
        remedy = f"check {connection.key_env}" if connection.key_env else "name the variable with its key in key_env"
        return WorkerError(f"{where} refuses access ({status}); {remedy}: {said}")
    if status == 404:
        return WorkerError(f"{where}: there is no such model or address ({status}): {said}")
    if status == 429 and error.code == "insufficient_quota":
        return WorkerError(f"{where}: the account's quota is used up ({status}): {said}")
    busy = status in (408, 409, 429) or status >= 500
    headers = headers_of(error.response)
    wait = retry_after(headers)
    if status == 429 and wait is None:
        wait = exhausted_until(headers)
    return WorkerError(f"{where} answered {status}: {said}", retryable=busy, retry_after_s=wait if busy else None)
