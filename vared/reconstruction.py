"""Rebuilding skipped feature maps from computed ones (thesis section 3.1, equations (3.1) and (3.5)).

A layer with output F, C channels and T frames, and one clip's gate weights V_c, V_t:

    channels:  Y_c = sum_i V_c[i] * concat(F[:K_i], cheap_c_i(F[:K_i]))                       K_i = ceil(r_i C)
    frames:    Y[t] = sum_j V_t[j] * (Y_c[t]                          if t mod R_j = 0
                                      cheap_t_j(Y_c[R_j floor(t / R_j)])  otherwise)

The two mixes below define the function. Sparse inference uses them with the part of F that it computes; training does
the same to all of F in `training_mix`.

Shapes: B clip, C channel, T frame, H W pixel, K kept channels, S candidates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseCheap(nn.Module):
    """Depthwise 1x3x3 convolution without bias, identity at the start. B x C x T x H x W, same shape out."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 1, 1, 3, 3))
        nn.init.constant_(self.weight[:, :, :, 1, 1], 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, self.weight.to(x.dtype))


class AffineCheap(nn.Module):
    """Scale and shift for every channel, identity at the start. B x C x T x H x W, same shape out."""

    def __init__(self, channels: int):
        super().__init__()
        # One-dimensional: Module.to(memory_format=channels_last_3d) refuses parameters of four dimensions.
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = (p.to(x.dtype)[:, None, None, None] for p in (self.scale, self.shift))
        return x * scale + shift


CHEAP_OPERATION = {"depthwise": DepthwiseCheap, "affine": AffineCheap, "copy": lambda channels: nn.Identity()}
CHEAP_MACS = {"depthwise": 9, "affine": 1, "copy": 0}  # multiply-accumulates for each generated element


def mix_channels(layer: nn.Module, kept: Tensor, weights: Tensor, opened: tuple[int, ...] | None = None) -> Tensor:
    """Weighted sum over channel candidates, equation (3.1): B x K x T x H x W -> B x C x T x H x W.

    `kept` are the first K channels, K that of the first candidate in `opened`; `weights` is V_c (B x S_c); `opened`
    lists the candidates to sum (default: all). Generated channel c repeats kept channel c mod K_i.
    """
    opened = tuple(range(len(layer.kept_channels))) if opened is None else opened
    counts = {i: layer.kept_channels[i] for i in opened}
    weights = weights.to(torch.promote_types(weights.dtype, kept.dtype))  # their sums are no less exact than the maps
    edges = sorted({0, layer.out_channels, *counts.values()})
    sizes = [end - begin for begin, end in zip(edges[:-1], edges[1:], strict=True)]
    # Split, not sliced: the gradient of a split is one concatenation, that of a slice a full-size tensor of zeros.
    segments = list(kept.split(sizes[: edges.index(kept.shape[1])], dim=1))
    generated = {}
    for i, count in counts.items():
        if count < layer.out_channels:
            source = _join(segments[: edges.index(count)])
            maps = layer.cheap_channel[i - 1](repeat_channels(source, layer.out_channels - count))
            first = edges.index(count)
            generated[i] = dict(zip(edges[first:-1], maps.split(sizes[first:], dim=1), strict=True))
    mixed = []
    for number, begin in enumerate(edges[:-1]):
        direct = [i for i, count in counts.items() if count > begin]
        total = _weigh(segments[number], weights[:, direct].sum(1)) if direct else None
        for i, maps in generated.items():
            if begin in maps:
                total = _add_weighed(total, maps[begin], weights[:, i])
        mixed.append(total)
    return _join(mixed)


def mix_frames(
    layer: nn.Module, kept: Tensor, weights: Tensor, frames: int, opened: tuple[int, ...] | None = None
) -> Tensor:
    """Weighted sum over temporal candidates, equation (3.5): B x C x T' x H x W -> B x C x T x H x W.

    `kept` are every R-th frame, R that of the first candidate in `opened`; `weights` is V_t (B x S_t);
    `frames` is T. A skipped frame is generated from the kept frame before it, never from a later one.
    """
    opened = tuple(range(len(layer.temporal_factors))) if opened is None else opened
    factors = {j: layer.temporal_factors[j] for j in opened}
    weights = weights.to(torch.promote_types(weights.dtype, kept.dtype))
    base, period = min(factors.values()), max(factors.values())
    phases = _deinterleave(kept, period // base)  # frames n * period + residue, for each residue a multiple of base
    mixed = []
    for residue in range(period):
        direct = [j for j, factor in factors.items() if residue % factor == 0]
        total = _weigh(phases[residue // base], weights[:, direct].sum(1)) if direct else None
        for j, factor in factors.items():
            if offset := residue % factor:
                source = phases[(residue - offset) // base]
                total = _add_weighed(total, layer.cheap_temporal[j - 1][offset - 1](source), weights[:, j])
        mixed.append(total)
    return interleave(mixed, frames)


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise convolution of every frame, C x 1 x 1 x 3 x 3: B x C x T x H x W, same shape out."""
    # Frame by frame as a 2-D convolution: three times faster on a CPU than the 3-D one of the same weights.
    y = F.conv2d(frames_as_batch(x), weight[:, :, 0], padding=1, groups=len(weight))
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def frames_as_batch(x: Tensor) -> Tensor:
    """B x C x T x H x W -> BT x C x H x W, dense, in the memory format of `x`."""
    if x.stride(1) == 1:  # channels-last: also where selected frames have gaps between them, or only one is left
        return x.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)
    return x.transpose(1, 2).flatten(0, 1)


def repeat_channels(kept: Tensor, missing: int) -> Tensor:
    """Source maps of the `missing` channels that follow the K kept ones: channel c repeats c mod K."""
    count = kept.shape[1]
    whole, rest = divmod(missing, count)
    return _join([kept] * whole + ([kept[:, :rest]] if rest else []))


def interleave(series: list[Tensor], frames: int) -> Tensor:
    """Frame n * len(series) + i is series[i][:, :, n]; cropped to `frames`. Keeps the memory format."""
    if len(series) == 1:
        return series[0]
    if series[0].is_contiguous(memory_format=torch.channels_last_3d):
        stacked = torch.stack([s.permute(0, 2, 3, 4, 1) for s in series], dim=2)
        return stacked.flatten(1, 2).permute(0, 4, 1, 2, 3)[:, :, :frames]
    return torch.stack(series, dim=3).flatten(2, 3)[:, :, :frames]


def _deinterleave(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """Every `count`-th frame from 0, 1, ..., count - 1; zeros fill up the last ones."""
    if count == 1:
        return (x,)
    if missing := -x.shape[2] % count:
        x = F.pad(x, (0, 0, 0, 0, 0, missing))
    return x.unflatten(2, (-1, count)).unbind(3)


def _weigh(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight.to(x.dtype)[:, None, None, None, None]


def _add_weighed(total: Tensor | None, x: Tensor, weight: Tensor) -> Tensor:
    if total is None:
        return _weigh(x, weight)
    return torch.addcmul(total, x, weight.to(x.dtype)[:, None, None, None, None])


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
