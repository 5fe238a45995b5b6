"""Transcription and speech of the OpenAI-compatible worker."""

import asyncio
import wave

import pytest
from loopback_server import serving
from openai_calls import CATALOG, TEN_CENTS, failure, run, worker

from orchestai_jax.workers import WorkerContext, WorkerError
from orchestai_jax.workers.openai_compatible.audio import silence
from orchestai_jax.workflow import Prices


def test_a_recording_is_transcribed_and_priced_by_its_length(tmp_path):
    (tmp_path / "speech.wav").write_bytes(silence(3.0))

    def answer(request):
        request.answer_json({"text": " Good morning. "} if b'name="language"' in request.body else {"text": ""})

    with serving(answer) as server:
        one = worker(server.url, "transcribe_audio", prices=Prices(per_audio_minute=0.6), model="whisper")
        output = run(one, tmp_path, "transcribe_audio", audio="speech.wav", language="en")
        assert dict(output.values) == {"text": "Good morning."}
        assert output.cost == pytest.approx(0.03)
        caught = failure(one, tmp_path, "transcribe_audio", audio="speech.wav")
        assert "no words" in str(caught)
        assert caught.cost == pytest.approx(0.03)
    request = server.requests[0]
    assert request.path == "/v1/audio/transcriptions"
    assert (tmp_path / "speech.wav").read_bytes() in request.body
    assert b"whisper" in request.body


def test_a_text_is_spoken_into_a_file(tmp_path):
    with serving(lambda request: request.answer(silence(1.0), content_type="audio/wav")) as server:
        one = worker(server.url, "speak_text", prices=Prices(per_million_characters=1000.0), voice="nova")
        output = run(one, tmp_path, "speak_text", text="Good morning.")
    path = tmp_path / output.values["audio"]
    with wave.open(str(path)) as file:
        assert file.getnframes() == 16_000
    assert path.parent == tmp_path / "out"
    assert output.cost == pytest.approx(0.013)
    sent = server.requests[0].json
    assert (sent["input"], sent["voice"], sent["response_format"]) == ("Good morning.", "nova", "wav")
    with serving(lambda request: request.answer(b"<html>", content_type="text/html")) as server:
        caught = failure(worker(server.url, "speak_text", prices=TEN_CENTS), tmp_path, "speak_text", text="x")
        assert "no WAV recording" in str(caught)
        assert caught.cost == 0.1
    (tmp_path / "file").write_text("in the way of the output folder")
    context = WorkerContext(tmp_path, tmp_path / "file", "t1")
    with serving(lambda request: request.answer(silence(1.0), content_type="audio/wav")) as server:
        one = worker(server.url, "speak_text", prices=TEN_CENTS)
        with pytest.raises(WorkerError, match="cannot make the output folder") as unwritten:
            asyncio.run(one.run(CATALOG.task_type("speak_text"), {"text": "x"}, context))
    assert unwritten.value.cost == 0.1


@pytest.mark.parametrize(
    "task_type, arguments",
    [("transcribe_audio", {"audio": "speech.wav"}), ("speak_text", {"text": "Good morning."})],
)
def test_recordings_too_go_with_a_key_that_tells_a_repeated_request(tmp_path, task_type, arguments):
    (tmp_path / "speech.wav").write_bytes(silence())

    def answer(request):
        if request.path.endswith("speech"):
            request.answer(silence(), content_type="audio/wav")
        else:
            request.answer_json({"text": "Good morning."})

    async def run_all(one):
        for key, attempt in (("run1-t1", 1), ("run1-t1", 1), ("run1-t1", 2), ("", 1)):
            context = WorkerContext(tmp_path, tmp_path, "t", idempotency_key=key, attempt=attempt)
            await one.run(CATALOG.task_type(task_type), arguments, context)
        await one.close()

    with serving(answer) as server:
        asyncio.run(run_all(worker(server.url, task_type)))
    first, again, second_try, _ = (request.headers.get("idempotency-key") for request in server.requests)
    assert first
    assert first == again
    assert second_try not in (None, first)
    assert "idempotency-key" not in server.requests[3].headers
