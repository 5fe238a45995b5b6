"""Answers as OpenAI's protocol writes them, for the server on loopback."""

from __future__ import annotations

import json
from typing import Any

from loopback_server import Request


def completion(text: str | None, *, usage: tuple[int, int] | None = (10, 5), finish: str = "stop", calls=(), cached=0):
    """The body of a whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ]
        finish = "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return body if usage is None else body | {"usage": usage_of(usage, cached)}


def usage_of(usage: tuple[int, int], cached: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": usage[0],
        "completion_tokens": usage[1],
        "total_tokens": sum(usage),
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def event(delta: dict[str, Any] | None, *, finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
    """One event of a stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return b"data: " + json.dumps(body | {"usage": usage}).encode() + b"\n\n"


def stream(request: Request, pieces: list[str], *, usage: tuple[int, int] | None = (10, 5), finish="stop", **headers):
    """A whole stream of text."""
    begin_stream(request, **headers)
    for piece in pieces:
        request.send_chunk(event({"content": piece}))
    request.send_chunk(event({}, finish=finish))
    if usage is not None:
        request.send_chunk(event(None, usage=usage_of(usage)))
    end_stream(request)


def begin_stream(request: Request, **headers: str) -> None:
    request.start(content_type="text/event-stream", transfer_encoding="chunked", **headers)
    request.send_chunk(event({"role": "assistant", "content": ""}))


def end_stream(request: Request) -> None:
    request.send_chunk(b"data: [DONE]\n\n")
    request.send_chunk(b"")


def answer_chat(request: Request, text: str, **options: Any) -> None:
    """The answer in the way that was asked for: whole, or as a stream of words."""
    if request.json.get("stream"):
        stream(request, [word + " " for word in text.split(" ")], **options)
    else:
        request.answer_json(completion(text, **options))


def error(message: str, code: str | None = None, kind: str = "server_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
