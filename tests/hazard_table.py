"""The table of hazards, written by the tests that try them: `pytest -m hazard --hazards results/reliability.csv`.

A test carries `@pytest.mark.hazard(SECTION, HAZARD, BAR)`. It counts as one case, or as many as it says with the
fixture `record_property` ("tried", "survived"). Tests of one hazard are one row. A test that is expected to fail is an
open hazard: tried, not survived. Only a run of all hazard tests writes the table.
"""

import csv
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
COLUMNS = ("section", "hazard", "bar", "tried", "survived", "open", "tests")
SECTIONS = ("videos", "lists", "checkpoints", "processes", "numerics", "security", "pipeline", "fuzz")


class HazardTable:
    """Collects what hazard tests report; on several processes, from the reports that reach the first."""

    def __init__(self, path: Path):
        self.path, self.left_out, self.rows = path, [], {}

    def pytest_deselected(self, items) -> None:
        self.left_out += [item.nodeid for item in items if item.get_closest_marker("hazard")]

    def pytest_runtest_logreport(self, report) -> None:
        said = dict(report.user_properties)
        if "hazard" not in said or not (report.when == "call" or report.failed or report.skipped):
            return
        row = self.rows.setdefault(tuple(said["hazard"]), {"tried": 0, "survived": 0, "open": "", "tests": {}})
        row["tests"][report.nodeid.partition("[")[0]] = None
        if hasattr(report, "wasxfail"):
            row["open"] = report.wasxfail.removeprefix("reason: ")
        elif report.skipped:
            return
        tried = said.get("tried", 1)
        row["tried"] += tried
        row["survived"] += said.get("survived", tried) if report.passed or "survived" in said else 0

    def pytest_sessionfinish(self, session, exitstatus) -> None:
        whole = [Path(argument).resolve() for argument in session.config.args] == [TESTS]
        ran = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not session.shouldfail
        self.written = whole and ran and not self.left_out and bool(self.rows)
        if self.written:
            self._write()

    def pytest_terminal_summary(self, terminalreporter) -> None:
        done = f"{len(self.rows)} hazards written to {self.path}" if self.written else "No table of hazards is written"
        terminalreporter.write_line(done + ("" if self.written else ": only a run of all hazard tests makes one"))

    def _write(self) -> None:
        from vared.scratch import write_text

        order = sorted(self.rows.items(), key=lambda pair: SECTIONS.index(pair[0][0]))
        found = [
            (*key, row["tried"], row["survived"], row["open"], " ".join(row["tests"])) for key, row in order
        ]  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *found])
        write_text(self.path.with_suffix(".md"), page(found))


def page(rows) -> str:
    """The table as Markdown, a section each."""
    from vared.experiments import hardware

    survived, tried = (sum(row[column] for row in rows) for column in (4, 3))
    text = [
        "# Bad days: what was tried, and what survived it", "",
        "Written by the tests themselves: `pytest -m hazard --hazards results/reliability.csv --soak 100 tests`. The "
        "hazards are those that video projects are known to trip over; what an open one needs stands beside it.", "",
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
    """Give every hazard test its marker as a property, so that its report carries it to the first process."""
    for item in items:
        if marker := item.get_closest_marker("hazard"):
            section, hazard, bar = marker.args
            if section not in SECTIONS:
                raise pytest.UsageError(f"{item.nodeid}: {section!r} is no section of {', '.join(SECTIONS)}")
            item.user_properties.append(("hazard", [section, hazard, bar]))
