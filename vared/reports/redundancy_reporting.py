"""Table B.1 from redundancy.csv: thesis and ours beside each other, and every reading of what the thesis measures.

The thesis does not say which tensor it compares, nor print clip lengths; ours has all three tensors and each length.
"""

import pandas as pd

from vared.analysis.redundancy import DIMENSIONS
from vared.paper import NETWORKS, TITLES
from vared.reports.reporting import NOT_RUN
from vared.runs import parse_run

PLACE = ("network", "data", "frames")
# quantity: (column of the thesis's CSV, heading)
PRINTED = {"CC": "correlation_coefficient", "RMSE": "rmse", "RP": "redundancy_proportion"}
# What table B.1 compares here: the output of the convolution itself.
TENSOR = "convolution"
READINGS = {
    "CC": "CC", "CC_abs": "absolute CC", "RMSE": "RMSE", "RP": "RP (as printed: RMSE above 0.001)",
    "RP_below": "RP (RMSE below 0.001)", "RP_maps": "share of maps in a pair of RP", "constant": "constant maps",
}  # fmt: skip
GUIDE = (
    "CC and RMSE are means over pairs of frames (temporal) or channels of one output, then over layers, then over "
    "clips. RP is taken literally: the share of pairs with a CC above 0.85 and an RMSE above 0.001. An RMSE depends on "
    "the scale of the features, which no two networks share."
)


def table_b_1(redundancy: pd.DataFrame, paper: pd.DataFrame, network: str, data: str) -> pd.DataFrame:
    """Table B.1 in long form: network, data, frames, dimension, tensor, quantity, thesis, ours, spread, seeds, clips,
    low, high (of the CC: 5 % and 95 % of clips).

    `redundancy` is redundancy.csv of runs of `network` (a name of `vared.create_model`) on `data`, where their words
    name no other. A row is the thesis's, without frames and tensor, or ours: mean over seeds, and their sample standard
    deviation `spread`.
    """
    rows = []
    for cell in paper.to_dict("records"):
        place = {"network": NETWORKS[cell["model"]], "data": cell["dataset"], "dimension": cell["dimension"]}
        rows += [place | {"quantity": name, "thesis": cell[column]} for name, column in PRINTED.items()]
    ours = redundancy.assign(**_places(redundancy, network, data)).groupby([*PLACE, "tensor", "dimension"], sort=False)
    for key, runs in ours:
        place = dict(zip([*PLACE, "tensor", "dimension"], key, strict=True))
        place |= {"seeds": len(runs), "clips": int(runs["clips"].iloc[0])}
        for name in READINGS:
            rows.append(place | {"quantity": name, "ours": runs[name].mean(), "spread": runs[name].std()})
            if name == "CC":
                rows[-1] |= {"low": runs["CC_5%"].mean(), "high": runs["CC_95%"].mean()}
    columns = ["network", "data", "frames", "dimension", "tensor", "quantity", "thesis", "ours", "spread", "seeds"]
    table = pd.DataFrame(rows).reindex(columns=[*columns, "clips", "low", "high"]).round(6)
    return table.astype({"frames": "Int64", "seeds": "Int64", "clips": "Int64"})


def side_by_side_b_1(long: pd.DataFrame) -> pd.DataFrame:
    """As text: a row a network, dimension and printed quantity; columns of the thesis's data sets first, then ours."""
    thesis, ours = long[long["thesis"].notna()], long[long["ours"].notna() & (long["tensor"] == TENSOR)]
    lengths = list(dict.fromkeys(zip(ours["data"], ours["frames"], strict=True)))
    rows = []
    for network in dict.fromkeys(long["network"]):
        for dimension in DIMENSIONS:
            for name in PRINTED:
                here = {"network": network, "dimension": dimension, "quantity": name}
                row = here | {"network": TITLES.get(network, network)}
                for data in dict.fromkeys(thesis["data"]):
                    found = _where(thesis, data=data, **here)
                    row[f"thesis: {data}"] = f"{found['thesis'].iloc[0]:g}" if len(found) else "–"
                for data, frames in lengths or [(None, None)]:
                    found = _where(ours, data=data, frames=frames, **here)
                    title = f"ours: {data}, {frames} frames" if data else "ours"
                    row[title] = _with_spread(found.iloc[0]) if len(found) else NOT_RUN
                rows.append(row)
    return pd.DataFrame(rows)


def readings(long: pd.DataFrame) -> pd.DataFrame:
    """Ours as text: a row a network, data set, clip length, tensor and dimension; every quantity, and how far CC varies
    over clips."""
    rows, keys = [], [*PLACE, "tensor", "dimension"]
    for key, group in long[long["ours"].notna()].groupby(keys, sort=False):
        cells = group.set_index("quantity")
        row = dict(zip(keys, key, strict=True)) | {"network": TITLES.get(key[0], key[0])}
        row |= {title: _with_spread(cells.loc[name]) for name, title in READINGS.items()}
        row["CC, 5 % to 95 % of clips"] = "{:.3f} to {:.3f}".format(*cells.loc["CC", ["low", "high"]])
        rows.append(row | {"seeds": int(group["seeds"].iloc[0]), "clips": int(group["clips"].iloc[0])})
    return pd.DataFrame(rows)


def _places(redundancy: pd.DataFrame, network: str, data: str) -> dict[str, pd.Series]:
    """Columns PLACE of the runs of redundancy.csv; the profile's own network and data where their words name none."""
    runs = redundancy["run"].map(parse_run)
    places = {"network": runs.map(lambda run: run.backbone or network), "data": runs.map(lambda run: run.data or data)}
    return places | {"frames": runs.map(lambda run: run.frames)}


def _where(table: pd.DataFrame, **values) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _with_spread(cell: pd.Series) -> str:
    """`0.812 ± 0.004`; without the second part for a single seed."""
    text = f"{cell['ours']:.3f}"
    return text if pd.isna(cell["spread"]) else f"{text} ± {cell['spread']:.3f}"
