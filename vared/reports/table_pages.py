"""The tables of `table_reporting` as text: thesis and ours in columns of their own, "not run" without a run."""

from collections.abc import Iterable

import pandas as pd

from vared.claims.tables import STAND_INS
from vared.reports.reporting import ALL_COUNTED, AS_THESIS, NOT_RUN, gflops, markdown, with_spread
from vared.reports.table_reporting import AGREES, DIFFERS, SHARES
from vared.reports.thesis_tables import LABELS

HEADINGS = {
    "gflops_avg": "GFLOPs", "clip1_top1": "clip-1", "video1_top1": "video-1", "video5_top5": "video-5",
    "million_parameters": "million parameters",
}  # fmt: skip
TITLES = {"ideal": "ideal gain", "saved": "time saved", "realised": "realised share"}
NO_SPEED = "The thesis prints no speed in this table, and none of its networks was timed here."
EQUAL_EPOCHS = """
`static, equal epochs` is the plain network after as many epochs as the dynamic one, on centre clips only; the thesis
does not have it."""
LENGTHS = """
Where `ours: frames` differs from `frames`, our clips have fewer frames than the thesis's."""
NOTHING = "–"


def value_text(values: pd.DataFrame) -> str:
    """`table_reporting.values` as a Markdown table: a row a row of the thesis."""
    rows = []
    for key, cells in values.groupby(LABELS, sort=False, dropna=False):
        row = _label(key, values) | {"network": key[LABELS.index("network")], "S": _space(key)}
        cells = cells.set_index("metric")
        printed = [name for name in HEADINGS if name in cells.index]
        seeds = int(cells["seeds"].max())
        row |= {f"thesis: {HEADINGS[name]}": _printed(name, cells.loc[name, "thesis"]) for name in printed}
        row["ours: data"] = cells["our_data"].iloc[0] if seeds else NOT_RUN
        row |= _our_frames(cells, values, bool(seeds))
        if values["our_size"].any():
            row["ours: width, crop"] = cells["our_size"].iloc[0] or NOT_RUN
        for name in (*printed[:1], "gflops_total", *printed[1:]):
            if name != "million_parameters":
                row[f"ours: {_our_heading(name)}"] = _ours(name, cells.loc[name], seeds)
        row["ours: seeds"] = str(seeds or NOT_RUN)
        row["plain network in full size, ours: GFLOPs"] = _number(cells.loc["gmacs", "ours"], "{:.2f}")
        if "million_parameters" in printed:
            size = cells.loc["million_parameters", "ours"]
            row["plain network in full size, ours: million parameters"] = _number(size, "{:.1f}")
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def difference_text(differences: pd.DataFrame) -> str:
    """`table_reporting.differences` as a Markdown table: a row a pair of networks, 95 % intervals in brackets."""
    rows = []
    for key, cells in differences.groupby([*LABELS, "minus"], sort=False, dropna=False):
        space = f" (S = {_space(key)})"
        row = _label(key, differences) | {"difference": f"{key[LABELS.index('network')]}{space} minus {key[-1]}"}
        cells = cells.set_index("metric")
        printed = [name for name in HEADINGS if name in cells.index]
        run = cells["ours"].notna().any()
        row |= {f"thesis: {HEADINGS[name]}": _change(name, cells.loc[name, "thesis"]) for name in printed}
        row |= _our_frames(cells, differences, run)
        for name in (*printed[:1], "gflops_total", *printed[1:]):
            row[f"ours: {_our_heading(name)}"] = _interval(name, cells.loc[name]) if run else NOT_RUN
        row["ours: seeds"] = cells.loc[cells["ours"].notna(), "basis"].iloc[0].split()[0] if run else NOT_RUN
        row["verdict"] = verdict(cells["verdict"].fillna("").drop("gflops_total"))
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def verdict(outcomes: pd.Series) -> str:
    """One verdict on a pair from those on its metrics (index); what was not measured is named and left out."""
    outcomes = outcomes[outcomes != ""]
    if outcomes.empty:
        return NOTHING
    measured = outcomes[outcomes != NOT_RUN]
    if measured.empty:
        return NOT_RUN
    untested = [outcome for outcome in measured if outcome.startswith("not tested")]
    names = {
        outcome: ", ".join(HEADINGS[name] for name in found.index) for outcome, found in measured.groupby(measured)
    }
    text = untested[0] if untested else AGREES
    if not untested and set(names) != {AGREES}:
        order = sorted(set(names) - {AGREES}, key=lambda outcome: outcome != DIFFERS)
        text = "; ".join(f"{outcome}: {names[outcome]}" for outcome in order)
    left_out = [HEADINGS[name] for name in outcomes.index[outcomes == NOT_RUN]]
    return text + (f" ({', '.join(left_out)} not measured)" if left_out else "")


def speed_text(speeds: pd.DataFrame) -> str:
    """`table_reporting.speeds` as a Markdown table: a row a network and benchmark."""
    rows = []
    for key, cells in speeds.groupby([*LABELS, "case"], sort=False, dropna=False) if len(speeds) else ():
        case, cells = cells.iloc[0], cells.set_index("metric")
        row = _label(key, speeds) | {"network": key[LABELS.index("network")], "S": _space(key)}
        row |= {f"thesis: {TITLES[share]}": _share(share, cells.loc[share, "thesis"]) for share in SHARES}
        timed = pd.notna(case["case"])
        for share in SHARES:
            row[f"ours: {TITLES[share]}"] = _share(share, cells.loc[share, "ours"]) if timed else NOT_RUN
        if timed:
            low, high = (100 * cells.loc["saved", end] for end in ("low", "high"))
            row["ours: time saved"] += f" ({low:.1f} to {high:.1f})"
        about = {"ours: case": "case", "ours: on": "on", "ours: policies": "mix"}
        row |= {title: str(case[name]) if timed else NOT_RUN for title, name in about.items()}
        rows.append(row)
    return markdown(pd.DataFrame(rows)) if rows else NO_SPEED


def page(heading: str, tables: tuple[str, str, str], data: Iterable[str], provenance: str) -> str:
    """The Markdown file of a table: `tables` are values, differences and speeds, `data` the thesis's data sets."""
    stand_ins = "; ".join(f"{name}: {', '.join((name, *STAND_INS.get(name, ())))}" for name in data)
    main, changes, speed = tables
    notes = (EQUAL_EPOCHS if "static, equal" in main else "") + (LENGTHS if "ours: frames" in main else "")
    return f"""{heading}

{main}

± is over seeds. Full size: the thesis's network, counted on shapes alone.{notes}

## Differences

GFLOPs in percent of the second network's, accuracies in points. In brackets Student's 95 % interval over seeds, paired
by seed; it needs three. Verdict: the whole interval lies on the thesis's side of zero (as in the thesis), on the other
(differs), or neither (undecided). Where the thesis prints no change it must lie within 1 point, or 5 % of GFLOPs.

{changes}

## Speed

Ideal gain: GFLOPs saved, as the thesis counts. Realised share: time saved over ideal gain. Ours is the fastest version,
against the fastest static one on the same machine, with quartiles over rounds; more in `results/benchmarks/speed.md`.

{speed}

{provenance}
- Data that may stand in ours for the thesis's: {stand_ins}. Those called embedded are generated and
  hold no real video: `data/README.md`
- Width and crop of ours: channel counts over the thesis's, pixels; epochs and rates: `by_backbone`, `by_data` and
  `by_frames` of the profile in `params.yaml`
"""


def _label(key: tuple, table: pd.DataFrame) -> dict[str, str]:
    """Where a row is from; the training only in tables with two."""
    place = dict(zip(LABELS, key, strict=False))
    row = {"data set": place["data"], "model": place["model"], "frames": str(place["frames"])}
    return row | ({"training": place["training"]} if table["training"].nunique() > 1 else {})


def _our_frames(cells: pd.DataFrame, table: pd.DataFrame, run: bool) -> dict[str, str]:
    """The length of our clips, in tables where it is not always the thesis's."""
    if (table["our_frames"] == table["frames"]).all():
        return {}
    return {"ours: frames": str(cells["our_frames"].iloc[0]) if run else NOT_RUN}


def _space(key: tuple) -> str:
    space = key[LABELS.index("search_space")]
    return NOTHING if pd.isna(space) else str(int(space))


def _our_heading(metric: str) -> str:
    if metric.startswith("gflops"):
        return f"GFLOPs ({ALL_COUNTED if metric == 'gflops_total' else AS_THESIS})"
    return HEADINGS[metric]


def _number(value: float, form: str) -> str:
    return NOTHING if pd.isna(value) else form.format(value)


def _printed(metric: str, value: float) -> str:
    """As the thesis prints it: one decimal, costs below 10 with two."""
    return _number(value, "{:.2f}" if metric == "gflops_avg" and value < 10 else "{:.1f}")


def _ours(metric: str, cell: pd.Series, seeds: int) -> str:
    if not seeds:
        return NOT_RUN
    if pd.isna(cell["ours"]):
        return NOTHING
    return gflops(cell["ours"]) if metric.startswith("gflops") else with_spread(cell["ours"], cell["spread"])


def _change(metric: str, value: float) -> str:
    return _number(value, "{:+.1f} %" if metric.startswith("gflops") else "{:+.1f}")


def _interval(metric: str, cell: pd.Series) -> str:
    form = "{:+.1f}" if metric.startswith("gflops") else "{:+.2f}"
    if pd.isna(cell["ours"]):
        return NOTHING
    text = form.format(cell["ours"]) + (" %" if metric.startswith("gflops") else "")
    return text if pd.isna(cell["low"]) else f"{text} ({form.format(cell['low'])} to {form.format(cell['high'])})"


def _share(share: str, value: float) -> str:
    return NOTHING if pd.isna(value) else f"{value:.2f}" if share == "realised" else f"{100 * value:.1f} %"
