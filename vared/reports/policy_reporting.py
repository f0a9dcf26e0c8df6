"""Figures 4-1, 4-2, B-4, B-5, B-7, B-8 in numbers: shares computed by layer and class, clips of most and least cost.

Tables are those of vared/collecting.py. A run that a profile does not have is named with the reason, never drawn.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from vared.claims.tables import STAND_INS, NotTested, Results
from vared.data.sets import set_folder
from vared.paper import TITLES
from vared.reports.reporting import provenance

# The dynamic networks that the figures are of, and the length of their clips in figures B-7 and B-8.
SHOWN = {"search_space": 2, "dimensions": "both", "training": "usual"}
THESIS_FRAMES = 16
DIMENSIONS = {"temporal": "mean 1/R (frames)", "channel": "mean r (channels)"}
# X3D's dynamic layers by the end of their names: the finding of section 4.8 is about those after the depthwise ones.
KINDS = {"conv_a": "before the depthwise convolution", "conv_c": "after the depthwise convolution"}
EXTREMES = ["run", "action", "which", "clip", "name", "percent"]  # columns of extreme_clips.csv
PERCENT = "executed share of the dynamic (2-D) convolutions (%)"


def rows_of_run(results: Results, table: str, data: str, backbone: str) -> pd.DataFrame:
    """Rows of `table` of the dynamic runs of one backbone (S = 2) on `data` as the thesis calls it, or its stand-in.

    Of several clip lengths THESIS_FRAMES, or the shortest where that was not run. Empty when there is no such run.
    """
    try:
        rows = results.rows(table, data=data, backbone=backbone, **SHOWN)
    except NotTested:
        return pd.DataFrame()
    lengths = set(rows["frames"])
    return rows[rows["frames"] == (THESIS_FRAMES if THESIS_FRAMES in lengths else min(lengths))]


def class_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of rows of policy_by_class.csv: position, layer, action, temporal (1/R), channel (r)."""
    return rows.groupby(["position", "layer", "action"])[list(DIMENSIONS)].mean().round(4).reset_index()


def policy_table(shares: pd.DataFrame) -> pd.DataFrame:
    """What the thesis reads off the heat map, as text: level, spread between classes, trend with depth, by dimension.

    In X3D also the spread of the convolutions before and after the depthwise ones.
    """
    rows = []
    for dimension in DIMENSIONS:
        depth = shares.groupby("position")[dimension].mean().reset_index()
        # A share that is the same in every layer has no trend.
        trend = f"{depth.corr('spearman').iloc[0, 1]:+.2f}" if depth[dimension].nunique() > 1 else "constant"
        spread = shares.groupby(["position", "layer"])[dimension].std()
        row = {"policy": dimension, "mean share": f"{shares[dimension].mean():.3f}"}
        row["spread between classes (mean over layers)"] = f"{spread.mean():.4f}"
        for end, kind in KINDS.items():
            of_kind = spread[spread.index.get_level_values("layer").str.endswith(f".{end}")]
            row |= {f"spread {kind}": f"{of_kind.mean():.4f}"} if len(of_kind) else {}
        rows.append(row | {"rank correlation of share with depth": trend})
    return pd.DataFrame(rows)


def network_title(rows: pd.DataFrame) -> str:
    """`X3D-M, 8 frames, seeds 0, 1`: what the rows of one network, with their columns of runs.csv, are of."""
    backbone, frames = rows["backbone"].iloc[0], rows["frames"].iloc[0]
    seeds = sorted(rows["seed"].unique())
    return f"{TITLES[backbone]}, {frames} frames, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def missing_runs(profile: str, data: str, backbones: Iterable[str]) -> str:
    """A sentence that says of which networks the profile has no run on `data`, and why; empty when there are none."""
    names = [TITLES[backbone] for backbone in backbones]
    if not names:
        return ""
    where = " or ".join([data, *(f"its stand-in {name}" for name in STAND_INS.get(data, ()))])
    return (
        f"Left out: {' and '.join(names)}. The profile {profile} trains no dynamic {' or '.join(names)} on {where}: "
        f"`run_lists.{profile}` in params.yaml holds none."
    )


def data_provenance(summary: Mapping[str, object], made_by: str, rows: pd.DataFrame) -> str:
    """`provenance` of a further data set, whose runs `rows` are of; the profile's own without rows."""
    further = summary.get("further", {}).get(rows["data"].iloc[0]) if len(rows) else None
    if further is None:
        return provenance(summary, made_by)
    runs = ", ".join(f"`{word}`" for word in rows["run"].unique())
    models = [model for model in further["models"] if model["backbone"] in set(rows["backbone"])]
    own = {"data": further["data"] | {"source": rows["data"].iloc[0]}, "seeds": sorted(rows["seed"].unique())}
    parts = [provenance({**summary, **further, **own, "model": model}, made_by) for model in models]
    networks = [line for part in parts[1:] for line in part.splitlines() if line.startswith("- Network:")]
    lines = parts[0].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("- Network:")) + 1
    return "\n".join([*lines[:at], *networks, f"- Runs: {runs}; {further['classes']} classes", *lines[at:]])


def extreme_table(extremes: pd.DataFrame) -> pd.DataFrame:
    """The clips of most and least cost as text, a row a class; `extremes` are rows of extreme_clips.csv of one run."""
    table = extremes.pivot(index="action", columns="which", values=["name", "percent"])
    return pd.DataFrame({
        "class": table.index, "most costly": table["name", "most"], "% ": table["percent", "most"].map("{:.1f}".format),
        "least costly": table["name", "least"], "%": table["percent", "least"].map("{:.1f}".format),
    })  # fmt: skip


def one_run(rows: pd.DataFrame) -> pd.DataFrame:
    """Of rows of extreme_clips.csv the first run's, in the columns of that file; no rows give its header alone."""
    if rows.empty:
        return pd.DataFrame(columns=EXTREMES)
    return rows.loc[rows["run"] == rows["run"].iloc[0], EXTREMES].reset_index(drop=True)


def videos_of(root: Path, profile: str, summary: Mapping[str, object], rows: pd.DataFrame) -> tuple[Path, bool]:
    """The folder of the videos that `rows` of runs are of, and whether they are generated: others are not ours to show.

    Without rows the profile's own.
    """
    further = summary.get("further", {}).get(rows["data"].iloc[0]) if len(rows) else None
    data = further["data"] if further else summary["data"]
    folder = set_folder(root, profile, further["set"]) if further else set_folder(root, profile)
    return folder / "clips", data["source"] == "embedded"
