"""Seconds against operations: a saving is realised in full on the line from the origin to the static network."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from vared.benchmarks.reporting import BOUND, DYNAMIC, FASTEST, NOTHING, TRIED, threads_text

_COLOURS = sns.color_palette("colorblind")
# Marker and colour of each role or dynamic version, so that neither alone carries the meaning.
_STYLE = {
    TRIED: {"marker": "x", "color": "0.6"},
    FASTEST: {"marker": "s", "color": _COLOURS[0]},
    "dynamic, plain": {"marker": "^", "color": _COLOURS[1]},
    "dynamic, accelerated": {"marker": "o", "color": _COLOURS[2]},
    "onnx static": {"marker": "P", "color": _COLOURS[4]},
    "onnx specialised": {"marker": "*", "color": _COLOURS[4]},
    "dynamic, accelerated and compiled": {"marker": "D", "color": _COLOURS[3]},
}
_COLUMNS, _WIDTH, _HEIGHT = 3, 4.2, 3.6  # panels a row, inches


def draw_speed(rows: pd.DataFrame) -> plt.Figure:
    """A panel a case of `inference_rows`: seconds a clip against GMACs a clip, interquartile ranges as bars."""
    cases = list(dict.fromkeys(rows["case"])) if len(rows) else []
    count = max(len(cases), 1)
    columns = min(count, _COLUMNS)
    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(_WIDTH * columns, _HEIGHT * lines), squeeze=False)
    for axis, case in zip(axes.flat, cases, strict=False):
        _draw_case(axis, rows[rows["case"] == case])
    for axis in axes.flat[len(cases) :]:
        axis.set_axis_off()
    if not cases:
        axes[0, 0].text(0.5, 0.5, NOTHING, ha="center", wrap=True)
    else:
        named = dict(zip(*reversed(axes.flat[0].get_legend_handles_labels()), strict=True))
        for axis in axes.flat[1 : len(cases)]:
            named |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        per_line = 2 * columns  # as wide as the panels above it
        figure.legend(named.values(), named.keys(), loc="lower center", ncols=per_line, frameon=False, fontsize=8)
        height = 0.25 * -(-len(named) // per_line) + 0.1  # inches
        figure.tight_layout(rect=(0, height / figure.get_figheight(), 1, 1))
    sns.despine(figure)
    return figure


def _draw_case(axis: plt.Axes, rows: pd.DataFrame) -> None:
    static = rows[rows["role"] == FASTEST].iloc[0]
    limit = 1.15 * static["gmacs"]
    slope = static["seconds_per_clip"] / static["gmacs"]
    axis.plot([0, limit], [0, limit * slope], color="0.4", linewidth=1, label="saving realised in full")
    axis.axhline(static["seconds_per_clip"], color=_COLOURS[0], linewidth=1, linestyle=":", label="static, to beat")
    for row in rows.to_dict("records"):
        key = row["version"] if row["role"] in (DYNAMIC, BOUND) else row["role"]
        error = None if pd.isna(row["iqr"]) else row["iqr"] / row["batch"] / 2
        axis.errorbar(row["gmacs"], row["seconds_per_clip"], error, linestyle="none", label=key, **_STYLE[key])
    # A version that is far slower than the fastest would squeeze all others together: it is named at the edge.
    top = 1.6 * max(static["seconds_per_clip"], *rows.loc[rows["role"] == DYNAMIC, "seconds_per_clip"])
    above = int((rows["seconds_per_clip"] > top).sum())
    axis.set(
        xlim=(0, limit), ylim=(0, top), xlabel="GMACs per clip (as the thesis counts)", ylabel="seconds per clip",
    )  # fmt: skip
    where = static["processor"] if static["device"] == "cuda" else f"CPU, {threads_text(static['threads'])}"
    note = f"\n({above} slower, not shown)" if above else ""
    axis.set_title(f"{static['case']}: batch {static['batch']}\n{where}, {static['dtype']}{note}", fontsize=9)
