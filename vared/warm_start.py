"""Starting a network for long clips from one trained on short clips of the same seconds.

Convolutions do not depend on the number of frames. Gates do, by the shape of their first layer and by the candidates
that a layer has: they start anew, as they would without a warm start.
"""

from pathlib import Path

from torch import Tensor, nn

from vared.checkpoints import apply_weights, read_weights
from vared.policies import dynamic_layers


def start_from(model: nn.Module, path: Path | str) -> nn.Module:
    """Load the weights of the same network for another number of frames into `model` and return it.

    Gates, and cheap temporal operations that the other network does not have, keep the values they have.
    Raises ValueError when anything else differs between the networks.
    """
    found, own = read_weights(Path(path)), model.state_dict()

    def starts_anew(name: str, other: dict[str, Tensor]) -> bool:
        return ".gate." in name or (".cheap_temporal." in name and name not in other)

    weights = {name: tensor for name, tensor in own.items() if starts_anew(name, found)}
    if dynamic_layers(model):  # a static network does not fit a dynamic one's weights
        found = {name: tensor for name, tensor in found.items() if not starts_anew(name, own)}
    apply_weights(model, weights | found, str(path))
    return model
