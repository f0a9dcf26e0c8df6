"""Where the time of a pass goes, from the records that hold it: a picture and tables of layers, static and dynamic.

Units: seconds, 1e9 multiply-accumulates and GB of a batch.
"""

import matplotlib.pyplot as plt
import pandas as pd

from vared.benchmarks.peaks import Machine
from vared.benchmarks.reporting import NOTHING
from vared.benchmarks.roofline_picture import draw_roofline, markdown_of_remaining

_WIDTH, _HEIGHT = 5.2, 4.0  # inches a panel


def layer_rows(records: list[dict]) -> pd.DataFrame:
    """A row a layer of every record with layers: case, network ("static" or "dynamic"), columns of `measure_layers`."""
    tables = [
        pd.DataFrame(rows).assign(case=record["name"], network=network)
        for record in records
        for network, rows in record.get("layers", {}).items()
    ]
    if not tables:
        return pd.DataFrame(columns=["case", "network"])  # a table that can be read again
    joined = pd.concat(tables, ignore_index=True)
    return joined[["case", "network", *(name for name in joined if name not in ("case", "network"))]]


def draw_layers(records: list[dict], rows: pd.DataFrame) -> plt.Figure:
    """A line a case: rooflines of the static and of the accelerated dynamic network."""
    cases = list(dict.fromkeys(rows["case"])) if len(rows) else []
    figure, axes = plt.subplots(
        max(len(cases), 1), 2, figsize=(2 * _WIDTH, _HEIGHT * max(len(cases), 1)), squeeze=False, sharey="row"
    )
    for axis in axes.flat if not cases else ():
        axis.text(0.5, 0.5, NOTHING, ha="center", wrap=True)
    limits = {record["name"]: Machine(**record["limits"]) for record in records if "limits" in record}
    for line, case in zip(axes, cases, strict=False):
        for axis, network in zip(line, ("static", "dynamic"), strict=True):
            table = rows[(rows["case"] == case) & (rows["network"] == network)]
            draw_roofline(axis, table, limits[case], f"{case}, {network}")
    figure.tight_layout()
    return figure


def layers_text(rows: pd.DataFrame, count: int = 8) -> str:
    """Markdown: for every case and network the layers with the most time beyond what the machine could do."""
    if rows.empty:
        return NOTHING
    parts = []
    for (case, network), table in rows.groupby(["case", "network"], sort=False):
        table = table.drop(columns=["case", "network"]).astype({"intensity": float, "efficiency": float})
        parts.append(f"### {case}, {network}\n\n{markdown_of_remaining(table, count)}")
    return "\n\n".join(parts)
