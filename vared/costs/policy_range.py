"""How cheap and how dear each dynamic network of the thesis can be: its cost under every fixed policy (section 3.1).

A policy lets every layer keep every R-th frame and the share r of the channels. Under (1, 1) the network costs what its
plain version does, its ceiling; under the largest R and the smallest r it is at its floor. Counted in full size on
shapes alone, as executed: channels and frames rounded up, candidates that save nothing left out.

Units: 1e9 multiply-accumulates of one clip. R temporal stride factor, r channel ratio.
"""

from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn

from vared.backbones import default_config
from vared.conversion import convert
from vared.costs.static_costs import LOCALIZATION, crop_size, full_size
from vared.flops import count_flops
from vared.policies import dynamic_layers, forced_policy, one_hot_policy

SEARCH_SPACES = (2, 3)
_RECOGNITION = "Mini-Kinetics-200"


def count_policies(rows: pd.DataFrame) -> pd.DataFrame:
    """Costs under every fixed policy of the networks, data sets and clip lengths of `rows` (columns of these names).

    The number of classes does not change what a policy saves: recognition networks are counted once, for
    Mini-Kinetics-200. I3D with 16 frames is counted again with all its convolutions dynamic, `choice` "all".

    Columns: network, choice, dataset, frames, crop_size, layers (dynamic ones), layer_gmacs (of these in the plain
    network), search_space, temporal (R), channel (r), open, backbone, gate, cheap. `open` is "one" candidate of each
    dimension, the chosen one, or "every" one: all is computed and rebuilt too, the most that cheap operations can cost.
    """
    datasets = rows["dataset"].where(rows["dataset"] == LOCALIZATION, _RECOGNITION)
    networks = rows.assign(dataset=datasets)[["network", "dataset", "frames"]].drop_duplicates()
    found = []
    for network, dataset, frames in networks.itertuples(index=False):
        choices = ("thesis", "all") if (network, dataset, frames) == ("i3d", _RECOGNITION, 16) else ("thesis",)
        for choice, search_space in product(choices, SEARCH_SPACES):
            side = crop_size(network, dataset)
            model = _dynamic(network, dataset, frames, choice, search_space)
            row = {"network": network, "choice": choice, "dataset": dataset, "frames": frames, "crop_size": side}
            found += [row | {"search_space": search_space} | costs for costs in _costs(model, (3, frames, side, side))]
    return pd.DataFrame(found).round(6)


def _dynamic(network: str, dataset: str, frames: int, choice: str, search_space: int) -> nn.Module:
    config = default_config(network, search_space=search_space)
    if choice == "thesis":
        return full_size(network, dataset, frames, config)
    side = crop_size(network, dataset)
    plain = full_size(network, dataset, frames)
    return convert(plain, config, example=(3, frames, side, side), where=lambda name, conv: True)


def _costs(model: nn.Module, clip: tuple[int, int, int, int]) -> list[dict[str, float]]:
    """Costs under each (R, r) that the layers know, and with every candidate open."""
    layers = dynamic_layers(model)
    factors = sorted({factor for layer in layers.values() for factor in layer.temporal_factors})
    ratios = sorted({ratio for layer in layers.values() for ratio in layer.channel_ratios}, reverse=True)
    policies = list(product(factors, ratios))
    # Policies are counted clip by clip, so one batch with a policy a clip counts them all.
    weights = {name: _weights(layer, policies) for name, layer in layers.items()}
    with forced_policy(model, weights):
        report = count_flops(model, (len(policies) + 1, *clip))
    dynamic = {"layers": len(layers), "layer_gmacs": sum(report.dynamic_layers.values())}
    parts = zip(report.costs.backbone.tolist(), report.costs.gate.tolist(), report.costs.cheap.tolist(), strict=True)
    rows = [*((factor, ratio, "one") for factor, ratio in policies), (1, 1.0, "every")]
    return [
        dynamic
        | {"temporal": factor, "channel": ratio, "open": opened, "backbone": backbone, "gate": gate, "cheap": cheap}
        for (factor, ratio, opened), (backbone, gate, cheap) in zip(rows, parts, strict=True)
    ]


def _weights(layer: nn.Module, policies: list[tuple[int, float]]) -> tuple[Tensor, Tensor]:
    """V_t and V_c with a row a policy, and a last row that opens every candidate."""
    temporal, channel = zip(*(one_hot_policy(layer, factor, ratio) for factor, ratio in policies), strict=True)
    every = (torch.ones(1, len(rows[0][0])) for rows in (temporal, channel))
    return tuple(torch.cat([*rows, last]) for rows, last in zip((temporal, channel), every, strict=True))
