"""One policy baked in: plain modules only, no gates, for export and compilation.

Shapes: B clip, C channel, T frame, H W pixel, K kept channels.
"""

import copy

import torch
from torch import Tensor, nn

from vared.execution import output_frames
from vared.policies import dynamic_layers, fixed_policy, one_hot_policy
from vared.reconstruction import AffineCheap, DepthwiseCheap, interleave, repeat_channels


def specialize(model: nn.Module, temporal: int = 1, channel: float = 1.0) -> nn.Module:
    """Copy of `model` in which every layer always takes the policy (R, r): plain modules, no gates, to export.

    Equals the model under `fixed_policy(model, temporal, channel)` in evaluation mode. Raises ValueError when the
    model has no dynamic layer or no layer has that candidate.
    """
    with fixed_policy(model, temporal, channel):  # checks the values
        plain = copy.deepcopy(model).eval()
    if "" in dynamic_layers(plain):
        raise ValueError("specialize: the model itself is a dynamic layer; wrap it in nn.Sequential.")
    for name, layer in dynamic_layers(plain).items():
        parent, _, child = name.rpartition(".")
        v_t, v_c = one_hot_policy(layer, temporal, channel)
        setattr(plain.get_submodule(parent), child, SpecializedConv(layer, int(v_t.argmax()), int(v_c.argmax())))
    return plain


class SpecializedConv(nn.Module):
    """Convolution with fewer output channels and a larger temporal stride, then the cheap operations that rebuild.

    Equals `layer` (a DynamicConv2d or 3d in evaluation mode) when its temporal candidate `j` and channel candidate
    `i` have weight 1 and all others 0. B x C_in x T x H x W -> B x C x T x H x W (without T for 2-D).
    """

    def __init__(self, layer: nn.Module, j: int, i: int):
        super().__init__()
        self.is_3d = layer.is_3d
        self.factor, kept = layer.temporal_factors[j], layer.kept_channels[i]
        self.missing = layer.out_channels - kept
        self.conv = _narrowed(layer, kept, self.factor)
        self.cheap_channel = _plain(layer.cheap_channel[i - 1]) if i else None
        self.cheap_temporal = nn.ModuleList(map(_plain, layer.cheap_temporal[j - 1])) if j else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x[:, : self.conv.in_channels])
        frames = output_frames(self.conv, x.shape[2], self.factor)
        if not self.is_3d:
            y = y.unsqueeze(2)
        if self.cheap_channel is not None:
            y = torch.cat([y, self.cheap_channel(repeat_channels(y, self.missing))], dim=1)
        if self.cheap_temporal is not None:
            y = interleave([y, *(cheap(y) for cheap in self.cheap_temporal)], frames)
        return y if self.is_3d else y.squeeze(2)


def _narrowed(layer: nn.Module, kept: int, factor: int) -> nn.Module:
    groups = layer.groups * kept // layer.out_channels if layer.groups > 1 else 1
    in_channels = layer.weight.shape[1] * groups
    stride = (layer.stride[0] * factor, *layer.stride[1:]) if layer.is_3d else layer.stride
    kind = nn.Conv3d if layer.is_3d else nn.Conv2d
    conv = kind(
        in_channels, kept, layer.kernel_size, stride, numeric_padding(layer), layer.dilation, groups,
        layer.bias is not None, device=layer.weight.device, dtype=layer.weight.dtype,
    )  # fmt: skip
    if not conv.weight.is_meta:
        conv.weight.data.copy_(layer.weight.data[:kept])
        if conv.bias is not None:
            conv.bias.data.copy_(layer.bias.data[:kept])
    return conv


def numeric_padding(layer: nn.Module) -> "tuple[int, ...]":
    if layer.padding == "valid":
        return (0,) * len(layer.kernel_size)
    if layer.padding == "same":
        spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if any(span % 2 for span in spans):
            raise ValueError(f"padding='same' with kernel {layer.kernel_size} is uneven and cannot be specialised.")
        return tuple(span // 2 for span in spans)
    return layer.padding


class FramewiseConv(nn.Module):
    """A 2-D convolution of every frame: B x C x T x H x W, same shape out. Runtimes have fast ones, unlike 1x3x3."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        frames = self.conv(x.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (-1, x.shape[2])).transpose(1, 2)


def _plain(cheap: nn.Module) -> nn.Module:
    """The cheap operation as plain modules that every exporter and counter knows."""
    if isinstance(cheap, DepthwiseCheap):
        channels = cheap.weight.shape[0]
        conv = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels, bias=False, device=cheap.weight.device,
            dtype=cheap.weight.dtype,
        )  # fmt: skip
        conv.weight = nn.Parameter(cheap.weight.detach()[:, :, 0].clone())
        return FramewiseConv(conv)
    if isinstance(cheap, AffineCheap):
        return cheap
    return nn.Identity()
