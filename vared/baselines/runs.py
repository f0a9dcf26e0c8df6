"""Runs of the methods that the thesis compares with (tables 4.4 and 4.8): their networks, training and costs.

The method is the `network` of a run. Settings are those of params.yaml, training.baselines:

    pruned  share, rounds             GMACs to leave, of the plain network's; rounds of pruning in phase 2
    cgnet   share, weight             GMACs a clip to aim at, likewise; weight of the pull on the thresholds
    arnet   efficiency_weight, ...    see `training.arnet_task`
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.backbones import dynamic_choice
from vared.baselines import arnet, cgnet, pruning, training
from vared.checkpoints import save_weights
from vared.flops import count_flops
from vared.recipes import Recipe
from vared.training import fit


def build_arnet(num_classes: int, width: float) -> nn.Module:
    """AR-Net with fresh weights."""
    return arnet.build(num_classes=num_classes, width=width)


def gate_channels(network: nn.Module, backbone: str) -> nn.Module:
    """CGNet on the layers of `network`, in place, that are dynamic in ours."""
    return cgnet.convert_cgnet(network, where=dynamic_choice(backbone))


def train(
    method: str, network: nn.Module, clips: Dataset, recipe: Recipe, *, crop_size: int, settings: dict, directory: Path
) -> None:  # fmt: skip
    """Train `network` in place by `method`; `directory` gets phase1.safetensors, weights.safetensors, history.csv.

    A network to prune comes with the weights of phase 1. Raises ValueError for settings that cannot be reached.
    """
    example = tuple(clips[0]["clip"].shape)
    if method == "pruned":
        save_weights(network, directory / "phase1.safetensors")
        target = settings["share"] * count_flops(network, example).static
        training.fit_pruned(network, clips, recipe, directory=directory, target_gmacs=target, rounds=settings["rounds"])
    elif method == "cgnet":
        threshold = cgnet.threshold_for(_layer_share(network, example, settings["share"]))
        task = training.cgnet_task(network, target=threshold, weight=settings["weight"])
        fit(network, clips, recipe, directory=directory, task=task)
    else:
        epochs = recipe.epochs + recipe.finetune_epochs
        updates = epochs * (len(clips) // recipe.batch_size)
        task = training.arnet_task(network, crop_size=crop_size, updates=updates, **settings)
        fit(network, clips, recipe, directory=directory, task=task)


def clip_gmacs(method: str, network: nn.Module, example: tuple[int, ...]) -> Callable[[], Tensor | float]:
    """What gives the GMACs of every clip of the last forward pass, for `evaluate`; `example` is C x T x H x W."""
    if method == "pruned":
        left = pruning.remaining_gmacs(network, example)
        return lambda: left
    if method == "cgnet":
        report = count_flops(network, example)
        return lambda: cgnet.clip_gmacs(network, report)
    return lambda: arnet.clip_gmacs(network, network.last_decision, example[-1])


def most_gmacs(method: str, network: nn.Module, example: tuple[int, ...]) -> float:
    """GMACs of a clip of which nothing is saved: the plain network's, or AR-Net's with every frame at full size."""
    if method != "arnet":
        return count_flops(network, example).static
    clip = torch.zeros(1, example[1], dtype=torch.long)  # the first action: full size
    actions = F.one_hot(clip, len(arnet.RESOLUTIONS) + len(arnet.SKIPS)).float()
    return arnet.clip_gmacs(
        network, arnet.Decision(actions, torch.ones(clip.shape, dtype=torch.bool)), example[-1]
    ).item()


def _layer_share(network: nn.Module, example: tuple[int, ...], share: float) -> float:
    """Share of their operations that the gated layers may have when the whole network has `share` of its own."""
    report = count_flops(network, example)
    gated = sum(report.static_layers[name] for name in cgnet.gated_layers(network))
    return 1 - (1 - share) * report.static / gated
