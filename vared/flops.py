"""Counting operations as executed, clip by clip (thesis equations (3.2), (3.3) and appendix A.2).

1 GFLOP in the thesis is 1e9 multiply-accumulates (MACs) of convolutions and linear layers for one clip and one view;
so it is here. Normalisation, activations, pooling and the weighting of candidates are not counted. A dynamic layer
costs its convolution's MACs times K / C times ceil(T / R) / T, with the channels and frames really computed; gates and
cheap operations are counted too and listed apart, since the thesis takes them as free (equation (3.2)).

Shapes: B clip, C channel, T frame, H W pixel.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from vared.gate import Policy
from vared.policies import dynamic_layers, keeping_policies, policy
from vared.reconstruction import CHEAP_MACS
from vared.trial_run import Example, batch, batch_size, evaluating

GIGA = 1e9


@dataclass(frozen=True)
class ClipCosts:
    """GMACs of every clip, each B, float64. The thesis's numbers compare with `backbone`."""

    backbone: Tensor
    gate: Tensor
    cheap: Tensor

    @property
    def total(self) -> Tensor:
        return self.backbone + self.gate + self.cheap


@dataclass(frozen=True)
class DynamicLayerCost:
    """What one dynamic layer costs for one clip: run statically, its gate, and an element of each cheap operation."""

    macs: int
    gate_macs: int
    cheap_macs_per_element: int
    channels: int
    frames: int
    pixels: int
    kept_channels: tuple[int, ...]
    temporal_factors: tuple[int, ...]

    def executed(self, policy: Policy) -> tuple[Tensor, Tensor]:
        """MACs of the convolution and of the cheap operations for every clip, two tensors B."""
        open_channel, open_temporal = (v.detach().cpu() > 0 for v in (policy.channel, policy.temporal))
        kept = torch.tensor(self.kept_channels, dtype=torch.float64, device="cpu")
        frames = torch.tensor([ceil(self.frames / r) for r in self.temporal_factors], dtype=torch.float64, device="cpu")
        channels_run = kept[open_channel.int().argmax(1)]
        frames_run = frames[open_temporal.int().argmax(1)]
        convolution = self.macs * (channels_run / self.channels) * (frames_run / self.frames)
        # Channels are rebuilt on the computed frames only, frames on all channels; open candidates only.
        rebuilt = (open_channel * (self.channels - kept)).sum(1) * frames_run
        rebuilt += (open_temporal * (self.frames - frames)).sum(1) * self.channels
        return convolution, rebuilt * self.pixels * self.cheap_macs_per_element


@dataclass(frozen=True)
class FlopReport:
    """Costs of a network for one clip size. `static` is the plain network's GMACs, `static_layers` the same by layer.

    `costs` are those of the clips that `count_flops` ran; `executed` gives them for any other forward pass.
    """

    static: float
    static_layers: dict[str, float]
    layers: dict[str, DynamicLayerCost]
    costs: ClipCosts

    @property
    def dynamic_layers(self) -> dict[str, float]:
        """Static GMACs of the dynamic layers by name, the C(f) of equation (3.6)."""
        return {name: layer.macs / GIGA for name, layer in self.layers.items()}

    def executed(self, policies: Mapping[str, Policy]) -> ClipCosts:
        """Costs of the clips whose policies are given; a static network (no policies) gives one row."""
        return _executed(self.static, self.layers, policies)


def count_flops(model: nn.Module, clip: Example) -> FlopReport:
    """Count `model` on a clip (C, T, H, W), clips (B, C, T, H, W), or a shape of either kind.

    A network of 2-D convolutions takes an image (C, H, W) or images (B, C, H, W) instead; if it computes clips frame by
    frame, count it on the images. A network that takes a list of tensors, such as SlowFast, takes a list of those.

    Counted are the modules nn.Conv1d, 2d, 3d and nn.Linear (subclasses too). What a network computes by functions
    alone is not, so that attention and other products of activations are out of scope.

    The model runs once in evaluation mode; `policy` still gives the decisions of the pass before. On the meta device
    nothing is computed and no gate can look at anything: dynamic layers then count as dense, or as the surrounding
    `fixed_policy` says.
    Raises ValueError for another number of dimensions, and when gates decide for frames rather than for whole clips.
    """
    clips = batch(model, clip)
    calls: dict[str, int] = {}
    geometry: dict[str, tuple[int, int]] = {}
    with keeping_policies(model), _counting(model, calls, geometry), evaluating(model), torch.no_grad():
        model(clips)
        count, policies = batch_size(clips), policy(model)
    for name, decided in policies.items():
        if len(decided.temporal) != count:
            raise ValueError(
                f"Layer {name!r} decided {len(decided.temporal)} times for a batch of {count}: the network computes "
                "clips frame by frame, and its costs are per image. Count the network behind it on an image C x H x W."
            )
    layers = {}
    for name, layer in dynamic_layers(model).items():
        frames, pixels = geometry[name]
        layers[name] = DynamicLayerCost(
            calls[name] // count, layer.gate.macs, CHEAP_MACS[layer.config.cheap], layer.out_channels, frames, pixels,
            layer.kept_channels, layer.temporal_factors,
        )  # fmt: skip
    static_layers = {name: macs / count / GIGA for name, macs in calls.items()}
    static = sum(calls.values()) / count / GIGA
    costs = _executed(static, layers, policies)
    if not policies:
        costs = ClipCosts(*(part.expand(count) for part in (costs.backbone, costs.gate, costs.cheap)))
    return FlopReport(static, static_layers, layers, costs)


def _executed(static: float, layers: Mapping[str, DynamicLayerCost], policies: Mapping[str, Policy]) -> ClipCosts:
    clips = next(iter(policies.values())).temporal.shape[0] if policies else 1
    saved = torch.zeros(clips, dtype=torch.float64, device="cpu")
    cheap = torch.zeros_like(saved)
    for name, layer in layers.items():
        convolution, rebuilt = layer.executed(policies[name])
        saved += layer.macs - convolution
        cheap += rebuilt
    gate = torch.full_like(saved, sum(layer.gate_macs for layer in layers.values()))
    return ClipCosts(static - saved / GIGA, gate / GIGA, cheap / GIGA)


@contextmanager
def _counting(model: nn.Module, calls: dict[str, int], geometry: dict[str, tuple[int, int]]):
    """Collect MACs of the batch by layer, and (frames, pixels) of each dynamic layer's output."""
    dynamic = dynamic_layers(model)
    inner = tuple(f"{name}." for name in dynamic)

    def hook(name: str, module: nn.Module):
        def count(_, inputs, output: Tensor) -> None:
            calls[name] = calls.get(name, 0) + output.numel() * (module.weight.numel() // module.weight.shape[0])
            if name in dynamic:
                frames = output.shape[2] if module.is_3d else 1
                geometry[name] = (frames, output.shape[-2] * output.shape[-1])

        return module.register_forward_hook(count)

    counted = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    handles = [
        hook(name, m) for name, m in model.named_modules() if isinstance(m, counted) and not name.startswith(inner)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
