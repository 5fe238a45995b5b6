"""Which file or which earlier result each input gets, and in which order."""

import pytest
from planned_arguments import check, named, shown

from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.workflow.workflow import Reference

CASES = [
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
    # two inputs of one type
    (
        "Mix bells.wav into music.wav and tell me how loud the mix is.",
        ["mix_audio", "audio_info"],
        None,
        [{"first": "bells.wav", "second": "music.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "Blend the quiet voice.wav into music.wav. What is the sample rate now?",
        ["mix_audio", "audio_info"],
        None,
        [{"first": "voice.wav", "second": "music.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "Merge sales.csv into customers.csv by customer_id. What are the statistics of it?",
        ["join_tables", "describe_table"],
        None,
        [{"left": "sales.csv", "right": "customers.csv", "key": "customer_id"}, {"table": "<t1.table>"}],
    ),
    ("Mix a.wav and b.wav into mix.wav", ["mix_audio"], [], [{"first": "a.wav", "second": "b.wav"}]),
    ("Zip photo.png into pictures.zip", ["zip_files"], [], [{"first": "photo.png", "name": "pictures.zip"}]),
    (
        "Lay bells.wav on top of music.wav, then show the waveform.",
        ["mix_audio", "plot_waveform"],
        None,
        [{"first": "bells.wav", "second": "music.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "photo.png next to flowers.png. And what size is that?",
        ["combine_images", "image_metadata"],
        None,
        [{"first": "photo.png", "second": "flowers.png"}, {"image": "<t1.image>"}],
    ),
    (
        "Join the orders of region South (sales.csv) with the customers from Lagos (city in customers.csv).",
        ["filter_table", "filter_table", "join_tables"],
        [(0, 2), (1, 2)],
        [
            {"table": "sales.csv", "column": "region", "operator": "==", "value": "South"},
            {"table": "customers.csv", "column": "city", "operator": "==", "value": "Lagos"},
            {"left": "<t1.table>", "right": "<t2.table>"},
        ],
    ),
    # their order
    (
        "bells.wav comes directly after voice.wav; draw a spectrogram of it",
        ["concatenate_audio", "spectrogram"],
        None,
        [{"first": "voice.wav", "second": "bells.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "Append bells.wav to voice.wav. How long is the whole thing?",
        ["concatenate_audio", "audio_info"],
        None,
        [{"first": "voice.wav", "second": "bells.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "Play intro.wav, and after that talk.wav, as one recording. Then make it as loud as possible.",
        ["concatenate_audio", "normalize_audio"],
        None,
        [{"first": "intro.wav", "second": "talk.wav"}, {"audio": "<t1.audio>"}],
    ),
    (
        "Put photo.png to the right of flowers.png and compress the result.",
        ["combine_images", "compress_image"],
        None,
        [{"first": "flowers.png", "second": "photo.png"}, {"image": "<t1.image>"}],
    ),
    (
        "What is different in notes_v2.md compared with notes.md? Make a report of it.",
        ["compare_texts", "build_report"],
        None,
        [{"first": "notes.md", "second": "notes_v2.md"}, {"text": "<t1.text>"}],
    ),
    (
        "Redact contacts.txt and show me how it differs from the original",
        ["redact_text", "compare_texts"],
        None,
        [{"text": "contacts.txt"}, {"first": "contacts.txt", "second": "<t1.text>"}],
    ),
    (
        'Replace "cat" with "dog" in tale.txt. What changed from the old text?',
        ["replace_text", "compare_texts"],
        None,
        [{"text": "tale.txt", "find": "cat", "replacement": "dog"}, {"first": "tale.txt", "second": "<t1.text>"}],
    ),
    # what a word like `its` or `the original` means
    (
        "Draw the histogram of flowers.png and tell me its dimensions while you're at it.",
        ["image_histogram", "image_metadata"],
        [],
        [{"image": "flowers.png"}, {"image": "flowers.png"}],
    ),
    (
        "Make before.bmp a WebP and also clean up the untouched original, it is grainy. Thank you!",
        ["convert_image", "denoise_image"],
        [],
        [{"image": "before.bmp", "format": "webp"}, {"image": "before.bmp"}],
    ),
]


@pytest.mark.parametrize("instruction, task_types, edges, expected", CASES, ids=named(CASES))
def test_inputs_are_found(instruction, task_types, edges, expected):
    check(instruction, task_types, edges, expected)


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
