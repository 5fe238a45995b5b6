"""Regular expressions against Python's re, and the words of HTML pages."""

import csv
import re

import pytest

from orchestai_jax.workers import WorkerError, text_patterns


def rows_of(samples, values):
    with (samples / values["table"]).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("pattern", [r"\b\w{9,}\b", r"^\w+", r"(?P<first>[A-Z])(\w+)", r"train"])
def test_matches_are_those_of_python(do, samples, pattern):
    text = (samples / "article.txt").read_text(encoding="utf-8")
    found = list(re.finditer(pattern, text, re.MULTILINE))
    header, *rows = rows_of(samples, do("extract_matches_regex", text="article.txt", pattern=pattern))
    names = ["first", "group_2"] if "first" in pattern else []
    assert header == ["line", "match", *names]
    assert rows == [[str(text.count("\n", 0, m.start()) + 1), m[0], *m.groups()] for m in found]


def test_case_can_be_ignored(do, samples):
    _, *rows = rows_of(samples, do("extract_matches_regex", text="Ab aB\nAB b", pattern="ab", ignore_case="yes"))
    assert rows == [["1", "Ab"], ["1", "aB"], ["2", "AB"]]


@pytest.mark.parametrize(
    "text, pattern, said",
    [
        ("abc", "", "pattern is empty"),
        ("abc", "(", "not a regular expression"),
        ("abc", "x", "nothing in the text matches"),
        ("abc", "z*", "nothing in the text matches"),
    ],
)
def test_patterns_that_give_nothing(do, text, pattern, said):
    with pytest.raises(WorkerError, match=said):
        do("extract_matches_regex", text=text, pattern=pattern)


def test_a_pattern_that_would_search_for_ever_is_stopped(do, monkeypatch):
    monkeypatch.setattr(text_patterns, "MATCH_SECONDS", 0.05)
    with pytest.raises(WorkerError, match=r"searches longer than 0\.05 s"):
        do("extract_matches_regex", text="a" * 60 + "b", pattern=r"((a|aa)+)+$")


def test_the_number_of_matches_is_bounded(do, monkeypatch):
    monkeypatch.setattr(text_patterns, "MAX_MATCHES", 3)
    with pytest.raises(WorkerError, match="matches more than 3 times"):
        do("extract_matches_regex", text="aaaa", pattern="a")


def test_a_page_becomes_its_words(do, samples):
    page = (
        "<!doctype html><html><head><title>Tr&auml;ins</title><style>p{}</style><script>if (a<b) {}</script></head>"
        "<body><!-- no --><h1>A &amp; B</h1><p>one\n  two<b>three</b></p><ul><li>x<li>y</ul>"
        "<table><tr><td>1</td><td>2</td></tr></table>tail &lt;end&gt;<br>last"
    )
    path = samples / do("html_to_text_parser", text=page)["text"]
    assert path.read_text(encoding="utf-8").splitlines() == [
        "Träins", "A & B", "one twothree", "x", "y", "1 2", "tail <end>", "last",
    ]  # fmt: skip
    with pytest.raises(WorkerError, match="has no words"):
        do("html_to_text_parser", text="<script>only()</script>")
