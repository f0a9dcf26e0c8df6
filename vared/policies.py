"""What the gates decided, and how to decide for them (thesis sections 3.1, 3.2).

Shapes: B clip, S_t / S_c candidates of time / channels. R temporal stride factor, r channel ratio.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vared.gate import Policy
from vared.layers import DynamicConv2d, DynamicConv3d


def dynamic_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Dynamic convolutions of `model` by name, in the order of registration."""
    return {name: m for name, m in model.named_modules() if isinstance(m, (DynamicConv2d, DynamicConv3d))}


def policy(model: nn.Module) -> dict[str, Policy]:
    """Policies of the last forward pass by layer name; empty for a static network.

    Raises RuntimeError when a dynamic layer has not seen a clip yet.
    """
    layers = dynamic_layers(model)
    for name, layer in layers.items():
        if layer.last_policy is None:
            raise RuntimeError(f"Layer {name!r} has no policy yet: run the model on a batch of clips first.")
    return {name: layer.last_policy for name, layer in layers.items()}


@contextmanager
def keeping_policies(model: nn.Module) -> Iterator[nn.Module]:
    """Forward passes within the context leave what `policy` returns as it was."""
    before = {layer: layer.last_policy for layer in dynamic_layers(model).values()}
    try:
        yield model
    finally:
        for layer, last in before.items():
            layer.last_policy = last


@contextmanager
def fixed_policy(model: nn.Module, temporal: int = 1, channel: float = 1.0) -> Iterator[nn.Module]:
    """Within the context every clip and layer keeps every `temporal`-th frame and the share `channel` of channels.

    The weight of that candidate is 1, of all others 0: (1, 1.0) is the dense network. A layer that has no such
    candidate because it would save nothing there takes the next larger one.

    Raises ValueError for a value that is no candidate of any layer, or when the model has no dynamic layer.
    """
    layers = dynamic_layers(model)
    if not layers:
        raise ValueError("fixed_policy needs dynamic layers, and this model has none: convert it first.")
    for what, value, known in (
        ("temporal", temporal, {1}.union(*(layer.temporal_factors for layer in layers.values()))),
        ("channel", channel, {1.0}.union(*(layer.channel_ratios for layer in layers.values()))),
    ):
        if value not in known:
            raise ValueError(f"fixed_policy({what}={value!r}): no layer has that candidate, only {sorted(known)}.")
    with forced_policy(model, {name: one_hot_policy(layer, temporal, channel) for name, layer in layers.items()}):
        yield model


def one_hot_policy(layer: nn.Module, temporal: int, channel: float) -> tuple[Tensor, Tensor]:
    """V_t (1 x S_t) and V_c (1 x S_c) with weight 1 at the smallest candidate that computes at least as much."""
    j = max(j for j, factor in enumerate(layer.temporal_factors) if factor <= temporal)
    i = max(i for i, ratio in enumerate(layer.channel_ratios) if ratio >= channel)
    return (
        torch.eye(len(layer.temporal_factors), device="cpu")[[j]],
        torch.eye(len(layer.channel_ratios), device="cpu")[[i]],
    )


@contextmanager
def forced_policy(model: nn.Module, weights: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[nn.Module]:
    """Within the context the named layers use the given V_t (B or 1 x S_t) and V_c (B or 1 x S_c), not their gates.

    Raises ValueError for a name that is no dynamic layer, for a wrong number of candidates and for a row that opens
    none.
    """
    layers = dynamic_layers(model)
    for name, (temporal, channel) in weights.items():
        if name not in layers:
            raise ValueError(f"forced_policy: {name!r} is no dynamic layer of this model.")
        for what, value, count in (
            ("V_t", temporal, len(layers[name].temporal_factors)),
            ("V_c", channel, len(layers[name].channel_ratios)),
        ):
            if value.shape[-1] != count or not bool((value > 0).any(-1).all()) or bool((value < 0).any()):
                raise ValueError(
                    f"forced_policy: {what} of layer {name!r} needs {count} weights a row, none negative and at least "
                    f"one above 0, but is {tuple(value.shape)} with minimum {value.min().item():g}."
                )
    before = {name: layers[name].forced for name in weights}
    try:
        for name, forced in weights.items():
            layers[name].forced = forced
        yield model
    finally:
        for name, forced in before.items():
            layers[name].forced = forced
