"""Instructions that name the files of a folder."""

import pytest

from orchestai_jax.data import DataError, SynthesisConfig, instructions_on_files, parse_templates
from orchestai_jax.workflow import Catalog, Port, TaskType


def kind(name, takes, gives, required=True):
    ports = tuple(Port(name=f"in{i}", type=t, required=required) for i, t in enumerate(takes))
    return TaskType(id=name, description=f"{name} it.", inputs=ports, outputs=(Port(name="out", type=gives),))


CATALOG = Catalog(
    task_types=(
        kind("blur_image", ["image"], "image"),
        kind("read_image", ["image"], "text"),
        kind("count_words", ["text"], "number"),
        kind("play_audio", ["audio"], "audio"),
        kind("mix_video", ["video", "audio"], "video"),
        kind("hash_file", ["file"], "text"),
    )
)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "B.JPG", "sub/c.png", ".hidden.png", "outputs/d.png", "my e.png", "x.bin", "sub/deep/f.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_they_name_what_is_there_and_ask_for_what_can_be_done(folder):
    samples = instructions_on_files(CATALOG, SynthesisConfig(n=60, seed=1, max_tasks=3), folder)
    named = {
        argument["value"] for s in samples for arguments in s.arguments for argument in arguments.values()
        if "value" in argument
    }  # fmt: skip
    assert named == {"a.png", "B.JPG", "sub/c.png"}
    assert all(any(name in s.instruction for name in named) for s in samples)
    # Words can be counted in what a picture says; nothing here is heard.
    assert {t for s in samples for t in s.task_types} == {"blur_image", "read_image", "count_words", "hash_file"}
    again = instructions_on_files(CATALOG, SynthesisConfig(n=60, seed=1, max_tasks=3), folder)
    assert samples == again


def test_templates_of_task_types_that_are_left_out_are_no_fault(folder):
    table = parse_templates(
        {"task_types": {"play_audio": {"do": ["play {in0}"]}, "blur_image": {"do": ["SMUDGE {in0}"]}}}
    )
    samples = instructions_on_files(CATALOG, SynthesisConfig(n=20), folder, table)
    assert any("smudge" in s.instruction.lower() for s in samples)


def test_a_folder_without_files_is_refused(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="holds no file of a known kind"):
        instructions_on_files(CATALOG, SynthesisConfig(n=1), empty)
    deaf = Catalog(task_types=(CATALOG.task_type("play_audio"),))
    with pytest.raises(DataError, match="no task type can use the files"):
        instructions_on_files(deaf, SynthesisConfig(n=1), folder)
