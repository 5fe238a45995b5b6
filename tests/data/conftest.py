"""Small files of rows, for every reader."""

import json

import pytest


@pytest.fixture
def write_lines(tmp_path):
    """Writes rows as JSON lines and gives the path."""

    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        return path

    return write
