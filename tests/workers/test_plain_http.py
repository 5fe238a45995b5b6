"""Keys go over plain http to this machine only."""

import pytest

from orchestai_jax.workers.mcp_servers import McpServer
from orchestai_jax.workers.openai_compatible import OpenAIWorker
from orchestai_jax.workflow import McpConnection, OpenAIConnection, WorkerSpec

ELSEWHERE = [
    "http://127.evil.example/v1",
    "http://127.0.0.1.evil.example/v1",
    "http://localhost.evil.example:80/v1",
    "http://evil.example/localhost",
    "http://10.0.0.1/v1",
    "http://[2001:db8::1]:8000/v1",
    "HTTP://evil.example/v1",
]
FINE = [
    "http://127.0.0.1:8000/v1",
    "http://127.8.9.10/v1",
    "http://localhost/v1",
    "http://LOCALHOST:1/v1",
    "http://[::1]:8000/v1",
    "http://[::1]/v1",
    "https://evil.example/v1",
    "HTTPS://evil.example/v1",
]


def faults(url):
    chat = OpenAIConnection(model="m", base_url=url, key_env="THE_KEY")
    server = McpConnection(url=url, key_env="THE_KEY")
    return [OpenAIWorker(WorkerSpec(id="gpt", connection=chat)).fault(), McpServer(server).fault()]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_another_machine_gets_no_key_unencrypted(url, monkeypatch):
    monkeypatch.setenv("THE_KEY", "abc-def")
    for fault in faults(url):
        assert fault is not None
        assert "would get the key of THE_KEY unencrypted; use https" in fault


@pytest.mark.parametrize("url", FINE)
def test_this_machine_and_https_get_it(url, monkeypatch):
    monkeypatch.setenv("THE_KEY", "abc-def")
    assert faults(url) == [None, None]


def test_without_a_key_there_is_nothing_to_leak():
    assert McpServer(McpConnection(url="http://evil.example/mcp")).fault() is None
