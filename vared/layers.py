"""Dynamic convolution: compute some feature maps, rebuild the others cheaply (thesis sections 3.1 and 3.3).

Output of a layer f for one clip with gate weights V_t, V_c: F = f(X), the channel mix of equation (3.1), the temporal
mix of equation (3.5); both are spelled out in `reconstruction`.

In training F is computed in full whatever the number of candidates (`training_mix`), in evaluation only what the gates
open (`execution`). Both are the same function.

Shapes: B clip, C channel, T frame, H W pixel, K kept channels, S candidates.
"""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from vared.execution import execute, output_frames
from vared.gate import GATE_NORMS, Policy, SoftModulationGate
from vared.reconstruction import CHEAP_MACS, CHEAP_OPERATION
from vared.training_mix import mix


@dataclass(frozen=True)
class DynamicConfig:
    """How a convolution is made dynamic. The thesis's settings where it prints them.

    search_space: candidates a dimension, R in 1, 2, 4, ... and r in 1, 1/2, 1/4, ... (2 or 3 in the thesis).
    temporal, channel: which dimensions are dynamic (tables 4.11, 4.12).
    cheap: the linear operation that rebuilds a map: "depthwise" 1x3x3, "affine" or "copy"; not named in the thesis.
    gate_hidden, gate_bias, gate_norm, pool_time: see SoftModulationGate.
    channel_multiple: kept channels are rounded up to a multiple of it (8 suits tensor cores).
    """

    search_space: int = 2
    temporal: bool = True
    channel: bool = True
    cheap: str = "depthwise"
    gate_hidden: int = 16
    gate_bias: float = 1.0
    gate_norm: str = "batch"
    pool_time: bool = False
    channel_multiple: int = 1

    def __post_init__(self):
        for name in ("search_space", "gate_hidden", "channel_multiple"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}.")
        if self.gate_norm not in GATE_NORMS:
            raise ValueError(f"gate_norm must be one of {GATE_NORMS}, not {self.gate_norm!r}.")
        if self.cheap not in CHEAP_MACS:
            raise ValueError(f"cheap must be one of {sorted(CHEAP_MACS)}, not {self.cheap!r}.")


class _Dynamic:
    """What DynamicConv2d and DynamicConv3d share: candidates, gate, cheap operations, forward. Mixed into nn.Conv*d."""

    @classmethod
    def from_conv(cls, conv: nn.Module, config: DynamicConfig, input_shape: tuple[int, ...]) -> nn.Module:
        """Dynamic version of `conv` that shares its weight and bias.

        `input_shape` is (C, T, H, W) for a 3-D and (C, H, W) for a 2-D convolution, of one clip.
        Raises ValueError for settings that leave nothing to decide, for padding modes other than zeros, and for
        another number of input channels.
        """
        rank = 4 if cls.is_3d else 3
        if not isinstance(conv, nn.Conv3d if cls.is_3d else nn.Conv2d) or len(input_shape) != rank:
            raise ValueError(
                f"{cls.__name__}.from_conv takes an nn.Conv{rank - 1}d and an input shape of {rank} numbers, not "
                f"{type(conv).__name__} and {tuple(input_shape)}."
            )
        if conv.padding_mode != "zeros":
            raise ValueError(f"Only zero padding can be made dynamic, not padding_mode={conv.padding_mode!r}.")
        if input_shape[0] != conv.in_channels:
            raise ValueError(f"The convolution has {conv.in_channels} input channels, the example {input_shape[0]}.")
        layer = cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, conv.bias is not None, device="meta",
        )  # fmt: skip
        layer.weight, layer.bias, layer.plain_class = conv.weight, conv.bias, type(conv)  # the class is for `revert`
        layer.train(conv.training)
        layer._make_dynamic(config, input_shape)
        return layer

    def _make_dynamic(self, config: DynamicConfig, input_shape: tuple[int, ...]) -> None:
        frames_in = input_shape[1] if self.is_3d else 1
        self.config, self.frames_in, self.frames_out = config, frames_in, output_frames(self, frames_in)
        self.temporal_factors, self.kept_channels, self.channel_ratios = candidates(self, config, frames_in)
        if len(self.temporal_factors) == len(self.channel_ratios) == 1:
            raise ValueError(
                f"Nothing to decide: with {self.frames_out} output frame(s), {self.out_channels} channels, "
                f"{self.groups} group(s) and {config}, every candidate costs the same."
            )
        kept, factors = self.kept_channels, self.temporal_factors
        cheap = CHEAP_OPERATION[config.cheap]
        self.cheap_channel = nn.ModuleList(cheap(self.out_channels - k) for k in kept[1:])
        self.cheap_temporal = nn.ModuleList(
            nn.ModuleList(cheap(self.out_channels) for _ in range(factor - 1)) for factor in factors[1:]
        )
        self.gate = SoftModulationGate(
            self.in_channels, frames_in, len(factors), len(kept),
            hidden=config.gate_hidden, bias=config.gate_bias, pool_time=config.pool_time, norm=config.gate_norm,
        )  # fmt: skip
        for part in (self.gate, self.cheap_channel, self.cheap_temporal):
            part.to(self.weight.device).train(self.training)
        self.forced: tuple[Tensor, Tensor] | None = None  # weights that replace the gate's, set by forced_policy
        self.last_policy: Policy | None = None

    def __getstate__(self):
        # The last policy belongs to a forward pass and its graph, a forced one to a context: neither can be copied.
        return {**self.__dict__, "last_policy": None, "forced": None}

    def decide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Candidate weights V_t (B x S_t), V_c (B x S_c) for the input B x C x T x H x W; kept as `last_policy`.

        Raises ValueError for a number of frames or channels that the gate was not built for, even if it is not asked.
        """
        self.gate.check(x)
        if self.forced is not None:
            temporal, channel = (self._for_every_clip(v, x) for v in self.forced)
        elif x.is_meta:  # nothing to look at: the costs are those of the dense network
            counts = len(self.temporal_factors), len(self.kept_channels)
            temporal, channel = (torch.eye(n, device="cpu")[[0]].expand(x.shape[0], -1) for n in counts)
        else:
            temporal, channel = self.gate(x)
        self.last_policy = Policy(temporal, channel, self.temporal_factors, self.channel_ratios)
        return temporal, channel

    def _for_every_clip(self, forced: Tensor, x: Tensor) -> Tensor:
        if forced.dim() > 1 and forced.shape[0] not in (1, x.shape[0]):
            raise ValueError(
                f"The policy forced on layer {self.gate.layer!r} is for {forced.shape[0]} clips, but the batch has "
                f"{x.shape[0]}."
            )
        return forced.to("cpu" if x.is_meta else x.device, torch.float32).expand(x.shape[0], -1)

    def forward(self, x: Tensor) -> Tensor:
        """B x C_in x T x H x W (without T for DynamicConv2d) -> the shape that the plain convolution gives."""
        clip = x if self.is_3d else x.unsqueeze(2)
        temporal, channel = self.decide(clip)
        if x.is_meta:
            return self._conv_forward(x, self.weight, self.bias)
        if self.training:
            y = self._conv_forward(x, self.weight, self.bias)
            y = y if self.is_3d else y.unsqueeze(2)
            y = mix(self, y, channel, temporal)
        else:
            y = execute(self, clip, temporal, channel)
        return y if self.is_3d else y.squeeze(2)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, R={list(self.temporal_factors)}, kept_channels={list(self.kept_channels)}"


class DynamicConv3d(_Dynamic, nn.Conv3d):
    """nn.Conv3d with a gate for the temporal stride and the channel ratio. Built by `from_conv` or `convert`."""

    is_3d = True


class DynamicConv2d(_Dynamic, nn.Conv2d):
    """nn.Conv2d with a gate for the channel ratio. Built by `from_conv` or `convert`."""

    is_3d = False


def candidates(
    conv: nn.Module, config: DynamicConfig, frames_in: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Temporal factors R, kept channels K and nominal ratios r that `config` gives a convolution.

    A candidate that computes as much as an earlier one is left out: with one output frame only R = 1 remains.
    """
    factors = _temporal_factors(config.search_space if config.temporal else 1, output_frames(conv, frames_in))
    space = config.search_space if config.channel else 1
    return factors, *_kept_channels(space, conv.out_channels, conv.groups, config.channel_multiple)


def _temporal_factors(candidates: int, frames: int) -> tuple[int, ...]:
    """R = 1, 2, 4, ... without those that keep as many frames as an earlier one."""
    factors = [1]
    for exponent in range(1, candidates):
        if ceil(frames / 2**exponent) < ceil(frames / factors[-1]):
            factors.append(2**exponent)
    return tuple(factors)


def _kept_channels(candidates: int, channels: int, groups: int, multiple: int) -> tuple[tuple[int, ...], ...]:
    """K and r = 1, 1/2, 1/4, ... without those that keep as many channels as an earlier one. Whole groups are kept."""
    kept, ratios = [channels], [1.0]
    for exponent in range(1, candidates):
        # Rounded up: rounded down, an odd width leaves channels that the copies of the kept block do not cover.
        units = groups if groups > 1 else channels
        count = ceil(units / 2**exponent) * (channels // units)
        count = min(channels, ceil(count / multiple) * multiple)
        if groups > 1 and count % (channels // groups):
            count = min(channels, ceil(count / (channels // groups)) * (channels // groups))
        if count < kept[-1]:
            kept.append(count)
            ratios.append(0.5**exponent)
    return tuple(kept), tuple(ratios)
