"""Figures of one clip in a ready network: frames, labels, cost, policies, rebuilt maps, and what moves them."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vared.exploring import Outcome, Subject, candidates, decide
from vared.figures import map_pictures, pictures
from vared.policies import dynamic_layers
from vared.prediction import most_probable

_SMALL = 8  # points
_PARTS = {"backbone": "convolutions", "cheap": "cheap operations", "gate": "gates"}
_COLOURS = sns.color_palette("colorblind")
THRESHOLDS = tuple(np.linspace(0.0, 0.95, 20).round(2).tolist())


def draw_outcome(one: Subject, outcome: Outcome) -> Figure:
    """The frames of the clip, the five most probable classes, and the cost beside that of the static network."""
    figure = Figure(figsize=(9, 3.6))
    top, below = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    pictures.draw_clips(top, {one.title.replace(": ", "\n"): one.clip})
    left, right = below.subplots(1, 2, gridspec_kw={"left": 0.18, "right": 0.99, "bottom": 0.22, "wspace": 0.45})
    names, values = zip(*most_probable(outcome.probabilities, one.card.classes, 5), strict=True)
    left.barh(names, values, color=_COLOURS[0])
    left.invert_yaxis()
    left.set(xlim=(0, 1))
    left.set_xlabel("probability", fontsize=_SMALL)
    _draw_cost(right, outcome)
    for axis in (left, right):
        axis.tick_params(labelsize=_SMALL)
        sns.despine(ax=axis)
    return figure


def _draw_cost(axis: Axes, outcome: Outcome) -> None:
    axis.barh(["static"], [outcome.static], color="0.75")
    start = 0.0
    for colour, (part, title) in zip(_COLOURS, _PARTS.items(), strict=False):
        axis.barh(["this clip"], [outcome.gmacs[part]], left=start, color=colour, label=title)
        start += outcome.gmacs[part]
    axis.text(start, "this clip", f" {100 * outcome.share:.0f} %", va="center", fontsize=_SMALL)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.25 * max(start, outcome.static))
    axis.set_xlabel("GMACs", fontsize=_SMALL)
    axis.legend(fontsize=_SMALL - 1, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3)


def draw_policy(one: Subject, outcome: Outcome) -> Figure:
    """Heat maps, a row a layer: R and r that the clip gets (dark: all is computed), and the weights V_t and V_c of all
    candidates (blank: shut; grey: no such candidate). Raises ValueError for a static network."""
    _require_policy(outcome)
    figure = Figure(figsize=(9, 0.22 * len(outcome.policies) + 0.9))
    left, right = figure.subfigures(1, 2, width_ratios=(0.55, 1))
    axis = left.subplots(gridspec_kw={"left": 0.52, "right": 0.97, "bottom": 0.06, "top": 0.88})
    shares = [[1 / int(p.stride[0]), float(p.ratio[0])] for p in outcome.policies.values()]
    words = [[f"{int(p.stride[0])}", _fraction(float(p.ratio[0]))] for p in outcome.policies.values()]
    sns.heatmap(
        shares, ax=axis, vmin=0, vmax=1, cmap="Blues", cbar=False, linewidths=0.5, annot=np.array(words), fmt="",
        annot_kws={"fontsize": _SMALL - 1}, xticklabels=["R", "r"], yticklabels=list(outcome.policies),
    )  # fmt: skip
    axis.tick_params(labelsize=_SMALL, length=0, labelrotation=0)
    axis.set_title("taken", fontsize=_SMALL)
    pictures.draw_gates(right, outcome.policies, ["weights of the candidates, $V_t$ and $V_c$"])
    right.axes[0].set_yticklabels([])
    right.axes[0].set_position((0.04, 0.06, 0.94, 0.82))
    return figure


def _fraction(ratio: float) -> str:
    return "1" if ratio == 1 else f"1/{round(1 / ratio)}"


def draw_rebuilt(one: Subject, layer: str, dimension: str) -> Figure:
    """Maps of a layer of R(2+1)D, all computed beside some rebuilt ones (red), for the first candidate of `dimension`
    ("temporal" or "channel") that leaves some out. Raises ValueError for a layer that has none."""
    run = one.shown_run()
    known = run.policies[layer] if layer in run.policies else None
    options = () if known is None else known.temporal_factors if dimension == "temporal" else known.channel_ratios
    if len(options) < 2:
        raise ValueError(f"{layer} of {one.card.name} leaves out nothing along {dimension}.")
    series = map_pictures.rectified_series(run, layer, dimension, options[1])
    titles = [f"{layer}, {f'R = {options[1]}' if dimension == 'temporal' else f'r = {_fraction(options[1])}'}"]
    if dimension == "temporal":
        return map_pictures.draw_frame_series(series, titles, pixels=True)
    return map_pictures.draw_channel_series(series, titles, frame=series[0].computed.shape[1] // 2, pixels=True)


def draw_moves(one: Subject, thresholds: Sequence[float] = THRESHOLDS) -> Figure:
    """Probabilities and cost of the clip against the openness threshold (left), and with each policy forced on all
    layers (right). Raises ValueError for a static network."""
    start = decide(one)
    _require_policy(start)
    classes = [name for name, _ in most_probable(start.probabilities, one.card.classes, 3)]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    outcomes = [decide(one, threshold=threshold) for threshold in thresholds]
    _draw_lines(left, one, classes, list(thresholds), outcomes)
    left.set_xlabel("openness threshold: a candidate is open where V is above", fontsize=_SMALL)
    left.set_ylabel("probability, share of the static cost", fontsize=_SMALL)
    policies = candidates(one)
    _draw_lines(right, one, classes, range(len(policies)), [decide(one, forced) for forced in policies], "o")
    names = [f"R = {factor}\nr = {_fraction(ratio)}" for factor, ratio in policies]
    right.set_xticks(range(len(policies)), names)
    right.set_xlabel("forced on every layer", fontsize=_SMALL)
    right.set_xlim(-0.5, len(policies) - 0.5)
    right.legend(fontsize=_SMALL, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (left, right):
        axis.tick_params(labelsize=_SMALL)
        sns.despine(ax=axis)
    return figure


def _draw_lines(axis: Axes, one: Subject, classes: Sequence[str], xs, outcomes: Sequence[Outcome], marker="") -> None:
    """Lines over numbers, markers alone over names."""
    lines = ("", "") if marker else ("-", "--")
    for colour, name in zip(_COLOURS, classes, strict=False):
        values = [float(o.probabilities[one.card.classes.index(name)]) for o in outcomes]
        axis.plot(xs, values, color=colour, linestyle=lines[0], marker=marker, label=name)
    shares = [outcome.share for outcome in outcomes]
    axis.plot(xs, shares, color="0.3", linestyle=lines[1], marker="D" if marker else "", label="cost")
    axis.set_ylim(0, 1.1)


def layers_that_leave_out(one: Subject) -> list[str]:
    """Layers that `draw_rebuilt` can show along both dimensions."""
    layers = dynamic_layers(one.model).items()
    return [name for name, layer in layers if min(len(layer.temporal_factors), len(layer.channel_ratios)) > 1]


def _require_policy(outcome: Outcome) -> None:
    if not outcome.policies:
        raise ValueError("A static network decides nothing: there is no policy to show.")
