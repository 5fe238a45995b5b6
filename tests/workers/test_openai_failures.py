"""The OpenAI-compatible worker against services that refuse, stall, break off, limit its rate, or talk nonsense."""

import asyncio
import json

import pytest
from loopback_server import serving, unused_port
from openai_calls import CATALOG, QUESTION, TEN_CENTS, failure, run, worker
from openai_server import answer_chat, begin_stream, end_stream, error, event, stream

from orchestai_jax.workers import WorkerContext, check_worker
from orchestai_jax.workers.openai_compatible import pacing


@pytest.mark.parametrize(
    "status, body, said, retryable",
    [
        (400, error("no such parameter"), "answered 400", False),
        (401, error("bad key"), "refuses access (401); check THE_KEY", False),
        (404, error("no such model"), "there is no such model or address (404)", False),
        (429, error("quota", code="insufficient_quota"), "the account's quota is used up", False),
        (500, error("oops"), "answered 500", True),
        (503, error("overloaded"), "answered 503", True),
    ],
)
@pytest.mark.parametrize("name", ["THE_KEY", "SERVICE_LOGIN"], ids=["a secret by its name", "only by its use"])
def test_what_the_service_refuses_is_one_line_without_the_key(
    tmp_path, monkeypatch, status, body, said, retryable, name
):
    key = "abcdef-123456"
    monkeypatch.setenv(name, key)
    body = {"error": {**body["error"], "message": f"{body['error']['message']} for {key}"}}
    with serving(lambda request: request.answer_json(body, status)) as server:
        caught = failure(worker(server.url, key_env=name), tmp_path)
    assert said.replace("THE_KEY", name) in str(caught)
    assert caught.retryable is retryable
    assert key not in str(caught)
    assert "***" in str(caught)
    assert len(server.requests) == 1
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"


def test_a_key_is_wanted_and_does_not_travel_unencrypted(tmp_path, monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    one = worker("http://127.0.0.1:1", key_env="THE_KEY")
    assert "the environment variable THE_KEY is not set" in str(failure(one, tmp_path))
    health = asyncio.run(check_worker(one))
    assert not health.ok
    assert "THE_KEY is not set" in health.detail
    monkeypatch.setenv("THE_KEY", "abc def")
    assert "holds blanks" in str(failure(one, tmp_path))
    monkeypatch.setenv("THE_KEY", "abcdef-123456")
    caught = str(failure(worker("http://models.example", key_env="THE_KEY"), tmp_path))
    assert "would get the key of THE_KEY unencrypted" in caught
    assert "abcdef" not in caught
    with serving(lambda request: answer_chat(request, "yes")) as server:
        allowed = worker(server.url.replace("127.0.0.1", "localhost"), key_env="THE_KEY", allow_plain_http=True)
        assert run(allowed, tmp_path).values["text"] == "yes"


@pytest.fixture
def clock(monkeypatch):
    """A clock that the gate goes by and that only its waiting moves: `clock.now`, and every wait in `clock.waits`."""

    class Clock:
        now, waits = 1000.0, []

        def monotonic(self):
            return self.now

        async def sleep(self, seconds):
            self.waits.append(seconds)
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(pacing, "asyncio", clock)
    return clock


def test_a_rate_limit_is_waited_out_by_all_calls(tmp_path, clock):
    arrivals = []

    def answer(request):
        arrivals.append(clock.now)
        if len(arrivals) == 1:
            request.answer_json(error("slow down", code="rate_limit_exceeded"), 429, retry_after="7")
        else:
            answer_chat(request, "yes")

    async def two(one):
        kind = CATALOG.task_type("answer_question")
        contexts = [WorkerContext(tmp_path, tmp_path, name) for name in "ab"]
        first = await one.run(kind, QUESTION, contexts[0])
        one.chat._gate.close_for(3)  # what the first call was told holds for the second
        second = await one.run(kind, QUESTION, contexts[1])
        await one.close()
        return [first, second]

    with serving(answer) as server:
        outputs = asyncio.run(two(worker(server.url)))
    assert [output.values["text"] for output in outputs] == ["yes", "yes"]
    assert arrivals == [1000, 1007, 1010]
    assert clock.waits == [7, 3]


def test_a_rate_limit_without_a_time_is_waited_out_longer_each_time(tmp_path, clock):
    with serving(lambda request: request.answer_json(error("slow"), 429)) as server:
        failure(worker(server.url, rate_limit_tries=4), tmp_path)
        assert len(server.requests) == 4
    for i, wait in enumerate(clock.waits, start=1):
        assert 2**i / 2 <= wait <= 2**i


def test_a_rate_limit_that_never_ends_fails_with_the_wait_that_it_asks_for(tmp_path, clock):
    with serving(lambda request: request.answer_json(error("slow"), 429, retry_after="5")) as server:
        caught = failure(worker(server.url, rate_limit_tries=3), tmp_path)
        assert len(server.requests) == 3
    assert (caught.retryable, caught.retry_after_s) == (True, 5.0)
    with serving(lambda request: request.answer_json(error("slow"), 429, retry_after="3600")) as server:
        caught = failure(worker(server.url, max_wait_s=5), tmp_path)
        assert "rate limit is reached for 3600 s more; at most 5 s are waited" in str(caught)
        assert len(server.requests) == 1
    assert caught.retryable
    assert caught.retry_after_s == pytest.approx(3600, abs=5)


def test_the_headers_of_a_used_up_limit_are_kept_before_the_next_request(tmp_path, clock):
    headers = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}
    with serving(lambda request: stream(request, ["yes"], **headers)) as server:
        one = worker(server.url, max_wait_s=1)
        assert run(one, tmp_path).values["text"] == "yes"
        assert "rate limit is reached for 360 s more" in str(failure(one, tmp_path))
        assert len(server.requests) == 1


def test_a_stream_that_breaks_off_is_no_answer(tmp_path):
    def torn(request):
        begin_stream(request)
        request.send_chunk(event({"content": "half an"}))
        request.hang_up()

    def ended_early(request):
        begin_stream(request)
        request.send_chunk(event({"content": "half an"}))
        request.send_chunk(b"")

    def without_reason(request):
        begin_stream(request)
        request.send_chunk(event({"content": "half an"}))
        end_stream(request)

    for answer in (torn, ended_early, without_reason):
        with serving(answer) as server:
            caught = failure(worker(server.url), tmp_path)
        assert "broke off" in str(caught)
        assert caught.retryable


def test_an_error_in_the_middle_of_a_stream(tmp_path):
    def answer(request):
        begin_stream(request)
        request.send_chunk(b"data: " + json.dumps(error("the machine is on fire")).encode() + b"\n\n")
        end_stream(request)

    with serving(answer) as server:
        caught = failure(worker(server.url), tmp_path)
    assert "the machine is on fire" in str(caught)
    assert caught.retryable


def test_an_answer_cut_at_its_tokens_or_withheld_is_no_answer(tmp_path):
    with serving(lambda request: answer_chat(request, "half an", finish="length")) as server:
        caught = failure(worker(server.url, prices=TEN_CENTS), tmp_path)
        assert "longer than the tokens it may have" in str(caught)
        assert not caught.retryable
        assert (caught.cost, caught.tokens) == (0.1, 15)
    with serving(lambda request: answer_chat(request, "", finish="content_filter")) as server:
        caught = failure(worker(server.url, prices=TEN_CENTS), tmp_path)
        assert "withheld its answer" in str(caught)
        assert (caught.cost, caught.tokens) == (0.1, 15)


def test_a_service_that_stalls_is_left(tmp_path):
    def silent(request):
        server.closing.wait(20)

    def midway(request):
        begin_stream(request)
        request.send_chunk(event({"content": "half an"}))
        server.closing.wait(20)

    for answer in (silent, midway):
        with serving(answer) as server:
            caught = failure(worker(server.url, stall_s=0.2), tmp_path)
        assert "sent nothing for 0.2 s" in str(caught)
        assert caught.retryable


@pytest.mark.parametrize("body", ["<html>hello</html>", "{}", '{"choices": []}', "[1, 2", '{"choices": [{}]}'])
@pytest.mark.parametrize("streamed", [True, False])
def test_what_is_not_the_protocol_is_said_so(tmp_path, body, streamed):
    with serving(lambda request: request.answer(body, content_type="application/json")) as server:
        caught = failure(worker(server.url, stream=streamed), tmp_path)
    assert "answered something that cannot be read" in str(caught) or "broke off" in str(caught)
    assert caught.retryable


def test_a_service_that_is_not_there(tmp_path):
    port = unused_port()
    caught = failure(worker(f"http://127.0.0.1:{port}"), tmp_path)
    assert f"m at http://127.0.0.1:{port}/v1 cannot be reached" in str(caught)
    assert caught.retryable
