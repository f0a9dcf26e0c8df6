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
    found, own = read_weights(Path(path)), model.state_dict()
    gates = tuple(f"{name}.gate." for name in dynamic_layers(model))
    cheap = tuple(f"{name}.cheap_temporal." for name in dynamic_layers(model))
    kept = [name for name in own if name.startswith(gates) or (name.startswith(cheap) and name not in found)]
    weights = {name: own[name] for name in kept}
    for name, tensor in found.items():
        if not name.startswith(gates) and (name in own or not name.startswith(cheap)):
            weights[name] = tensor
    apply_weights(model, weights, str(path))
    return model
