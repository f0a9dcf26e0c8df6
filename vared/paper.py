"""The costs that the thesis prints (data/paper/), one row a network, data set and clip length instead of one a cell.

Static: what a plain network costs. Dynamic: what its VA-RED² version costs on the average, most and least costly clip.
Values stay text, as printed: 6.20 has three digits.
"""

from pathlib import Path

import pandas as pd

# Models as the thesis's tables call them -> names of `vared.create_model`; AR-Net is a baseline.
NETWORKS = {
    "R(2+1)D-18": "r2plus1d_18",
    "I3D-InceptionV2": "i3d",
    "X3D-M": "x3d_m",
    "R(2+1)D-18 + TPN": "r2plus1d_18_tpn",
    "R(2+1)D-18 + CorrNet": "r2plus1d_18_corrnet",
    "VA-RED^2 on TSN-ResNet-50": "tsn_resnet50",
    "AR-Net": "ar_net",
}
TITLES = {network: model.removeprefix("VA-RED^2 on ") for model, network in NETWORKS.items()}
DATASETS = ("Mini-Kinetics-200", "Kinetics-400", "Moments-In-Time", "J-HMDB-21")
# Not 4.8, which prints the costs of other methods.
TABLES = ("4_1", "4_2", "4_3", "4_4", "4_5", "4_6", "4_7", "4_9", "4_10", "4_11", "4_12", "b_2")
_KEY = ["network", "dataset", "frames"]


def printed_static(folder: Path) -> pd.DataFrame:
    """Every static number that the thesis prints, from the CSV files in `folder`.

    Columns: network, dataset, frames, quantity ("GFLOPs" or "million parameters"), thesis (as printed), tables.
    """
    cells = _cells(folder)
    # What AR-Net executes depends on the clip: its 44.8 GFLOPs are no static number.
    costs = cells[(cells["dynamic"] == "false") & (cells["network"] != "ar_net")]
    costs = costs.assign(quantity="GFLOPs", thesis=costs["gflops"])
    sizes = cells.assign(quantity="million parameters", thesis=cells["params_millions"])
    rows = pd.concat([costs, sizes]).dropna(subset="thesis")
    return _merged(rows, [*_KEY, "quantity", "thesis"])


def printed_dynamic(folder: Path) -> pd.DataFrame:
    """Every GFLOPs of a VA-RED² network that the thesis prints, from the CSV files in `folder`.

    Columns: network, dataset, frames, search_space, dimensions ("both", "temporal" or "channel"), training ("", or how
    it differs from the usual), clip ("average", "most costly", "least costly"), thesis and static (as printed; static
    is missing where the thesis prints none), tables.
    """
    cells = _cells(folder)
    cells = cells[cells["dynamic"] == "true"]
    values = {"average": "gflops", "most costly": "gflops_max", "least costly": "gflops_min"}
    rows = pd.concat([cells.assign(clip=clip, thesis=cells[column]) for clip, column in values.items()])
    rows = rows.dropna(subset="thesis").assign(
        dimensions=lambda t: t.apply(_dimensions, axis=1), training=lambda t: t.apply(_training, axis=1)
    )
    rows = _merged(rows, [*_KEY, "search_space", "dimensions", "training", "clip", "thesis"])
    static = printed_static(folder).query("quantity == 'GFLOPs'").rename(columns={"thesis": "static"})
    return rows.merge(static[[*_KEY, "static"]], on=_KEY, how="left")


def _cells(folder: Path) -> pd.DataFrame:
    """All tables below each other, in the thesis's order, as text."""
    cells = pd.concat([pd.read_csv(folder / f"table_{name}.csv", dtype=str) for name in TABLES], ignore_index=True)
    if unknown := set(cells["model"]) - NETWORKS.keys():
        raise ValueError(f"{folder} names models that vared/paper.py does not know: {', '.join(sorted(unknown))}.")
    cells["gflops"] = cells["gflops"].fillna(cells["gflops_avg"])
    return cells.assign(network=cells["model"].map(NETWORKS), frames=cells["length_frames"].astype(int))


def _merged(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """One row for every number that several tables repeat; by network, data set and length."""
    tables = rows.groupby(columns, sort=False)["table"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    order = {"network": list(NETWORKS.values()), "dataset": list(DATASETS)}
    merged = tables.rename("tables").reset_index()
    return merged.sort_values(
        _KEY, kind="stable", key=lambda column: column.map(order[column.name].index) if column.name in order else column
    ).reset_index(drop=True)


def _dimensions(row: pd.Series) -> str:
    kinds = [kind for kind in ("temporal", "channel") if row[f"dynamic_{kind}"] != "false"]
    return "both" if len(kinds) == 2 else kinds[0]


def _training(row: pd.Series) -> str:
    if row["efficiency_loss"] == "false":
        return "before phase 2"
    return "256 epochs" if row["epochs"] == "256" else ""
