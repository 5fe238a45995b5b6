"""Charts show what is in the data."""

import asyncio

import numpy as np
import pytest
from PIL import Image

from orchestai_jax.workers import WorkerContext, WorkerError


@pytest.mark.parametrize("kind", ["bar", "line", "scatter", "histogram"])
def test_every_kind_of_chart_is_drawn(do, samples, kind):
    name = do("plot_table_matplotlib", table="weather.tsv", x="date", y="temperature", kind=kind, title="$5 \\frac{ $€")
    with Image.open(samples / name["image"]) as image:
        assert image.size == (800, 500)
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_bars_add_up_the_rows_of_a_value(do, tmp_path):
    (tmp_path / "t.csv").write_text("k,v\na,1\nb,2\na,1\n")
    (tmp_path / "u.csv").write_text("k,v\na,2\nb,2\n")
    pictures = [
        np.asarray(Image.open(tmp_path / do("plot_table_matplotlib", root=tmp_path, table=t, task_id=t[0])["image"]))
        for t in ("t.csv", "u.csv")
    ]
    assert np.array_equal(*pictures)


def test_tables_that_cannot_be_drawn_are_refused(do, tmp_path):
    (tmp_path / "words.csv").write_text("a,b\nx,y\n")
    (tmp_path / "none.csv").write_text("a,b\n")
    for table, arguments, message in (
        ("words.csv", {}, "no number column to draw; the table has a, b"),
        ("words.csv", {"y": "b"}, "column 'b' holds 'y', which is not a number"),
        ("none.csv", {}, "no rows to draw"),
        ("words.csv", {"kind": "pie"}, "must be one of bar, line, scatter, histogram"),
    ):
        with pytest.raises(WorkerError, match=message):
            do("plot_table_matplotlib", root=tmp_path, table=table, **arguments)


def test_charts_drawn_at_once_do_not_disturb_each_other(do, samples, catalog, workers):
    task_type, worker = catalog.task_type("plot_waveform"), workers["plot_waveform_matplotlib"]

    async def many():
        runs = [
            worker.run(task_type, {"audio": "voice.wav"}, WorkerContext(samples, samples / "out" / "charts", f"t{i}"))
            for i in range(4)
        ]
        return await asyncio.gather(*runs)

    pictures = {(samples / output.values["image"]).read_bytes() for output in asyncio.run(many())}
    assert len(pictures) == 1
