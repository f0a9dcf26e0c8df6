"""Heat maps of the shares computed by layer and class (figures 4-1, B-4, B-5), and a page for what was not run."""

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from vared.reports.policy_reporting import DIMENSIONS

ROW = {"few": 0.23, "many": 0.125}  # inches a layer
MANY_LAYERS, MANY_CLASSES = 30, 40
LOWEST = 0.5  # share of the smallest candidate with search space 2


def draw_shares(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """A row of two heat maps (frames, channels) for each network: title -> `policy_reporting.class_shares`.

    Darker means more computed. Sets of more than MANY_CLASSES classes get no names of classes below.
    """
    counts = [shares["layer"].nunique() for shares in panels.values()]
    heights = [count * ROW["many" if count > MANY_LAYERS else "few"] + 1.5 for count in counts]
    figure = Figure(figsize=(10, sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), 2, sharey="row", squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (title, shares) in zip(grid, panels.items(), strict=True):
        for axis, (dimension, meaning) in zip(axes, DIMENSIONS.items(), strict=True):
            mesh = _heat_map(axis, shares, dimension)
            axis.set_title(f"{title}\n{meaning}", fontsize=10)
        axes[0].set_ylabel("dynamic convolution, input at the top")
        axes[0].invert_yaxis()  # of both, which share it
        figure.colorbar(mesh, ax=axes, label="share computed", aspect=30, pad=0.02).outline.set_visible(False)
    return figure


def _heat_map(axis: Axes, shares: pd.DataFrame, dimension: str) -> QuadMesh:
    table = shares.pivot(index="position", columns="action", values=dimension)
    layers = layer_labels(shares.drop_duplicates("position").set_index("position")["layer"][table.index])
    many_classes = table.shape[1] > MANY_CLASSES
    lines = {} if many_classes else {"edgecolors": "white", "linewidth": 0.4}
    mesh = axis.pcolormesh(table.to_numpy(), vmin=LOWEST, vmax=1.0, cmap="cividis_r", **lines)
    axis.set_yticks([place + 0.5 for place in range(len(layers))], layers)
    axis.set_xticks([] if many_classes else [place + 0.5 for place in range(table.shape[1])])
    axis.set_xticklabels([] if many_classes else table.columns, rotation=90)
    axis.set_xlabel("action class" + f" ({table.shape[1]}, in order of name)" * many_classes)
    axis.tick_params(axis="x", labelsize=8.5, length=2)
    axis.tick_params(axis="y", labelsize=6.5 if len(layers) > MANY_LAYERS else 8.5, length=2)
    axis.spines[:].set_visible(False)
    return mesh


def layer_labels(names: Sequence[str]) -> list[str]:
    """Names of layers without the parts that all share: `stages.0.0.conv1.spatial` becomes `0.0.conv1`."""
    parts = [name.split(".") for name in names]
    if len(parts) < 2 or len({len(words) for words in parts}) > 1:
        return list(names)
    kept = [place for place, words in enumerate(zip(*parts, strict=True)) if len(set(words)) > 1]
    return [".".join(words[place] for place in kept) for words in parts]


def draw_sentence(text: str) -> Figure:
    """A page with a sentence alone, where a figure would stand if its runs had been made."""
    lines = textwrap.wrap(text.replace("`", ""), 90)
    figure = Figure(figsize=(8, 0.5 + 0.25 * len(lines)))
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=10)
    return figure
