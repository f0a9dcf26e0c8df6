"""The speeds that the thesis prints (clips per second on one GPU) as shares of the saving that it counts.

ideal = 1 - GFLOPs_dynamic / GFLOPs_static     saved = 1 - speed_static / speed_dynamic     realised = saved / ideal
"""

from pathlib import Path

import pandas as pd

from vared.paper import DATASETS, NETWORKS, TABLES

_KEY = ["network", "dataset", "frames"]


def printed_speeds(folder: Path) -> pd.DataFrame:
    """Every dynamic network whose speed the thesis prints, with all of its method, from the CSV files in `folder`.

    Columns: network, dataset, frames, search_space, gflops, speed, static_gflops, static_speed, ideal, saved, realised,
    tables. Sorted by network and data set.
    """
    cells = pd.concat([pd.read_csv(folder / f"table_{name}.csv") for name in TABLES], ignore_index=True)
    cells = cells.dropna(subset="clips_per_second").assign(network=lambda t: t["model"].map(NETWORKS))
    cells["gflops"] = cells["gflops"].fillna(cells["gflops_avg"])
    ablated = (cells["dynamic_temporal"].astype(str) == "False") | (cells["dynamic_channel"].astype(str) == "False")
    cells = cells.rename(columns={"length_frames": "frames", "clips_per_second": "speed"})
    is_dynamic = cells["dynamic"].astype(bool)
    values = ["gflops", "speed"]
    static = cells[~is_dynamic].drop_duplicates(_KEY)[[*_KEY, *values]]
    static = static.rename(columns={name: f"static_{name}" for name in values})
    dynamic = cells[is_dynamic & ~ablated]
    tables = dynamic["table"].astype(str).groupby([dynamic[name] for name in [*_KEY, "search_space", *values]])
    rows = tables.agg(", ".join).rename("tables").reset_index().merge(static, on=_KEY)
    rows["ideal"] = 1 - rows["gflops"] / rows["static_gflops"]
    rows["saved"] = 1 - rows["static_speed"] / rows["speed"]
    rows["realised"] = rows["saved"] / rows["ideal"]
    rows["search_space"] = rows["search_space"].astype(int)
    order = {"network": list(NETWORKS.values()), "dataset": list(DATASETS)}
    return rows.sort_values(
        [*_KEY, "search_space"], kind="stable",
        key=lambda column: column.map(order[column.name].index) if column.name in order else column,
    ).reset_index(drop=True)  # fmt: skip


def comparable(speeds: pd.DataFrame, network: str, frames: int, search_space: int) -> dict[str, float | None]:
    """ideal, saved and realised of the thesis's network on Mini-Kinetics-200, None where it prints no speed."""
    found = speeds[
        (speeds["network"] == network) & (speeds["frames"] == frames) & (speeds["search_space"] == search_space)
        & (speeds["dataset"] == DATASETS[0])
    ]  # fmt: skip
    names = ("ideal", "saved", "realised")
    return {name: float(found[name].iloc[0]) if len(found) else None for name in names}
