"""Pictures of the clips of each class that cost most and least (figures 4-2, B-7, B-8)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vared.data.video import count_frames, read_frames
from vared.reports.policy_reporting import PERCENT

ENDS = ("most", "least")
WIDTH = 10  # inches
TALL = 12  # classes; more are set in two blocks side by side, with fewer frames of each clip


def draw_extremes(extremes: pd.DataFrame, folder: Path) -> Figure:
    """A strip of frames, evenly spaced, for each row of extreme_clips.csv; `folder` holds the videos.

    A row of strips a class, or two classes beside each other when there are many: most costly left, least right.
    """
    classes = sorted(extremes["action"].unique())
    blocks, shown = (1, 4) if len(classes) <= TALL else (2, 3)
    rows = -(-len(classes) // blocks)
    strips = {(row.action, row.which): (strip(folder / row.name, shown), row.percent) for row in extremes.itertuples()}
    widest = max(picture.shape[1] / picture.shape[0] for picture, _ in strips.values())
    row_height = WIDTH / (2 * blocks) / widest + 0.27  # the title's
    figure = Figure(figsize=(WIDTH, rows * row_height), layout="constrained")
    axes = figure.subplots(rows, 2 * blocks, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for position, action in enumerate(classes):
        for column, which in enumerate(ENDS):
            picture, percent = strips[action, which]
            axis = axes[position % rows, 2 * (position // rows) + column]
            # All as high, whatever their shape: a set may hold upright videos too.
            half = picture.shape[1] / picture.shape[0] / 2
            axis.imshow(picture, interpolation="nearest", extent=(-half, half, 0, 1))
            axis.set(xlim=(-widest / 2, widest / 2), ylim=(0, 1))
            axis.set_title(f"{action}: {which} cost, {percent:.1f} %", fontsize=9, pad=3)
    return figure


def strip(path: Path, count: int) -> np.ndarray:
    """`count` frames evenly spaced over a video, side by side: H x (count W) x 3, with a white line between."""
    frames = read_frames(path, np.linspace(0, count_frames(path) - 1, count).astype(int).tolist())
    parts = [part for frame in frames for part in (frame, np.full_like(frame[:, :1], 255))]
    return np.concatenate(parts[:-1], axis=1)


def draw_percentages(extremes: pd.DataFrame) -> Figure:
    """The percentages alone, for videos whose frames are not ours to publish."""
    figure = Figure(figsize=(8, 1.2 + 0.22 * extremes["action"].nunique()), layout="constrained")
    axis = figure.subplots()
    classes = sorted(extremes["action"].unique(), reverse=True)
    for which, (marker, colour) in zip(ENDS, (("o", "#0173b2"), ("X", "#de8f05")), strict=True):
        found = extremes[extremes["which"] == which].set_index("action")["percent"]
        axis.plot(found[classes], classes, marker, color=colour, label=f"clip of {which} cost")
    axis.set(xlabel=PERCENT, ylabel="action class")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)  # above, where no clip is
    return figure
