"""Texts to write, to find and to put in their place."""

import pytest
from planned_arguments import check, named

CASES = [
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
    # the new text named before the old one
    (
        'Please write "Saturday" in place of "Sunday" in notes.md.',
        ["replace_text"],
        [],
        [{"text": "notes.md", "find": "Sunday", "replacement": "Saturday"}],
    ),
    (
        'Use "autumn" where article.txt now says "fall", then summarize it.',
        ["replace_text", "summarize_text"],
        None,
        [{"text": "article.txt", "find": "fall", "replacement": "autumn"}, {"text": "<t1.text>"}],
    ),
    (
        'Instead of "Mr Hill" it should say "Mrs Hall" in letter.txt.',
        ["replace_text"],
        [],
        [{"text": "letter.txt", "find": "Mr Hill", "replacement": "Mrs Hall"}],
    ),
    (
        'Wherever "ACME Ltd" appears in report.txt, put "Blue Sky Inc".',
        ["replace_text"],
        [],
        [{"text": "report.txt", "find": "ACME Ltd", "replacement": "Blue Sky Inc"}],
    ),
    (
        'Put "kilometres" everywhere trip.txt has "miles".',
        ["replace_text"],
        [],
        [{"text": "trip.txt", "find": "miles", "replacement": "kilometres"}],
    ),
    (
        'letter.txt should have "Dear Ms Novak" rather than "Dear Sir".',
        ["replace_text"],
        [],
        [{"text": "letter.txt", "find": "Dear Sir", "replacement": "Dear Ms Novak"}],
    ),
    (
        'The name in notes.md is "Grete", not "Greta". Fix that and show the differences.',
        ["replace_text", "compare_texts"],
        None,
        [{"text": "notes.md", "find": "Greta", "replacement": "Grete"}, {"first": "notes.md", "second": "<t1.text>"}],
    ),
    (
        'Substitute "margarine" for "butter" in recipe.txt.',
        ["replace_text"],
        [],
        [{"text": "recipe.txt", "find": "butter", "replacement": "margarine"}],
    ),
    (
        'Every "recieve" in essay.txt should read "receive". Then count its words.',
        ["replace_text", "text_statistics"],
        None,
        [{"text": "essay.txt", "find": "recieve", "replacement": "receive"}, {"text": "<t1.text>"}],
    ),
    (
        'Search and replace in story.txt: "harbour" becomes "village"',
        ["replace_text"],
        [],
        [{"text": "story.txt", "find": "harbour", "replacement": "village"}],
    ),
    (
        'Resize photo.png to 300 px instead of the usual size. In notes.md put "Ann" in place of "Bob".',
        ["resize_image", "replace_text"],
        [],
        [{"image": "photo.png", "width": 300}, {"text": "notes.md", "find": "Bob", "replacement": "Ann"}],
    ),
    # without quotes
    (
        "In memo.txt say Charles instead of Chidi, please.",
        ["replace_text"],
        [],
        [{"text": "memo.txt", "find": "Chidi", "replacement": "Charles"}],
    ),
    (
        "Could you use metre instead of meter throughout science.txt?",
        ["replace_text"],
        [],
        [{"text": "science.txt", "find": "meter", "replacement": "metre"}],
    ),
    (
        "change colour to color in article.txt and make a web page of it",
        ["replace_text", "markdown_to_html"],
        None,
        [{"text": "article.txt", "find": "colour", "replacement": "color"}, {"text": "<t1.text>"}],
    ),
    (
        "Swap tea for coffee in recipe.txt",
        ["replace_text"],
        [],
        [{"text": "recipe.txt", "find": "tea", "replacement": "coffee"}],
    ),
]


@pytest.mark.parametrize("instruction, task_types, edges, expected", CASES, ids=named(CASES))
def test_texts_are_read(instruction, task_types, edges, expected):
    check(instruction, task_types, edges, expected)
