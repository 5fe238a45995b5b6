"""Options that the experiments share: folders, and figures as JSON."""

import json

import pytest
from _options import RESULTS, option_parser, settle_folders, write_result


def settled(*given):
    return settle_folders(option_parser("what it does", "examples", config="x.yaml").parse_args(given), "toy")


def test_a_quick_run_keeps_to_its_own_folder(tmp_path):
    whole, quick = settled("a=1"), settled("--quick")
    assert whole.results == RESULTS
    assert whole.workdir.parts[-2:] == ("runs", "toy")
    assert whole.overrides == ["a=1"]
    assert quick.workdir.parts[-3:] == ("runs", "quick", "toy")
    assert quick.results == quick.workdir
    given = settled("--quick", "--workdir", str(tmp_path), "--results", str(tmp_path / "figures"))
    assert (given.workdir, given.results) == (tmp_path, tmp_path / "figures")


def test_figures_that_json_does_not_have_leave_the_file_alone(tmp_path):
    path = write_result(tmp_path / "new", "toy", {"f1": 0.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_result(path.parent, "toy", {"f1": float("nan")})
    assert json.loads(path.read_text()) == {"f1": 0.5}
