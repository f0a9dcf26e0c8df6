"""From tidy tables to what a reader sees: thesis beside ours, never in one column, with where our numbers come from.

Everything here takes tables and returns tables or text; notebooks do the reading, drawing and writing.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from vared.scratch import write_text

NOT_RUN = "not run"
# Rows of table 4.1: frames, search space (None: the plain network), variant. The thesis prints no static network that
# was trained for as many epochs as the dynamic one; without it the table would be unfair to the static network.
EQUAL_EPOCHS = "static_equal_epochs"
TABLE_4_1 = (
    (8, None, "static"), (8, None, EQUAL_EPOCHS), (8, 2, "dynamic"), (8, 3, "dynamic"),
    (16, None, "static"), (16, None, EQUAL_EPOCHS), (16, 2, "dynamic"),
    (32, None, "static"), (32, None, EQUAL_EPOCHS), (32, 2, "dynamic"),
)  # fmt: skip
# metric: (column of the thesis's CSV, column of runs.csv, heading)
METRICS = {
    "gflops_avg": ("gflops_avg", "GFLOPs avg"), "gflops_max": ("gflops_max", "GFLOPs max"),
    "gflops_min": ("gflops_min", "GFLOPs min"), "clip1_top1": ("clip1_top1_percent", "clip-1"),
    "video1_top1": ("video1_top1_percent", "video-1"),
}  # fmt: skip
# The thesis counts the convolutions of the backbone; we also give what gates and cheap operations leave of the saving.
AS_THESIS = "as the thesis counts"
ALL_COUNTED = "gates and cheap operations counted"
CONTROLS = {
    "dynamic": "dynamic (VA-RED²)",
    "static": "static",
    "static_equal_epochs": "static, equal epochs",
    "mean_policy": "one policy for all clips (mean policy)",
    "random_policy": "policies dealt to other clips (random policy)",
    "before_finetuning": "dynamic, before efficiency fine-tuning",
}


def network_name(search_space: int | None, variant: str) -> str:
    """`static`, `static, equal epochs`, or the search space of a dynamic network."""
    return CONTROLS[variant] if search_space is None else f"dynamic, S = {search_space}"


def rows_of(runs: pd.DataFrame, frames: int, search_space: int | None, variant: str | None = None) -> pd.DataFrame:
    """The rows of runs.csv, one a seed, of a network at a clip length; by default its final state as in the thesis.

    The profile's own data and backbone, trained for the usual time, with both dimensions dynamic.
    """
    network = "static" if search_space is None else "dynamic"
    word = network if search_space is None else f"s{search_space}"
    same = runs["run"].str.fullmatch(rf"{word}_{frames}f_seed\d+")
    return runs[same & (runs["variant"] == (variant or network))]


def table_4_1(runs: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Table 4.1 in long form: frames, network, metric, thesis, ours (mean over seeds), spread (sample standard
    deviation), seeds, saving_thesis and saving_ours (percent of the static network's GFLOPs; costs only).

    Cost as the thesis counts it, and `gflops_total` with gates and cheap operations, which the thesis does not print.
    """
    rows = []
    for frames, search_space, variant in TABLE_4_1:
        wanted = paper["search_space"].isna() if search_space is None else paper["search_space"] == search_space
        thesis = paper[(paper["length_frames"] == frames) & wanted].iloc[0]
        ours = rows_of(runs, frames, search_space, variant)
        for metric in (*METRICS, "gflops_total"):
            printed = metric in METRICS and variant != EQUAL_EPOCHS
            row = {"frames": frames, "network": network_name(search_space, variant), "metric": metric}
            row |= {"thesis": thesis[METRICS[metric][0]] if printed else float("nan")}
            row |= {"ours": ours[metric].mean(), "spread": ours[metric].std(), "seeds": len(ours)}
            if metric.startswith("gflops"):
                row["saving_thesis"] = -thesis[f"{metric}_change_percent"] if printed else float("nan")
                row["saving_ours"] = (100.0 * (1.0 - ours[metric] / ours["gflops_static"])).mean()
            rows.append(row)
    return pd.DataFrame(rows).round(6)


def side_by_side(long: pd.DataFrame) -> pd.DataFrame:
    """The long form of table 4.1 as text for reading: a row a network, thesis columns first, then ours."""
    rows = []
    for (frames, network), group in long.groupby(["frames", "network"], sort=False):
        row = {"frames": frames, "network": network}
        cells = group.set_index("metric")
        for who in ("thesis", "ours"):
            for metric, (_, heading) in METRICS.items():
                counted = f" ({AS_THESIS})" if who == "ours" and metric.startswith("gflops") else ""
                row[f"{who}: {heading}{counted}"] = _cell(cells.loc[metric], who, network)
                if who == "ours" and metric == "gflops_min":
                    row[f"ours: saving, {ALL_COUNTED}"] = _saving(cells.loc["gflops_total"], network)
        row["ours: seeds"] = int(cells["seeds"].iloc[0]) or NOT_RUN
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(values: pd.Series, who: str, network: str) -> str:
    value = values[who]
    if pd.isna(value):
        # What was run need not have every metric: equal epochs have no video-1.
        return NOT_RUN if who == "ours" and not values["seeds"] else "–"
    if not values.name.startswith("gflops"):
        return f"{value:.1f}" if who == "thesis" else with_spread(value, values["spread"])
    text = f"{value:.1f}" if who == "thesis" else gflops(value)
    if network.startswith("static"):
        return text
    # Rounded to an integer, which has no negative zero.
    return f"{text} ({round(-values[f'saving_{who}']):+d} %)"


def _saving(total: pd.Series, network: str) -> str:
    if not total["seeds"]:
        return NOT_RUN
    return "–" if network.startswith("static") else f"{total['saving_ours']:.1f} %"


def gflops(value: float) -> str:
    """Four significant digits, in plain notation."""
    return f"{value:#.4g}".rstrip(".")


def with_spread(mean: float, spread: float) -> str:
    """`71.2 ± 0.8`; without the second part for a single seed."""
    return f"{mean:.1f}" if pd.isna(spread) else f"{mean:.1f} ± {spread:.1f}"


def controls_table(runs: pd.DataFrame, comparisons: pd.DataFrame, frames: int, search_space: int) -> pd.DataFrame:
    """What the dynamic network is compared with, as text: cost, accuracy, and the paired difference in clip-1."""
    rows = []
    for variant, name in CONTROLS.items():
        static = variant.startswith("static")
        found = rows_of(runs, frames, None if static else search_space, variant)
        row = {"network": name, "seeds": len(found) or NOT_RUN}
        if len(found):
            row[f"GFLOPs avg ({AS_THESIS})"] = gflops(found["gflops_avg"].mean())
            row[f"GFLOPs avg, {ALL_COUNTED}"] = gflops(found["gflops_total"].mean())
            saving = (100.0 * (1.0 - found["gflops_total"] / found["gflops_static"])).mean()
            row[f"saving, {ALL_COUNTED}"] = f"{saving:.1f} %"
            row["clip-1"] = with_spread(found["clip1_top1"].mean(), found["clip1_top1"].std())
        row["dynamic minus this, points (95 % interval)"] = difference_text(
            comparisons, f"s{search_space}_{frames}f", variant
        )
        rows.append(row)
    floor = runs[runs["run"].str.fullmatch(rf"single_frame_{frames}f_seed\d+") & (runs["variant"] == "static")]
    row = {"network": "static, one frame repeated (floor)", "seeds": len(floor) or NOT_RUN}
    if len(floor):
        row["clip-1"] = with_spread(floor["clip1_top1"].mean(), floor["clip1_top1"].std())
    return pd.DataFrame([*rows, row]).fillna("–")


def difference_text(comparisons: pd.DataFrame, group: str, variant: str) -> str:
    """`+1.20 (+0.10 to +2.30)`: clip-1 of the dynamic `group` minus that of `variant`, from comparisons.csv."""
    found = comparisons[
        (comparisons["group"] == group)
        & (comparisons["first"] == "dynamic") & (comparisons["second"] == variant)
    ]  # fmt: skip
    if found.empty:
        return "–" if variant == "dynamic" else NOT_RUN
    row = found.iloc[0]
    return f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


def provenance(summary: Mapping[str, object], made_by: str) -> str:
    """Lines to print under every table and figure: profile, data, network, seeds, hardware, and the command."""
    data, model = summary["data"], summary["model"]
    # `further` are other sets, `scene` is how a generated one differs: params.yaml has both.
    left_out = ("source", "folder", "further", "scene")
    what = ", ".join(f"{key} {value}" for key, value in data.items() if key not in left_out)
    seeds = ", ".join(str(seed) for seed in summary["seeds"])
    return "\n".join([
        f"- Profile: {summary['profile']}",
        f"- Data: {data['source']} ({what}); evaluated on {summary['videos']}",
        f"- Network: {model['backbone']}, width {model['width']:g}, crops of {model['crop_size']} pixels",
        f"- Seeds: {seeds}; ± is the sample standard deviation over seeds",
        f"- Hardware: {'; '.join(summary['hardware'])}",
        f"- Made by: `dvc repro {made_by}@{summary['profile']}`",
    ])  # fmt: skip


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; text cells stay as they are."""
    return table.to_markdown(index=False, disable_numparse=True)


def png(figure, dpi: int = 150) -> bytes:
    """A figure as PNG without the version of the library that drew it, so that equal figures are equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def read_summary(folder: Path) -> dict:
    """summary.json of a results folder."""
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def save(folder: Path, files: Mapping[str, str | bytes | pd.DataFrame], *, write: bool) -> list[str]:
    """Write each of `files` (name below `folder` -> content) when `write`; returns the names either way."""
    for name, content in files.items():
        if not write:
            continue
        if isinstance(content, bytes):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        else:
            write_text(folder / name, content if isinstance(content, str) else content.to_csv(index=False))
    return sorted(files)
