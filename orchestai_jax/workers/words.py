"""Sentences, words and stop words of a text."""

from __future__ import annotations

import re

_STOP_WORDS = """
    a about above across after again against all almost along already also although always am among an and another
    any are around as at away back be became because become been before behind being below between both but by can
    cannot could did do does doing done down during each either else enough even ever every few first for from
    further get gets give given go goes had has have having he her here hers herself him himself his how however i
    if in indeed into is it its itself just keep last least less let like made make makes many may me might more
    most much must my myself near need neither never new next no nor not nothing now of off often on once one only
    onto or other others our ours out over own per perhaps quite rather really s said same say says second see seem
    seems several shall she should since so some something still such t take than that the their theirs them
    themselves then there therefore these they thing things this those though three through thus to together too
    toward two under until up upon us use used uses very via was way we well were what when where whether which
    while who whole whom whose why will with within without would yet you your yours yourself
"""

ENGLISH_STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words that carry no topic."""

_SHORT_FORMS = "mr mrs ms dr prof st vs etc e.g i.e fig no vol jr sr inc ltd co approx cf al"
_ABBREVIATIONS = frozenset(_SHORT_FORMS.split())
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]")
_MARKUP = re.compile(r"^\s*(?:#{1,6}\s+.*|[-=]{3,}|```.*|\|.*)$", re.MULTILINE)


def words_of(text: str) -> list[str]:
    """The words in lower case, numbers left out."""
    return [word.lower() for word in _WORD.findall(text)]


def content_words(text: str) -> list[str]:
    """The words that are no stop words and have at least 3 letters, brought to a rough stem (plural endings off)."""
    return [stem(word) for word in words_of(text) if len(word) > 2 and word not in ENGLISH_STOP_WORDS]


def stem(word: str) -> str:
    """A word without its plural or genitive ending."""
    word = word.removesuffix("'s").removesuffix("’s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def paragraphs_of(text: str) -> list[str]:
    """Blocks of text between empty lines."""
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


def sentences_of(text: str) -> list[str]:
    """The sentences in order, each on one line; Markdown headings, rules and tables are left out."""
    sentences: list[str] = []
    for block in paragraphs_of(_MARKUP.sub("", text)):
        line = " ".join(block.split())
        start = 0
        for end in _SENTENCE_END.finditer(line):
            last_word = line[start : end.start()].rsplit(" ", 1)[-1].lower().strip("(\"'")
            following = line[end.end() :].lstrip()
            if end[0] == "." and (last_word in _ABBREVIATIONS or re.fullmatch(r"[a-z]", last_word)):
                continue
            if following and following[0].islower():
                continue
            sentences.append(line[start : end.end()].strip())
            start = end.end()
        if rest := line[start:].strip():
            sentences.append(rest)
    return [sentence for sentence in sentences if _WORD.search(sentence)]
