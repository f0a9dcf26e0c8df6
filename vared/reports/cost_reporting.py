"""The tables `static_costs` and `policy_range`: our counts beside the thesis's printed ones, and where these lie.

`thesis` are rows of vared/paper.py, `ours` those of results/static_costs.csv or results/policy_range.csv.
"""

import pandas as pd

from vared.paper import TITLES
from vared.reports.reporting import gflops

_KEY = ["network", "dataset", "frames"]
# Below this difference, in percent, two counts are called the same.
TOLERANCE = 1.0
_REMARKS = {
    "tsn_resnet50": "a bare ResNet-50: gates and cheap operations are not in the printed number",
    "ar_net": "with the classifier of its MobileNetV2, which the policy does not need",
    "r2plus1d_18_tpn": "the neck is our reading: several fit the printed costs",
}


def static_cost_rows(ours: pd.DataFrame, thesis: pd.DataFrame) -> pd.DataFrame:
    """A row a printed static number: network, dataset, frames, crop_size, quantity, tables, thesis, ours, difference
    (percent), with_pooling, with_normalisation (ours with these operations added, GFLOPs only), explanation.

    Networks whose GFLOPs the thesis does not print are listed without.
    """
    costs = ours.assign(quantity="GFLOPs", ours=ours["gmacs"]).dropna(subset="gmacs")
    costs["with_pooling"] = costs["gmacs"] + costs["pooling"]
    costs["with_normalisation"] = costs["with_pooling"] + costs["normalisation"]
    sizes = ours.assign(quantity="million parameters", ours=ours["million_parameters"])
    sizes = sizes.merge(thesis[[*_KEY, "quantity"]], on=[*_KEY, "quantity"])
    rows = pd.concat([costs, sizes]).merge(thesis, on=[*_KEY, "quantity"], how="left")
    rows["difference"] = 100.0 * (rows["ours"] / rows["thesis"].astype(float) - 1.0)
    rows["explanation"] = rows.apply(_explanation, axis=1, rows=rows)
    columns = [*_KEY, "crop_size", "quantity", "tables", "thesis", "ours", "difference", "with_pooling"]
    return rows[[*columns, "with_normalisation", "explanation"]].round(6)


def _explanation(row: pd.Series, rows: pd.DataFrame) -> str:
    same = rows[(rows["network"] == row["network"]) & (rows["quantity"] == row["quantity"])]
    if abs(row["difference"]) > TOLERANCE:
        others = same[(same["frames"] == row["frames"]) & (same["crop_size"] == row["crop_size"])]
        nearest = others[others["difference"].abs() <= TOLERANCE].iloc[0]
        percent = 100.0 * (row["with_normalisation"] / float(row["thesis"]) - 1.0)
        return (
            f"counted in another way: the network printed as {nearest['thesis']} for {nearest['dataset']} "
            f"({row['ours'] - nearest['ours']:+.4f} for more classes); with pooling and batch normalisation "
            f"{row['with_normalisation']:.3f} ({percent:+.2f} %), while {nearest['thesis']} is met without the latter"
        )
    notes = []
    double = same[(same["frames"] == 2 * row["frames"]) & (same["dataset"] == row["dataset"])]["thesis"]
    if row["frames"] == 8 and len(double):
        notes.append(f"costs are linear in frames: {double.iloc[0]} at 16 means {float(double.iloc[0]) / 2:g} at 8")
    if row["dataset"] == "J-HMDB-21":
        notes.append("with the localisation head, whose channel attention is not counted")
    if row["correlation"] > 0:
        notes.append(f"the correlation itself is no convolution: {row['correlation']:.3f} more")
    return "; ".join(notes + [note for note in [_REMARKS.get(row["network"], "")] if note])


def static_cost_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `static_cost_rows` as text for reading."""
    parameters = rows["quantity"] == "million parameters"
    frames, side = rows["frames"].astype(str), rows["crop_size"].astype(str)
    text = pd.DataFrame({
        "network": rows["network"].map(TITLES),
        "data set": rows["dataset"],
        "input": ("3x" + frames + "x" + side + "x" + side).where(~parameters, "–"),
        "unit": rows["quantity"],
        "thesis": rows["thesis"].fillna("not printed"),
        "ours": rows["ours"].map("{:.3f}".format),
        "difference": rows["difference"].map("{:+.2f} %".format).where(rows["thesis"].notna(), "–"),
    })  # fmt: skip
    for column, title in (("with_pooling", "+ average-pool inputs"), ("with_normalisation", "+ 2 per BN output")):
        text[title] = rows[column].map("{:.3f}".format).where(~parameters, "–")
    text["thesis's table"] = rows["tables"].fillna("–")
    text["explanation"] = rows["explanation"]
    return text


def range_text(ours: pd.DataFrame) -> pd.DataFrame:
    """Cost of each dynamic network under the fixed policies, as text: a row a network, a column a policy."""
    rows = []
    for key, group in ours.groupby(["network", "choice", "dataset", "frames"], sort=False):
        cost = group[group["open"] == "one"].set_index(["search_space", "temporal", "channel"])
        most = group[group["open"] == "every"].set_index("search_space")
        network, choice, dataset, frames = key
        row = {
            "network": network_title(network, dataset) + (", all convolutions" if choice == "all" else ""),
            "frames": frames, "dynamic layers": group["layers"].iloc[0], "static": cost.loc[(2, 1, 1.0), "backbone"],
        }  # fmt: skip
        for space, smallest, share in ((2, 2, 0.5), (3, 4, 0.25)):
            row[f"temporal, R = {smallest}"] = cost.loc[(space, smallest, 1.0), "backbone"]
            row[f"channel, r = 1/{smallest}"] = cost.loc[(space, 1, share), "backbone"]
            row[f"both, S = {space}"] = cost.loc[(space, smallest, share), "backbone"]
        row["gates, S = 2"] = cost.loc[(2, 2, 0.5), "gate"]
        row["cheap at the floor, S = 2"] = cost.loc[(2, 2, 0.5), "cheap"]
        row["cheap at most, S = 2"] = most.loc[2, "cheap"]
        rows.append(row)
    table = pd.DataFrame(rows)
    for name in table.columns[3:]:
        table[name] = table[name].map("{:.2f}".format if name not in table.columns[-3:] else "{:.4f}".format)
    return table.astype(str)


def network_title(network: str, dataset: str) -> str:
    """The network as the thesis calls it, and whether the localisation head is on it."""
    return TITLES[network] + (" + localisation head" if dataset == "J-HMDB-21" else "")


def positions(ours: pd.DataFrame, thesis: pd.DataFrame) -> pd.DataFrame:
    """Where the thesis's dynamic costs lie in our ranges: the columns of `thesis` and floor, ceiling, position, ratio.

    position: percent of the way from the floor (every layer at its cheapest policy) to the ceiling (dense).
    ratio: mean share that the dynamic layers must have executed, weighted by their operations.
    Both compare the printed saving with ours, so that what the thesis counts besides convolutions cancels; where it
    prints no static cost, ours stands in.
    """
    found = []
    for row in thesis.itertuples():
        group = ours[(ours["network"] == row.network) & (ours["frames"] == row.frames) & (ours["open"] == "one")]
        group = group[(group["choice"] == "thesis") & (group["search_space"] == int(row.search_space))]
        group = group[(group["dataset"] == "J-HMDB-21") == (row.dataset == "J-HMDB-21")]
        allowed = group
        if row.dimensions == "temporal":
            allowed = group[group["channel"] == 1.0]
        elif row.dimensions == "channel":
            allowed = group[group["temporal"] == 1]
        floor, ceiling = allowed["backbone"].min(), group["backbone"].max()
        saving = (ceiling if pd.isna(row.static) else float(row.static)) - float(row.thesis)
        found.append({
            "floor": floor, "ceiling": ceiling, "position": 100.0 * (1.0 - saving / (ceiling - floor)),
            "ratio": 1.0 - saving / group["layer_gmacs"].iloc[0],
        })  # fmt: skip
    return pd.concat([thesis.reset_index(drop=True), pd.DataFrame(found)], axis=1).round(6)


def position_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `positions` as text, a row a trained network: its average clip (its most / least costly clip)."""
    found = []
    keys = ["network", "dataset", "frames", "search_space", "dimensions", "training"]
    for key, group in rows.groupby(keys, sort=False):
        network, dataset, frames, search_space, dimensions, training = key
        clips = group.set_index("clip")
        row = {
            "network": network_title(network, dataset) + (f", {training}" if training else ""),
            "data set": dataset, "frames": frames, "S": search_space, "dimensions": dimensions,
            "thesis: static": clips["static"].fillna("not printed").iloc[0], "thesis: dynamic": _three(clips["thesis"]),
            "range here": f"{gflops(clips['floor'].iloc[0])} to {gflops(clips['ceiling'].iloc[0])}",
            "position, %": _three(clips["position"].map("{:.0f}".format)),
            "mean ratio": _three(clips["ratio"].map("{:.3f}".format)),
            "thesis's table": clips.loc["average", "tables"],
        }  # fmt: skip
        found.append(row)
    return pd.DataFrame(found).astype(str)


def _three(values: pd.Series) -> str:
    """`average (most / least)`; the average alone where the thesis prints no more."""
    if len(values) == 1:
        return values["average"]
    return f"{values['average']} ({values['most costly']} / {values['least costly']})"


def static_cost_table(costs: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Static GFLOPs of the full-size network of table 4.1, thesis beside ours, as text. `costs`: static_costs.csv."""
    static = paper[paper["search_space"].isna()].set_index("length_frames")["gflops_avg"]
    costs = costs[(costs["network"] == "r2plus1d_18") & (costs["dataset"] == "Mini-Kinetics-200")]
    rows = []
    for cost in costs.itertuples():
        thesis = static[cost.frames]
        rows.append({
            "network": "R(2+1)D-18", "frames": cost.frames, "thesis: GFLOPs": f"{thesis:.1f}",
            "ours: GFLOPs": f"{cost.gmacs:.2f}", "difference": f"{100 * (cost.gmacs / thesis - 1):+.2f} %",
        })  # fmt: skip
    return pd.DataFrame(rows)
