"""Reading JSON: every complaint names the file, the line and the field."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import DataError
from orchestai_jax.data.located_json import json_array, json_lines


def write(tmp_path, content, name="file.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file.jsonl: the file is empty"),
        ("\n \n", "the file is empty"),
        ('{"a": 1}\n{"a": ', "file.jsonl:2: the line ends too early"),
        ('{"a": 1}\n\n{"a": "x', "file.jsonl:3"),
        ('{"a" 1}\n{}', "file.jsonl:1: the line is not valid JSON"),
        ('[{"a": 1}]', "file.jsonl:1: expected a JSON object"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": ' + "[" * 100_000, "file.jsonl:1"),
        ('{"a": ' + "9" * 5000 + "}", "file.jsonl:1"),
        ('{"a": 1}\n{"a": "caf\u00e9"}'.encode("latin-1"), "file.jsonl:2: byte 0xe9 is not UTF-8"),
        ('{"a": "\u00e9"}\n'.encode() + b'{"a": "\xe9"}', "file.jsonl:2"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16"),
        (b"\x00\x01\x02", "file.jsonl:1"),
    ],
)
def test_a_broken_line_is_named(tmp_path, content, message):
    with pytest.raises(DataError) as caught:
        list(json_lines(write(tmp_path, content)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_byte_order_mark_windows_lines_and_line_separators_inside_strings_are_fine(tmp_path):
    content = b"\xef\xbb\xbf" + '{"a": "x\u2028y"}\r\n\r\n{"a": 2}\r\n'.encode()
    found = list(json_lines(write(tmp_path, content)))
    assert [entry.value["a"] for entry in found] == ["x\u2028y", 2]
    assert found[1].place.endswith(":3")


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(json_lines(tmp_path / "gone"))
    with pytest.raises(DataError, match="is a folder"):
        list(json_lines(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file is empty"),
        ("[]", "array is empty"),
        ('{"a": 1}', ":1: expected a JSON array"),
        ('[\n{"a": 1},\n{"a": ', ":3: the file ends too early"),
        ('[\n{"a": 1}\n', "ends too early"),
        ('[\n{"a": 1}\n{"a": 2}]', ":3: expected `,` or `]`"),
        ('[\n{"a": 1},\n3]', ":3: expected a JSON object"),
        ('[{"a": 1}] x', "text after the end"),
        ('[{"a": 1},]', ":1"),
    ],
)
def test_a_broken_array_is_named_by_line(tmp_path, content, message):
    with pytest.raises(DataError) as caught:
        list(json_array(write(tmp_path, content)))
    assert message in str(caught.value)


def test_entries_of_an_array_know_their_line(tmp_path):
    found = list(json_array(write(tmp_path, '[\n  {"a": 1},\n\n  {"a":\n 2}\n]\n')))
    assert [(entry.value["a"], entry.place.rsplit(":", 1)[1]) for entry in found] == [(1, "2"), (2, "4")]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8) | st.none()), max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_was_written_is_read(tmp_path_factory, objects):
    folder = tmp_path_factory.mktemp("json")
    if objects:
        lines = write(folder, "\n".join(json.dumps(o, ensure_ascii=False) for o in objects))
        assert [entry.value for entry in json_lines(lines)] == objects
        array = write(folder, json.dumps(objects, indent=1), "array.json")
        assert [entry.value for entry in json_array(array)] == objects
