"""Accuracy against cost for one trained dynamic network, without training it again: the gates' threshold is moved.

A candidate is open when its weight V = max(tanh z, 0) is above 0 (equation 3.4), so it would be open above a threshold
t of tanh z exactly when z - artanh t is above 0. Moving the gates' bias by artanh t is therefore the threshold, and the
moved network is an ordinary one: it saves, exports and accelerates as before. Above 0 less is computed, below 0 more.
What the layers see changes with it, so batch normalisation is measured anew on training clips.

Shapes: B clip, C channel, T frame, H W pixel. 1 GFLOP = 1e9 multiply-accumulates of one centre clip.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.controls import mean_policy, random_policy
from vared.evaluation import Evaluation, evaluate
from vared.flops import count_flops
from vared.policies import dynamic_layers, policy
from vared.recalibration import recalibrate_batch_norm
from vared.trial_run import evaluating

DYNAMIC, MEAN, RANDOM = "dynamic", "mean policy", "random policy"
COLUMNS = ("network", "threshold", "gflops", "gflops_total", "share", "share_total", "clip1_top1", "clips")


def with_threshold(model: nn.Module, threshold: float, training_clips: Sequence[Tensor] = ()) -> nn.Module:
    """A copy of `model` whose candidates open above `threshold` of tanh z, in -1..1 exclusive.

    Batch normalisation, the gates' too, is measured anew on `training_clips` (batches B x 3 x T x H x W). At 0
    the copy is the network as it was trained, statistics included.
    Raises ValueError for a threshold out of range and for a network without dynamic layers.
    """
    if not -1 < threshold < 1:
        raise ValueError(f"The threshold of tanh z lies between -1 and 1, not at {threshold}.")
    moved = copy.deepcopy(model)
    if not (layers := dynamic_layers(moved)):
        raise ValueError("Only a dynamic network has gates whose threshold can be moved; this one is static.")
    if threshold == 0:
        return moved
    with torch.no_grad():
        for layer in layers.values():
            layer.gate.expand.bias -= math.atanh(threshold)
    if training_clips:
        recalibrate_batch_norm(moved, on_device(moved, training_clips))
    return moved


def cost_curve(
    model: nn.Module, dataset: Dataset, training_clips: Sequence[Tensor], thresholds: Sequence[float], *,
    permutations: int = 1, seed: int = 0, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Cost and clip-1 at every threshold: a row each for the network, its mean policy and its random policy.

    `dataset` gives centre clips, as for `evaluate`. Columns: network, threshold, gflops (backbone, as the thesis
    counts), gflops_total (gates and cheap operations counted), share and share_total (of the plain network's),
    clip1_top1 (percent), clips. The random policy is the mean over `permutations`, at the cost of the network
    by construction.
    """
    static = count_flops(model, tuple(dataset[0]["clip"].shape)).static
    rows = []
    for threshold in sorted(thresholds):
        moved = with_threshold(model, threshold, training_clips)
        found = evaluate(moved, dataset, batch_size=batch_size)
        rows.append(_row(DYNAMIC, threshold, found.metrics, static))
        clips = on_device(moved, training_clips)
        rows.append(_row(MEAN, threshold, mean_policy(
            moved, dataset, found.policies, clips, batch_size=batch_size
        ).metrics, static))  # fmt: skip
        dealt = random_policy(
            moved, dataset, found.policies, permutations=permutations, seed=seed, batch_size=batch_size
        )
        rows.append(_row(RANDOM, threshold, dealt.drop(columns="correct").mean().to_dict(), static))
    return pd.DataFrame(rows)


def static_point(name: str, found: Evaluation, static: float) -> dict[str, object]:
    """The row of a plain network, to stand beside those of `cost_curve`; shares are of `static` GMACs."""
    return _row(name, math.nan, found.metrics, static)


def threshold_for(
    model: nn.Module, training_clips: Sequence[Tensor], share: float, *, tolerance: float = 0.005, steps: int = 10
) -> tuple[float, float]:
    """The threshold at which the backbone costs `share` of the plain network, and the share found there.

    Found by bisection with batch normalisation measured anew at every step, on `training_clips` alone: clips that judge
    the network must not choose its threshold. The share found is at most `share` + `tolerance`.
    Raises ValueError when no threshold costs so little, or `share` is not in 0..1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The share of the cost is above 0 and at most 1, not {share}.")
    low, high = -0.99, 0.99
    best = (high, mean_share(with_threshold(model, high, training_clips), training_clips))
    if best[1] > share + tolerance:
        raise ValueError(
            f"No threshold brings this network to {100 * share:.0f} % of the plain one's cost: with every gate nearly "
            f"shut it takes {100 * best[1]:.1f} %. Ask for more, or train with a larger search space."
        )
    for _ in range(steps):
        middle = (low + high) / 2
        found = mean_share(with_threshold(model, middle, training_clips), training_clips)
        if found > share + tolerance:
            low = middle
        else:
            high, best = middle, (middle, found)
            if found >= share - tolerance:
                break
    return best


@torch.no_grad()
def mean_share(model: nn.Module, clips: Sequence[Tensor]) -> float:
    """Mean over clips of the executed backbone MACs over those of the plain network."""
    report = count_flops(model, tuple(clips[0].shape[1:]))
    costs = []
    with evaluating(model):
        for batch in on_device(model, clips):
            model(batch)
            costs.append(report.executed(policy(model)).backbone)
    return torch.cat(costs).mean().item() / report.static


def on_device(model: nn.Module, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """The batches on the device of `model`, channels last, one at a time."""
    device = next(model.parameters()).device
    return (batch.to(device, memory_format=torch.channels_last_3d) for batch in batches)


def _row(name: str, threshold: float, metrics: dict[str, float], static: float) -> dict[str, object]:
    backbone, total = metrics["gflops_backbone_mean"], metrics["gflops_total_mean"]
    values = (backbone, total, backbone / static, total / static, metrics["clip1_top1"], int(metrics["clips"]))
    return dict(zip(COLUMNS, (name, threshold, *values), strict=True))
