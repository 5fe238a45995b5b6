"""The training tests import one another's toys from their own folder, and share the toy planner's files."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with the toy planner's samples and catalog."""
    from toy_planner import write_files

    folder = tmp_path_factory.mktemp("samples")
    write_files(folder)
    return folder
