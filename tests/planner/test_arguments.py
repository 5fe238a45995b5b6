"""Plans of several tasks: which task what is said belongs to, and what is said when something is missing."""

import pytest
from planned_arguments import check, named

from orchestai_jax.planner.arguments import ArgumentError, fill_arguments
from orchestai_jax.quickstart.catalog import load_embedded_catalog

CASES = [
    (
        "Resize photo.png to 800x600, convert it to grayscale and blur it with radius 3.",
        ["resize_image", "grayscale_image", "blur_image"],
        None,
        [
            {"image": "photo.png", "width": 800, "height": 600},
            {"image": "<t1.image>"},
            {"image": "<t2.image>", "radius": 3},
        ],
    ),
    (
        "Give me both a grayscale and a blurred version of photo.png",
        ["grayscale_image", "blur_image"],
        [],
        [{"image": "photo.png"}, {"image": "photo.png"}],
    ),
    (
        "Filter sales.csv where amount is greater than 100, sort by date descending "
        "and plot revenue by month as a bar chart",
        ["filter_table", "sort_table", "plot_table"],
        None,
        [
            {"table": "sales.csv", "column": "amount", "operator": ">", "value": 100},
            {"table": "<t1.table>", "column": "date", "descending": True},
            {"table": "<t2.table>", "x": "month", "y": "revenue", "kind": "bar"},
        ],
    ),
    # each of two tasks that take a number gets its own
    (
        "resize a.png to 800 and b.png to 400, then put them next to each other",
        ["resize_image", "resize_image", "combine_images"],
        [(0, 2), (1, 2)],
        [
            {"image": "a.png", "width": 800},
            {"image": "b.png", "width": 400},
            {"first": "<t1.image>", "second": "<t2.image>"},
        ],
    ),
    (
        "Blur a.png with radius 2 and b.png with radius 5",
        ["blur_image", "blur_image"],
        [],
        [{"image": "a.png", "radius": 2}, {"image": "b.png", "radius": 5}],
    ),
    (
        "Cut clip.wav from 5 to 12 seconds, then resample to 16 kHz and draw the spectrogram",
        ["trim_audio", "resample_audio", "spectrogram"],
        None,
        [
            {"audio": "clip.wav", "start": 5, "end": 12},
            {"audio": "<t1.audio>", "rate": 16000},
            {"audio": "<t2.audio>"},
        ],
    ),
    (
        "Find the 4 dominant colors in photo.png and 10 keywords in notes.txt",
        ["extract_palette", "extract_keywords"],
        [],
        [{"image": "photo.png", "colors": 4}, {"text": "notes.txt", "count": 10}],
    ),
    (
        "summarize report.txt in three sentences and list report.txt's keywords, five of them",
        ["summarize_text", "extract_keywords"],
        [],
        [{"text": "report.txt", "sentences": 3}, {"text": "report.txt", "count": 5}],
    ),
]


@pytest.mark.parametrize("instruction, task_types, edges, expected", CASES, ids=named(CASES))
def test_every_task_gets_what_is_said_for_it(instruction, task_types, edges, expected):
    check(instruction, task_types, edges, expected)


def test_what_is_not_said_stays_open_and_is_noted():
    filled = fill_arguments("Filter it", ["filter_table"], [], load_embedded_catalog())
    assert filled.arguments == ({},)
    assert filled.open_arguments == ((0, "table"), (0, "column"), (0, "value"))
    assert len(filled.notes) == 3
    assert "'table'" in filled.notes[0]


def test_an_unknown_task_type_is_refused_with_its_name():
    with pytest.raises(ArgumentError, match=r"t2 has the type 'fly'.*local_tools"):
        fill_arguments("x", ["blur_image", "fly"], [], load_embedded_catalog())


def test_edges_that_lead_backwards_or_nowhere_are_dropped_with_a_note():
    types = ["blur_image", "sharpen_image"]
    filled = fill_arguments("blur and sharpen a.png", types, [(1, 0), (0, 0), (0, 7), (-1, 1)], load_embedded_catalog())
    assert all(i < j for i, j in filled.edges)
    assert sum("does not lead" in note for note in filled.notes) == 4
