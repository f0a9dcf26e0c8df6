"""The thesis's tables 4.2 to 4.8, 4.10 to 4.12 and B.2 beside ours: numbers, differences and speeds.

`rows` are those of `thesis_tables`, `results` the tables of a profile. Costs are 1e9 multiply-accumulates of a
clip, accuracies percent. Ours are means over seeds; differences are paired by seed, with Student's 95 % interval.
"""

from math import inf, nan

import pandas as pd

from vared.claims.measures import paired
from vared.claims.tables import REFUTED, UNDECIDED, Measured, NotTested, Results
from vared.reports.reporting import NOT_RUN
from vared.reports.thesis_tables import LABELS, beside_static, compared, metrics_of

FULL_SIZE = {"gmacs": "gflops_avg", "million_parameters": "million_parameters"}  # column of static_costs.csv -> printed
# A change that the thesis prints as none (below the first number) is met by one within the second.
NO_CHANGE = {"gflops_avg": (1.0, 5.0)}  # percent
NO_POINTS = (0.05, 1.0)
AGREES, DIFFERS = "as in the thesis", "differs"
SHARES = ("ideal", "saved", "realised")  # 1 - GFLOPs / GFLOPs of the static one, 1 - time / time, second over first


def at_our_lengths(rows: pd.DataFrame, results: Results, frames: int = 8) -> pd.DataFrame:
    """`rows` with clips of `frames` frames in place of the thesis's where a group has runs of that length only.

    The label `frames` stays the thesis's; `where` is of ours. For tables that do not compare lengths.
    """

    def run(where: dict) -> bool:
        try:
            return bool(len(results.rows("runs", **where)))
        except NotTested:
            return False

    changed = []
    for _, group in rows.groupby("group", sort=False):
        other = [where | {"frames": frames} for where in group["where"]]
        if any(map(run, other)) and not any(map(run, group["where"])):
            group = group.assign(where=other)
        changed.append(group)
    return pd.concat(changed)


def values(rows: pd.DataFrame, results: Results) -> pd.DataFrame:
    """A row a network and metric: the labels, our_data, our_frames, our_size, metric, thesis, ours, spread (standard
    deviation), seeds.

    Metrics are those that the table prints, `gflops_total` (gates and cheap operations counted), and, of the plain
    network in full size, `gmacs` and what else of it the table prints.
    """
    found = []
    for row in rows.to_dict("records"):
        label, ours = {name: row[name] for name in LABELS}, _our_rows(row, results)
        label["our_data"] = ", ".join(sorted(set(ours["data"]))) if len(ours) else ""
        label["our_frames"], label["our_size"] = row["where"]["frames"], _size(ours)
        for metric in (*metrics_of(rows), "gflops_total"):
            cells = ours[metric].dropna() if metric in ours else pd.Series(dtype=float)
            number = {"ours": cells.mean(), "spread": cells.std(), "seeds": len(cells)}
            found.append(label | {"metric": metric, "thesis": row.get(metric, nan)} | number)
        for column, printed in FULL_SIZE.items():
            if column == "gmacs" or rows[printed].notna().any():
                thesis = row[printed] if column != "gmacs" else nan
                found.append(label | {"metric": column, "thesis": thesis, "ours": _full_size(row, results, column)})
    return pd.DataFrame(found).round(6)


def _our_rows(row: dict, results: Results) -> pd.DataFrame:
    """Our rows of runs.csv, none when it was not run. Raises ValueError when a seed has several."""
    try:
        results.by_seed("clip1_top1", **row["where"])  # for its check
        return results.rows("runs", **row["where"])
    except NotTested:
        return pd.DataFrame(columns=["data", "run"])


def _size(ours: pd.DataFrame) -> str:
    """Width and crop of our networks, where runs.csv has them."""
    if not {"width", "crop_size"} <= set(ours.columns):
        return ""
    sizes = ours[["width", "crop_size"]].dropna().drop_duplicates()
    return "; ".join(f"{row.width:g}, {row.crop_size:g} px" for row in sizes.itertuples())


def _full_size(row: dict, results: Results, column: str) -> float:
    where = {"network": row["plain"], "dataset": row["data"], "frames": row["frames"]}
    try:
        return results.rows("static_costs", **where)[column].iloc[0]
    except NotTested:
        return nan


def differences(rows: pd.DataFrame, results: Results) -> pd.DataFrame:
    """A row a pair of networks and metric: the labels of the first, minus, our_frames, metric, thesis, ours, low, high,
    basis, verdict. GFLOPs in percent of the second network's, accuracies in points."""
    found = []
    for first, second in compared(rows):
        label = {name: first[name] for name in LABELS} | {"minus": second["network"]}
        label["our_frames"] = first["where"]["frames"]
        for metric in (*metrics_of(rows), "gflops_total"):
            thesis = _change(first, second, metric)
            ours = _measured(metric, first["where"], second["where"], results)
            numbers = {"ours": ours.value, "low": ours.low, "high": ours.high, "basis": ours.basis}
            numbers |= {"verdict": _verdict(metric, thesis, ours)}
            found.append(label | {"metric": metric, "thesis": thesis} | numbers)
    return pd.DataFrame(found).round(6)


def _change(first: dict, second: dict, metric: str) -> float:
    difference = first.get(metric, nan) - second.get(metric, nan)
    return 100 * difference / second[metric] if metric == "gflops_avg" else difference


def _measured(metric: str, first: dict, second: dict, results: Results) -> Measured:
    try:
        return paired(metric, first, second, relative=metric.startswith("gflops"))(results)
    except NotTested as error:
        return error.found or Measured(nan, nan, nan, NOT_RUN)


def _verdict(metric: str, thesis: float, ours: Measured) -> str:
    """Whether our interval lies on the thesis's side of zero, or near it where the thesis prints no change."""
    if pd.isna(thesis):
        return ""
    if pd.isna(ours.low):
        return NOT_RUN if ours.basis == NOT_RUN else f"not tested: {ours.basis}"
    none, near = NO_CHANGE.get(metric, NO_POINTS)
    side = (-near, near) if abs(thesis) < none else (0, inf) if thesis > 0 else (-inf, 0)
    return {REFUTED: DIFFERS, UNDECIDED: UNDECIDED}.get(ours.within(*side), AGREES)


def speeds(rows: pd.DataFrame, results: Results) -> pd.DataFrame:
    """A row a dynamic network, share and case: the labels, metric (`SHARES`), thesis, ours, low, high, case, on, mix.

    Our cases are the same network in full size under fixed policies, and trained runs of this row. Networks without a
    speed in the thesis or here are left out.
    """
    found = []
    for row, static in beside_static(rows):
        thesis, cases = _printed_shares(row, static), _cases(row, results)
        for case in cases or ([{}] if thesis else []):
            label = {name: row[name] for name in LABELS} | {name: case.get(name) for name in ("case", "on", "mix")}
            for share in SHARES:
                ends = {end: case.get(f"saved_{end}", nan) for end in ("low", "high")} if share == "saved" else {}
                numbers = {"thesis": thesis.get(share, nan), "ours": case.get(share, nan)}
                found.append(label | {"metric": share} | numbers | ends)
    return pd.DataFrame(found, columns=None if found else [*LABELS, "metric", "thesis", "ours", "case"]).round(6)


def _printed_shares(dynamic: dict, static: dict) -> dict[str, float]:
    """The thesis's shares, as in vared/benchmarks/thesis.py; empty where it prints no speed."""
    if not static or pd.isna(dynamic["clips_per_second"]):
        return {}
    ideal = 1 - dynamic["gflops_avg"] / static["gflops_avg"]
    saved = 1 - static["clips_per_second"] / dynamic["clips_per_second"]
    return {"ideal": ideal, "saved": saved, "realised": saved / ideal}


def _cases(row: dict, results: Results) -> list[dict]:
    """The fastest dynamic version of every benchmark of this network."""
    try:
        where = {"frames": row["frames"], "search_space": row["where"]["search_space"]}
        timed = results.rows("benchmarks/speed", role="dynamic", network=row["plain"], **where)
    except NotTested:
        return []
    own = {f"{results.profile}/{run}" for run in _our_rows(row, results)["run"]}
    fixed = timed["run"].isna() & (timed["width"] == 1) & (row["where"]["dimensions"] == "both")
    timed = timed[fixed | timed["run"].isin(own)]
    if timed.empty:
        return []
    timed = timed.loc[timed.groupby("case")["saved"].idxmax()]
    return timed.assign(on=timed["processor"] + ", " + timed["dtype"]).to_dict("records")
