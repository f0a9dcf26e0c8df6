"""The table of hazards, written by the tests that try them: `pytest -m hazard --hazards results/reliability.csv tests`.

A test carries `@pytest.mark.hazard(SECTION, HAZARD, BAR)`. It counts as one case, or as many as it says with the
fixture `record_property` ("tried", "survived"). Tests of one hazard are one row. A test that is expected to fail is an
open hazard: tried, not survived. Only a run of all hazard tests writes the table.
"""

import csv
import io
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
COLUMNS = ("section", "hazard", "bar", "tried", "survived", "open", "tests")
SECTIONS = ("videos", "lists", "checkpoints", "processes", "numerics", "security", "pipeline", "fuzz")


class HazardTable:
    """A plug-in of pytest that collects what hazard tests report, and writes the table at the end."""

    def __init__(self, config):
        self.config, self.left_out, self.rows, self.written = config, [], {}, False

    def pytest_deselected(self, items) -> None:
        self.left_out += [item.nodeid for item in items if item.get_closest_marker("hazard")]

    def pytest_runtest_logreport(self, report) -> None:
        said = dict(report.user_properties)
        if "hazard" not in said or (report.when != "call" and report.passed):
            return
        row = self.rows.setdefault(tuple(said["hazard"]), {"tried": 0, "survived": 0, "open": "", "tests": {}})
        row["tests"][report.nodeid.partition("[")[0]] = None
        if hasattr(report, "wasxfail"):
            row["open"] = report.wasxfail.removeprefix("reason: ")
        elif report.skipped:
            return
        tried = said.get("tried", 1)
        row["tried"] += tried
        row["survived"] += said.get("survived", tried if report.passed else 0)

    def pytest_sessionfinish(self, session, exitstatus) -> None:
        option = self.config.option
        asked = [Path(argument).resolve() for argument in self.config.args] == [TESTS]
        whole = asked and option.markexpr == "hazard" and not option.keyword and not self.left_out
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if whole and ended and self.rows and not (session.shouldfail or session.shouldstop):
            self._write(option.hazards, option.soak)

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if self.written:
            terminalreporter.write_line(f"{len(self.rows)} hazards written to {self.config.option.hazards}")
        else:
            terminalreporter.write_line("No table of hazards is written: only `-m hazard` on all tests makes one.")

    def _write(self, path: Path, soak: int) -> None:
        from vared.scratch import write_text

        order = sorted(self.rows.items(), key=lambda pair: SECTIONS.index(pair[0][0]))
        found = [(*key, row["tried"], row["survived"], row["open"], " ".join(row["tests"])) for key, row in order]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *found])
        write_text(path, text.getvalue())
        write_text(path.with_suffix(".md"), page(found, soak))
        self.written = True


def page(rows: list[tuple], soak: int) -> str:
    """The table as Markdown, a section each."""
    from vared.experiments import hardware

    survived, tried = (sum(row[column] for row in rows) for column in (4, 3))
    command = f"pytest -m hazard --hazards results/reliability.csv --soak {soak} tests"
    text = [
        "# Bad days: what was tried, and what survived it", "",
        f"Written by the tests themselves: `{command}`. The hazards are those that video projects are known to trip "
        "over; what an open one needs stands beside it.", "",
        f"{survived} of {tried} cases survived, {len(rows)} hazards, {sum(bool(row[5]) for row in rows)} with an open "
        f"part. Made on: {hardware()}.",
    ]  # fmt: skip
    for section in SECTIONS:
        mine = [row for row in rows if row[0] == section]
        if mine:
            text += ["", f"## {section.capitalize()}", "", "| hazard | bar | tried | survived | open | tests |"]
            text += ["|---|---|---|---|---|---|"]
        for _, hazard, bar, tried, survived, still_open, tests in mine:
            names = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in tests.split())
            text.append(f"| {hazard} | {bar} | {tried} | {survived} | {still_open or '–'} | {names} |")
    return "\n".join(text) + "\n"


def mark_reports(items) -> None:
    """Give every hazard test its marker as a property, so that its report carries it, also from another process."""
    for item in items:
        if marker := item.get_closest_marker("hazard"):
            section, hazard, bar = marker.args
            if section not in SECTIONS:
                raise pytest.UsageError(f"{item.nodeid}: {section!r} is no section of {', '.join(SECTIONS)}")
            item.user_properties.append(("hazard", [section, hazard, bar]))
