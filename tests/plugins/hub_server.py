"""A Hub on loopback: the answers of its API that searching and downloading need, as the public one writes them.

The rows have the fields and the forms of `GET /api/models` with the `expand` that the search asks for; names, likes and
sizes are made up. Files are served from folders.
"""

from __future__ import annotations

import hashlib
import pathlib
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_server import Request

SHA = "5f1c9e0d2b7a4c6e8f0a1b2c3d4e5f6a7b8c9d0e"


def row(name, likes, tag="image-classification", licence="apache-2.0", size=5_000_000, **fields):
    """A model as the API lists it."""
    tags = ["transformers", "safetensors", "vit", tag, f"license:{licence}", "region:us", *fields.pop("tags", [])]
    content = {
        "_id": hashlib.sha256(name.encode()).hexdigest()[:24],
        "id": name,
        "modelId": name,
        "likes": likes,
        "pipeline_tag": tag,
        "library_name": "transformers",
        "sha": SHA,
        "gated": False,
        "tags": tags,
        "safetensors": {"parameters": {"F32": size}, "total": size},
    }
    return content | fields


class Hub:
    """Answers requests for a list of models and for the files of some."""

    def __init__(self, models, folders: dict[str, pathlib.Path] | None = None, page: int = 2):
        self.models, self.folders, self.page = models, folders or {}, page
        self.queries: list[dict[str, list[str]]] = []

    def __call__(self, request: Request) -> None:
        parts = urlsplit(request.path)
        path = unquote(parts.path)
        if path == "/api/models":
            self._list(request, parse_qs(parts.query))
        elif path.startswith("/api/models/"):
            self._tree(request, path.removeprefix("/api/models/").partition("/tree/")[0])
        elif "/resolve/" in path:
            name, _, rest = path.lstrip("/").partition("/resolve/")
            self._file(request, name, rest.partition("/")[2])
        else:
            request.answer_json({"error": "not found"}, 404)

    def _list(self, request: Request, query: dict[str, list[str]]) -> None:
        self.queries.append(query)
        rows = [m for m in self.models if m["pipeline_tag"] in query.get("pipeline_tag", [m["pipeline_tag"]])]
        for wanted in query.get("filter", []):
            rows = [m for m in rows if wanted in m["tags"]]
        if query.get("sort") == ["likes"]:
            rows = sorted(rows, key=lambda m: -m["likes"])
        start = int(query.get("cursor", ["0"])[0])
        more = {}
        if start + self.page < len(rows):
            host = request.headers["host"]
            query_text = urlsplit(request.path).query.partition("&cursor=")[0]
            more["link"] = f'<http://{host}/api/models?{query_text}&cursor={start + self.page}>; rel="next"'
        request.answer_json(rows[start : start + self.page], **more)

    def _tree(self, request: Request, name: str) -> None:
        folder = self.folders.get(name)
        if folder is None:
            missing = {"x_error_code": "RepoNotFound", "x_error_message": "Repository not found"}
            request.answer_json({"error": "Repository not found"}, 404, **missing)
            return
        request.answer_json(
            [
                {"type": "file", "oid": SHA, "size": path.stat().st_size, "path": path.name}
                for path in sorted(folder.iterdir())
            ]
        )

    def _file(self, request: Request, name: str, file: str) -> None:
        path = self.folders[name] / file
        if not path.is_file():
            request.answer_json({"error": "Entry not found"}, 404, x_error_code="EntryNotFound")
            return
        data = path.read_bytes()
        headers = {"etag": f'"{hashlib.sha256(data).hexdigest()}"', "x_repo_commit": SHA}
        if request.method == "HEAD":
            request.start(200, content_length=str(len(data)), **headers)
        else:
            request.answer(data, **headers)


def names_of(log: list[Request]) -> list[str]:
    """Which files were asked for, without their folders."""
    return [unquote(urlsplit(r.path).path).rpartition("/")[2] for r in log if "/resolve/" in r.path]
