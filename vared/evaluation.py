"""Evaluation protocol (thesis section 4.4 and appendix A.2): accuracy, executed GMACs and policy of every clip.

Shapes: B clip, N clips of the data set, V view, S candidate.  1 GFLOP = 1e9 multiply-accumulates, one centre clip.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vared.flops import FlopReport, count_flops
from vared.gate import Policy
from vared.policies import forced_policy, policy
from vared.tasks import recognition
from vared.trial_run import evaluating

PARTS = ("backbone", "gate", "cheap", "total")
PolicyWeights = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Evaluation:
    """`metrics`: name -> number. `clips`: a row a clip. `policies`: a row a clip and dynamic layer, in that order."""

    metrics: dict[str, float]
    clips: pd.DataFrame
    policies: pd.DataFrame


def evaluate(
    model: nn.Module, dataset: Dataset, *, views: Dataset | None = None, batch_size: int = 32, workers: int = 0,
    task: ModuleType = recognition, policies: PolicyWeights | None = None,
    clip_gmacs: Callable[[], Tensor] | None = None,
) -> Evaluation:  # fmt: skip
    """Run `model` sparsely on every clip, on the device it is on.

    `dataset` gives the centre view, {"clip": 3 x T x H x W, "label": int}: clip-1, cost and policy. `views` gives the
    same videos as V x 3 x T x H x W for video-1 and video-5. `policies` takes the place of the gates, for controls:
    layer -> V_t (N or 1 x S_t), V_c (N or 1 x S_c) in the order of the data set; only for the centre view.
    `clip_gmacs` gives the GMACs of every clip of the last forward pass (B, or one number for all) where it is not
    layers of ours that decide, as in the networks of `baselines`.

    Metrics: clips, clip1_top1 (video1_top1, video5_top5) in percent; gflops_{backbone,gate,cheap,total}_{mean,max,min}.
    Raises ValueError for an empty data set and for `policies` of another number of clips.
    """
    if len(dataset) == 0:
        raise ValueError("There is no clip to evaluate: the data set is empty.")
    for layer, pair in (policies or {}).items():
        if any(len(weights) not in (1, len(dataset)) for weights in pair):
            raise ValueError(f"Layer {layer!r} needs one policy or {len(dataset)}, got {[len(v) for v in pair]}.")
    with evaluating(model), torch.inference_mode():
        metrics, clips, table = _centre_view(model, dataset, batch_size, workers, task, policies, clip_gmacs)
        if views is not None:
            metrics |= task.video_metrics(*_averaged_views(model, views, batch_size, workers, task))
    return Evaluation(metrics, clips, table)


def _centre_view(
    model, dataset, batch_size, workers, task, policies, clip_gmacs
) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    report = count_flops(model, tuple(dataset[0]["clip"].shape))
    scores, labels, costs, decided, first = [], [], [], [], 0
    for item in DataLoader(dataset, batch_size, num_workers=workers):
        count = len(item["label"])
        forced = forced_policy(model, _rows(policies, first, count)) if policies else nullcontext()
        with forced:
            scores.append(model(_to_device(item["clip"], model)).float().cpu())
        labels.append(item["label"])
        decided.append(policy(model))
        costs.append(_executed(report, decided[-1], count) if clip_gmacs is None else _given(clip_gmacs(), count))
        first += count
    scores, labels = torch.cat(scores), torch.cat(labels)
    clips = pd.DataFrame({"clip": range(first), "label": labels, "prediction": scores.argmax(1)})
    clips["correct"] = task.correct(scores, labels).numpy()
    for part in PARTS:
        clips[f"gflops_{part}"] = torch.cat([cost[part] for cost in costs]).numpy()
    metrics = {"clips": first} | task.clip_metrics(scores, labels)
    for part in PARTS:
        cost = clips[f"gflops_{part}"]
        metrics |= {f"gflops_{part}_{name}": float(cost.agg(name)) for name in ("mean", "max", "min")}
    return metrics, clips, policy_table(decided)


def _averaged_views(model, views, batch_size, workers, task) -> tuple[Tensor, Tensor]:
    """Scores averaged over views (N x K) and labels; the network sees at most `batch_size` views at a time."""
    scores, labels = [], []
    count = len(views[0]["clip"])
    for item in DataLoader(views, max(1, batch_size // count), num_workers=workers):
        parts = item["clip"].flatten(0, 1).split(batch_size)
        logits = torch.cat([model(_to_device(part, model)) for part in parts])
        scores.append(task.average_views(logits.unflatten(0, (-1, count))).cpu())
        labels.append(item["label"])
    return torch.cat(scores), torch.cat(labels)


def policy_table(batches: list[dict[str, Policy]]) -> pd.DataFrame:
    """Policies of consecutive batches as a table with a row a clip and layer.

    Columns: clip, layer, stride R, ratio r, cost r / R, all_zero_temporal, all_zero_channel, and the candidate weights
    V_t1, V_t2, ..., V_c1, V_c2, ... (missing where a layer has fewer candidates).
    """
    frames = []
    for layer in batches[0] if batches else ():
        of_layer = [batch[layer] for batch in batches]
        columns = {
            name: torch.cat([getattr(p, name) for p in of_layer]).cpu().numpy()
            for name in ("stride", "ratio", "cost", "all_zero_temporal", "all_zero_channel")
        }
        for dimension in ("temporal", "channel"):
            weights = torch.cat([getattr(p, dimension).detach().float() for p in of_layer]).cpu().numpy()
            columns |= {f"V_{dimension[0]}{j + 1}": weights[:, j] for j in range(weights.shape[1])}
        frame = pd.DataFrame(columns)
        frame.insert(0, "clip", frame.index)
        frame.insert(1, "layer", layer)
        frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=["clip", "layer", "stride", "ratio", "cost"])
    # Clip by clip; a stable sort keeps the layers of a clip in the order of the network.
    return pd.concat(frames).sort_values("clip", kind="stable", ignore_index=True)


def policy_weights(table: pd.DataFrame) -> dict[str, tuple[Tensor, Tensor]]:
    """The candidate weights of a policy table by layer, V_t (N x S_t) and V_c (N x S_c), in the order of the clips."""
    weights = {}
    for layer, rows in table.groupby("layer", sort=False):
        rows = rows.sort_values("clip")
        weights[layer] = tuple(
            torch.tensor(rows.filter(regex=rf"^V_{letter}\d+$").dropna(axis=1).to_numpy("float32")) for letter in "tc"
        )
    return weights


def _rows(policies: PolicyWeights, first: int, count: int) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        layer: tuple(v if len(v) == 1 else v[first : first + count] for v in pair) for layer, pair in policies.items()
    }


def _executed(report: FlopReport, policies: Mapping[str, Policy], count: int) -> dict[str, Tensor]:
    costs = report.executed(policies)
    return {part: torch.as_tensor(getattr(costs, part)).cpu().expand(count) for part in PARTS}


def _given(gmacs: Tensor | float, count: int) -> dict[str, Tensor]:
    total = torch.as_tensor(gmacs, dtype=torch.float64).cpu().expand(count)
    return {part: total if part in ("backbone", "total") else torch.zeros_like(total) for part in PARTS}


def _to_device(clips: Tensor, model: nn.Module) -> Tensor:
    # The layout does not change the result, only the time: channels last is faster for convolutions.
    return clips.to(next(model.parameters()).device, memory_format=torch.channels_last_3d, non_blocking=True)
