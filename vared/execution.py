"""Sparse inference: run only what the gates opened (thesis appendix A, equations (A.1) and (A.2)).

The clips of a batch are grouped by their open candidates. A group runs one convolution with the first K output
channels of its largest open channel ratio, at the stride times its smallest open temporal factor, and rebuilds the
rest with the same mixes that training uses. So the result equals the dense one to rounding: kept channels and kept
frames are nested, the cheap channel operation acts frame by frame, and a convolution at R times the stride gives
exactly every R-th frame of its output.

Shapes: B clip, C channel, T frame, H W pixel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.reconstruction import mix_channels, mix_frames


def execute(layer, clips: Tensor, temporal: Tensor, channel: Tensor) -> Tensor:
    """Output of the dynamic convolution `layer` for B x C_in x T x H x W and weights V_t, V_c: B x C x T x H x W."""
    if len(clips) == 0:
        return _run_group(layer, clips, temporal, channel, *(tuple(range(v.shape[1])) for v in (temporal, channel)))
    groups = group_by_open_candidates(temporal, channel)
    if not all(open_temporal and open_channel for open_temporal, open_channel in groups):
        raise ValueError(f"The gate of layer {layer.gate.layer!r} opens nothing: its input or weights are not finite.")
    if len(groups) == 1:
        (opened,) = groups
        return _run_group(layer, clips, temporal, channel, *opened)
    output = None
    for (open_temporal, open_channel), members in groups.items():
        rows = torch.tensor(members, device=clips.device)
        part = _run_group(layer, clips[rows], temporal[rows], channel[rows], open_temporal, open_channel)
        if output is None:
            shape, layout = (clips.shape[0], *part.shape[1:]), _memory_format(part)
            output = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
        output[rows] = part
    return output


def group_by_open_candidates(temporal: Tensor, channel: Tensor) -> dict[tuple[tuple[int, ...], ...], list[int]]:
    """Indices of the clips that open the same candidates: {(open temporal, open channel): [clip, ...]}."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    # One transfer for both dimensions: reading the decision is the only point where the device must be waited for.
    decisions = torch.cat([temporal > 0, channel > 0], dim=1).tolist()
    for clip, row in enumerate(decisions):
        opened = [i for i, is_open in enumerate(row) if is_open]
        split = temporal.shape[1]
        key = (tuple(i for i in opened if i < split), tuple(i - split for i in opened if i >= split))
        groups.setdefault(key, []).append(clip)
    return groups


def _run_group(layer, clips, temporal, channel, open_temporal, open_channel) -> Tensor:
    factor = layer.temporal_factors[open_temporal[0]]
    kept = convolve(layer, clips, factor, layer.kept_channels[open_channel[0]])
    mixed = mix_channels(layer, kept, channel, open_channel)
    return mix_frames(layer, mixed, temporal, output_frames(layer, clips.shape[2]), open_temporal)


def output_frames(conv, frames: int, factor: int = 1) -> int:
    """Frames that a convolution makes of `frames`; `factor`: how many times its own temporal stride `conv` strides."""
    if isinstance(conv, nn.Conv2d):
        return 1
    if isinstance(conv.padding, str):
        return frames if conv.padding == "same" else frames - conv.dilation[0] * (conv.kernel_size[0] - 1)
    span = frames + 2 * conv.padding[0] - conv.dilation[0] * (conv.kernel_size[0] - 1) - 1
    return span // (conv.stride[0] // factor) + 1


def convolve(layer, clips: Tensor, factor: int, count: int) -> Tensor:
    """The first `count` output channels at every `factor`-th output frame: B x count x ceil(T / factor) x H x W.

    Groups of skipped channels are not read either.
    """
    weight, bias = layer.weight[:count], None if layer.bias is None else layer.bias[:count]
    groups = layer.groups * count // layer.out_channels if layer.groups > 1 else 1
    if groups != layer.groups:
        clips = clips[:, : groups * layer.weight.shape[1]]
    if not layer.is_3d:
        frame = F.conv2d(clips[:, :, 0], weight, bias, layer.stride, layer.padding, layer.dilation, groups)
        return frame.unsqueeze(2)
    if factor > 1 and isinstance(layer.padding, str):  # "same" is defined for stride 1 only: pad by hand
        clips, padding = _pad_same(layer, clips), 0
    else:
        padding = layer.padding
    stride = (layer.stride[0] * factor, *layer.stride[1:])
    return F.conv3d(clips, weight, bias, stride, padding, layer.dilation, groups)


def _pad_same(layer, clips: Tensor) -> Tensor:
    if layer.padding == "valid":
        return clips
    pads = []
    for size, dilation in zip(reversed(layer.kernel_size), reversed(layer.dilation), strict=True):
        total = dilation * (size - 1)
        pads += [total // 2, total - total // 2]
    return F.pad(clips, pads)


def _memory_format(x: Tensor) -> torch.memory_format:
    channels_last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if channels_last else torch.contiguous_format
