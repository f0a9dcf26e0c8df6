"""Dynamic convolutions for inference that include the normalisation and the ReLU after them. Made by `network`.

    y = relu(scale * mix(conv(x)) + shift)

Shapes: B clip, C channel, T frame, H W pixel.
"""

from functools import cached_property

import torch
from torch import Tensor, nn

from vared.acceleration.affine_kernel import AffineLayer, usable
from vared.acceleration.blocks import execute_in_blocks
from vared.acceleration.gate_kernel import accelerated_gate
from vared.acceleration.onednn import PackedConv
from vared.execution import execute
from vared.layers import DynamicConv2d, DynamicConv3d
from vared.specialized import numeric_padding

# Bytes of one frame of a layer's output from which on a CPU runs it in blocks. Below, calls cost more than memory.
BLOCKWISE_BYTES = 2**17


def accelerated(layer: nn.Module, norm: nn.Module | None, relu: bool) -> nn.Module:
    """The dynamic convolution `layer` followed by the batch normalisation `norm` and, with `relu`, by a ReLU.

    Shares weights, gate and cheap operations with `layer`, which must be in evaluation mode.
    """
    fast = AcceleratedConv3d.__new__(AcceleratedConv3d) if layer.is_3d else AcceleratedConv2d.__new__(AcceleratedConv2d)
    fast.__dict__.update(layer.__dict__)
    fast._buffers, fast._modules = dict(layer._buffers), dict(layer._modules)
    fast.gate = accelerated_gate(layer.gate)
    scale = torch.ones(layer.out_channels, dtype=torch.float64, device=layer.weight.device)
    shift = torch.zeros_like(scale)
    if norm is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        shift = shift if norm.bias is None else shift + norm.bias
    fast.register_buffer("scale", scale.to(layer.weight.dtype), persistent=False)
    fast.register_buffer("shift", shift.to(layer.weight.dtype), persistent=False)
    fast.relu, fast.convolutions = relu, {}
    return fast


class _Accelerated:
    """What both accelerated layers share."""

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        """B x C_in x T x H x W -> B x C x T x H x W (without T for AcceleratedConv2d)."""
        clips = x if self.is_3d else x.unsqueeze(2)
        temporal, channel = self.decide(clips)
        if x.is_meta:
            return self._conv_forward(x, self.weight, self.bias)
        if _pays_in_blocks(self, clips):
            y = execute_in_blocks(self, clips, temporal, channel)
        else:
            y = execute(self, clips, temporal, channel)
            scale, shift = (v[:, None, None, None] for v in (self.scale, self.shift))
            y = torch.addcmul(shift, y, scale)
            y = y.relu_() if self.relu else y
        return y if self.is_3d else y.squeeze(2)

    def train(self, mode: bool = True):
        if mode:
            raise ValueError("An accelerated network cannot be trained: train the one it was made from.")
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True):
        self.convolutions.clear()  # their weights are parts of this layer's
        self.__dict__.pop("affine", None)
        return super()._apply(fn, recurse)

    def convolution(self, j: int, i: int) -> PackedConv:
        """The convolution of temporal candidate j and channel candidate i, in 3-D and without padding in time."""
        if (j, i) not in self.convolutions:
            count, weight = self.kept_channels[i], self.weight if self.is_3d else self.weight.unsqueeze(2)
            (time_stride, *stride), (_, *padding), dilation = self.geometry
            self.convolutions[j, i] = PackedConv(
                weight[:count], None if self.bias is None else self.bias[:count],
                (time_stride * self.temporal_factors[j], *stride), (0, *padding), dilation,
                self.groups * count // self.out_channels if self.groups > 1 else 1,
            )  # fmt: skip
        return self.convolutions[j, i]

    @cached_property
    def affine(self) -> AffineLayer | None:
        """Tables for `affine_kernel`, None for a layer that it cannot serve."""
        return AffineLayer(self) if usable(self) else None

    @cached_property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        """Stride, padding and dilation, each of time, height and width."""
        stride, padding, dilation = self.stride, numeric_padding(self), self.dilation
        return (stride, padding, dilation) if self.is_3d else ((1, *stride), (0, *padding), (1, *dilation))

    @cached_property
    def time_geometry(self) -> tuple[int, int, int]:
        """Stride and padding in time, and frames from the first to the last one that an output frame is made of."""
        stride, padding, dilation = (values[0] for values in self.geometry)
        return stride, padding, dilation * (self.weight.shape[2] - 1 if self.is_3d else 0) + 1

    def output_size(self, size: tuple[int, ...]) -> list[int]:
        """Frames, height and width that the convolution makes of those of its input."""
        kernel = self.kernel_size if self.is_3d else (1, *self.kernel_size)
        sizes = zip(size, kernel, *self.geometry, strict=True)
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes]


class AcceleratedConv3d(_Accelerated, DynamicConv3d):
    """DynamicConv3d with the normalisation and the ReLU after it."""


class AcceleratedConv2d(_Accelerated, DynamicConv2d):
    """DynamicConv2d with the normalisation and the ReLU after it."""


def _pays_in_blocks(layer: nn.Module, clips: Tensor) -> bool:
    if clips.device.type != "cpu" or len(clips) == 0 or layer.padding == "same":
        return False
    if layer.affine:  # one call a clip, whatever its size
        return True
    pixels = clips[0, 0, 0].numel() // (layer.stride[-1] * layer.stride[-2])
    return layer.out_channels * pixels * clips.element_size() >= BLOCKWISE_BYTES
