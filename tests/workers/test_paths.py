"""Paths stay inside the root; outputs appear whole or not at all."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.workers import WorkerContext, WorkerError, resolve_inside
from orchestai_jax.workers.paths import output_name, write_output


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("a")
    (tmp_path / "secret.txt").write_text("s")
    return root


def test_files_inside_are_found_under_any_spelling(root):
    expected = (root / "sub" / "a.txt").resolve()
    (root / "inner.txt").symlink_to(expected)
    for name in ("sub/a.txt", "./sub/../sub/a.txt", str(expected), "inner.txt"):
        assert resolve_inside(root, name) == expected


@pytest.mark.parametrize(
    "name, message",
    [
        ("../secret.txt", "out of the root"),
        ("sub/../../secret.txt", "out of the root"),
        ("/etc/passwd", "out of the root"),
        ("link.txt", "out of the root"),
        ("linked/secret.txt", "out of the root"),
        ("loop", "not a usable path|out of the root|file not found"),
        ("sub", "is a folder"),
        ("pipe", "not a regular file"),
        ("", "empty file name"),
        ("a\0b", "not a usable path"),
        ("x" * 5000, "not a usable path"),
        ("https://example.org/a.png", "web address"),
        ("sub/b.txt", r"file not found: 'sub/b.txt'.*did you mean 'a.txt'"),
        ("nowhere/b.txt", "file not found"),
    ],
)
def test_everything_else_is_refused_by_name(root, name, message):
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "linked").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    with pytest.raises(WorkerError, match=message):
        resolve_inside(root, name)


@pytest.mark.parametrize(
    "name", [".env", ".env.local", "sub/.env", ".git/config", "harmless.txt", "runs/journals/r1.jsonl", "sub/../.env"]
)
def test_hidden_files_and_journals_are_refused(root, name):
    for hidden in (".env", ".env.local", "sub/.env", ".git/config", "runs/journals/r1.jsonl"):
        (root / hidden).parent.mkdir(parents=True, exist_ok=True)
        (root / hidden).write_text("KEY=abc")
    (root / "harmless.txt").symlink_to(root / ".env")
    with pytest.raises(WorkerError, match=r"hidden|journal"):
        resolve_inside(root, name)


def test_what_is_hidden_is_told_from_what_only_looks_like_it(tmp_path):
    root = tmp_path / ".hidden_root"  # where the root lies does not matter
    for name in ("a.env", "journals/list.txt", "journals.jsonl", "shown/b.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
        assert resolve_inside(root, name) == root / name
    (root / ".link.txt").symlink_to(root / "a.env")  # what the name leads to counts
    assert resolve_inside(root, ".link.txt") == root / "a.env"
    with pytest.raises(WorkerError, match="file not found"):
        resolve_inside(root, "journals/none.txt")


def test_outputs_are_not_hidden_from_the_tasks_that_read_them(tmp_path):
    with pytest.raises(WorkerError, match=r"the output folder '.*\.out' is hidden"):
        write_output(WorkerContext(tmp_path, tmp_path / ".out", "t"), "a.txt", lambda path: path.write_text("x"))


@settings(max_examples=50, deadline=None)
@given(task_id=st.text(min_size=1, max_size=300), other=st.text(min_size=1, max_size=300))
def test_any_task_id_makes_a_file_name_and_no_two_share_one(task_id, other):
    name = output_name(task_id, "resize_image", ".png")
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= 255
    assert (name == output_name(other, "resize_image", ".png")) == (task_id == other)


def test_an_output_appears_whole_or_not_at_all(tmp_path):
    context = WorkerContext(tmp_path, tmp_path / "out", "t1")

    def half(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(WorkerError, match=r"cannot write 'a\.txt': No space left"):
        write_output(context, "a.txt", half)
    assert list((tmp_path / "out").iterdir()) == []
    assert write_output(context, "a.txt", lambda path: path.write_text("one")) == "out/a.txt"
    with (tmp_path / "out" / "a.txt").open() as reader:
        assert write_output(context, "a.txt", lambda path: path.write_text("two")) == "out/a.txt"
        assert reader.read() == "one", "who reads the old output keeps it whole"
    assert (tmp_path / "out" / "a.txt").read_text() == "two"
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_file_in_the_place_of_the_output_folder_is_said(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(WorkerError, match="cannot make the output folder"):
        write_output(WorkerContext(tmp_path, tmp_path / "out", "t1"), "a.txt", lambda path: path.write_text("x"))


def test_the_output_folder_is_inside_the_root_too(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "away").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "root" / "away"):
        with pytest.raises(WorkerError, match="outside the root"):
            write_output(WorkerContext(tmp_path / "root", folder, "t"), "a.txt", lambda path: path.write_text("x"))
    assert not (tmp_path / "a.txt").exists()
