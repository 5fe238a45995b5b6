"""Requests over the embedded catalog and the arguments that the rules must read from them.

The requests are made up here; the quickstart's held-out requests are not looked at.
"""

import pytest

from orchestai_jax.planner.arguments import ArgumentError, fill_arguments
from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.workflow.validation import validate_workflow
from orchestai_jax.workflow.workflow import Reference, Task, Workflow


def chain(n):
    return [(i, i + 1) for i in range(n - 1)]


def shown(arguments):
    return {k: f"<{v.task}.{v.output}>" if isinstance(v, Reference) else v.value for k, v in arguments.items()}


def workflow(task_types, filled):
    return Workflow(
        tasks=tuple(
            Task(
                id=f"t{j + 1}",
                task_type=name,
                arguments=filled.arguments[j],
                depends_on=tuple(f"t{i + 1}" for i, k in sorted(filled.edges) if k == j),
            )
            for j, name in enumerate(task_types)
        )
    )


# (instruction, task types, predicted edges or None for a chain, expected arguments)
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
    # numbers: units, words, signs, factors, times
    (
        "Make photo.png 300 px wide and 200 px high, then blur it by 2.5",
        ["resize_image", "blur_image"],
        None,
        [{"image": "photo.png", "width": 300, "height": 200}, {"image": "<t1.image>", "radius": 2.5}],
    ),
    (
        "Shrink photo.png to half its size and compress it to under 200 KB",
        ["resize_image", "compress_image"],
        None,
        [{"image": "photo.png", "scale": 0.5}, {"image": "<t1.image>", "max_kilobytes": 200}],
    ),
    (
        "Scale photo.png by 150% then scale it down by 25%",
        ["resize_image", "resize_image"],
        None,
        [{"image": "photo.png", "scale": 1.5}, {"image": "<t1.image>", "scale": 0.75}],
    ),
    ("Make photo.png twice as large", ["resize_image"], [], [{"image": "photo.png", "scale": 2}]),
    (
        "Crop a 300x200 rectangle out of photo.png, 10 px from the left and 20 px from the top",
        ["crop_image"],
        [],
        [{"image": "photo.png", "width": 300, "height": 200, "left": 10, "top": 20}],
    ),
    ("Rotate scan.jpg a quarter turn to the left", ["rotate_image"], [], [{"image": "scan.jpg", "degrees": -90}]),
    ("Turn scan.jpg upside down", ["rotate_image"], [], [{"image": "scan.jpg", "degrees": 180}]),
    (
        'Turn photo.jpg counterclockwise by 30 degrees, add the watermark "Draft copy" and save it as a webp',
        ["rotate_image", "watermark_image", "convert_image"],
        None,
        [
            {"image": "photo.jpg", "degrees": -30},
            {"image": "<t1.image>", "label": "Draft copy"},
            {"image": "<t2.image>", "format": "webp"},
        ],
    ),
    (
        "Mix voice.wav and music.mp3, normalize to -3 dB and cut the first 10 seconds",
        ["mix_audio", "normalize_audio", "trim_audio"],
        None,
        [
            {"first": "voice.wav", "second": "music.mp3"},
            {"audio": "<t1.audio>", "peak_db": -3},
            {"audio": "<t2.audio>", "end": 10},
        ],
    ),
    (
        "I have talk.wav. Remove the noise, bring it to 16000 Hz, and save the part between 0:30 and 1:15",
        ["denoise_audio", "resample_audio", "trim_audio"],
        None,
        [
            {"audio": "talk.wav"},
            {"audio": "<t1.audio>", "rate": 16000},
            {"audio": "<t2.audio>", "start": 30, "end": 75},
        ],
    ),
    (
        "Fade clip.wav for half a second at both ends, keeping 2 to 8 seconds",
        ["trim_audio"],
        [],
        [{"audio": "clip.wav", "start": 2, "end": 8, "fade": 0.5}],
    ),
    (
        "Concatenate a.wav and b.wav with 1.5 seconds of silence between them, then normalize to 2 dB below full scale",
        ["concatenate_audio", "normalize_audio"],
        None,
        [{"first": "a.wav", "second": "b.wav", "pause": 1.5}, {"audio": "<t1.audio>", "peak_db": -2}],
    ),
    (
        "Take the first 20 seconds of song.wav and mix it with voice.wav, 70% song",
        ["trim_audio", "mix_audio"],
        None,
        [{"audio": "song.wav", "end": 20}, {"first": "<t1.audio>", "second": "voice.wav", "balance": 0.7}],
    ),
    # conditions
    (
        "Remove duplicates from people.csv by email and keep rows with age of at least 30",
        ["deduplicate_table", "filter_table"],
        None,
        [
            {"table": "people.csv", "column": "email"},
            {"table": "<t1.table>", "column": "age", "operator": ">=", "value": 30},
        ],
    ),
    (
        "Keep the rows of orders.csv where the status is not shipped",
        ["filter_table"],
        [],
        [{"table": "orders.csv", "column": "status", "operator": "!=", "value": "shipped"}],
    ),
    (
        "Drop all rows with a price below 2.50 from sales.csv, then average price by region",
        ["filter_table", "aggregate_table"],
        None,
        [
            {"table": "sales.csv", "column": "price", "operator": ">=", "value": 2.5},
            {"table": "<t1.table>", "group_by": "region", "column": "price", "function": "mean"},
        ],
    ),
    (
        "Please give me the customers from customers.csv whose country is 'United Kingdom', only name and email",
        ["filter_table", "select_columns"],
        None,
        [
            {"table": "customers.csv", "column": "country", "operator": "==", "value": "United Kingdom"},
            {"table": "<t1.table>", "columns": "name,email"},
        ],
    ),
    (
        "orders.csv: rows with more than 10 units",
        ["filter_table"],
        [],
        [{"table": "orders.csv", "column": "units", "operator": ">", "value": 10}],
    ),
    (
        "Show rows of weather.csv with a temperature of 30 or more",
        ["filter_table"],
        [],
        [{"table": "weather.csv", "column": "temperature", "operator": ">=", "value": 30}],
    ),
    (
        "filter log.csv: unit price<=9.99",
        ["filter_table"],
        [],
        [{"table": "log.csv", "column": "unit price", "operator": "<=", "value": 9.99}],
    ),
    (
        "Only rows of people.csv where city contains 'ber'",
        ["filter_table"],
        [],
        [{"table": "people.csv", "column": "city", "operator": "contains", "value": "ber"}],
    ),
    # columns, enumerations, booleans
    (
        "Total revenue per region in sales.csv, top 5 regions by revenue",
        ["aggregate_table", "sort_table"],
        None,
        [
            {"table": "sales.csv", "group_by": "region", "column": "revenue", "function": "sum"},
            {"table": "<t1.table>", "column": "revenue", "descending": True, "limit": 5},
        ],
    ),
    (
        "Sort cities.csv by population, largest first, keep the first 5 and plot them",
        ["sort_table", "plot_table"],
        None,
        [
            {"table": "cities.csv", "column": "population", "descending": True, "limit": 5},
            {"table": "<t1.table>"},
        ],
    ),
    (
        "order cities.csv by name from A to Z",
        ["sort_table"],
        [],
        [{"table": "cities.csv", "column": "name", "descending": False}],
    ),
    (
        "Left join a.csv with b.csv using id, then dedupe on email and export as json lines",
        ["join_tables", "deduplicate_table", "convert_table"],
        None,
        [
            {"left": "a.csv", "right": "b.csv", "key": "id", "how": "left"},
            {"table": "<t1.table>", "column": "email"},
            {"table": "<t2.table>", "format": "jsonl"},
        ],
    ),
    (
        "Join orders.csv with customers.csv on customer_id, keep only the columns name, total and city",
        ["join_tables", "select_columns"],
        None,
        [
            {"left": "orders.csv", "right": "customers.csv", "key": "customer_id"},
            {"table": "<t1.table>", "columns": "name,total,city"},
        ],
    ),
    (
        "Make a histogram of the price column of sales.csv titled Prices",
        ["plot_table"],
        [],
        [{"table": "sales.csv", "y": "price", "kind": "histogram", "title": "Prices"}],
    ),
    (
        "Convert photo.png to photo.jpg",
        ["convert_image"],
        [],
        [{"image": "photo.png", "format": "jpeg"}],
    ),
    ("Change the picture old.png from PNG to JPEG", ["convert_image"], [], [{"image": "old.png", "format": "jpeg"}]),
    (
        "Which words occur most often in notes.txt? Give me the top 10 as a csv",
        ["word_frequencies", "convert_table"],
        None,
        [{"text": "notes.txt", "count": 10}, {"table": "<t1.table>", "format": "csv"}],
    ),
    (
        "Convert notes.md to HTML with the title 'My Notes' and compute its SHA-1 checksum",
        ["markdown_to_html", "checksum_file"],
        None,
        [{"text": "notes.md", "title": "My Notes"}, {"file": "<t1.document>", "algorithm": "sha1"}],
    ),
    # texts
    (
        "Replace 'foo' with 'bar' in notes.txt",
        ["replace_text"],
        [],
        [{"text": "notes.txt", "find": "foo", "replacement": "bar"}],
    ),
    (
        'in notes.txt change every "cat" to "dog" and summarize in one sentence',
        ["replace_text", "summarize_text"],
        None,
        [{"text": "notes.txt", "find": "cat", "replacement": "dog"}, {"text": "<t1.text>", "sentences": 1}],
    ),
    (
        "Remove the word 'draft' from notes.txt",
        ["replace_text"],
        [],
        [{"text": "notes.txt", "find": "draft"}],
    ),
    (
        'Detect the language of "Guten Tag, wie geht es Ihnen?"',
        ["detect_language"],
        [],
        [{"text": "Guten Tag, wie geht es Ihnen?"}],
    ),
    (
        "Summarize the following text: The fox jumps over the dog. The dog sleeps on.",
        ["summarize_text"],
        [],
        [{"text": "The fox jumps over the dog. The dog sleeps on."}],
    ),
    (
        "Watermark photo.png with SAMPLE and blur it slightly",
        ["watermark_image", "blur_image"],
        None,
        [{"image": "photo.png", "label": "SAMPLE"}, {"image": "<t1.image>"}],
    ),
    (
        "Zip a.png, b.csv and c.txt into bundle.zip and give me the md5 checksum",
        ["zip_files", "checksum_file"],
        None,
        [
            {"first": "a.png", "second": "b.csv", "third": "c.txt", "name": "bundle.zip"},
            {"file": "<t1.archive>", "algorithm": "md5"},
        ],
    ),
    # files
    ("把photo.png缩小", ["resize_image"], [], [{"image": "photo.png"}]),
    ("blur 写真.png", ["blur_image"], [], [{"image": "写真.png"}]),
    ("blur 'my holiday photo.png', please", ["blur_image"], [], [{"image": "my holiday photo.png"}]),
    ("Blur data/in/photo.v2.png.", ["blur_image"], [], [{"image": "data/in/photo.v2.png"}]),
    # results of earlier tasks
    (
        "Summarize old.txt in 2 sentences and compare the summary with the original",
        ["summarize_text", "compare_texts"],
        None,
        [{"text": "old.txt", "sentences": 2}, {"first": "<t1.text>", "second": "old.txt"}],
    ),
    (
        "Put photo.png and a sharpened version of it next to each other",
        ["sharpen_image", "combine_images"],
        None,
        [{"image": "photo.png"}, {"first": "photo.png", "second": "<t1.image>"}],
    ),
    (
        "Plot sales.csv as a line chart, summarize notes.txt, and put the chart and the summary "
        "in a report titled 'Q3'",
        ["plot_table", "summarize_text", "build_report"],
        [],
        [
            {"table": "sales.csv", "kind": "line"},
            {"text": "notes.txt"},
            {"text": "<t2.text>", "image": "<t1.image>", "title": "Q3"},
        ],
    ),
    (
        'Create a report with the title "Sales 2024" from the chart of sales.csv (revenue by month, line) '
        "and the text in notes.txt",
        ["plot_table", "build_report"],
        None,
        [
            {"table": "sales.csv", "x": "month", "y": "revenue", "kind": "line"},
            {"image": "<t1.image>", "text": "notes.txt", "title": "Sales 2024"},
        ],
    ),
    (
        "Resize a.png and b.png to 300 px and put them side by side",
        ["resize_image", "resize_image", "combine_images"],
        [(0, 2), (1, 2)],
        [
            {"image": "a.png", "width": 300},
            {"image": "b.png", "width": 300},
            {"first": "<t1.image>", "second": "<t2.image>"},
        ],
    ),
    (
        "Between second 3 and second 9 of birds.wav: show the waveform",
        ["trim_audio", "plot_waveform"],
        None,
        [{"audio": "birds.wav", "start": 3, "end": 9}, {"audio": "<t1.audio>"}],
    ),
    ("Remove everything before 0:10 in talk.wav", ["trim_audio"], [], [{"audio": "talk.wav", "start": 10}]),
    (
        "What is the highest price per region in sales.csv? Sort the answer by region.",
        ["aggregate_table", "sort_table"],
        None,
        [
            {"table": "sales.csv", "group_by": "region", "column": "price", "function": "max"},
            {"table": "<t1.table>", "column": "region"},
        ],
    ),
    (
        "Pack photo.png and sales.csv in a zip called backup",
        ["zip_files"],
        [],
        [{"first": "photo.png", "second": "sales.csv", "name": "backup"}],
    ),
    (
        "Draw the waveform of a.wav and the spectrogram of b.wav",
        ["plot_waveform", "spectrogram"],
        [],
        [{"audio": "a.wav"}, {"audio": "b.wav"}],
    ),
]


@pytest.mark.parametrize("instruction, task_types, edges, expected", CASES, ids=[case[0][:48] for case in CASES])
def test_arguments_are_read_from_the_instruction(instruction, task_types, edges, expected):
    catalog = load_embedded_catalog()
    filled = fill_arguments(instruction, task_types, chain(len(task_types)) if edges is None else edges, catalog)
    assert [shown(a) for a in filled.arguments] == expected
    assert validate_workflow(workflow(task_types, filled), catalog) == []
    assert filled.open_arguments == ()


def test_a_pronoun_adds_the_edge_that_was_not_predicted():
    catalog = load_embedded_catalog()
    types = ["resize_image", "blur_image"]
    filled = fill_arguments("Resize photo.png to 300 px and blur it", types, [], catalog)
    assert filled.edges == {(0, 1)}
    assert filled.arguments[1]["image"] == Reference(task="t1", output="image")


def test_a_pronoun_adds_no_edge_that_the_planner_holds_to_be_impossible():
    catalog = load_embedded_catalog()
    types = ["image_histogram", "blur_image"]
    filled = fill_arguments(
        "Draw the histogram of photo.png and blur it", types, [], catalog, edge_probability=lambda i, j: 0.01
    )
    assert filled.edges == frozenset()
    assert shown(filled.arguments[1]) == {"image": "photo.png"}


def test_a_pronoun_passes_over_results_of_another_type():
    catalog = load_embedded_catalog()
    types = ["image_metadata", "blur_image"]
    filled = fill_arguments("Show the metadata of photo.png and blur it", types, [], catalog)
    assert shown(filled.arguments[1]) == {"image": "photo.png"}


def test_an_edge_that_no_input_can_take_is_dropped_with_a_note():
    catalog = load_embedded_catalog()
    types = ["checksum_file", "rotate_image"]
    filled = fill_arguments("Compute the checksum of photo.png and rotate it by 90 degrees", types, [(0, 1)], catalog)
    assert filled.edges == frozenset()
    assert any("dropped the edge t1 -> t2" in note for note in filled.notes)
    assert shown(filled.arguments[1]) == {"image": "photo.png", "degrees": 90}


def test_the_likelier_of_two_producers_gets_the_only_input():
    catalog = load_embedded_catalog()
    types = ["blur_image", "sharpen_image", "rotate_image"]
    text = "Blur photo.png, sharpen photo.png and rotate the result"
    for likely in (0, 1):
        filled = fill_arguments(
            text, types, [(0, 2), (1, 2)], catalog, edge_probability=lambda i, j, k=likely: 0.9 if i == k else 0.6
        )
        assert filled.arguments[2]["image"] == Reference(task=f"t{likely + 1}", output="image")
        assert filled.edges == {(likely, 2)}


def test_a_file_of_its_own_wins_over_a_doubtful_edge_only():
    catalog = load_embedded_catalog()
    types = ["blur_image", "sharpen_image"]
    text = "Blur a.png and sharpen b.png"
    doubtful = fill_arguments(text, types, [(0, 1)], catalog, edge_probability=lambda i, j: 0.6)
    assert shown(doubtful.arguments[1]) == {"image": "b.png"}
    assert doubtful.edges == frozenset()
    certain = fill_arguments(text, types, [(0, 1)], catalog, edge_probability=lambda i, j: 0.95)
    assert certain.edges == {(0, 1)}


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
