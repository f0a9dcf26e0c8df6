"""Tables of `roofline.measure_layers` for readers: which layers can still gain most, and all against the roofs."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from vared.benchmarks.peaks import Machine
from vared.benchmarks.roofline import REST

_KINDS = {"dynamic": ("o", 0), "specialised": ("s", 2), "plain": ("D", 1), "depthwise": ("^", 3)}  # marker, colour
_AREA = 600  # square points of a layer that takes the whole pass


def markdown_of_remaining(table: pd.DataFrame, count: int = 10) -> str:
    """The `count` rows with the most time beyond the attainable as a Markdown table, and a last row for the pass.

    Times in milliseconds of the batch.
    """
    worst = table.nlargest(count, "remaining")
    sums = table[["seconds", "gmacs", "gigabytes", "attainable", "remaining", "share"]].sum()
    whole = pd.DataFrame([{"layer": "whole pass", "kind": "", **sums}])
    rows = pd.concat([worst, whole], ignore_index=True)
    shown = pd.DataFrame(
        {
            "layer": rows["layer"],
            "kind": rows["kind"],
            "time (ms)": _numbers(1e3 * rows["seconds"]),
            "share of the pass": rows["share"].map("{:.0%}".format),
            "GMACs": _numbers(rows["gmacs"]),
            "GB at least": _numbers(rows["gigabytes"]),
            "MACs a byte": _numbers(rows["intensity"]),
            "attainable (ms)": _numbers(1e3 * rows["attainable"]),
            "efficiency": rows["efficiency"].map(lambda x: "–" if np.isnan(x) else f"{x:.0%}"),
            "remaining (ms)": _numbers(1e3 * rows["remaining"]),
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True)


def draw_roofline(axis, table: pd.DataFrame, machine: Machine, title: str = "") -> None:
    """Both axes logarithmic: MACs a byte against GMAC/s, a marker a layer, its area its share of the pass."""
    layers = table[table["layer"] != REST]
    colours = sns.color_palette("colorblind")
    left, right = layers["intensity"].min() / 2, max(layers["intensity"].max(), machine.peak / machine.bandwidth) * 2
    reach = np.geomspace(left, right, 200)
    axis.plot(reach, np.minimum(machine.peak, machine.bandwidth * reach), color="0.2", linewidth=1.5)
    axis.text(right, machine.peak * 1.08, f"{machine.peak:.3g} GMAC/s", ha="right", va="bottom", fontsize=8)
    slope = min(machine.peak, machine.bandwidth * left)  # all layers may lie right of what memory bounds
    axis.text(left, slope * 1.08, f"{machine.bandwidth:.3g} GB/s", ha="left", va="bottom", fontsize=8)
    for kind, rows in layers.groupby("kind"):
        marker, colour = _KINDS[kind]
        axis.scatter(
            rows["intensity"], rows["gmacs"] / rows["seconds"], s=_AREA * rows["share"] + 8, marker=marker,
            color=colours[colour], alpha=0.75, linewidth=0, label=kind,
        )  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="operations for each byte moved (MACs / byte)", title=title)
    axis.set_ylabel("speed (GMAC/s)")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(StrMethodFormatter("{x:g}"))
        scale.set_minor_formatter(NullFormatter())
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    sns.despine(ax=axis)


def _numbers(values: pd.Series) -> pd.Series:
    return values.map(lambda x: "–" if np.isnan(x) else f"{x:.3g}")
