"""The table `shipped_redundancy`: redundancy in a trained 3-D network that a package ships, on videos that one ships.

From what vared/analysis/shipped_network.py measured: layers.csv, clips.csv and origin.json.
"""

import re
from collections.abc import Mapping

import pandas as pd

QUANTITIES = ("CC", "RMSE", "RP")
DIMENSIONS = {"temporal": "frames", "channel": "channels"}
# Stack, dilation in time, and first or second convolution of the factorised pair, in the names of TransNet V2's layers.
_LAYER = re.compile(r"SDDCNN\.(?P<stack>\d)\.DDCNN\.\d\.Conv3D_(?P<dilation>\d)\.layers\.(?P<half>[01])")
_KINDS = ("spatial, 1x3x3", "temporal, 3x1x1")
ALL = "all"


def layer_groups(layers: pd.DataFrame) -> pd.DataFrame:
    """Mean over the layers of a group: frames, group, dimension, convolutions, CC, RMSE, RP.

    `layers` is layers.csv. Groups are the three stacks, spatial and temporal convolutions apart, and all together.
    Raises ValueError that names a layer which is none of TransNet V2's.
    """
    names = [_group(name) for name in layers["layer"]]
    tables = []
    for grouped in (layers.assign(group=names), layers.assign(group=ALL)):
        by_group = grouped.groupby(["frames", "group", "dimension"], sort=False)
        means = by_group[list(QUANTITIES)].mean()
        tables.append(means.assign(convolutions=by_group["layer"].nunique()).reset_index())
    table = pd.concat(tables, ignore_index=True)
    order = {group: place for place, group in enumerate([*sorted(set(names)), ALL])}
    table = table.sort_values(["frames", "group", "dimension"], key=lambda c: c.map(order) if c.name == "group" else c)
    return table[["frames", "group", "dimension", "convolutions", *QUANTITIES]].round(6).reset_index(drop=True)


def _group(layer: str) -> str:
    match = _LAYER.fullmatch(layer)
    if match is None:
        raise ValueError(f"layers.csv: {layer!r} is no convolution of TransNet V2.")
    return f"stack {int(match['stack']) + 1}, {_KINDS[int(match['half'])]}"


def group_text(groups: pd.DataFrame, frames: int) -> pd.DataFrame:
    """`layer_groups` of clips of one length as text: a row a group, columns such as `frames: CC`."""
    rows = []
    for group, found in groups[groups["frames"] == frames].groupby("group", sort=False):
        row = {"convolutions": group, "number": int(found["convolutions"].iloc[0])}
        rows.append(row | _cells(found.set_index("dimension")))
    return pd.DataFrame(rows)


def video_text(clips: pd.DataFrame) -> pd.DataFrame:
    """clips.csv as text: a row a video and clip length, mean over its clips and all layers."""
    rows = []
    for (frames, name), found in clips.groupby(["frames", "name"], sort=False):
        row = {"video": name, "frames": frames, "clips": found["clip"].nunique()}
        rows.append(row | _cells(found.groupby("dimension")[list(QUANTITIES)].mean()))
    return pd.DataFrame(rows)


def _cells(by_dimension: pd.DataFrame) -> dict[str, str]:
    return {
        f"{title}: {name}": f"{by_dimension.loc[dimension, name]:.3f}"
        for dimension, title in DIMENSIONS.items()
        for name in QUANTITIES
    }


def origin_text(origin: Mapping[str, object]) -> str:
    """Where weights and videos come from, as lines of a list: packages with version and licence, files with sha256."""
    packages = [
        f"- Package {name} {about['version']}, licence {about['licence']}" for name, about in origin["packages"].items()
    ]
    files = [f"- {name}: sha256 `{digest}`" for name, digest in origin["sha256"].items()]
    return "\n".join([*packages, *files])
