"""Accuracy against cost as a table and a picture: one network at several thresholds, its controls, plain networks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from vared.cost_curve import COLUMNS, DYNAMIC, MEAN, RANDOM

PLAIN = "static"  # first word of the name of every plain network
_COLOURS = sns.color_palette("colorblind")
# Marker and colour together, so that neither alone carries the meaning.
_STYLE = {
    DYNAMIC: {"marker": "o", "color": _COLOURS[2], "linestyle": "-"},
    MEAN: {"marker": "s", "color": _COLOURS[1], "linestyle": "--"},
    RANDOM: {"marker": "x", "color": "0.5", "linestyle": ":"},
}


def static_rows(runs: pd.DataFrame, words: list[str], static_gflops: float) -> pd.DataFrame:
    """Rows of plain runs for the curve from runs.csv; shares are of `static_gflops`, so that widths compare.

    Both lengths of training are given, as in table 4.1. Raises ValueError for a word that runs.csv does not have.
    """
    rows = []
    for word in words:
        found = runs[(runs["run"] == word) & runs["variant"].isin(["static", "static_equal_epochs"])]
        if found.empty:
            raise ValueError(f"runs.csv has no plain run {word!r}; params.yaml, cost_curve.static_runs asks for it.")
        for row in found.itertuples():
            equal = ", equal epochs" if row.variant == "static_equal_epochs" else ""
            share = row.gflops_static / static_gflops
            values = (np.nan, row.gflops_static, row.gflops_static, share, share, row.clip1_top1, row.clips)
            rows.append(dict(zip(COLUMNS, (f"{PLAIN}{equal} ({word})", *values), strict=True)))
    return pd.DataFrame(rows, columns=COLUMNS)


def curve_table(curve: pd.DataFrame) -> pd.DataFrame:
    """The curve as text: a row a threshold with both costs, and clip-1 of the network and of its controls.

    Plain networks follow with a dash for their threshold. The mean policy has a cost of its own, given beside it.
    """
    rows = []
    for threshold, part in curve[curve["threshold"].notna()].groupby("threshold"):
        of = {name: part[part["network"] == name].iloc[0] for name in (DYNAMIC, MEAN, RANDOM)}
        rows.append(_costs(f"{threshold:+.2f}" if threshold else "0 (as trained)", of[DYNAMIC]) | {
            "one policy for all clips": f"{of[MEAN]['clip1_top1']:.1f} at {percent(of[MEAN]['share'])}",
            "policies of other clips": f"{of[RANDOM]['clip1_top1']:.1f}",
        })  # fmt: skip
    rows += [_costs(row["network"], row) for _, row in curve[curve["threshold"].isna()].iterrows()]
    return pd.DataFrame(rows).fillna("–")


def percent(share: float) -> str:
    """A share as the pages print it: `74.2 %`."""
    return f"{100 * share:.1f} %"


def _costs(name: str, row: pd.Series) -> dict[str, str]:
    return {
        "threshold": name, "GFLOPs avg": f"{row['gflops']:#.4g}", "share of the plain network": percent(row['share']),
        "gates and cheap operations counted": percent(row['share_total']), "clip-1": f"{row['clip1_top1']:.1f}",
    }  # fmt: skip


def draw_curve(curve: pd.DataFrame, axis: plt.Axes | None = None) -> plt.Figure:
    """clip-1 (percent) against the share of the plain network's operations, gates and cheap operations counted.

    Whiskers are 95 % intervals of an accuracy counted on so many clips (normal approximation).
    """
    axis = axis or plt.subplots(figsize=(6.5, 4.2))[1]
    for name, style in _STYLE.items():
        part = curve[curve["network"] == name].sort_values("share_total")
        _draw(axis, part, name, style)
    plain = curve[curve["network"].str.startswith(PLAIN)]
    for (name, part), marker in zip(plain.groupby("network", sort=False), "D^v*P<>" * 3, strict=False):
        _draw(axis, part, name, {"marker": marker, "color": _COLOURS[0], "linestyle": "none"})
    axis.set(xlabel="operations, % of the plain network's (gates and cheap operations counted)", ylabel="clip-1 (%)")
    axis.legend(frameon=False, fontsize=8, loc="best")
    sns.despine(ax=axis)
    axis.figure.tight_layout()
    return axis.figure


def _draw(axis: plt.Axes, part: pd.DataFrame, name: str, style: dict) -> None:
    if part.empty:
        return
    share = part["clip1_top1"] / 100
    error = 1.96 * 100 * (share * (1 - share) / part["clips"]) ** 0.5
    axis.errorbar(
        100 * part["share_total"], part["clip1_top1"], error, label=name, markersize=5, capsize=2, elinewidth=0.8,
        **style,
    )  # fmt: skip
