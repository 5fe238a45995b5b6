"""What clauses are put into: sentences, connectives, pronouns, mentions of files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from orchestai_jax.data.template_clauses import Lines


class Frames(BaseModel):
    """What clauses are put into. Every list has a default; `{do}`, `{thing}`, … stand for the clause.

    Lines may hold alternatives as clauses do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, arbitrary_types_allowed=True)

    do: Lines = Field(
        default=(
            "{do}.",
            "{do}.",
            "{do}.",
            "please {do}.",
            "(can|could|would) you (please|) {do}?",
            "I (need|want|would like) you to {do}.",
            "{do}, please.",
            "help me to {do}.",
            "I have to {do}.",
            "let's {do}.",
        ),
        validate_default=True,
    )
    thing: Lines = Field(
        default=(
            "I (need|want|would like|am looking for) {thing}.",
            "(give|get|make|send) me {thing}(, please|).",
            "(can|could) I (have|get) {thing}?",
            "please (prepare|create|make) {thing}.",
            "{thing}(, please|).",
        ),
        validate_default=True,
    )
    done: Lines = Field(
        default=(
            "I (need|want|would like) (to have|) {subject} {done}.",
            "{subject} (should|must|has to) be {done}.",
            "please get {subject} {done}.",
        ),
        validate_default=True,
    )
    ask: Lines = Field(default=("{ask}?",), validate_default=True)
    need: Lines = Field(default=("{need}.",), validate_default=True)
    then: tuple[str, ...] = (
        ", then ",
        " and then ",
        ", and then ",
        " and ",
        ", ",
        ". Then ",
        ". After that, ",
        ". Next, ",
        "; after that ",
        ". Afterwards ",
        ", after which please ",
        ". ",
    )
    """Between a clause and one that uses its result."""
    also: tuple[str, ...] = (
        " and ",
        ", and also ",
        ". Also, ",
        ". In addition, ",
        "; separately, ",
        ". Besides, ",
        ". Independently of that, ",
        ". ",
        ", ",
        ". And ",
    )
    """Between clauses that have nothing to do with each other."""
    finally_: tuple[str, ...] = Field(default=(". Finally, ", ", and finally ", ". Lastly, ", ", and at the end "))
    """Before the last of three or more clauses."""
    reversed: Lines = Field(
        default=(
            "{later}, but first {earlier}.",
            "{later}, but before that {earlier}.",
            "before you {later}, {earlier}.",
            "{later}. Before that, {earlier}.",
        ),
        validate_default=True,
    )
    """Two clauses, told in the other order than they are done in."""
    openers: tuple[str, ...] = ("Hi!", "Hello.", "Hey there!", "Good morning.", "A quick one:")
    """Before the whole instruction, now and then."""
    closers: tuple[str, ...] = (
        "Thanks!",
        "Thank you.",
        "I need it today.",
        "It is for a presentation.",
        "Many thanks.",
    )
    pronouns: dict[str, tuple[str, ...]] = Field(
        default={
            "any": ("it", "the result", "that"),
            "image": ("it", "the picture", "the image", "the result"),
            "audio": ("it", "the recording", "the audio", "the result"),
            "table": ("it", "the table", "the result"),
            "text": ("it", "the text", "the result"),
            "document": ("it", "the document", "the result"),
        }
    )
    """By data type (`any` for the others): what stands for the result of the clause just before."""
    mentions: dict[str, Lines] = Field(
        default={
            "any": ("{value}",),
            "image": ("{value}", "{value}", "the (picture|image|photo) {value}", "my (picture|photo) {value}"),
            "audio": ("{value}", "{value}", "the (recording|audio file) {value}", "my recording {value}"),
            "table": ("{value}", "{value}", "the (table|data|spreadsheet) {value}", "the table in {value}"),
            "text": ("{value}", "{value}", "the text (in|of) {value}"),
            "document": ("{value}", "the document {value}"),
        },
        validate_default=True,
    )
    """By data type (`any` for the others): how a file or other literal input is mentioned."""
    again: dict[str, tuple[str, ...]] = {}
    """By data type: what stands for a literal input that an earlier clause had too (`the same picture`); where there is
    nothing, it is named again."""
