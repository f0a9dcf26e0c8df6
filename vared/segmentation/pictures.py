"""Images with their classes, what the static and the dynamic network see, and what the latter computes of a layer."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vared.checkpoints import load_weights
from vared.data.labelled_images import IGNORED, to_tensors
from vared.policies import policy
from vared.segmentation.experiment import build_network, load_images
from vared.segmentation.plans import SegmentationPlan

NAMED_CLASSES = 12  # more do not fit into a legend


@dataclass(frozen=True)
class Shown:
    """An image H x W x 3, labels, both predictions H x W, ratio r of every dynamic layer, cost in percent of static."""

    image: np.ndarray
    labels: np.ndarray
    static: np.ndarray
    dynamic: np.ndarray
    ratios: dict[str, float]
    percent: float


def shown_images(root: Path, static: SegmentationPlan, dynamic: SegmentationPlan, count: int) -> list[Shown]:
    """`count` validation images, evenly spaced in the rank of their cost in the dynamic network, cheapest first.

    Cost is the share of the static network's operations, lest the size of an image decide. Runs the
    published weights of both runs on them. Raises FileNotFoundError when a run was not published.
    """
    images, folder = load_images(root, dynamic, "val"), root / "data" / "segmentation" / dynamic.profile
    networks = []
    for plan in (static, dynamic):
        network = build_network(plan, len(images.classes))
        networks.append(load_weights(network, folder / plan.run.word / "weights.safetensors").eval())
    table = pd.read_parquet(folder / dynamic.run.word / "images.parquet")
    dynamic_rows = table[table["variant"] == "dynamic"].set_index("image")
    costs = 100.0 * dynamic_rows["gflops_total"] / dynamic_rows["gflops_static"]
    ranked = costs.sort_values(kind="stable").index
    found = []
    for index in ranked[np.linspace(0, len(ranked) - 1, count).round().astype(int)]:
        image, labels = images.read(index)
        clip = to_tensors(image, labels, labels.shape)[0][None]
        with torch.inference_mode():
            predictions = [network(clip).argmax(1)[0].numpy() for network in networks]
        ratios = {layer: decided.ratio.item() for layer, decided in policy(networks[1]).items()}
        found.append(Shown(image, labels, *predictions, ratios, float(costs[index])))
    return found


def draw(shown: list[Shown], classes: tuple[str, ...]) -> Figure:
    """A row an image: the image, its labels, both predictions, and the share of channels computed by layer."""
    figure, axes = plt.subplots(
        len(shown), 5, figsize=(11, 1.5 * len(shown) + 0.6), width_ratios=(1, 1, 1, 1, 1.6), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    palette = [(0.12, 0.12, 0.12), *sns.color_palette("colorblind" if len(classes) <= 11 else "husl", len(classes) - 1)]
    colours = {"cmap": ListedColormap(palette), "norm": BoundaryNorm(np.arange(len(classes) + 1) - 0.5, len(classes))}
    for row, item in zip(axes, shown, strict=True):
        row[0].imshow(item.image)
        for axis, labels in zip(row[1:4], (item.labels, item.static, item.dynamic), strict=True):
            axis.imshow(np.ma.masked_equal(labels, IGNORED), interpolation="nearest", **colours)
        for axis in row[:4]:
            axis.set(xticks=[], yticks=[])
        row[4].bar(range(1, len(item.ratios) + 1), item.ratios.values(), color=sns.color_palette("colorblind")[0])
        row[4].set(ylim=(0, 1.05), yticks=(0, 0.5, 1), ylabel=f"{item.percent:.0f} % of static", xticks=())
        sns.despine(ax=row[4])
    for axis, title in zip(axes[0], ("image", "truth", "static", "dynamic", "share of channels computed"), strict=True):
        axis.set_title(title)
    axes[-1, 4].set(xticks=(1, 4, 8, 12, 17), xlabel="dynamic layer, 17 is the head's")
    if len(classes) <= NAMED_CLASSES:
        patches = [Patch(color=colour, label=name) for colour, name in zip(palette, classes, strict=True)]
        figure.legend(handles=patches, loc="outside lower left", ncols=len(classes), frameon=False)
    return figure
