"""The OpenAI-compatible worker against a real HTTP server on loopback that speaks the protocol, well or badly."""

import asyncio
import base64
import json

import pytest
from loopback_server import serving
from openai_calls import CATALOG, QUESTION, TEN_CENTS, failure, run, worker
from openai_server import answer_chat, begin_stream, completion, end_stream, event, usage_of

from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import WorkerContext, WorkerError, check_worker, local_workers
from orchestai_jax.workers.openai_compatible import OpenAIWorker
from orchestai_jax.workflow import Port, Prices, TaskType, WorkerSpec


@pytest.mark.parametrize("streamed", [True, False])
def test_a_question_is_asked_and_answered(tmp_path, streamed):
    (tmp_path / "notes.txt").write_text("The night train leaves at ten.")
    chunks = []
    with serving(lambda request: answer_chat(request, "At ten.", usage=(30, 4))) as server:
        one = worker(
            server.url,
            stream=streamed,
            system="Be brief.",
            temperature=0.5,
            max_output_tokens=99,
            prices=Prices(input_per_million=1.0, output_per_million=10.0, per_call=0.001),
        )
        output = run(one, tmp_path, chunks=chunks, question="When does it leave?", text="notes.txt")
    [request] = server.requests
    assert dict(output.values) == {"text": "At ten."}
    assert output.tokens == 34
    assert output.cost == pytest.approx(30e-6 + 40e-6 + 0.001)
    assert "".join(chunks).strip() == "At ten."
    assert len(chunks) == (2 if streamed else 1)
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    sent = request.json
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0.5, 99)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "The night train leaves at ten." in sent["messages"][1]["content"]
    assert "When does it leave?" in sent["messages"][1]["content"]
    assert sent.get("stream", False) is streamed
    assert sent.get("stream_options") == ({"include_usage": True} if streamed else None)
    assert "idempotency-key" not in request.headers
    assert not {"tools", "response_format"} & set(sent)


def test_chunks_come_while_the_answer_is_still_being_written(tmp_path):
    heard = []

    def answer(request):
        begin_stream(request)
        request.send_chunk(event({"content": "one "}))
        for _ in range(500):  # the server goes on only when the first piece has been told
            if heard or server.closing.wait(0.01):
                break
        request.send_chunk(event({"content": "two" if heard else "too late"}))
        request.send_chunk(event({}, finish="stop"))
        end_stream(request)

    with serving(answer) as server:
        output = run(worker(server.url), tmp_path, chunks=heard)
    assert output.values["text"] == "one two"
    assert heard == ["one ", "two"]


def test_several_outputs_come_as_json_of_the_schema(tmp_path):
    kind = TaskType(
        id="judge",
        description="Judge a text.",
        inputs=(Port(name="text", type="text"),),
        outputs=(Port(name="label", type="text"), Port(name="score", type="number", description="0 to 1")),
    )
    answers = {
        "json_schema": '{"label": "good", "score": 0.5}',
        "json_object": '{"score": "0.5", "label": "good"}',
        "none": '```json\n{"label": "good", "score": 0.5}\n```',
    }
    for structured, text in answers.items():
        with serving(lambda request, text=text: answer_chat(request, text)) as server:
            chunks = []
            output = run(worker(server.url, kind, structured=structured), tmp_path, kind, chunks, text="x")
        assert dict(output.values) == {"label": "good", "score": 0.5}
        assert chunks == []
        wanted = server.requests[0].json.get("response_format")
        if structured == "json_schema":
            schema = wanted["json_schema"]["schema"]
            assert wanted["json_schema"]["strict"] is True
            assert schema["properties"]["score"] == {"type": "number", "description": "0 to 1"}
            assert schema["required"] == ["label", "score"]
            assert schema["additionalProperties"] is False
        else:
            assert wanted == ({"type": "json_object"} if structured == "json_object" else None)


@pytest.mark.parametrize(
    "text, said",
    [
        ("good", "the model's answer is not JSON"),
        ('["good"]', "answered a JSON list in place of an object"),
        ('{"label": "good"}', "the model's answer lacks 'score'; it has label"),
        ('{"label": "good", "score": "high"}', "has 'high' for score, which is not a number"),
        ("   ", "the model answered nothing"),
    ],
)
def test_answers_of_another_form_fail_and_may_be_tried_again(tmp_path, text, said):
    outputs = (Port(name="label", type="text"), Port(name="score", type="number"))
    kind = TaskType(id="judge", inputs=(Port(name="text", type="text"),), outputs=outputs)
    with serving(lambda request: request.answer_json(completion(text))) as server:
        caught = failure(worker(server.url, kind, stream=False, prices=TEN_CENTS), tmp_path, kind, text="x")
    assert said in str(caught)
    assert caught.retryable
    assert (caught.cost, caught.tokens) == (0.1, 15), "it was billed all the same"


def test_a_picture_goes_along(tmp_path, samples):
    picture = (samples / "logo.png").read_bytes()
    (tmp_path / "logo.png").write_bytes(picture)
    (tmp_path / "no.png").write_text("no picture")
    with serving(lambda request: answer_chat(request, "A train.")) as server:
        one = worker(server.url, "describe_image", vision=True)
        assert run(one, tmp_path, "describe_image", image="logo.png").values["text"] == "A train."
        assert "'no.png' is no PNG, JPEG, GIF or WebP picture" in str(
            failure(one, tmp_path, "describe_image", image="no.png")
        )
        assert "out of the root" in str(failure(one, tmp_path, "describe_image", image=str(samples / "logo.png")))
    [request] = server.requests
    text, image = request.json["messages"][-1]["content"]
    assert "Describe the picture in two sentences." in text["text"]
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == picture


def test_what_a_model_cannot_do_is_said_before_anything_runs():
    with pytest.raises(ValueError, match="worker 'gpt' cannot do that: describe_image takes a picture; write vision"):
        worker("http://127.0.0.1", "describe_image")
    makes = TaskType(id="paint", outputs=(Port(name="image", type="image"),))
    with pytest.raises(ValueError, match="paint gives image of the type image, which no answer can hold"):
        worker("http://127.0.0.1", makes)
    takes = TaskType(id="hear", inputs=(Port(name="audio", type="audio"), Port(name="text", type="text")))
    with pytest.raises(ValueError, match="hear takes audio of the type audio, which no chat can hold"):
        worker("http://127.0.0.1", takes)
    with pytest.raises(ValueError, match="has no connection of the kind openai"):
        OpenAIWorker(WorkerSpec(id="gpt"))


def test_the_model_calls_tools_and_gets_what_they_gave(tmp_path):
    (tmp_path / "notes.txt").write_text("one two three. four five.")
    tools_catalog = load_embedded_catalog()
    kind = tools_catalog.task_type("text_statistics")
    tool = local_workers()["text_statistics_counter"]

    def answer(request):
        messages = request.json["messages"]
        if messages[-1]["role"] == "user":
            calls = [("text_statistics", '{"text": "notes.txt"}'), ("nothing", "{}"), ("text_statistics", "{torn")]
            calls += [("text_statistics", '{"text": "../up.txt"}')]
            if not request.json.get("stream"):
                request.answer_json(completion(None, calls=calls, usage=(100, 10)))
                return
            begin_stream(request)
            for i, (name, arguments) in enumerate(calls):  # in pieces, as servers send them
                half = len(arguments) // 2
                function = {"name": name, "arguments": arguments[:half]}
                request.send_chunk(event({"tool_calls": [{"index": i, "id": f"call_{i}", "function": function}]}))
                rest = {"index": i, "function": {"arguments": arguments[half:]}}
                request.send_chunk(event({"tool_calls": [rest]}))
            request.send_chunk(event({}, finish="tool_calls"))
            request.send_chunk(event(None, usage=usage_of((100, 10))))
            end_stream(request)
        else:
            answer_chat(request, f"There are {json.loads(messages[-4]['content'])['statistics']['words']}.")

    for streamed in (True, False):
        with serving(answer) as server:
            one = worker(server.url, tools=[(kind, tool)], stream=streamed, prices=Prices(per_call=1.0))
            output = run(one, tmp_path)
        assert output.values["text"] == "There are 5."
        assert output.tokens == 110 + 15
        assert 2 < output.cost < 2.01, "two answers and the tool's time"
        first, second = (request.json for request in server.requests)
        [function] = first["tools"]
        assert function["function"]["name"] == "text_statistics"
        assert function["function"]["parameters"]["required"] == ["text"]
        results = {m["tool_call_id"]: m["content"] for m in second["messages"] if m["role"] == "tool"}
        assert "there is no tool 'nothing'; there are text_statistics" in results["call_1"]
        assert "the arguments are not JSON" in results["call_2"]
        assert "out of the root folder" in results["call_3"]
        assert [c["id"] for c in second["messages"][-5]["tool_calls"]] == [f"call_{i}" for i in range(4)]


def test_a_repeated_request_can_be_told_from_a_new_one(tmp_path):
    kind = CATALOG.task_type("answer_question")

    async def run_all(one):
        for key, attempt in (("run1-t1", 1), ("run1-t1", 1), ("run1-t1", 2), ("run1-t2", 1)):
            context = WorkerContext(tmp_path, tmp_path, "t", idempotency_key=key, attempt=attempt)
            await one.run(kind, QUESTION, context)
        await one.close()

    with serving(lambda request: answer_chat(request, "yes")) as server:
        asyncio.run(run_all(worker(server.url)))
    first, again, second_try, other = (request.headers["idempotency-key"] for request in server.requests)
    assert first == again
    assert len({first, second_try, other}) == 3


def test_a_model_that_only_calls_tools_is_stopped(tmp_path):
    kind = load_embedded_catalog().task_type("text_statistics")
    tool = local_workers()["text_statistics_counter"]
    calls = [("text_statistics", '{"text": "a b c."}')]
    with serving(lambda request: request.answer_json(completion(None, calls=calls))) as server:
        one = worker(server.url, tools=[(kind, tool)], stream=False, max_tool_rounds=2, prices=TEN_CENTS)
        caught = failure(one, tmp_path)
        assert "called tools 2 times and gave no answer" in str(caught)
        assert 0.3 < caught.cost < 0.301, "three answers and the tool's time"
        assert caught.tokens == 45
    assert [("tools" in request.json) for request in server.requests] == [True, True, False]


def test_what_earlier_rounds_and_failed_tools_cost_is_in_the_failure_of_a_later_one(tmp_path):
    kind = load_embedded_catalog().task_type("text_statistics")

    class Dear:
        spec = WorkerSpec(id="dear", task_types=(kind.id,))

        async def run(self, task_type, arguments, context):
            raise WorkerError("it was of no use", cost=0.25, tokens=7)

    def answer(request):
        if request.json["messages"][-1]["role"] == "user":
            request.answer_json(completion(None, calls=[("text_statistics", '{"text": "a b c."}')]))
        else:
            answer_chat(request, "half an", finish="length")

    with serving(answer) as server:
        caught = failure(worker(server.url, tools=[(kind, Dear())], stream=False, prices=TEN_CENTS), tmp_path)
    assert "longer than the tokens it may have" in str(caught)
    assert caught.cost == pytest.approx(0.45)
    assert caught.tokens == 15 + 7 + 15


def test_tokens_are_estimated_where_the_service_names_none(tmp_path):
    with serving(lambda request: answer_chat(request, "abcd efgh", usage=None)) as server:
        output = run(worker(server.url), tmp_path)
    sent = server.requests[0].json["messages"][0]["content"]
    assert output.tokens == -(-len(sent) // 4) + -(-len("abcd efgh ") // 4)


def test_cached_tokens_have_their_price(tmp_path):
    prices = Prices(input_per_million=10.0, cached_input_per_million=1.0)
    body = completion("yes", usage=(1000, 0), cached=400)
    with serving(lambda request: request.answer_json(body)) as server:
        output = run(worker(server.url, stream=False, prices=prices), tmp_path)
    assert output.cost == pytest.approx(600e-5 + 400e-6)


def test_a_cancelled_call_hangs_up(tmp_path):
    began = []

    def answer(request):
        begin_stream(request)
        began.append(request)
        server.closing.wait(20)

    async def cancel(one):
        context = WorkerContext(tmp_path, tmp_path, "t")
        task = asyncio.create_task(one.run(CATALOG.task_type("answer_question"), QUESTION, context))
        while not began:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await one.close()

    with serving(answer) as server:
        asyncio.run(cancel(worker(server.url)))


def test_health_is_a_small_real_call_that_was_timed():
    with serving(lambda request: answer_chat(request, "ok", finish="length")) as server:
        one = worker(server.url)

        async def check():
            health = await check_worker(one)
            await one.close()
            return health

        health = asyncio.run(check())
    assert health.ok
    assert health.latency_s is not None
    assert 0 < health.latency_s < 30
    assert server.requests[0].json["max_tokens"] == 16


def test_one_worker_serves_several_event_loops(tmp_path):
    with serving(lambda request: answer_chat(request, "yes")) as server:
        one = worker(server.url)
        for _ in range(2):
            assert run(one, tmp_path).values["text"] == "yes"
