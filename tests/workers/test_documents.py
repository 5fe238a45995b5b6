"""HTML documents: what Markdown becomes, and that nothing of the source is run."""

import base64
import html.parser
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestai_jax.workers import WorkerError
from orchestai_jax.workers.documents import markdown_body

BLOCKS = set(re.findall(r"\w+", "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code hr a img table thead tbody tr th td"))
VOID = {"br", "hr", "img", "meta"}


class Checker(html.parser.HTMLParser):
    """Collects the tags and fails where they do not nest."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def check(body: str) -> list[tuple[str, dict]]:
    checker = Checker()
    checker.feed(body)
    assert checker.open == []
    return checker.seen


@pytest.mark.parametrize(
    "markdown, expected",
    [
        ("# A *b*", "<h1>A <em>b</em></h1>"),
        ("a **b** `c*d*`", "<p>a <strong>b</strong> <code>c*d*</code></p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
        ("```\n<x>\n```", "<pre><code>&lt;x&gt;</code></pre>"),
        ("---", "<hr>"),
        ("[a](https://e.org/?x=1&y=2)", '<p><a href="https://e.org/?x=1&amp;y=2">a</a></p>'),
        ("![a](b.png)", '<p><img alt="a" src="b.png"></p>'),
        ("|a|b|\n|-|-|\n|1|2|",
         "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>"),
        ("snake_case_name 2*3*4", "<p>snake_case_name 2<em>3</em>4</p>"),
        ("a\n# b", "<p>a</p>\n<h1>b</h1>"),
        ("unclosed ``` fence\n```\ncode", "<p>unclosed ``` fence</p>\n<pre><code>code</code></pre>"),
    ],
)  # fmt: skip
def test_markdown_becomes_html(markdown, expected):
    assert markdown_body(markdown) == expected


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert)",
        "[a](data:text/html,x)",
        "![x](vbscript:x)",
        '[a](https://e.org/"onclick="x)',
        "`<img src=x onerror=y>`",
    ],
)
def test_nothing_of_the_source_is_run(attack):
    tags = check(markdown_body(attack))
    assert {tag for tag, _ in tags} <= {"p", "a", "img", "code"}
    for _, attributes in tags:
        assert not any(name.startswith("on") for name in attributes)
        assert all(":" not in value or value.startswith("https:") for value in attributes.values())


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab \n#*_`-[](!)>|<1.&\"'\\\0", max_size=80))
def test_any_text_gives_well_nested_blocks(text):
    body = markdown_body(text)
    for tag in ("em", "strong"):  # emphasis may interleave in odd sources; browsers mend it
        body = body.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    assert {tag for tag, _ in check(body)} <= BLOCKS


def test_the_sample_notes_have_every_kind_of_block(do, samples):
    page = (samples / do("markdown_to_html_blocks", text="notes.md", title="A & B")["document"]).read_text()
    tags = {tag for tag, _ in check(page)}
    assert {"h1", "h2", "ol", "ul", "table", "blockquote", "pre", "a", "strong", "em", "code"} <= tags
    assert "<title>A &amp; B</title>" in page
    assert "&lt;the list&gt;" in page


def test_a_report_holds_its_parts(do, samples):
    name = do("build_report_html", text="recipe.txt", table="sales.csv", image="logo.png", title="<Sales>")["document"]
    page = (samples / name).read_text(encoding="utf-8")
    sources = [attributes["src"] for tag, attributes in check(page) if tag == "img"]
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0].removeprefix("data:image/png;base64,"))))
    assert picture.size == (400, 400)
    assert "<h1>&lt;Sales&gt;</h1>" in page
    assert "sourdough starter" in page
    assert page.count("<tr>") == 51
    assert "50 of 503 rows" in page
    with pytest.raises(WorkerError, match="at least one of text, table and image"):
        do("build_report_html", title="Nothing")
