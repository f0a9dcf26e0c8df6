"""Figures B-2 and B-3: maps that are all computed beside a series in which some are cheaply generated (marked red).

What is drawn is the output of a dynamic convolution after the normalisation and ReLU that follow it, in the same
network and for the same input, under two policies: everything computed, and one candidate that generates maps.

Shapes: N clip, C channel, T frame, H W pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from vared.analysis.generated_maps import generated, maps_under
from vared.figures.page import legend, page, put, write
from vared.figures.pictures import layer_input
from vared.figures.shown_run import ShownRun

_LEFT, _GAP = 0.95, 0.1  # inches: room for the names of rows, and between pictures


@dataclass(frozen=True)
class Series:
    """Maps of one clip in one layer, C x T x H x W, `computed` in full and `mixed` with generated ones among them.

    `indices` are the generated frames or channels, `sources` the computed ones they are made from, `pixels` the frames
    of the clip, T x S x S x 3.
    """

    clip: int
    dimension: str
    pixels: Tensor
    computed: Tensor
    mixed: Tensor
    indices: list[int]
    sources: list[int]

    def correlations(self) -> np.ndarray:
        """Pearson correlation of each mixed map with its computed one, C x T; not a number for flat maps."""
        a, b = (maps.double() - maps.double().mean((2, 3), keepdim=True) for maps in (self.mixed, self.computed))
        return ((a * b).sum((2, 3)) / ((a * a).sum((2, 3)) * (b * b).sum((2, 3))).sqrt()).numpy()

    def likeness(self) -> float:
        """Mean correlation of the generated maps that have one."""
        of_generated = np.take(self.correlations(), self.indices, axis=1 if self.dimension == "temporal" else 0)
        return float(np.nanmean(of_generated))

    def table(self) -> pd.DataFrame:
        """A row a map: clip, channel, frame, whether it is generated, and its correlation with the computed map."""
        channels, frames = np.indices(self.computed.shape[:2]).reshape(2, -1)
        along = frames if self.dimension == "temporal" else channels
        columns = {"clip": self.clip, "channel": channels, "frame": frames, "generated": np.isin(along, self.indices)}
        return pd.DataFrame(columns | {"CC": self.correlations().reshape(-1)})


def rectified_series(run: ShownRun, name: str, dimension: str, candidate: float) -> list[Series]:
    """The series of every clip of `run` in the dynamic layer `name`, whose `candidate` of `dimension` generates maps.

    The gates' weights of a clip are put on the one candidate shown, so that maps are as large as the normalisation
    behind the layer expects.
    """
    layer, parent = (run.network.get_submodule(part) for part in (name, name.rpartition(".")[0]))
    x, policy = layer_input(run.network, name, run.clips), run.policies[name]
    weight = (policy.temporal.sum(1) * policy.channel.sum(1)).view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        policies = ({}, {dimension: candidate})
        maps = [parent.norm(weight * maps_under(layer, x, **chosen)).relu() for chosen in policies]
    indices, sources = (i.tolist() for i in generated(layer, dimension, candidate, maps[0].shape[2]))
    pixels = run.pixels().permute(0, 2, 3, 4, 1)
    return [Series(n, dimension, pixels[n], maps[0][n], maps[1][n], indices, sources) for n in range(len(x))]


def at_quantile(values: Sequence[float], quantile: float) -> int:
    """Position of the value at that quantile (0 the smallest, 1 the largest)."""
    return int(np.argsort(np.asarray(values), kind="stable")[round(quantile * (len(values) - 1))])


def strongest_channels(series: Series, count: int, among: Sequence[int] | None = None) -> list[int]:
    """The `count` channels whose computed maps vary most over pixels, mean over frames, in their order."""
    among = list(range(len(series.computed)) if among is None else among)
    spread = series.computed[among].flatten(2).std(2).mean(1)
    return sorted(among[i] for i in spread.argsort(descending=True, stable=True)[:count].tolist())


def draw_frame_series(series: Sequence[Series], titles: Sequence[str], *, channels: int = 2, pixels: bool) -> Figure:
    """Figure B-2: a block a clip, a column a frame. The frames of the clip (if `pixels`), then for each of the
    strongest `channels` a row of computed maps and one with generated maps, with their correlation below."""
    count, size = series[0].computed.shape[1], 0.66
    axes = page(_LEFT + count * (size + _GAP), 20.0)
    y = 0.0
    for one, title in zip(series, titles, strict=True):
        y = _heading(axes, title, {f"t = {t}": _LEFT + t * (size + _GAP) for t in range(count)}, size, y)
        if pixels:
            _row(axes, y, size, "clip", list(one.pixels[:: len(one.pixels) // count][:count]))
            y += size + 0.11
        for channel in strongest_channels(one, channels):
            limit = float(torch.stack([one.computed[channel], one.mixed[channel]]).max())
            _row(axes, y, size, f"channel {channel}\nall computed", list(one.computed[channel]), limit)
            y += size + _GAP
            notes = dict(zip(one.indices, one.correlations()[channel][one.indices], strict=True))
            _row(axes, y, size, "frames\ngenerated", list(one.mixed[channel]), limit, notes)
            y += size + 0.3
    legend(axes, _LEFT, y + 0.03)
    return axes.figure


def draw_channel_series(
    series: Sequence[Series], titles: Sequence[str], *, frame: int, kept: int = 3, made: int = 6, pixels: bool
) -> Figure:  # fmt: skip
    """Figure B-3: a block a clip, a column a channel. The frame of the clip (if `pixels`), then the strongest computed
    channels, then the strongest generated ones, with their correlation below."""
    size, wide = 0.62, 1.33
    left = _LEFT + pixels * (wide - 0.1)
    kept, made = min(kept, series[0].indices[0]), min(made, len(series[0].indices))
    places = [left + i * (size + _GAP) + (i >= kept) * 0.1 for i in range(kept + made)]
    axes = page(places[-1] + size + 0.05, 20.0)
    y = 0.0
    for one, title in zip(series, titles, strict=True):
        chosen = strongest_channels(one, kept, range(one.indices[0])) + strongest_channels(one, made, one.indices)
        y = _heading(axes, title, {f"c = {c}": x for c, x in zip(chosen, places, strict=True)}, size, y)
        if pixels:
            put(axes, one.pixels[frame * len(one.pixels) // one.computed.shape[1]], 0.05, y, wide)
        limits = [float(torch.stack([maps[c, frame] for maps in (one.computed, one.mixed)]).max()) for c in chosen]
        notes = {i: one.correlations()[c, frame] for i, c in enumerate(chosen) if c in one.indices}
        words = ("all\ncomputed", "channels\ngenerated")
        for row, (maps, text) in enumerate(zip((one.computed, one.mixed), words, strict=True)):
            top = y + row * (size + _GAP)
            _row(axes, top, size, text, [maps[c, frame] for c in chosen], limits, notes if row else {}, places)
        y += 2 * size + _GAP + 0.3
    legend(axes, left, y + 0.03)
    return axes.figure


def _heading(axes, title: str, columns: Mapping[str, float], size: float, y: float) -> float:
    """Title of a block and the names of its columns, at their left edges; where the first row of pictures begins."""
    write(axes, 0.05, y + 0.08, title, align="left", weight="bold")
    for text, x in columns.items():
        write(axes, x + size / 2, y + 0.27, text)
    return y + 0.36


def _row(axes, y: float, size: float, title: str, pictures, limit=None, notes=(), places=None) -> None:
    """Pictures side by side; those with a note (by column) are marked, and it is printed below. `limit` is one for all
    or one for each, `places` are left edges."""
    places = places or [_LEFT + column * (size + _GAP) for column in range(len(pictures))]
    write(axes, places[0] - 0.1, y + size / 2, title, align="right")
    for column, (x, picture) in enumerate(zip(places, pictures, strict=True)):
        scale = limit[column] if isinstance(limit, list) else limit
        put(axes, picture, x, y, size, limit=scale, marked=column in notes)
        if column in notes:
            value = notes[column]
            text = "flat" if np.isnan(value) else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
            write(axes, x + size / 2, y + size + 0.1, text)
