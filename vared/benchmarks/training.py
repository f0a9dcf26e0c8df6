"""Time and memory of a training step: the static network against the dynamic one with search space 2 and 3.

A step is forward, cross-entropy (and the efficiency loss of equation 3.6 for a dynamic network), backward, and an
update by SGD with momentum. Each network runs in the memory layout that is faster for it.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vared.benchmarks import contest, machine, memory
from vared.benchmarks.cases import Case
from vared.benchmarks.subjects import check_device, fresh_clips, fresh_network, threads
from vared.flops import count_flops
from vared.losses import EfficiencyLoss
from vared.policies import policy

STATIC = "static"
SEARCH_SPACES = {STATIC: None, "dynamic, S = 2": 2, "dynamic, S = 3": 3}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
EFFICIENCY_WEIGHT = 0.8  # lambda_e, thesis section 4.3


def measure_training(case: Case, root: Path) -> dict:
    """Time training steps of `case` and return the record, ready for JSON.

    Raises ValueError for a device that is not there and FloatingPointError for a loss that is not finite.
    """
    check_device(case.device)
    keeps = memory.keep_freed()
    with threads(case.threads):
        layouts = {name: _faster_layout(case, name) for name in SEARCH_SPACES}
        steps = {name: build_step(case, space, layouts[name]["best"]) for name, space in SEARCH_SPACES.items()}
        seconds = contest.interleaved(steps, case.repeats, device=case.device)
        _check_finite(steps)
        described = machine.describe(case.device) | {"keeps_freed_memory": keeps}
    versions = {name: _version(case, name, seconds, layouts[name]) for name in SEARCH_SPACES}
    for row in versions.values():
        row["relative_time"] = row["median"] / versions[STATIC]["median"]
        row["relative_memory"] = row["peak_bytes"] / versions[STATIC]["peak_bytes"]
    return {
        "name": case.name, "kind": "training", "case": asdict(case), "machine": described, "static": STATIC,
        "versions": versions,
    }  # fmt: skip


def build_step(case: Case, search_space: int | None, layout: str) -> Callable[[], Tensor]:
    """A function that makes one update and returns its loss, a scalar."""
    model = fresh_network(case, search_space).train().to(case.device, memory_format=LAYOUTS[layout])
    clips = fresh_clips(case).to(case.device).contiguous(memory_format=LAYOUTS[layout])
    labels = (torch.arange(case.batch) % case.classes).to(case.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, foreach=True)
    efficiency = None
    if search_space is not None:
        efficiency = EfficiencyLoss(count_flops(model, clips[:1]).dynamic_layers)

    def step() -> Tensor:
        logits = model(clips)
        loss = F.cross_entropy(logits, labels)
        if efficiency is not None:
            loss = loss + EFFICIENCY_WEIGHT * efficiency(policy(model), logits.argmax(1) == labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def _faster_layout(case: Case, name: str) -> dict:
    """Seconds of a step in each layout, and which is `best`."""
    steps = {layout: build_step(case, SEARCH_SPACES[name], layout) for layout in LAYOUTS}
    seconds = contest.interleaved(steps, case.trials, device=case.device, warm_up=1)
    best = min(seconds, key=lambda layout: min(seconds[layout]))
    print(f"training step, {name}: {best}, {min(seconds[best]):.4g} s", flush=True)
    return {"best": best, "trials": seconds}


def _check_finite(steps: dict[str, Callable[[], Tensor]]) -> None:
    for name, step in steps.items():
        if not torch.isfinite(loss := step()):
            raise FloatingPointError(f"Training step of {name}: the loss is {loss.item()}.")


def _version(case: Case, name: str, seconds: dict, layout: dict) -> dict:
    row = contest.spread(seconds[name]) | {"seconds": seconds[name], "layout": layout}
    row["clips_per_second"] = case.batch / row["median"]
    return row | memory.in_child(_peak, case, name, layout["best"])


def _peak(case: Case, name: str, layout: str) -> dict:
    """Peak memory of a step of network `name`, in a fresh process."""
    with threads(case.threads):
        small = replace(case, crop_size=min(32, case.crop_size), batch=2)
        build_step(small, None, layout)()  # loads what every step needs
        return memory.peak_memory(lambda: build_step(case, SEARCH_SPACES[name], layout), case.device)
