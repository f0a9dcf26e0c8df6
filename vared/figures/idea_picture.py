"""Figure 1-1: the idea on two real clips, one of which needs few frames computed, the other few channels.

Both are what a trained network does: maps of one of its layers, and the policies of all layers.

Shapes: N clip, C channel, T frame, H W pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from vared.analysis.generated_maps import AXES
from vared.figures.map_pictures import Series, rectified_series, strongest_channels
from vared.figures.page import COMPUTED, LARGE, LIGHT, arrow, box, legend, page, put, write
from vared.figures.shown_run import ShownRun

_WIDTH, _GUTTER, _LEFT = 3.3, 0.45, 0.62  # inches: of a column, between the two, left of the first
_SHOWN, _GAP, _CELL = 8, 0.05, 0.085  # pictures a row; inches between them, and of a layer in the policies


@dataclass(frozen=True)
class Example:
    """A clip with its maps in a layer that generates some along `dimension`; `forced` if no layer does so for it.

    `layers` has a row a layer: layer, frames (of its output), R, kept (channels computed), channels, and the shares
    `temporal` and `channel` that are computed for this clip and, `..._mean`, on the mean over the run's clips.
    """

    dimension: str
    series: Series
    layer: str
    forced: bool
    layers: pd.DataFrame


def clip_table(run: ShownRun) -> pd.DataFrame:
    """A row a clip: name, motion, and the shares `temporal` and `channel` computed, means over layers."""
    columns = {"name": run.names, "motion": run.motion().tolist()}
    for dimension in AXES:
        shares = torch.stack([_share(policy, dimension) for policy in run.policies.values()])
        columns[dimension] = shares.double().mean(0).tolist()
    return pd.DataFrame(columns).round(6)


def choose_clips(clips: pd.DataFrame) -> tuple[int, int]:
    """From `clip_table`, among the quarter of the clips with least motion the one whose savings lean most to frames,
    and among the quarter with most motion the one whose savings lean most to channels.

    How far they lean is the difference of the shares computed; ties go to the clip with least (most) motion.
    """
    ordered = clips.assign(lead=(clips["channel"] - clips["temporal"]).round(6)).sort_values("motion", kind="stable")
    quarter = max(1, len(ordered) // 4)
    return int(ordered.iloc[:quarter]["lead"].idxmax()), int(ordered.iloc[-quarter:][::-1]["lead"].idxmin())


def example(run: ShownRun, clip: int, dimension: str) -> Example:
    """What the network does to that clip, with the maps of the first layer that generates along `dimension` for it."""
    layers = layer_table(run, clip)
    candidates = {
        name: policy.temporal_factors if dimension == "temporal" else policy.channel_ratios
        for name, policy in run.policies.items()
    }
    options = [name for name, known in candidates.items() if len(known) > 1]
    choices = {name: int(getattr(run.policies[name], f"{dimension}_choice")[clip]) for name in options}
    name = next((name for name in options if choices[name]), options[0])
    series = rectified_series(run, name, dimension, candidates[name][choices[name] or 1])[clip]
    return Example(dimension, series, name, not choices[name], layers)


def layer_table(run: ShownRun, clip: int) -> pd.DataFrame:
    """The `layers` of an Example."""
    rows = []
    for name, policy in run.policies.items():
        layer = run.network.get_submodule(name)
        row = {"layer": name, "frames": layer.frames_out, "R": int(policy.stride[clip])}
        row |= {"kept": layer.kept_channels[int(policy.channel_choice[clip])], "channels": layer.out_channels}
        for dimension in AXES:
            share = _share(policy, dimension)
            row |= {dimension: float(share[clip]), f"{dimension}_mean": float(share.mean())}
        rows.append(row)
    return pd.DataFrame(rows).round(4)


def _share(policy, dimension: str) -> Tensor:
    """Nominal share computed of the frames, 1 / R, or of the channels, r, by clip."""
    return 1.0 / policy.stride if dimension == "temporal" else policy.ratio


def draw_idea(examples: Sequence[Example], titles: Sequence[str], *, pixels: bool) -> Figure:
    """A column an example: the clip's frames (if `pixels`), maps of one layer with the generated ones marked and an
    arrow from what each is generated from, and below how much every layer computes."""
    size = (_WIDTH - (_SHOWN - 1) * _GAP) / _SHOWN
    layers = len(examples[0].layers)
    above = 0.3 + pixels * (size + 0.32)
    policy = above + size + 0.4
    bottom = policy + layers * _CELL
    axes = page(_LEFT + len(examples) * (_WIDTH + _GUTTER) - _GUTTER + 0.05, bottom + 1.0)
    for column, (one, title) in enumerate(zip(examples, titles, strict=True)):
        x = _LEFT + column * (_WIDTH + _GUTTER)
        write(axes, x, 0.1, title, align="left", weight="bold", size=LARGE)
        if pixels:
            frames = one.series.pixels
            for i, t in enumerate(np.linspace(0, len(frames) - 1, _SHOWN).round().astype(int)):
                put(axes, frames[t], x + i * (size + _GAP), 0.28, size)
            arrow(axes, (x + _WIDTH / 2, 0.3 + size), (x + _WIDTH / 2, above - 0.04))
            number = one.layers["layer"].tolist().index(one.layer) + 1
            words = f"dynamic layer {number} of {layers}"
            write(axes, x + _WIDTH / 2 + 0.08, (0.28 + size + above) / 2, words, align="left")
        _draw_maps(axes, one, x, above, size)
        _draw_policy(axes, one, x, policy)
        write(axes, x, bottom + 0.22, _words(one), align="left", va="top")
    if pixels:
        write(axes, _LEFT - 0.08, 0.28 + size / 2, "clip", align="right")
    write(axes, _LEFT - 0.08, above + size / 2, "maps", align="right")
    for share, words in ((0.03, "input"), (0.5, "layers"), (0.97, "output")):
        write(axes, _LEFT - 0.08, policy + share * layers * _CELL, words, align="right")
    legend(axes, _LEFT, bottom + (0.78 if any(one.forced for one in examples) else 0.66), filled=True)
    return axes.figure


def _draw_maps(axes, one: Example, x: float, y: float, size: float) -> None:
    """Left maps over time of the strongest channel; right pairs of a computed channel and one generated from it."""
    series = one.series
    if one.dimension == "temporal":
        channel = strongest_channels(series, 1)[0]
        places = [(channel, t) for t in range(min(_SHOWN, series.mixed.shape[1]))]
        sources = dict(zip(series.indices, series.sources, strict=True))
        names = [f"t = {t}" for _, t in places]
    else:
        frame = series.mixed.shape[1] // 2
        pairs = sorted(zip(series.sources, series.indices, strict=True), key=lambda pair: -_spread(series, pair, frame))
        places = [(c, frame) for pair in sorted(pairs[: _SHOWN // 2]) for c in pair]
        sources = {2 * i + 1: 2 * i for i in range(len(places) // 2)}
        names = [f"c = {c}" for c, _ in places]
    for i, ((c, t), name) in enumerate(zip(places, names, strict=True)):
        left = x + i * (size + _GAP)
        put(axes, series.mixed[c, t], left, y, size, limit=float(series.mixed[c].max()), marked=i in sources)
        write(axes, left + size / 2, y + size + 0.24, name)
        if i in sources:
            start = x + sources[i] * (size + _GAP) + size / 2
            arrow(axes, (start, y + size + 0.03), (left + size / 2, y + size + 0.04), cheap=True, bend=0.3)


def _spread(series: Series, pair: tuple[int, int], frame: int) -> float:
    """How much the weaker of two maps varies."""
    return float(series.mixed[list(pair), frame].flatten(1).std(1).min())


def _draw_policy(axes, one: Example, x: float, y: float) -> None:
    """A line a layer, the input on top: which frames, or how many of the channels, are computed and generated."""
    for row in one.layers.itertuples():
        if one.dimension == "temporal":
            cells = [(t / row.frames, 1 / row.frames, t % row.R == 0) for t in range(row.frames)]
        else:
            share = row.kept / row.channels
            cells = [(0.0, share, True), (share, 1 - share, False)]
        for start, width, computed in cells:
            colour = COMPUTED if computed else LIGHT
            gid = "cell computed" if computed else "cell generated"
            style = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.5, "gid": gid}
            box(axes, x + start * _WIDTH, y, width * _WIDTH, _CELL, **style)
        y += _CELL
    write(axes, x + _WIDTH / 2, y + 0.1, "frames" if one.dimension == "temporal" else "channels")


def _words(one: Example) -> str:
    words, means = [], 100 * one.layers[list(AXES) + [f"{name}_mean" for name in AXES]].mean()
    for name, what in (("temporal", "frames"), ("channel", "channels")):
        words.append(f"{means[name]:.0f} % of the {what} computed; all clips: {means[f'{name}_mean']:.0f} %")
    if one.forced:
        words.append("no layer generates any for this clip: forced for the maps above")
    return "\n".join(words)
