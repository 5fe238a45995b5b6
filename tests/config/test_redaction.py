import io
import logging

import pytest

from orchestai_jax.config import (
    ConfigError,
    RedactingFilter,
    load_env_file,
    looks_secret,
    redact,
    redaction,
    register_secret_names,
    set_up_logging,
)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "client_secret", "AWS_SECRET_ACCESS_KEY", "TOKEN", "ApiKey"]
)
def test_names_of_secrets(name):
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["PATH", "HOME", "TOKENIZERS_PARALLELISM", "KEYBOARD_LAYOUT"])
def test_names_of_others(name):
    assert not looks_secret(name)


def test_longest_secret_first_and_harmless_values_stay():
    env = {"A_KEY": "abcd", "B_KEY": "abcdef", "MAX_TOKENS": "512", "USE_TOKEN": "true", "C_KEY": "xy"}
    assert redact("abcdef abcd 512 true xy", env) == "*** *** 512 true xy"


@pytest.fixture
def unregistered():
    """Names that a test registers are forgotten after it."""
    before = set(redaction._REGISTERED)
    yield
    redaction._REGISTERED.clear()
    redaction._REGISTERED.update(before)


def test_a_name_that_does_not_look_secret_is_masked_once_it_is_registered(unregistered):
    env = {"LLM_AUTH": "hunter2hunter2", "LANG": "en_US.UTF-8", "LC_TIME": "de_DE.UTF-8"}
    assert redact("hunter2hunter2 en_US.UTF-8", env) == "hunter2hunter2 en_US.UTF-8"
    register_secret_names(["LLM_AUTH", "LANG", "LC_TIME"])
    assert redact("hunter2hunter2 en_US.UTF-8 de_DE.UTF-8", env) == "*** en_US.UTF-8 de_DE.UTF-8"


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("tests.redaction")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)


def test_message_arguments_tracebacks_and_stacks_are_masked(log):
    logger, stream = log
    logger.warning("token %s", "hunter2hunter2", stack_info=True)
    try:
        raise RuntimeError("failed with hunter2hunter2")
    except RuntimeError:
        logger.exception("oh %(who)s", {"who": "hunter2hunter2"})
    text = stream.getvalue()
    assert "hunter2hunter2" not in text
    assert "token ***" in text
    assert "RuntimeError: failed with ***" in text
    assert "Traceback" in text


def test_set_up_logging_masks_and_does_not_double(capsys, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "s3cr3t-value")
    root = logging.getLogger()
    before = (
        list(root.handlers),
        root.level,
        logging.getLogger("orchestai_jax").level,
        logging.getLogger("absl").level,
    )
    try:
        set_up_logging("info")
        handler = set_up_logging("info")
        logging.getLogger("orchestai_jax.somewhere").info("hello s3cr3t-value")
        logging.getLogger("another.library").info("chatter")
        written = capsys.readouterr().err
        assert written.count("hello ***") == 1
        assert "chatter" not in written
        root.removeHandler(handler)
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.getLogger("orchestai_jax").setLevel(before[2])
        logging.getLogger("absl").setLevel(before[3])


def test_env_file(tmp_path):
    (tmp_path / ".env").write_text("A=1\nB='two words'\n# no\nC\n")
    env = {"A": "kept"}
    assert load_env_file(tmp_path / ".env", env) == ["B"]
    assert env == {"A": "kept", "B": "two words"}
    assert load_env_file(tmp_path / "none", env) == []
    (tmp_path / "bad").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_env_file(tmp_path / "bad", env)
