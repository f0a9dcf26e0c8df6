"""Runs side by side."""

import sys

from vared.ahead import report_failures, run_side_by_side


def test_a_failing_run_is_named_with_its_last_lines_and_the_others_go_on(tmp_path, capfd):
    good = [sys.executable, "-c", "print('fine')"]
    bad = [sys.executable, "-c", "print('before'); raise SystemExit('the reason')"]
    outcomes = run_side_by_side({"bad": bad, "good": good, "last": good}, 2, tmp_path)
    assert [(outcome.name, outcome.status) for outcome in outcomes] == [("bad", 1), ("good", 0), ("last", 0)]
    assert report_failures(outcomes)
    printed, errors = capfd.readouterr()
    assert "good | fine" in printed and "last | fine" in printed
    assert "bad failed with exit status 1" in errors and "the reason" in errors and "good failed" not in errors


def test_no_more_run_at_a_time_than_asked(tmp_path):
    script = (
        "import pathlib, time; here = pathlib.Path('.'); me = here / f'r{time.time_ns()}'; me.touch();"
        "print(len(list(here.glob('r*')))); time.sleep(0.3); me.unlink()"
    )
    outcomes = run_side_by_side({f"run{i}": [sys.executable, "-c", script] for i in range(4)}, 2, tmp_path)
    assert not report_failures(outcomes)
    assert {outcome.tail[0] for outcome in outcomes} <= {"1", "2"}


def test_progress_bars_leave_one_line(tmp_path, capfd):
    bar = [sys.executable, "-c", "print('10 %\\r50 %\\r100 %')"]
    run_side_by_side({"run": bar}, 1, tmp_path)
    assert capfd.readouterr().out == "run | 100 %\n"
