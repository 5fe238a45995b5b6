import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.training import MetricsLog, read_metrics


def write(log, step, split="train", **values):
    log.write(step=step, epoch=1, split=split, values=values or {"loss": 1 / step}, learning_rate=0.1, wall_s=2.0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (2, 4, 4, 6):
        write(log, step)
    log.close()
    return path


def test_lines_are_there_at_once(tmp_path):
    log = MetricsLog(tmp_path / "m")
    write(log, 3, loss=0.1, other=1e-30)
    assert read_metrics(tmp_path / "m") == [
        {
            "step": 3,
            "epoch": 1,
            "split": "train",
            "values": {"loss": 0.1, "other": 1e-30},
            "learning_rate": 0.1,
            "wall_s": 2.0,
        }
    ]
    log.close()


@pytest.mark.parametrize(("step", "kept"), [(0, []), (3, [2]), (4, [2, 4, 4]), (9, [2, 4, 4, 6])])
def test_cut_back(path, step, kept):
    before = path.read_text()
    log = MetricsLog.resumed_at(path, step)
    write(log, 5)
    log.close()
    assert [line["step"] for line in read_metrics(path)] == [*kept, 5]
    assert before.startswith("".join(path.read_text().splitlines(keepends=True)[:-1]))


def test_a_broken_line_in_the_middle_is_named(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: not a line of metrics"):
        read_metrics(path)


def test_a_line_of_something_else_is_named(path):
    path.write_text(path.read_text() + '{"step": 3}\n')
    with pytest.raises(ValueError, match=r":5: .*epoch"):
        read_metrics(path)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 400))
def test_wherever_the_writer_died_whole_lines_are_read(cut):
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m"
        log = MetricsLog(path)
        for step in (1, 2, 3):
            write(log, step)
        log.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:cut])
        assert [line["step"] for line in read_metrics(path)] == [1, 2, 3][: whole[:cut].count(b"\n")]
