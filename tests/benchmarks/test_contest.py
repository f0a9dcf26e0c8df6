"""Timing in turns, and what is made of the times."""

import pytest

from vared.benchmarks import contest


def test_versions_take_turns_and_each_begins_a_round_in_turn():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = contest.interleaved(runs, 4, warm_up=2)
    assert "".join(order) == "aabbcc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_seconds_are_those_of_the_version(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(contest.time, "perf_counter", lambda: clock[0])

    def lasting(length):
        return lambda: clock.__setitem__(0, clock[0] + length)

    seconds = contest.interleaved({"slow": lasting(2.0), "fast": lasting(0.5)}, 3)
    assert seconds == {"slow": [2.0] * 3, "fast": [0.5] * 3}


def test_spread_by_hand():
    assert contest.spread([4.0, 1.0, 2.0, 3.0, 10.0]) == {"median": 3.0, "min": 1.0, "max": 10.0, "iqr": 2.0}


def test_saved_time_compares_medians_and_rounds():
    found = contest.saved_time([1.0, 2.0, 3.0], [2.0, 4.0, 4.0])
    assert found == {"time": 0.5, "low": 0.375, "high": 0.5}  # 1 - 2 / 4; rounds 0.5, 0.5, 0.25
    assert contest.realised(0.107, 0.268) == pytest.approx(0.399, abs=1e-3)
    assert contest.realised(0.1, 0.0) is None
