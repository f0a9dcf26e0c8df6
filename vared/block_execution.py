"""Sparse inference on a CPU, block by block: `execution`, the normalisation after it and ReLU in little memory traffic.

On a CPU a convolution gets faster with every frame and channel that it skips, but mixes that pass over whole maps eat
the gain. Here a clip's output is made in blocks of a few frames that stay in the cache: convolve what is kept of the
block, mix channels, mix frames, normalise, cut at zero, write. A clip at a time needs no gathering of clips.

What is constant for a clip is folded into what is small: gate weights and the scale of the normalisation into one
factor a channel and into the kernels of the cheap temporal operations.

Shapes: B clip, C channel, T frame, H W pixel, K kept channels, n frames of a block. Maps of a clip are T x C x H x W in
channels-last memory, one frame after the other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.execution import output_frames
from vared.onednn import add_depthwise_
from vared.reconstruction import AffineCheap, DepthwiseCheap, repeat_channels


def execute_in_blocks(layer, clips: Tensor, temporal: Tensor, channel: Tensor) -> Tensor:
    """relu(scale * dynamic convolution + shift) of `layer`: B x C_in x T x H x W, V_t, V_c -> B x C x T x H x W.

    `layer` is one of `accelerated_layers`. Raises ValueError when a gate opens nothing for a clip.
    """
    output = None
    for number, (clip, v_t, v_c) in enumerate(zip(clips.split(1), temporal.tolist(), channel.tolist(), strict=True)):
        v_t, v_c = _opened(v_t), _opened(v_c)
        if not v_t or not v_c:
            raise ValueError(
                f"The gate of layer {layer.gate.layer!r} opens nothing: its input or weights are not finite."
            )
        frames = output_frames(layer, clips.shape[2])
        period = layer.temporal_factors[max(v_t)]
        for begin in range(0, frames, period):
            end = min(begin + period, frames)
            kept = _convolve_block(layer, clip, begin, end, min(v_t), min(v_c))
            if output is None:
                shape = (len(clips), layer.out_channels, frames, *kept.shape[-2:])
                output = torch.empty(shape, dtype=kept.dtype, device=kept.device, memory_format=torch.channels_last_3d)
            maps, factor = _mix_channels(layer, kept, v_c)
            _mix_frames(layer, maps, factor, v_t, output[number, :, begin:end].transpose(0, 1))
    return output


def _opened(weights: list[float]) -> dict[int, float]:
    return {candidate: weight for candidate, weight in enumerate(weights) if weight > 0}


def _convolve_block(layer, clip: Tensor, begin: int, end: int, j: int, i: int) -> Tensor:
    """Kept channels of candidate i and kept frames of candidate j of output frames begin ... end - 1: n x K x H x W."""
    factor, (stride, pad, dilation) = layer.temporal_factors[j], (values[0] for values in layer.geometry)
    last = begin + (end - 1 - begin) // factor * factor
    span = dilation * (layer.weight.shape[2] - 1 if layer.is_3d else 0) + 1
    first, stop = begin * stride - pad, last * stride - pad + span
    convolution = layer.convolution(j, i)
    read = convolution.groups * convolution.weight.shape[1]  # groups of skipped channels are not read
    x = clip[:, :read, max(first, 0) : min(stop, clip.shape[2])]
    if first < 0 or stop > clip.shape[2]:
        x = F.pad(x, (0, 0, 0, 0, max(-first, 0), max(stop - clip.shape[2], 0)))
    return convolution(x)[0].transpose(0, 1)


def _mix_channels(layer, kept: Tensor, weights: dict[int, float]) -> tuple[Tensor, Tensor]:
    """Channel mix, equation (3.1), divided by a factor for every channel: n x K x H x W -> n x C x H x W, C.

    The factor is left to the frames' mix, which multiplies anyway: so computed channels are not touched here.
    """
    channels, count = layer.out_channels, kept.shape[1]
    factor = kept.new_zeros(channels)
    for i, weight in weights.items():  # in computed channels those that hold the channel, in the rest all
        factor[: layer.kept_channels[i]] += weight
        factor[count:] += weight
    generated = {}
    for i, weight in weights.items():
        if (first := layer.kept_channels[i]) < channels:
            source = repeat_channels(kept[:, :first], channels - first)
            generated[first] = _cheap(layer.cheap_channel[i - 1], source, None, weight / factor[first:], None)
    for first, maps in generated.items():
        if first < count:
            kept[:, first:].add_(maps[:, : count - first])
    if count == channels:
        return kept, factor
    rest = [maps[:, count - first :] for first, maps in generated.items()]
    return torch.cat([kept, rest[0] if len(rest) == 1 else sum(rest)], 1), factor


def _mix_frames(layer, maps: Tensor, factor: Tensor, weights: dict[int, float], out: Tensor) -> None:
    """Frame mix, equation (3.5), normalisation and ReLU of one period: n x C x H x W -> `out`, n' x C x H x W.

    `factor` (C) multiplies all channels of `maps`.
    """
    factors = {j: layer.temporal_factors[j] for j in weights}
    base = min(factors.values())
    for residue in range(len(out)):
        target = out[residue : residue + 1]
        direct = sum(weights[j] for j, stride in factors.items() if residue % stride == 0)
        if direct:
            source = maps[residue // base : residue // base + 1]
            torch.addcmul(_column(layer.shift), source, _column(factor * layer.scale * direct), out=target)
        cheap = {j: offset for j, stride in factors.items() if (offset := residue % stride)}
        for number, (j, offset) in enumerate(cheap.items(), start=1):
            first = (residue - offset) // base
            operation = layer.cheap_temporal[j - 1][offset - 1]
            start = None if direct or number > 1 else layer.shift
            relu = layer.relu and number == len(cheap)
            _add_cheap(operation, maps[first : first + 1], factor, layer.scale * weights[j], start, target, relu)
        if layer.relu and not cheap:
            target.relu_()


def _cheap(operation: nn.Module, x: Tensor, inner: Tensor | None, outer: Tensor, shift: Tensor | None) -> Tensor:
    """outer * operation(inner * x) + shift, one number for each channel (None: 1, 0): n x C x H x W."""
    scale = outer if inner is None else outer * inner
    if isinstance(operation, DepthwiseCheap):
        return F.conv2d(x, operation.weight[:, :, 0] * _column(scale)[..., None], shift, padding=1, groups=x.shape[1])
    if isinstance(operation, AffineCheap):
        scale, added = scale * operation.scale, outer * operation.shift
        shift = added if shift is None else shift + added
    return x * _column(scale) if shift is None else torch.addcmul(_column(shift), x, _column(scale))


def _add_cheap(
    operation: nn.Module, x: Tensor, inner: Tensor, outer: Tensor, start: Tensor | None, target: Tensor, relu: bool
) -> None:
    """Adds outer * operation(inner * x) to `target`, or puts it there, shifted by `start`; then ReLU if asked for."""
    if start is None and isinstance(operation, DepthwiseCheap):
        add_depthwise_(target, x, operation.weight[:, :, 0] * _column(outer * inner)[..., None], relu)
        return
    made = _cheap(operation, x, inner, outer, start)
    if start is None:
        made = target.add_(made)
    if relu:
        torch.clamp_min(made, 0, out=target)
    elif start is not None:
        target.copy_(made)


def _column(vector: Tensor) -> Tensor:
    return vector[:, None, None]
