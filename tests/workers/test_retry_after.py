"""Waits that headers ask for."""

import datetime

import pytest

from orchestai_jax.workers.retry_after import duration, exhausted_until, retry_after

NOW = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:59:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "9" * 400}, None),
        ({}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    "text, seconds",
    [
        *(("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("12", 12.0), ("1d", 86400.0)),
        *((text, None) for text in ("", None, "1s!", "s", "1x")),
    ],
)
def test_durations(text, seconds):
    assert duration(text) == (seconds if seconds is None else pytest.approx(seconds))


def test_only_a_used_up_limit_asks_for_a_wait():
    left = {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}
    assert exhausted_until(left) is None
    used = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s"}
    assert exhausted_until(left | used) == 2.0
    both = used | {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m"}
    assert exhausted_until(both) == 60.0
    assert exhausted_until({"x-ratelimit-remaining-requests": "0"}) is None
