"""Figure B-1: what the first layer of a trained static network makes of the first frames of a clip.

Shapes: K filter, T frame, H W pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor

from vared import runs
from vared.checkpoints import load_weights
from vared.data.transforms import MEAN, STD
from vared.experiments import build_network, data_set
from vared.figures.pictures import layer_input
from vared.observation import CONVOLUTIONS

FILTERS, FRAMES = 9, 3  # as in the thesis
_SMALL = 8  # points


@dataclass(frozen=True)
class FirstMaps:
    """Frames (3 x T x H x W, colours from 0 to 1) and maps of the first filters (K x T x H' x W') of one clip."""

    frames: Tensor
    maps: Tensor


def read_maps(root: Path, profile: str, word: str, clip: int) -> FirstMaps:
    """The first maps of run `word` of a profile after phase 1 on validation clip `clip`, a position in the data set.

    At most FILTERS filters and FRAMES frames. Raises FileNotFoundError without data set or weights.
    """
    from vared.cli import profile_numbers

    plan = runs.plan_run(root, profile, word, profile_numbers(root, profile))
    videos = data_set(root, plan, "val")
    network = build_network(plan, len(videos.videos.classes))
    load_weights(network, root / "data" / "runs" / profile / word / "phase1.safetensors")
    pixels = videos[int(clip)]["clip"]
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, CONVOLUTIONS))
    with torch.no_grad():
        maps = first(layer_input(network, name, pixels.unsqueeze(0)))[0]
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    return FirstMaps((pixels[:, :FRAMES] * std + mean).clamp(0, 1), maps[:FILTERS, :FRAMES])


def correlations(shown: Mapping[str, FirstMaps]) -> pd.DataFrame:
    """Correlation of the maps of a filter, frame to frame: columns which, filter, frames_1_2, frames_2_3.

    Not a number where a map has one value.
    """
    rows = []
    for which, first in shown.items():
        for number, maps in enumerate(first.maps.flatten(2).double().numpy(), start=1):
            row = {"which": which, "filter": number}
            for t in range(len(maps) - 1):
                varies = np.ptp(maps[t]) > 0 and np.ptp(maps[t + 1]) > 0
                row[f"frames_{t + 1}_{t + 2}"] = np.corrcoef(maps[t], maps[t + 1])[0, 1] if varies else np.nan
            rows.append(row)
    return pd.DataFrame(rows).round(4)


def draw_maps(figure, shown: Mapping[str, FirstMaps]) -> None:
    """A block a clip: a row a frame, first the frame, then its maps; blue negative, white 0, red positive."""
    for part, (title, first) in zip(figure.subfigures(len(shown), 1), shown.items(), strict=True):
        part.suptitle(title, fontsize=_SMALL + 2, x=0.07, ha="left", weight="bold")
        margins = {"left": 0.07, "right": 0.99, "bottom": 0.02, "top": 0.83, "wspace": 0.06, "hspace": 0.06}
        axes = part.subplots(first.maps.shape[1], 1 + len(first.maps), squeeze=False, gridspec_kw=margins)
        limits = first.maps.abs().amax((1, 2, 3)).clamp(min=1e-12).tolist()
        for t, of_row in enumerate(axes):
            of_row[0].imshow(first.frames[:, t].permute(1, 2, 0).numpy(), interpolation="nearest")
            of_row[0].set_ylabel(f"frame {t + 1}", rotation=0, ha="right", va="center", fontsize=_SMALL)
            for axis, maps, limit in zip(of_row[1:], first.maps, limits, strict=True):
                axis.imshow(maps[t].numpy(), cmap="vlag", vmin=-limit, vmax=limit, interpolation="nearest")
            for axis in of_row:
                axis.set(xticks=[], yticks=[])
                sns.despine(ax=axis, left=True, bottom=True)
        for column, axis in enumerate(axes[0]):
            axis.set_title(f"filter {column}" if column else "video", fontsize=_SMALL, pad=3)


def draw_correlations(figure, shown: Mapping[str, FirstMaps]) -> None:
    """A panel a clip: correlation of the maps of each filter from frame to frame. For frames that may not be shown."""
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axis, (title, first) in zip(axes, shown.items(), strict=True):
        table = correlations({title: first}).drop(columns="which").melt("filter", var_name="pair", value_name="CC")
        pairs = table["pair"].str.replace(r"frames_(\d)_(\d)", r"frames \1 and \2", regex=True)
        sns.barplot(table.assign(pair=pairs), x="filter", y="CC", hue="pair", palette="colorblind", ax=axis)
        axis.set_title(title, fontsize=_SMALL + 2)
        axis.set(xlabel="filter of the first layer", ylabel="correlation of its maps")
        axis.legend(frameon=False, fontsize=_SMALL, loc="lower right")
        sns.despine(ax=axis)
