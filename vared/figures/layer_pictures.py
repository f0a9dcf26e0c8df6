"""Figure 3-1: what a dynamic convolution does along time and along channels, with the tensors of a real clip.

Shapes: C channel, T frame, H W pixel, K kept channels.
"""

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from vared.figures.page import COMPUTED, GENERATED, LARGE, arrow, box, legend, page, put, write
from vared.figures.shown_layer import Execution

_LEFT, _SIZE, _PITCH = 1.5, 0.5, 0.64  # inches
_ROWS = (0.45, 1.52, 2.45)  # upper edges of input, computed and output maps
_HEIGHT = 3.3


def draw_dynamic_convolution(temporal: Execution, channel: Execution) -> Figure:
    """Panels (a) temporal stride scaling and (b) channel scaling, each followed by the cheap operation."""
    columns = max(8, temporal.input.shape[1], temporal.output.shape[1])
    axes = page(_LEFT + columns * _PITCH + 0.95, 2 * _HEIGHT + 0.3)
    _draw_temporal(axes, temporal, 0.0)
    _draw_channel(axes, channel, _HEIGHT)
    legend(axes, _LEFT, 2 * _HEIGHT + 0.16)
    return axes.figure


def _draw_temporal(axes, run: Execution, top: float) -> None:
    channel = int(run.output.flatten(1).std(1).argmax())
    shown = int(run.input.flatten(1).std(1).argmax())
    factor, layer = int(run.candidate), run.layer
    inputs, outputs = run.input[shown], run.output[channel]
    _titles(axes, run, top, f"(a) frames: temporal stride scaled by R = {factor}", f"R = {factor}", len(inputs))
    _words(axes, top, 0, f"input $X$\nchannel {shown}", run.input.shape)
    kept = list(range(0, len(outputs), factor))
    _words(axes, top, 1, f"computed $Y'$\nchannel {channel}", (run.output.shape[0], len(kept), *run.output.shape[2:]))
    _words(axes, top, 2, f"output $Y$\nchannel {channel}", run.output.shape)
    read = {frame for t in kept for frame in _reads(layer, t, len(inputs))}
    stride = f"temporal stride {layer.stride[0]} · {factor} = {layer.stride[0] * factor}"
    bar = _bar(axes, top, len(inputs), f"convolution with {stride}")
    for t, picture in enumerate(inputs):
        _map(axes, picture, t, 0, top, float(inputs.abs().max()), faded=t not in read)
        write(axes, _x(t) + _SIZE / 2, top + _ROWS[0] - 0.09, f"t = {t}")
        if t in read:
            arrow(axes, _below(t, 0, top), (_x(t) + _SIZE / 2, bar - 0.11))
    limit = float(outputs.abs().max())
    for i, t in enumerate(kept):
        _map(axes, outputs[t], t, 1, top, limit, signed=True)
        write(axes, _x(t) + _SIZE + 0.06, top + _ROWS[1] + _SIZE / 2, f"$i$ = {i}", align="left")
        arrow(axes, (_x(t) + _SIZE / 2, bar + 0.11), _above(t, 1, top))
        arrow(axes, _below(t, 1, top), _above(t, 2, top))
    for t, picture in enumerate(outputs):
        _map(axes, picture, t, 2, top, limit, signed=True, marked=t in run.indices)
        write(axes, _x(t) + _SIZE / 2, top + _ROWS[2] + _SIZE + 0.1, f"t = {t}")
    for t, source in zip(run.indices, run.sources, strict=True):
        _cheap(axes, source, t, top, r"$\Phi^t$")


def _draw_channel(axes, run: Execution, top: float, count: int = 4) -> None:
    kept, frame = run.indices[0], int(run.output.flatten(2).std(2).mean(0).argmax())
    energy = run.output[:, frame].flatten(1).std(1)
    made_from = dict(zip(reversed(run.sources), reversed(run.indices), strict=True))  # the first of each source
    pairs = sorted(sorted(made_from.items(), key=lambda pair: -float(energy[pair[0]]))[:count])
    shape, of = tuple(run.output.shape), f"1/{round(1 / run.candidate)}"
    _titles(axes, run, top, f"(b) channels: the share r = {of} is computed", f"r = {of}", 8)
    _words(axes, top, 0, f"input $X$\nframe {frame}", run.input.shape)
    _words(axes, top, 1, f"computed $Y'$\nframe {frame}", (kept, *shape[1:]))
    _words(axes, top, 2, f"output $Y$\nframe {frame}", shape)
    stride = run.input.shape[1] // shape[1]
    inputs = run.input[:8, frame * stride]
    for c, picture in enumerate(inputs):
        _map(axes, picture, c, 0, top, float(inputs.abs().max()))
        write(axes, _x(c) + _SIZE / 2, top + _ROWS[0] - 0.09, f"c = {c}")
    y = _bar(axes, top, len(inputs), f"convolution with the first {kept} of {shape[0]} filters")
    for c in range(len(inputs)):
        arrow(axes, _below(c, 0, top), (_x(c) + _SIZE / 2, y - 0.11))
    limit = float(torch.stack([run.output[c, frame].abs().max() for pair in pairs for c in pair]).max())
    middle, end = top + _ROWS[1] + _SIZE / 2, _x(count + len(pairs) - 1) + _SIZE
    box(axes, _x(count), middle - 0.11, end - _x(count), 0.22, fill=False, edgecolor=GENERATED, linewidth=1.0)
    write(axes, (_x(count) + end) / 2, middle, r"cheap operation $\Phi^c$", color=GENERATED)
    arrow(axes, (_x(len(pairs) - 1) + _SIZE + 0.04, middle), (_x(count) - 0.03, middle), cheap=True)
    for column, (source, made) in enumerate(pairs):
        arrow(axes, (_x(column) + _SIZE / 2, y + 0.11), _above(column, 1, top))
        _map(axes, run.output[source, frame], column, 1, top, limit, signed=True)
        arrow(axes, _below(column, 1, top), _above(column, 2, top))
        _map(axes, run.output[source, frame], column, 2, top, limit, signed=True)
        _map(axes, run.output[made, frame], column + count, 2, top, limit, signed=True, marked=True)
        arrow(axes, (_x(column + count) + _SIZE / 2, middle + 0.11), _above(column + count, 2, top), cheap=True)
        for words, place, lines in ((f"c = {source}", column, 1), (f"c = {made}\nfrom {source}", column + count, 2)):
            write(axes, _x(place) + _SIZE / 2, top + _ROWS[2] + _SIZE + 0.04 + 0.06 * lines, words)


def _bar(axes, top: float, columns: int, words: str) -> float:
    """A bar for the convolution between input and computed maps; the height of its middle."""
    y, width = top + (_ROWS[0] + _SIZE + _ROWS[1]) / 2, _x(columns - 1) + _SIZE - _x(0)
    box(axes, _x(0), y - 0.11, width, 0.22, facecolor="0.92", edgecolor=COMPUTED, linewidth=0.6)
    write(axes, _x(0) + width / 2, y, words)
    return y


def _reads(layer: nn.Module, t: int, frames: int) -> list[int]:
    """Input frames that output frame t of the convolution is made from."""
    first = t * layer.stride[0] - layer.padding[0]
    taken = [first + k * layer.dilation[0] for k in range(layer.kernel_size[0])]
    return [frame for frame in taken if 0 <= frame < frames]


def _titles(axes, run: Execution, top: float, title: str, choice: str, columns: int) -> None:
    write(axes, 0.05, top + 0.1, title, align="left", weight="bold", size=LARGE)
    weights = ", ".join(f"{weight:.2f}" for weight in run.weights)
    letter = run.dimension[0]
    decided = f"gate: $V_{letter}$ = ({weights})" + (f", so {choice}" if run.chosen else f"; {choice} forced")
    write(axes, _x(columns) - _PITCH + _SIZE, top + 0.1, decided, align="right")


def _words(axes, top: float, row: int, text: str, shape) -> None:
    y = top + _ROWS[row] + _SIZE / 2
    if row == 0:
        write(axes, _x(8) + 0.02, top + _ROWS[0] - 0.09, "C × T × H × W", align="left", color="0.35")
    write(axes, _LEFT - 0.12, y, text, align="right")
    write(axes, _x(8) + 0.02, y, " × ".join(map(str, shape)), align="left", color="0.35")


def _map(axes, picture: Tensor, column: int, row: int, top: float, limit: float, **style) -> None:
    put(axes, picture, _x(column), top + _ROWS[row], _SIZE, limit=limit, **style)


def _cheap(axes, source: int, target: int, top: float, symbol: str) -> None:
    start, end = _below(source, 1, top), _above(target, 2, top)
    arrow(axes, (start[0] + 0.12, start[1]), end, cheap=True)
    share = 0.72
    x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    write(axes, x + 0.16, y - 0.03, symbol, color=GENERATED)


def _x(column: float) -> float:
    return _LEFT + column * _PITCH


def _below(column: float, row: int, top: float) -> tuple[float, float]:
    return _x(column) + _SIZE / 2, top + _ROWS[row] + _SIZE + 0.02


def _above(column: float, row: int, top: float) -> tuple[float, float]:
    return _x(column) + _SIZE / 2, top + _ROWS[row] - 0.04
