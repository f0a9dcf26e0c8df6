"""Parameters that gates and cheap operations add to the thesis's networks in full size (section 2.2: almost none).

Counted on shapes alone, with the settings of `default_config`, for every network, data set and clip length of which the
thesis prints a dynamic version.
"""

import pandas as pd

from vared.backbones import default_config
from vared.costs.static_costs import full_size
from vared.policies import dynamic_layers


def count_overheads(rows: pd.DataFrame) -> pd.DataFrame:
    """Parameters of the networks of `rows` (columns network, dataset, frames; `paper.printed_dynamic`), S = 2 and 3.

    Columns: network, dataset, frames, search_space, parameters (of the plain network), gate_parameters,
    cheap_parameters.
    """
    found = []
    for network, dataset, frames in rows[["network", "dataset", "frames"]].drop_duplicates().itertuples(index=False):
        for search_space in (2, 3):
            model = full_size(network, dataset, frames, default_config(network, search_space=search_space))
            added = {"gate": 0, "cheap": 0}
            for layer in dynamic_layers(model).values():
                for name, parameter in layer.named_parameters():
                    kind = name.partition("_" if name.startswith("cheap_") else ".")[0]
                    if kind in added:
                        added[kind] += parameter.numel()
            total = sum(parameter.numel() for parameter in model.parameters())
            row = {"network": network, "dataset": dataset, "frames": frames, "search_space": search_space}
            row |= {"parameters": total - sum(added.values())}
            found.append(row | {f"{kind}_parameters": count for kind, count in added.items()})
    return pd.DataFrame(found)
