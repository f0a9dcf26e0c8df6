"""Rows of the thesis's tables 4.2 to 4.8, 4.10 to 4.12 and B.2: what each prints, and which of our runs it is about.

`paper` is a data/paper/table_*.csv. Table 4.8 prints other methods only; to compare them it needs the rows of VA-RED²
and of the plain network from table 4.1 too (`with_table_4_1`).
"""

from math import nan

import pandas as pd

from vared.claims.tables import DYNAMIC, EQUAL_EPOCHS, STATIC
from vared.paper import NETWORKS, TITLES

# Name here, as in runs.csv where that has it -> column of data/paper/table_*.csv.
PRINTED = {
    "gflops_avg": "gflops", "clip1_top1": "clip1_top1_percent", "video1_top1": "video1_top1_percent",
    "video5_top5": "video5_top5_percent", "clips_per_second": "clips_per_second",
    "million_parameters": "params_millions",
}  # fmt: skip
LABELS = ["data", "model", "frames", "training", "network", "search_space"]
# Methods of table 4.8 and the other adaptive network of table 4.4 -> column `network` of runs.csv.
BASELINES = {"weight-level pruning": "pruned", "CGNet": "cgnet", "AR-Net": "ar_net"}
LONG_EPOCHS = 256  # table B.2; runs.csv calls such runs `training` "long"


def with_table_4_1(table_4_8: pd.DataFrame, table_4_1: pd.DataFrame) -> pd.DataFrame:
    """Table 4.8 with the plain and the VA-RED² (S = 2) rows of table 4.1, by clip length."""
    main = table_4_1.rename(columns={"gflops_avg": "gflops"}).reindex(columns=table_4_8.columns)
    main = main[main["search_space"] != 3]
    return pd.concat([main, table_4_8], ignore_index=True).sort_values("length_frames", kind="stable")


def thesis_rows(paper: pd.DataFrame) -> pd.DataFrame:
    """A row a row of `paper`: the labels, group, plain, where, and what is printed (names of `PRINTED`, else missing).

    `where` selects our rows of runs.csv, `plain` is the network's name in static_costs.csv, and rows of one `group` are
    compared with each other. Static rows are followed by the same network after as many epochs as the dynamic one has
    had, which the thesis lacks. Raises KeyError for a model or method that is not known.
    """
    rows = []
    for printed in paper.to_dict("records"):
        network, where = _network(printed)
        training = "long" if printed.get("epochs") == LONG_EPOCHS else "usual"
        place = {"data": printed["dataset"], "frames": int(printed["length_frames"]), "training": training}
        plain = NETWORKS[printed["model"]]
        row = place | {
            "model": TITLES[plain], "network": network, "search_space": where.get("search_space"), "plain": plain,
            "group": (*place.values(), printed.get("comparison", printed["model"])), "where": place | where,
        }  # fmt: skip
        rows.append(row | {name: printed.get(column, nan) for name, column in PRINTED.items()})
        if network == "static":
            longer = {"network": "static, equal epochs", "where": row["where"] | EQUAL_EPOCHS}
            rows.append(row | longer | dict.fromkeys(PRINTED, nan))
    table = pd.DataFrame(rows).astype({"search_space": "Int64"})
    return table[[*LABELS, "group", "plain", "where", *PRINTED]]


def _network(printed: dict) -> tuple[str, dict]:
    """What a row's network is called here, and the columns of runs.csv that tell it from others of its place."""
    method = "AR-Net" if printed["model"] == "AR-Net" else printed.get("method")
    if isinstance(method, str):
        return method, {"network": BASELINES[method]}
    backbone = {"backbone": NETWORKS[printed["model"]]}
    if not printed["dynamic"]:
        return "static", backbone | STATIC
    halves = [half for half in ("temporal", "channel") if printed.get(f"dynamic_{half}", True)]
    dimensions = "both" if len(halves) == 2 else halves[0]
    where = backbone | DYNAMIC | {"search_space": int(printed["search_space"]), "dimensions": dimensions}
    if not printed.get("efficiency_loss", True):
        return "dynamic, before phase 2", where | {"variant": "before_finetuning"}
    return "dynamic" if dimensions == "both" else f"dynamic, {dimensions} only", where


def compared(rows: pd.DataFrame) -> list[tuple[dict, dict]]:
    """Pairs of rows to subtract: each finished dynamic network minus all else of its group.

    Networks with one dynamic dimension are compared with plain ones, and with them the one that has both.
    """
    found = []
    for _, group in rows.groupby("group", sort=False):
        members = group.to_dict("records")
        for first in filter(is_final, members):
            half = first["where"]["dimensions"] != "both"
            rivals = [row for row in members if not is_final(row)]
            if not half:
                rivals += [row for row in members if is_final(row) and row["where"]["dimensions"] != "both"]
            found += [(first, second) for second in rivals]
    return found


def beside_static(rows: pd.DataFrame) -> list[tuple[dict, dict]]:
    """Each finished dynamic network and the static one of its group, which is empty where the thesis prints none."""
    found = []
    for _, group in rows.groupby("group", sort=False):
        members = group.to_dict("records")
        static = next((row for row in members if row["network"] == "static"), {})
        found += [(row, static) for row in filter(is_final, members)]
    return found


def is_final(row: dict) -> bool:
    """Whether a row is of a dynamic network after both phases."""
    return row["where"].get("variant") == DYNAMIC["variant"]


def metrics_of(rows: pd.DataFrame) -> list[str]:
    """The cost and the accuracies that a table prints."""
    return [name for name in ("gflops_avg", "clip1_top1", "video1_top1", "video5_top5") if rows[name].notna().any()]
