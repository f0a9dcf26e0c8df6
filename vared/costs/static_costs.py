"""What the thesis's plain networks cost in full size, counted on shapes alone (sections 4.2 to 4.5).

The thesis counts convolutions and linear layers and, depending on the row, something more. Both usual extras are
counted apart: an operation for each element that an average pooling reads, and two for each element that a batch
normalisation writes. No single sum of these gives every printed decimal.

Units: 1e9 multiply-accumulates or operations of one clip; millions of parameters.
"""

from math import nan

import pandas as pd
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vared.backbones import corrnet, create_model
from vared.baselines import arnet
from vared.flops import GIGA, count_flops
from vared.layers import DynamicConfig
from vared.tasks.localization_head import Localizer, YowoHead

# Sides of the centre crop in pixels (section 4.4). Localisation is YOWO's 224.
CROP_SIZES = {
    "r2plus1d_18": 128, "r2plus1d_18_tpn": 128, "r2plus1d_18_corrnet": 128, "i3d": 256, "x3d_m": 256,
    "tsn_resnet50": 224, "ar_net": 224,
}  # fmt: skip
CLASSES = {"Mini-Kinetics-200": 200, "Kinetics-400": 400, "Moments-In-Time": 339, "J-HMDB-21": 21}
LOCALIZATION, LOCALIZATION_CROP = "J-HMDB-21", 224


def count_networks(rows: pd.DataFrame) -> pd.DataFrame:
    """Our counts for the networks, data sets and clip lengths of `rows` (columns network, dataset, frames), each once.

    Columns beside those: crop_size, classes, gmacs (what `count_flops` counts); pooling, normalisation and, in CorrNet,
    correlation (1e9 further operations, not in gmacs); million_parameters. Of AR-Net only the parameters are counted:
    its cost depends on the clip.
    """
    configurations = rows[["network", "dataset", "frames"]].drop_duplicates()
    return pd.DataFrame([_row(*key) for key in configurations.itertuples(index=False)]).round(6)


def full_size(network: str, dataset: str, frames: int, dynamic: DynamicConfig | bool | None = None) -> nn.Module:
    """The thesis's network for a data set, on the meta device; with YOWO's head for the localisation data set."""
    with torch.device("meta"):
        model = create_model(
            network, num_classes=CLASSES[dataset], num_frames=frames, crop_size=crop_size(network, dataset),
            dynamic=dynamic,
        )  # fmt: skip
        if dataset != LOCALIZATION:
            return model
        side = LOCALIZATION_CROP
        channels = model.eval().features(torch.empty(1, 3, frames, side, side)).shape[1]
        return Localizer(model, YowoHead(channels, CLASSES[dataset]))


def crop_size(network: str, dataset: str) -> int:
    """Side of the network's input in pixels."""
    return LOCALIZATION_CROP if dataset == LOCALIZATION else CROP_SIZES[network]


def _row(network: str, dataset: str, frames: int) -> dict[str, object]:
    side = crop_size(network, dataset)
    row = {"network": network, "dataset": dataset, "frames": frames, "crop_size": side, "classes": CLASSES[dataset]}
    costs = {"gmacs": nan, "pooling": nan, "normalisation": nan, "correlation": nan}
    if network == "ar_net":
        with torch.device("meta"):
            model = arnet.build(num_classes=CLASSES[dataset])
    else:
        model, clip = full_size(network, dataset, frames), (3, frames, side, side)
        with OtherOperations() as other:
            costs["gmacs"] = count_flops(model, clip).static
        costs |= {"pooling": other.pooling, "normalisation": other.normalisation}
        if network == "r2plus1d_18_corrnet":
            costs["correlation"] = corrnet.correlation_gmacs(model, clip)
    return row | costs | {"million_parameters": sum(p.numel() for p in model.parameters()) / 1e6}


class OtherOperations(TorchDispatchMode):
    """Counts, for what runs inside the context, the operations that MACs of convolutions leave out, in 1e9.

    `pooling`: one for each element read by an average over frames or pixels. `normalisation`: two, scale and shift, for
    each element written by a batch normalisation.
    """

    _POOLS = {
        torch.ops.aten.mean, torch.ops.aten.avg_pool2d, torch.ops.aten.avg_pool3d,
        torch.ops.aten._adaptive_avg_pool2d, torch.ops.aten._adaptive_avg_pool3d,
    }  # fmt: skip

    def __init__(self):
        super().__init__()
        self.pooling = self.normalisation = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in self._POOLS:
            self.pooling += args[0].numel() / GIGA
        elif func.overloadpacket == torch.ops.aten.native_batch_norm:
            self.normalisation += 2 * output[0].numel() / GIGA
        return output
