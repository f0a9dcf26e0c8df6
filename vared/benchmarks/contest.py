"""Fair timing: versions take turns, so that a machine that slows down slows all of them.

Units: seconds for one batch.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

WARM_UP = 2


def interleaved(
    runs: Mapping[str, Callable[[], object]], repeats: int, *, device: str = "cpu", warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Seconds of every version in `repeats` rounds, by name. Each round starts with another version."""
    for run in runs.values():
        for _ in range(warm_up):
            timed(run, device)
    names, seconds = list(runs), {name: [] for name in runs}
    gc.collect()
    gc.disable()
    try:
        for turn in range(repeats):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                seconds[name].append(timed(runs[name], device))
    finally:
        gc.enable()
    return seconds


def timed(run: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of one run; on a GPU until its work is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, minimum, maximum and interquartile range."""
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return {"median": float(median), "min": min(seconds), "max": max(seconds), "iqr": float(high - low)}


def saved_time(dynamic: Sequence[float], static: Sequence[float]) -> dict[str, float]:
    """1 - t_dynamic / t_static from the medians, and the quartiles over rounds of the same for a round."""
    rounds = 1.0 - np.asarray(dynamic) / np.asarray(static)
    low, high = np.quantile(rounds, (0.25, 0.75))
    return {
        "time": float(1.0 - np.median(dynamic) / np.median(static)), "low": float(low), "high": float(high),
    }  # fmt: skip


def realised(saved: float, ideal: float) -> float | None:
    """Share of the counted saving that arrives as time; None where nothing is saved."""
    return saved / ideal if ideal > 1e-9 else None
