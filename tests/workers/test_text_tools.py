"""Text tools: what they find, count, change and keep."""

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.workers import WorkerError
from orchestai_jax.workers.text_tools import find_contacts
from orchestai_jax.workers.words import content_words, sentences_of, stem, words_of

SUMMARIZERS = ["summarize_text_lead", "summarize_text_centroid", "summarize_text_textrank"]
EXTRACTORS = ["extract_keywords_frequency", "extract_keywords_cvalue", "extract_keywords_textrank"]
DETECTORS = ["detect_language_stopwords", "detect_language_trigrams"]


def test_sentences_end_where_a_reader_would_end_them():
    text = (
        "# Title\n\nDr. Smith paid 3.50 euros, e.g. for tea. “Was it good?” he asked. Yes!\n\nA block without a stop\n"
    )
    assert sentences_of(text) == [
        "Dr. Smith paid 3.50 euros, e.g. for tea.",
        "“Was it good?” he asked.",
        "Yes!",
        "A block without a stop",
    ]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_words_survive_the_cut_into_sentences(text):
    if "#" in text or "|" in text or "=" in text or "-" in text or "`" in text:
        return  # Markdown headings, rules and tables are left out on purpose
    joined = " ".join(sentences_of(text))
    assert words_of(joined) == words_of(" ".join(text.split()))


def test_stems_join_plural_and_singular():
    assert [stem(w) for w in ("cities", "city", "cars", "glass", "bus", "train's", "this")] == [
        "city", "city", "car", "glass", "bus", "train", "this",
    ]  # fmt: skip
    assert content_words("The trains of the city are late") == ["train", "city", "late"]


@pytest.mark.parametrize("worker", SUMMARIZERS)
def test_a_summary_has_so_many_sentences_of_the_text_in_order(do, samples, worker):
    title, *sentences = sentences_of((samples / "article.txt").read_text(encoding="utf-8"))
    assert title == "The Return of the Night Train"
    summary = (samples / do(worker, text="article.txt", sentences=4)["text"]).read_text(encoding="utf-8")
    chosen = sentences_of(summary)
    places = [sentences.index(sentence) for sentence in chosen]
    assert len(chosen) == 4
    assert places == sorted(set(places))
    if worker.endswith("lead"):
        assert places == [0, 1, 2, 3]
    whole = (samples / do(worker, text="article.txt", sentences=999)["text"]).read_text(encoding="utf-8")
    assert sentences_of(whole) == sentences


def test_ranked_summaries_find_the_sentences_that_say_what_the_text_is_about(do, tmp_path):
    text = (
        "It was raining. Nobody had slept. Solar panels on the roof of the school make power for the school. "
        "Solar panels and a battery give the school power at night. The power of the solar panels is sold when school "
        "is out. A dog barked. Somebody laughed."
    )
    for worker in SUMMARIZERS[1:]:
        summary = (tmp_path / do(worker, root=tmp_path, text=text, sentences=2)["text"]).read_text()
        assert all("olar panels" in sentence for sentence in sentences_of(summary)), summary


@pytest.mark.parametrize("worker", EXTRACTORS)
def test_keywords_are_distinct_and_from_the_text(do, samples, worker):
    text = (samples / "science.txt").read_text(encoding="utf-8").lower()
    keywords = do(worker, text="science.txt", count=6)["keywords"].split(", ")
    assert len(keywords) == len(set(keywords)) == 6
    assert all(word in text for keyword in keywords for word in keyword.split())
    assert {"heat", "street trees", "street tree", "urban heat island", "cool roof"} & set(keywords)


@pytest.mark.parametrize("worker", EXTRACTORS)
def test_a_text_of_stop_words_has_no_keyword(do, worker):
    with pytest.raises(WorkerError, match="no keyword"):
        do(worker, text="this is what it is, and that is that")


LANGUAGES = {
    "English": "Where is the nearest station, and when does the train leave?",
    "German": "Wo ist der nächste Bahnhof, und wann fährt der Zug?",
    "French": "Où est la gare la plus proche et quand part le train ?",
    "Spanish": "¿Dónde está la estación más cercana y cuándo sale el tren?",
    "Italian": "Dove si trova la stazione più vicina e quando parte il treno?",
    "Portuguese": "Onde fica a estação mais próxima e quando parte o comboio?",
    "Dutch": "Waar is het dichtstbijzijnde station en wanneer vertrekt de trein?",
    "Swedish": "Var ligger närmaste station och när avgår tåget?",
    "Danish": "Hvor ligger den nærmeste station, og hvornår kører toget?",
    "Polish": "Gdzie jest najbliższy dworzec i kiedy odjeżdża pociąg?",
    "Czech": "Kde je nejbližší nádraží a kdy odjíždí vlak?",
    "Finnish": "Missä on lähin asema ja milloin juna lähtee?",
    "Turkish": "En yakın istasyon nerede ve tren ne zaman kalkıyor?",
    "Russian": "Где находится ближайшая станция и когда отправляется поезд?",
}


def test_languages_are_told_apart(do):
    """Sentences that are not among the samples. Stop words need more text, so they may miss a few."""
    found = {worker: [do(worker, text=text)["language"] for text in LANGUAGES.values()] for worker in DETECTORS}
    right = {w: sum(a == b for a, b in zip(names, LANGUAGES, strict=True)) for w, names in found.items()}
    assert right["detect_language_trigrams"] == 14, found
    assert right["detect_language_stopwords"] >= 12, found


@pytest.mark.parametrize("worker", DETECTORS)
def test_another_script_is_an_unknown_language(do, worker):
    assert do(worker, text="これは日本語の文章です")["language"] == "unknown"
    with pytest.raises(WorkerError, match="no words"):
        do(worker, text="12345 !!! 🎉🎉")


def test_statistics_count(do):
    statistics = do("text_statistics_counter", text="One two three. Four five!\n\nSix.")["statistics"]
    expected = {"words": 6, "sentences": 3, "paragraphs": 2, "distinct_words": 6, "words_per_sentence": 2.0}
    assert expected.items() <= statistics.items()
    hard = do(
        "text_statistics_counter", text="Institutional heterogeneity notwithstanding, considerations proliferated."
    )
    assert hard["statistics"]["reading_ease"] < statistics["reading_ease"]


def test_word_frequencies_are_a_table_of_counts(do, samples):
    name = do("word_frequencies_counter", text="Cats and dogs. Cats, cats! Dogs? The owl.", count=2)["table"]
    with (samples / name).open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["word", "count"], ["cats", "3"], ["dogs", "2"]]


def test_contacts_are_found_and_dates_and_prices_are_not(do):
    assert do("extract_contacts_patterns", text="contacts.txt")["contacts"] == {
        "emails": ["maria.lopez@example.org", "desk@library.example.com", "jan+workshop@mail.example.co.uk"],
        "phones": ["+34 91 555 01 42", "(020) 7946-0958", "0171 555 0199"],
        "urls": ["https://library.example.com/workshop?year=2025", "www.example.net/map"],
    }


def test_redacting_removes_every_contact_and_nothing_else(do, samples):
    name = do("redact_text_patterns", text="contacts.txt", replacement="XX")["text"]
    redacted = (samples / name).read_text(encoding="utf-8")
    assert name.endswith(".txt")
    assert "@" not in redacted
    assert "http" not in redacted
    assert "2025-09-12" in redacted
    assert "Room 204 holds 45 people, and lunch costs 12.50 a head." in redacted
    assert redacted.count("XX") == 8


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab1234567890+-. @:/()w", max_size=120))
def test_contacts_never_overlap_and_stand_where_they_say(text):
    position = 0
    for _, start, end, value in find_contacts(text):
        assert start >= position
        assert text[start:end] == value
        position = end


def test_replacing_changes_every_occurrence_and_keeps_the_file_type(do, samples):
    name = do("replace_text_literal", text="notes.md", find="Dora", replacement="Eva")["text"]
    before, after = (samples / "notes.md").read_text(), (samples / name).read_text()
    assert name.endswith(".md")
    assert after == before.replace("Dora", "Eva")
    assert before != after
    with pytest.raises(WorkerError, match="'dora' does not occur"):
        do("replace_text_literal", text="notes.md", find="dora", replacement="Eva")
    with pytest.raises(WorkerError, match="find is empty"):
        do("replace_text_literal", text="notes.md", find="")


def test_a_diff_applies(do, samples):
    diff = (samples / do("compare_texts_difflib", first="notes.md", second="notes_v2.md")["text"]).read_text()
    old, new = ((samples / n).read_text().splitlines() for n in ("notes.md", "notes_v2.md"))
    removed = [line[1:] for line in diff.splitlines()[2:] if line.startswith("-")]
    added = [line[1:] for line in diff.splitlines()[2:] if line.startswith("+")]
    assert removed == [line for line in old if line not in new]
    assert added == [line for line in new if line not in old]
    same = (samples / do("compare_texts_difflib", first="notes.md", second="notes.md")["text"]).read_text()
    assert same == "The texts are equal.\n"


def test_a_summary_of_a_summary_reads_the_file_that_was_written(do, samples):
    first = do("summarize_text_lead", text="article.txt", sentences=3)["text"]
    second = do("summarize_text_lead", text=first, sentences=1, task_id="t2")["text"]
    assert (
        (samples / first).read_text(encoding="utf-8").startswith((samples / second).read_text(encoding="utf-8").strip())
    )
    json.dumps([first, second])
