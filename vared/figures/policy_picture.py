"""What a network made of a video, clip by clip: labels, cost, and how much every layer computed."""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vared.prediction import Prediction

_SMALL = 8  # points
_PARTS = {"gmacs_backbone": "convolutions", "gmacs_cheap": "cheap operations", "gmacs_gate": "gates"}
_CLASSES = 5  # shown, those most probable
_GAPS = 60  # clips; with more, lines between them would hide them


def draw_prediction(prediction: Prediction) -> Figure:
    """Panels over the clips of a video: probabilities, GMACs against the static network, and for each dynamic layer
    the share of frames (1 / R) and of channels (r) that it computed. A static network has the first two only."""
    layers = prediction.policies["layer"].nunique()
    heights = [1.2, 1.4] + [0.16 * layers + 0.3] * (2 if layers else 0)
    figure = Figure(figsize=(7.2, sum(heights) + 0.55 * len(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_probabilities(axes[0], prediction)
    _draw_cost(axes[1], prediction)
    if layers:
        shares = prediction.policies.assign(frames=1 / prediction.policies["stride"])
        for axis, column, title in zip(axes[2:], ("frames", "ratio"), ("frames (1 / R)", "channels (r)"), strict=True):
            table = shares.pivot(index="layer", columns="clip", values=column)
            table = table.loc[shares["layer"].drop_duplicates()]  # in the order of the network
            _heatmap(axis, table.to_numpy(), list(table.index), f"share of {title} computed")
    axes[-1].set_xlabel("clip, by its start", fontsize=_SMALL)
    _name_clips(axes[-1], prediction)
    bar = figure.colorbar(axes[0].collections[0], ax=list(axes), aspect=80, ticks=[0, 0.5, 1], pad=0.02)
    bar.ax.tick_params(labelsize=_SMALL)
    bar.set_label("probability, share computed", fontsize=_SMALL)
    bar.outline.set_visible(False)
    return figure


def _draw_probabilities(axis: Axes, prediction: Prediction) -> None:
    names = [name for name, _ in prediction.top(_CLASSES)]
    columns = [prediction.card.classes.index(name) for name in names]
    _heatmap(axis, prediction.probabilities[:, columns].T.numpy(), names, "probability")


def _draw_cost(axis: Axes, prediction: Prediction) -> None:
    clips, bottom = prediction.clips, np.zeros(len(prediction.clips))
    width = 0.9 if len(clips) <= _GAPS else 1.0
    for colour, (column, title) in zip(sns.color_palette("colorblind"), _PARTS.items(), strict=False):
        axis.bar(clips["clip"] + 0.5, clips[column], width, bottom, color=colour, label=title)
        bottom = bottom + clips[column].to_numpy()
    axis.axhline(prediction.static_gmacs, color="0.3", linestyle="--", linewidth=1, label="static network")
    axis.set_ylabel("GMACs", fontsize=_SMALL)
    axis.set_ylim(0, 1.1 * max(prediction.static_gmacs, bottom.max()))
    axis.tick_params(labelsize=_SMALL)
    title = f"cost, mean {100 * prediction.share:.0f} % of static"
    axis.set_title(title, fontsize=_SMALL, loc="left")
    axis.legend(fontsize=_SMALL - 1, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=4)
    sns.despine(ax=axis)


def _heatmap(axis: Axes, values: np.ndarray, rows: list[str], title: str) -> None:
    gaps = 0.3 if values.shape[1] <= _GAPS else 0
    colours = {"vmin": 0, "vmax": 1, "cmap": "Blues", "cbar": False, "linewidths": gaps}
    sns.heatmap(values, ax=axis, yticklabels=rows, xticklabels=False, **colours)
    axis.tick_params(labelsize=_SMALL if len(rows) <= _CLASSES else _SMALL - 2, length=0, labelrotation=0)
    axis.set_title(title, fontsize=_SMALL, loc="left")


def _name_clips(axis: Axes, prediction: Prediction) -> None:
    """The starts of some of the clips, at most ten."""
    clips = prediction.clips.iloc[:: -(-len(prediction.clips) // 10)]
    starts = clips["start_seconds"]
    words = [f"{s:.1f} s" for s in starts] if starts.notna().all() else [f"frame {f}" for f in clips["first_frame"]]
    axis.set_xticks(clips["clip"] + 0.5, words, rotation=0, fontsize=_SMALL)
