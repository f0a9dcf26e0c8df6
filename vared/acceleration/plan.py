"""One clip's decision at one layer, worked out before its maps: what is constant is folded into what is small.

Gate weights and the scale of the normalisation go into one factor for each channel and into the kernels of the cheap
operations, so that maps are multiplied once:

    y = relu(scale * mix(conv(x)) + shift)
    channels:  M = conv(x)[:K] + sum_i a_i * cheap_c_i(conv(x)[:K_i])           mix of equation (3.1) = factor * M
    frames:    y[t] = relu(d * M[t] + shift)  or  relu(d * M[t] + sum_j outer_j * cheap_t_j(factor * M[t']) + shift)

Shapes: B clip, C channel, T frame, H W pixel, K kept channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.acceleration.onednn import PackedConv
from vared.reconstruction import AffineCheap, DepthwiseCheap


class Cheap:
    """outer * operation(inner * x) + shift with one number for each channel: n x C x H x W -> the same."""

    def __init__(self, operation: nn.Module, inner: Tensor | float, outer: Tensor, shift: Tensor | None = None):
        scale = outer * inner
        self.sets = shift is not None  # begins a sum rather than adding to one
        self.kernel = self.factor = None
        if isinstance(operation, DepthwiseCheap):
            self.kernel = operation.weight[:, :, 0].to(scale.dtype) * column(scale)[..., None]
            self.shift = shift
            return
        if isinstance(operation, AffineCheap):
            scale, added = scale * operation.scale, outer * operation.shift
            shift = added if shift is None else shift + added
        self.factor, self.shift = column(scale), None if shift is None else column(shift)

    def __call__(self, x: Tensor) -> Tensor:
        if self.kernel is not None:
            return F.conv2d(x, self.kernel, self.shift, padding=1, groups=x.shape[1])
        return x * self.factor if self.shift is None else torch.addcmul(self.shift, x, self.factor)


@dataclass
class ClipPlan:
    """What `blocks` does for one clip.

    convolution: of the largest open candidates, which reads `channels_read` channels. factor, period: smallest and
    largest open temporal factor. generated: (K_i, cheap operation) for each open channel candidate below the widest.
    residues: for each frame number modulo `period` the factor of the computed frame (C x 1 x 1, None: not computed)
    and the terms (computed frame it starts from, cheap operation, whether it is the last). shift: C x 1 x 1.
    """

    convolution: PackedConv
    channels_read: int
    channels: int
    factor: int
    period: int
    generated: list[tuple[int, Cheap]]
    residues: list[tuple[Tensor | None, list[tuple[int, Cheap, bool]]]]
    shift: Tensor
    relu: bool


def plan_clip(layer, temporal: list[float], channel: list[float]) -> ClipPlan:
    """The plan for one clip with candidate weights V_t, V_c. Raises ValueError when one of them opens nothing."""
    v_t, v_c = ({i: weight for i, weight in enumerate(weights) if weight > 0} for weights in (temporal, channel))
    if not v_t or not v_c:
        raise ValueError(f"The gate of layer {layer.gate.layer!r} opens nothing: its input or weights are not finite.")
    convolution = layer.convolution(min(v_t), min(v_c))
    channels, count = layer.out_channels, layer.kept_channels[min(v_c)]
    factor = torch.zeros_like(layer.scale)
    for i, weight in v_c.items():  # of computed channels the candidates that hold them, of the rest all
        factor[: layer.kept_channels[i]] += weight
        factor[count:] += weight
    generated = [
        (first, Cheap(layer.cheap_channel[i - 1], 1.0, weight / factor[first:]))
        for i, weight in v_c.items()
        if (first := layer.kept_channels[i]) < channels
    ]
    factors = {j: layer.temporal_factors[j] for j in v_t}
    residues = [_residue(layer, v_t, factors, factor, residue) for residue in range(max(factors.values()))]
    return ClipPlan(
        convolution, convolution.groups * convolution.weight.shape[1], channels, min(factors.values()),
        max(factors.values()), generated, residues, column(layer.shift), layer.relu,
    )  # fmt: skip


def _residue(layer, v_t: dict[int, float], factors: dict[int, int], factor: Tensor, residue: int):
    direct = sum(weight for j, weight in v_t.items() if residue % factors[j] == 0)
    offsets = {j: offset for j, stride in factors.items() if (offset := residue % stride)}
    terms = []
    for number, (j, offset) in enumerate(offsets.items(), start=1):
        start = None if direct or number > 1 else layer.shift
        cheap = Cheap(layer.cheap_temporal[j - 1][offset - 1], factor, layer.scale * v_t[j], start)
        terms.append(((residue - offset) // min(factors.values()), cheap, number == len(offsets)))
    return column(factor * layer.scale * direct) if direct else None, terms


def column(vector: Tensor) -> Tensor:
    """C -> C x 1 x 1, to meet maps."""
    return vector[:, None, None]
