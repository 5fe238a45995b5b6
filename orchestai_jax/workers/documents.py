"""HTML documents: Markdown to HTML, and reports of text, table and picture."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from typing import Any

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.words import paragraphs_of
from orchestai_jax.workers.worker import WorkerError

MAX_REPORT_ROWS = 50
MAX_REPORT_PICTURE = 1600
"""Longest side in pixels of a picture within a report; larger ones are scaled down."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}"
    "pre{background:#f4f4f4;padding:.8rem;overflow:auto}blockquote{border-left:4px solid #ccc;margin-left:0;"
    "padding-left:1rem;color:#555}img{max-width:100%}"
)


def markdown_to_html_blocks(call: ToolCall) -> dict[str, Any]:
    """An HTML page; raw HTML of the source is escaped, links lead to http, https, mailto or relative targets only."""
    body = markdown_body(call.text("text"))
    return {"document": call.write_text(".html", page(call.string("title"), body))}


def build_report_html(call: ToolCall) -> dict[str, Any]:
    """One HTML file with the text, the first rows of the table and the picture in it."""
    if not any(call.given(name) for name in ("text", "table", "image")):
        raise WorkerError("build_report needs at least one of text, table and image")
    title = call.string("title")
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if call.given("text"):
        parts += [
            "<p>" + html.escape(block).replace("\n", "<br>\n") + "</p>" for block in paragraphs_of(call.text("text"))
        ]
    if call.given("image"):
        parts.append(f'<p><img alt="picture" src="data:image/png;base64,{_picture(call)}"></p>')
    if call.given("table"):
        parts.append(_table(call))
    return {"document": call.write_text(".html", page(title, "\n".join(parts)))}


def page(title: str, body: str) -> str:
    """A whole HTML page around a body."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def markdown_body(text: str) -> str:
    """HTML of a Markdown text: headings, paragraphs, lists, quotes, code, tables, rules, emphasis, links, pictures."""
    lines = text.expandtabs(4).split("\n")
    out: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            i += 1
        elif line.lstrip().startswith("```"):
            end = next((j for j in range(i + 1, len(lines)) if lines[j].lstrip().startswith("```")), len(lines))
            out.append("<pre><code>" + html.escape("\n".join(lines[i + 1 : end])) + "</code></pre>")
            i = end + 1
        elif heading := re.fullmatch(r"(#{1,6})\s+(.*?)\s*#*", line):
            level = len(heading[1])
            out.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
            i += 1
        elif re.fullmatch(r"\s*(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})", line):
            out.append("<hr>")
            i += 1
        elif line.startswith(">"):
            block, i = _take(lines, i, lambda s: s.startswith(">"))
            out.append(
                "<blockquote>" + markdown_body("\n".join(re.sub(r"^>\s?", "", s) for s in block)) + "</blockquote>"
            )
        elif _item(line):
            block, i = _take(lines, i, lambda s: bool(s.strip()) and (bool(_item(s)) or s.startswith("  ")))
            out.append(_list(block))
        elif "|" in line and i + 1 < len(lines) and re.fullmatch(r"\s*\|?[\s:|-]*-[\s:|-]*", lines[i + 1]):
            block, i = _take(lines, i, lambda s: "|" in s)
            rows = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in [block[0], *block[2:]]]
            out.append(_rows(rows, _inline))
        else:
            start = i
            block, i = _take(
                lines, i, lambda s: bool(s.strip()) and not re.match(r"#{1,6}\s|```|>", s) and not _item(s)
            )
            i = max(i, start + 1)
            out.append("<p>" + _inline("\n".join(s.strip() for s in block or [line])) + "</p>")
    return "\n".join(out)


def _take(lines: list[str], start: int, belongs: Any) -> tuple[list[str], int]:
    end = start
    while end < len(lines) and belongs(lines[end]):
        end += 1
    return lines[start:end], end


def _item(line: str) -> re.Match[str] | None:
    return re.match(r"(\s*)([-*+]|\d{1,9}[.)])\s+(.*)", line)


def _list(block: list[str]) -> str:
    """Nested lists by indentation; a continuation line belongs to the item before it."""
    out: list[str] = []
    open_lists: list[tuple[int, str]] = []
    for line in block:
        match = _item(line)
        if match is None:
            out.append(" " + _inline(line.strip()))
            continue
        indent, tag = len(match[1]), "ol" if match[2][0].isdigit() else "ul"
        while open_lists and indent < open_lists[-1][0]:
            out.append(f"</li></{open_lists.pop()[1]}>")
        if not open_lists or indent > open_lists[-1][0]:
            open_lists.append((indent, tag))
            out.append(f"<{tag}><li>{_inline(match[3])}")
        else:
            out.append(f"</li><li>{_inline(match[3])}")
    while open_lists:
        out.append(f"</li></{open_lists.pop()[1]}>")
    return "".join(out)


def _inline(text: str) -> str:
    """Emphasis, code, links and pictures; everything else is escaped. Code and link targets are not marked up again."""
    kept: list[str] = []

    def keep(fragment: str) -> str:
        kept.append(fragment)
        return f"\0{len(kept) - 1}\0"

    def link(match: re.Match[str]) -> str:
        label, target = match[2], html.unescape(match[3])
        if re.match(r"\s*[a-zA-Z][\w+.-]*:", target) and not re.match(r"\s*(?:https?|mailto):", target, re.IGNORECASE):
            return label  # javascript: and its like
        address = html.escape(target, quote=True)
        if match[1]:
            return keep(f'<img alt="{label}" src="{address}">')
        return keep(f'<a href="{address}">') + label + keep("</a>")

    text = html.escape(text.replace("\0", ""), quote=True)
    text = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", lambda m: keep(f"<code>{m[2].strip()}</code>"), text)
    text = re.sub(r"(!?)\[([^\[\]]*)\]\(([^()\s]*)\)", link, text)
    text = re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"<strong>\2</strong>", text)
    text = re.sub(r"\*(?=\S)(.+?)(?<=\S)\*|(?<!\w)_(?=\S)(.+?)(?<=\S)_(?!\w)", r"<em>\1\2</em>", text)
    while "\0" in text:  # what was kept may hold what was kept before it: code within a label
        text = re.sub(r"\0(\d+)\0", lambda m: kept[int(m[1])], text)
    return text


def _rows(rows: list[list[str]], cell: Any) -> str:
    head, *body = rows
    out = ["<table><thead><tr>", *(f"<th>{cell(c)}</th>" for c in head), "</tr></thead><tbody>"]
    for row in body:
        out += ["<tr>", *(f"<td>{cell(c)}</td>" for c in row), "</tr>"]
    return "".join([*out, "</tbody></table>"])


def _table(call: ToolCall) -> str:
    from orchestai_jax.workers.table_files import read_table

    frame = read_table(call.file("table"))
    rows = list(csv.reader(io.StringIO(frame.head(MAX_REPORT_ROWS).write_csv(float_precision=None))))
    note = f"<p>{MAX_REPORT_ROWS} of {frame.height} rows</p>" if frame.height > MAX_REPORT_ROWS else ""
    return _rows(rows, html.escape) + note


def _picture(call: ToolCall) -> str:
    from orchestai_jax.workers.image_files import read_image

    picture = read_image(call.file("image"))
    picture.thumbnail((MAX_REPORT_PICTURE, MAX_REPORT_PICTURE))
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()
