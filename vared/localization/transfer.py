"""Localisation on another data set than the backbone was trained on (thesis, table 4.9: backbones of video recognition
on Mini-Kinetics-200, heads on J-HMDB-21).

Everything of the network but its classifier is carried over. The classifier, whose classes are others, stays as it is
built: a localiser reads the maps before it.
"""

from pathlib import Path

from torch import nn

from vared.checkpoints import apply_weights, read_weights, save_weights
from vared.experiments import build_network, load_videos
from vared.runs import RunPlan

FILES = ("phase1.safetensors", "weights.safetensors")


def carry_over(root: Path, plan: RunPlan, weights: Path, folder: Path) -> None:
    """Write the weights in folder `weights` into `folder`, for the classes of the data set of `plan`.

    Raises ValueError when tensors other than those of the last layer differ in shape, or names differ.
    """
    classes = len(load_videos(root, plan)["train"].classes)
    for name in FILES:
        network = build_network(plan, classes)
        source, own = read_weights(weights / name), network.state_dict()
        different = {key for key in own if key in source and own[key].shape != source[key].shape}
        last = last_layer(network)
        if other := sorted(key for key in different if key.rpartition(".")[0] != last):
            raise ValueError(f"{weights / name} is of another network than {plan.run.word}: {', '.join(other)}.")
        apply_weights(network, source | {key: own[key] for key in different}, str(weights / name))
        save_weights(network, folder / name)


def last_layer(network: nn.Module) -> str:
    """Name of the last linear layer outside gates: in our networks the one that gives the classes."""
    found = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return next(name for name in reversed(found) if ".gate." not in name)
