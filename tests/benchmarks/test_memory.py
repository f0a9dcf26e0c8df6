"""Peak memory, measured in a process of its own."""

import pytest
import torch

from vared.benchmarks.memory import in_child, peak_memory

MIB = 2**20


def hold(megabytes: int) -> dict:
    """Peak memory of a version that keeps some memory and fills twice as much again when it runs."""

    def build():
        kept = torch.ones(megabytes * MIB // 4)
        return lambda: (torch.ones(2 * megabytes * MIB // 4), kept)

    return peak_memory(build, "cpu")


def fail() -> None:
    raise ValueError("what went wrong")


def test_a_child_measures_what_a_version_keeps_and_what_it_needs_while_it_runs():
    found = in_child(hold, 50)
    assert found["memory_method"].startswith("resident")
    assert 140 * MIB < found["peak_bytes"] < 220 * MIB  # 50 kept and 100 while it runs


def test_the_error_of_a_child_arrives():
    with pytest.raises(ValueError, match="what went wrong"):
        in_child(fail)
