import dataclasses
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from orchestai_jax.cli.option_groups import takes_groups


@dataclasses.dataclass(frozen=True)
class Colours:
    back: Annotated[str, typer.Option("--back", help="Behind.")] = "white"
    front: Annotated[str | None, typer.Option("--front", help="Before.")] = None

    def __post_init__(self):
        if self.back == self.front:
            raise typer.BadParameter("nothing would be seen")


def test_a_group_gives_its_options_where_it_stands_and_comes_made():
    seen = []

    def paint(
        *, text: Annotated[str, typer.Argument()], colours: Colours, wide: Annotated[bool, typer.Option()] = False
    ):
        seen.append((text, colours, wide))

    app = typer.Typer()
    app.command()(takes_groups(paint))
    run = CliRunner().invoke
    assert run(app, ["a"]).exit_code == 0
    assert run(app, ["b", "--front", "red", "--wide"]).exit_code == 0
    assert seen == [("a", Colours(), False), ("b", Colours(front="red"), True)]
    assert run(app, ["c", "--back", "red", "--front", "red"]).exit_code == 2
    text = run(app, ["--help"]).stdout
    assert text.index("--back") < text.index("--front") < text.index("--wide")


def test_no_option_stands_twice():
    def paint(*, colours: Colours, front: Annotated[str, typer.Option()] = ""):
        pass

    with pytest.raises(TypeError, match="paint would take front twice"):
        takes_groups(paint)
