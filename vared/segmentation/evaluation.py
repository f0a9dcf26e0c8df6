"""Pixel accuracy, mean IoU, executed GMACs and policy of every image, and the same under forced policies.

Shapes: B image, N images of the set, K class, S candidate. 1 GFLOP = 1e9 multiply-accumulates, one whole image.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.controls import majority_policy
from vared.evaluation import PARTS, Evaluation, PolicyWeights, policy_table, policy_weights
from vared.flops import FlopReport, count_flops
from vared.policies import forced_policy, policy
from vared.recalibration import recalibrate_batch_norm
from vared.segmentation.comparison import COUNTS
from vared.tasks import segmentation
from vared.trial_run import evaluating


def evaluate(
    model: nn.Module, dataset: Dataset, *, num_classes: int, batch_size: int = 32, policies: PolicyWeights | None = None
) -> Evaluation:  # fmt: skip
    """Run `model` sparsely on every whole image, {"clip": 3 x H x W, "label": H x W}; sizes may differ.

    `policies` takes the place of the gates, for controls: layer -> V_t, V_c (N or 1 x S) in the order of the images.
    Metrics: pixel_accuracy and mean_iou in percent over the whole set; gflops_static, the mean of the plain network;
    gflops_{backbone,gate,cheap,total}_{mean,max,min}. `clips` has a row an image: correct (mu of equation 3.6), its
    costs, and hits, labelled, predicted: pixels of each class, K numbers. Raises ValueError for an empty set.
    """
    if len(dataset) == 0:
        raise ValueError("There is no image to evaluate: the data set is empty.")
    # On the meta device counting computes nothing, and every size of image must be counted.
    outline, reports, decided, rows = copy.deepcopy(model).to("meta"), {}, [], []
    measured = segmentation.metrics(num_classes)
    with evaluating(model), torch.inference_mode():
        for first, images, labels in same_size_batches(dataset, batch_size):
            if images.shape[1:] not in reports:
                reports[images.shape[1:]] = count_flops(outline, tuple(images.shape[1:]))
            chosen = slice(first, first + len(images))
            forced = {n: tuple(v if len(v) == 1 else v[chosen] for v in p) for n, p in (policies or {}).items()}
            with forced_policy(model, forced) if forced else nullcontext():
                logits = model(images.to(next(model.parameters()).device)).cpu()
            decided.append(policy(model))
            measured.update(logits.argmax(1), labels)
            rows.append(_rows(logits, labels, reports[images.shape[1:]], decided[-1]))
    table = pd.concat(rows, ignore_index=True)
    metrics = {name: 100.0 * value.item() for name, value in measured.compute().items()}
    metrics |= {"images": len(table), "gflops_static": float(table["gflops_static"].mean())}
    for part in PARTS:
        metrics |= {f"gflops_{part}_{how}": float(table[f"gflops_{part}"].agg(how)) for how in ("mean", "max", "min")}
    return Evaluation(metrics, table, policy_table(decided))


def same_size_batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(index of the first, images B x 3 x H x W, labels B x H x W), in order; a batch ends where the size changes."""
    waiting: list[dict[str, Tensor]] = []
    for index in range(len(dataset) + 1):
        item = dataset[index] if index < len(dataset) else None
        full = len(waiting) == batch_size
        if waiting and (item is None or full or item["clip"].shape != waiting[0]["clip"].shape):
            yield index - len(waiting), *(torch.stack([old[key] for old in waiting]) for key in ("clip", "label"))
            waiting = []
        waiting.append(item)


def mean_policy(
    model: nn.Module, dataset: Dataset, policies: pd.DataFrame, training_images: Iterable[Tensor], **settings
) -> Evaluation:
    """Evaluate a copy of `model` that takes the majority policy for every image; see `vared.controls.mean_policy`."""
    weights, control = majority_policy(policies), copy.deepcopy(model)
    with forced_policy(control, weights):
        recalibrate_batch_norm(control, training_images)
    return evaluate(control, dataset, policies=weights, **settings)


def random_policy(
    model: nn.Module, dataset: Dataset, policies: pd.DataFrame, *, permutations: int, seed: int, **settings
) -> Evaluation:
    """Evaluate `model` with whole policies dealt to other images; everything is the mean over permutations.

    Permutation k depends on (seed, k) only.
    """
    weights, found = policy_weights(policies), []
    for k in range(permutations):
        deal = torch.from_numpy(np.random.default_rng([seed, k]).permutation(len(dataset)))
        dealt = {layer: tuple(v[deal] for v in pair) for layer, pair in weights.items()}
        found.append(evaluate(model, dataset, policies=dealt, **settings))
    metrics = pd.DataFrame([result.metrics for result in found]).mean().to_dict()
    table = found[0].clips.copy()
    for name in table:
        columns = [result.clips[name] for result in found]
        table[name] = list(np.mean([np.stack(c) for c in columns], 0)) if name in COUNTS else np.mean(columns, 0)
    return Evaluation(metrics, table, pd.DataFrame())


def _rows(logits: Tensor, labels: Tensor, report: FlopReport, policies) -> pd.DataFrame:
    counts = segmentation.class_counts(logits.argmax(1), labels, logits.shape[1])
    costs = report.executed(policies)
    rows = {"correct": segmentation.correct(logits, labels).float().numpy(), "gflops_static": report.static}
    rows |= {f"gflops_{part}": getattr(costs, part).cpu().expand(len(labels)).numpy() for part in PARTS}
    return pd.DataFrame(rows | {name: list(values.numpy()) for name, values in zip(COUNTS, counts, strict=True)})
