"""Redundancy of one trained static network of a profile, on the centre clips of its validation set (table B.1)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from vared.analysis.redundancy import TENSORS, Redundancy, measure_redundancy
from vared.checkpoints import load_weights
from vared.experiments import build_network, data_set
from vared.run_words import require_plain
from vared.runs import RunPlan
from vared.scratch import write_text

LAYERS, CLIPS = "layers.csv", "clips.parquet"


def measure_dataset(model: nn.Module, dataset: Dataset, *, batch_size: int = 16, tensor: str) -> Redundancy:
    """`measure_redundancy` on the items {"clip", ...} of a data set, in their order."""
    return measure_redundancy(model, (item["clip"] for item in DataLoader(dataset, batch_size)), tensor=tensor)


def some_clips(count: int, wanted: int | None) -> np.ndarray:
    """Positions of `wanted` of `count` clips in ascending order, the same for every run; all for None or too many.

    Drawn at random, since validation lists may be sorted by class. Raises ValueError for fewer than one.
    """
    if wanted is not None and wanted < 1:
        raise ValueError(f"redundancy.clips in params.yaml must be a number of clips or null, not {wanted!r}.")
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])


def measure_run(
    root: Path, plan: RunPlan, weights: Path, folder: Path, tensors: Sequence[str] = TENSORS
) -> None:  # fmt: skip
    """Measure the static run whose trained weights lie in `weights`, as it is after phase 1.

    On as many clips as the profile's `redundancy` section says. `folder` gets layers.csv (a row a tensor, layer and
    dimension) and clips.parquet (a row a tensor, clip and dimension; `clip` counts in the validation set, `name` is the
    video's). Raises ValueError for any other run.
    """
    require_plain(plan.run)
    torch.set_num_threads(1)
    clips = data_set(root, plan, "val")
    network = build_network(plan, len(clips.videos.classes))
    load_weights(network, weights / "phase1.safetensors")
    positions = some_clips(len(clips), plan.numbers["redundancy"]["clips"])
    chosen = Subset(clips, positions.tolist())
    found = {tensor: measure_dataset(network, chosen, tensor=tensor) for tensor in tensors}
    layers = pd.concat([result.layers.assign(tensor=tensor) for tensor, result in found.items()], ignore_index=True)
    of_clips = pd.concat([result.clips.assign(tensor=tensor) for tensor, result in found.items()], ignore_index=True)
    of_clips["clip"] = positions[of_clips["clip"]]
    names = of_clips["clip"].map(lambda position: clips.videos.records[position].name)
    write_text(folder / LAYERS, layers.round(6).to_csv(index=False))
    of_clips.assign(name=names).to_parquet(folder / CLIPS, index=False)
    print(f"redundancy of {len(positions)} of {len(clips)} clips, {len(layers['layer'].unique())} layers", flush=True)
