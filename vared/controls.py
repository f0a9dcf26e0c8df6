"""Controls for input dependence: is it the policy of this clip that matters, or only its average?

mean policy    one policy for all clips: each layer's most frequent open pattern
random policy  the policies of the same clips, dealt to other clips: equal costs, input dependence broken
paired difference of two networks on the same clips, with an interval
"""

import copy
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.evaluation import Evaluation, evaluate, policy_weights
from vared.policies import forced_policy
from vared.recalibration import recalibrate_batch_norm

__all__ = [
    "majority_policy", "mean_policy", "random_policy", "paired_difference", "recalibrate_batch_norm",
]  # fmt: skip


def majority_policy(policies: pd.DataFrame) -> dict[str, tuple[Tensor, Tensor]]:
    """Per layer the most frequent pattern of open candidates (both dimensions together), with mean V over the clips
    that have it: V_t (1 x S_t), V_c (1 x S_c). On a tie the pattern that opens more, and the larger candidates, wins.
    """
    chosen = {}
    for layer, (temporal, channel) in policy_weights(policies).items():
        weights = torch.cat([temporal, channel], dim=1)
        patterns, which, counts = (weights > 0).int().unique(dim=0, return_inverse=True, return_counts=True)
        most = int((counts == counts.max()).nonzero().max())  # unique sorts: the last opens the largest candidates
        mean = weights[which == most].mean(0, keepdim=True)
        chosen[layer] = (mean[:, : temporal.shape[1]], mean[:, temporal.shape[1] :])
    return chosen


def mean_policy(
    model: nn.Module, dataset: Dataset, policies: pd.DataFrame, training_clips: Iterable[Tensor], *,
    batch_size: int = 32, workers: int = 0,
) -> Evaluation:  # fmt: skip
    """Evaluate a copy of `model` that takes the majority policy for every clip.

    `policies` is `Evaluation.policies` of the model; `training_clips` are batches (B x 3 x T x H x W) on which batch
    normalisation is recalibrated under that policy, so that the control is not held back by wrong statistics.
    """
    weights = majority_policy(policies)
    control = copy.deepcopy(model)
    with forced_policy(control, weights):
        recalibrate_batch_norm(control, training_clips)
    return evaluate(control, dataset, batch_size=batch_size, workers=workers, policies=weights)


def random_policy(
    model: nn.Module, dataset: Dataset, policies: pd.DataFrame, *, permutations: int = 5, seed: int = 0,
    per_layer: bool = False, batch_size: int = 32, workers: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Evaluate `model` with the policies of `policies` dealt to other clips; a row of metrics a permutation.

    Column `correct` holds a bool for every clip, in the order of the data set.

    Clips swap whole policies, so that the costs stay the same numbers. With `per_layer` every layer is permuted on
    its own, which draws each layer from its marginal. Permutation k depends on (seed, k) only.
    """
    weights = policy_weights(policies)
    rows = []
    for k in range(permutations):
        generator = np.random.default_rng([seed, k])
        deal = generator.permutation(len(dataset))
        dealt = {}
        for layer, pair in weights.items():
            deal = generator.permutation(len(dataset)) if per_layer else deal
            dealt[layer] = tuple(v[torch.from_numpy(deal)] for v in pair)
        result = evaluate(model, dataset, batch_size=batch_size, workers=workers, policies=dealt)
        rows.append({"permutation": k} | result.metrics | {"correct": tuple(result.clips["correct"])})
    return pd.DataFrame(rows)


class PairedDifference(NamedTuple):
    """Mean of a - b with its 95 % interval, in points of percent."""

    mean: float
    low: float
    high: float


def paired_difference(correct_a, correct_b, *, resamples: int = 5_000, seed: int = 0) -> PairedDifference:
    """Accuracy of a minus that of b, on the same clips, in points.

    `correct_a`, `correct_b`: 0 or 1, seeds x clips (or clips, for one seed), clip n the same video in every row.
    The interval is a percentile bootstrap that draws clips and, independently, seeds with replacement: a drawn clip
    counts for all drawn seeds (crossed), since seeds share the clips. With few seeds the part of the seeds is on the
    low side, by a factor (seeds - 1) / seeds in variance.

    Raises ValueError when the two do not have the same shape.
    """
    a, b = (np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (correct_a, correct_b))
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"A paired difference needs the same seeds and clips on both sides, not {a.shape}, {b.shape}.")
    difference = 100.0 * (a - b)
    seeds, clips = difference.shape
    generator = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, 500):  # in parts: resamples x clips would fill the memory
        count = min(500, resamples - start)
        seed_share = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        clip_share = generator.multinomial(clips, np.full(clips, 1 / clips), size=count) / clips
        means.append(((seed_share @ difference) * clip_share).sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return PairedDifference(float(difference.mean()), float(low), float(high))
