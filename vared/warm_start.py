"""Starting a network for long clips from one trained on short clips of the same seconds.

Convolutions do not depend on the number of frames. Gates do, by the shape of their first layer and by the candidates
that a layer has: they start anew, as they would without a warm start.
"""

from pathlib import Path

from torch import nn

from vared.checkpoints import apply_weights, read_weights
from vared.policies import dynamic_layers


def start_from(model: nn.Module, path: Path | str) -> nn.Module:
    """Load the weights of the same network for another number of frames into `model` and return it.

    Gates, and cheap temporal operations that the other network does not have, keep the values they have.
    Raises ValueError when anything else differs between the networks.
    """
    weights, own = read_weights(Path(path)), model.state_dict()
    for name in dynamic_layers(model):
        gate, cheap = f"{name}.gate.", f"{name}.cheap_temporal."
        theirs = {key for key in weights if key.startswith(gate) or (key.startswith(cheap) and key not in own)}
        ours = {key for key in own if key.startswith(gate) or (key.startswith(cheap) and key not in weights)}
        weights = {key: tensor for key, tensor in weights.items() if key not in theirs} | {key: own[key] for key in ours}
    apply_weights(model, weights, str(path))
    return model
