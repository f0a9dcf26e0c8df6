"""The table of hazards: what it counts, and that only a run of all hazard tests writes it."""

from types import SimpleNamespace

import pandas as pd
import pytest

from tests.hazard_table import TESTS, HazardTable, mark_reports

HAZARD = ["lists", "bad rows", "all at once"]


def report(name="tests/a.py::test_one", outcome="passed", when="call", hazard=HAZARD, **more):
    said = [("hazard", hazard), *more.pop("said", {}).items()] if hazard else []
    flags = {word: outcome == word for word in ("passed", "failed", "skipped")}
    return SimpleNamespace(nodeid=name, when=when, user_properties=said, **flags, **more)


def finished(path, reports, *, status=0, expression="hazard", arguments=(TESTS,), left_out=()):
    option = SimpleNamespace(markexpr=expression, keyword="", hazards=path, soak=4)
    config = SimpleNamespace(args=[str(argument) for argument in arguments], option=option)
    table = HazardTable(config)
    for one in reports:
        table.pytest_runtest_logreport(one)
    table.pytest_deselected(left_out)
    table.pytest_sessionfinish(SimpleNamespace(shouldfail=False, shouldstop=False), status)
    return pd.read_csv(path, keep_default_na=False) if path.exists() else None


def test_cases_are_counted_by_hazard_and_open_ones_stay_visible(tmp_path):
    table = finished(
        tmp_path / "r.csv",
        [
            report(when="setup"), report(), report("tests/a.py::test_many[x]", said={"tried": 9, "survived": 8}),
            report("tests/b.py::test_no", "failed"),
            report("tests/b.py::test_open", "skipped", wasxfail="reason: needs a patch"),
            report("tests/c.py::test_absent", "skipped", hazard=["videos", "none", "here"]),
            report("tests/c.py::test_plain", hazard=None),
        ],
        status=1,
    )  # fmt: skip
    rows = table.to_dict("records")
    assert [row["section"] for row in rows] == ["videos", "lists"]
    assert (rows[0]["tried"], rows[0]["survived"]) == (0, 0)
    assert (rows[1]["tried"], rows[1]["survived"], rows[1]["open"]) == (12, 9, "needs a patch")
    assert rows[1]["tests"].split() == [
        "tests/a.py::test_one", "tests/a.py::test_many", "tests/b.py::test_no", "tests/b.py::test_open"
    ]  # fmt: skip
    page = (tmp_path / "r.md").read_text()
    assert "| bad rows | all at once | 12 | 9 | needs a patch |" in page and "9 of 12 cases survived" in page


@pytest.mark.parametrize(
    "incomplete",
    [
        {"status": 2}, {"expression": "hazard and not slow"}, {"arguments": [TESTS / "data"]},
        {"left_out": [SimpleNamespace(nodeid="x", get_closest_marker=lambda name: True)]},
    ],
)  # fmt: skip
def test_a_part_of_the_tests_writes_nothing(tmp_path, incomplete):
    assert finished(tmp_path / "r.csv", [report()], **incomplete) is None


def test_a_section_that_there_is_not_is_refused():
    marker = SimpleNamespace(args=("weather", "rain", "0 drops"))
    item = SimpleNamespace(nodeid="a", user_properties=[], get_closest_marker=lambda name: marker)
    with pytest.raises(pytest.UsageError, match="'weather' is no section of videos"):
        mark_reports([item])
