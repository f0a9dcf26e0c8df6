"""Table 4.9 and the figure of detections: from localization.csv and tables of detections to what a reader sees."""

from math import nan

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vared.paper import NETWORKS
from vared.reports.reporting import ALL_COUNTED, AS_THESIS, NOT_RUN, gflops, markdown

# Measure -> column of the thesis's CSV (empty: the thesis has none) and heading.
MEASURES = {
    "gflops_avg": ("gflops", "GFLOPs"), "gflops_total": ("", f"GFLOPs, {ALL_COUNTED}"),
    "frame_map": ("frame_map_iou50_percent", "frame-mAP"), "recall": ("recall_iou50_percent", "recall"),
    "classification_accuracy": ("classification_accuracy_percent", "class accuracy"),
    "first_recall": ("", "recall of the best detection"),
}  # fmt: skip
FLOOR = "one box for all clips (floor)"
TRUTH, FOUND = "white", "#ff7f0e"


def values(paper: pd.DataFrame, ours: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Table 4.9 in long form: model, network, search_space, measure, thesis, ours, full_size, run.

    `paper` is data/paper/table_4_9.csv, `ours` localization.csv, `costs` static_costs.csv. Static rows are followed by
    the same network after as many epochs of recognition as the dynamic one, and the last row is the floor of the data,
    which the thesis lacks. `full_size` is what we count in the thesis's plain network, GFLOPs.
    """
    rows = []
    for printed in paper.to_dict("records"):
        backbone, space = NETWORKS[printed["model"]], printed["search_space"]
        full = costs[(costs["network"] == backbone) & (costs["dataset"] == printed["dataset"])]["gmacs"]
        full = full.iloc[0] if len(full) else nan
        mine = ours[ours["backbone"] == backbone]
        if printed["dynamic"]:
            found = mine[(mine["variant"] == "dynamic") & (mine["search_space"] == space)]
            rows += _rows(printed["model"], "dynamic", int(space), printed, found, full)
        else:
            rows += _rows(printed["model"], "static", None, printed, mine[mine["variant"] == "static"], full)
            longer = mine[mine["variant"] == "static_equal_epochs"]
            rows += _rows(printed["model"], "static, equal epochs", None, {}, longer, full)
    rows += _rows("–", FLOOR, None, {}, ours[ours["variant"] == "floor"].head(1), nan)
    return pd.DataFrame(rows).astype({"search_space": "Int64"})


def _rows(model: str, network: str, space: int | None, printed: dict, found: pd.DataFrame, full: float) -> list[dict]:
    place = {"model": model, "network": network, "search_space": space, "full_size": full}
    place["run"] = found["run"].iloc[0] if len(found) else ""
    return [
        place | {
            "measure": measure,
            "thesis": printed.get(column, nan) if column else nan,
            "ours": found[measure].mean() if len(found) else nan,
        }
        for measure, (column, _) in MEASURES.items()
    ]  # fmt: skip


def value_text(long: pd.DataFrame) -> str:
    """`values` as a Markdown table: a row a network, thesis and ours in columns of their own."""
    rows = []
    for (model, network, space), cells in long.groupby(["model", "network", "search_space"], sort=False, dropna=False):
        row = {"model": model, "network": network, "S": "–" if pd.isna(space) else str(space)}
        run, cells = cells["run"].iloc[0], cells.set_index("measure")
        for measure, (column, heading) in MEASURES.items():
            if column:
                row[f"thesis: {heading}"] = _number(cells.loc[measure, "thesis"], "{:.3g}")
        for measure, (_, heading) in MEASURES.items():
            about = f" ({AS_THESIS})" if measure == "gflops_avg" else ""
            row[f"ours: {heading}{about}"] = _ours(measure, cells.loc[measure, "ours"]) if run else NOT_RUN
        row["plain network in full size, ours: GFLOPs"] = _number(cells["full_size"].iloc[0], "{:.2f}")
        row["run"] = f"`{run}`" if run and network != FLOOR else "–"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def _ours(measure: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    return gflops(value) if measure.startswith("gflops") else f"{value:.1f}"


def _number(value: float, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)


def shown_clips(frames: pd.DataFrame) -> pd.DataFrame:
    """The first key frame of every class, of `frames` of one run and variant: chosen without regard to the result."""
    return frames.drop_duplicates("class").sort_values("class", ignore_index=True).rename(columns={"class": "label"})


def share_spent(frames: pd.DataFrame, static: float) -> pd.Series:
    """Percent of the plain localiser's operations spent on each clip, gates and cheap operations counted."""
    return 100 * frames["gflops_total"] / static


def draw_detection(axes: Axes, image: np.ndarray, truth: pd.Series, best: pd.Series | None, title: str) -> None:
    """A key frame (H x W x 3) with the actor's box, dashed, and the detection of the highest score, if there is one."""
    height, width = image.shape[:2]
    axes.imshow(image, interpolation="nearest", extent=(0, width, height, 0))
    for row, colour, style in ((truth, TRUTH, "--"), (best, FOUND, "-")):
        if row is not None:
            x1, y1, x2, y2 = row[["x1", "y1", "x2", "y2"]].to_numpy(float) * [width, height, width, height]
            line = {"color": colour, "linestyle": style, "linewidth": 1.4}
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **line))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def overlap_picture(frames: pd.DataFrame, static: float) -> Figure:
    """For videos that may not be passed on: overlap with the actor against the share of operations spent, by clip."""
    figure = Figure(figsize=(5, 3.2))
    axes = figure.subplots()
    axes.scatter(share_spent(frames, static), frames["iou"], s=8, alpha=0.6)
    axes.axhline(0.5, color="0.5", linewidth=0.8)
    axes.set(xlabel="operations of the plain network spent (%)", ylabel="IoU with the actor", ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def empty_picture() -> Figure:
    """What stands in the figure's place when no dynamic localiser was run."""
    figure = Figure(figsize=(5, 1))
    figure.text(0.5, 0.5, NOT_RUN, ha="center", va="center")
    return figure
