"""Convolutions with weights laid out once and with addition and ReLU fused, where PyTorch has them (CPU, fp32, bf16).

PyTorch's compiler uses these operators of oneDNN, but no public function does: an ordinary convolution lays its weight
out anew at every call, which costs as much as the arithmetic where maps are small. Without them (other devices, builds
and types, gradients) the public functions take their place, with the same results.

Shapes: B clip, C channel, T frame, H W pixel, n frames. Channels-last memory is expected and kept.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_ONES = [1, 1]


def available(x: Tensor) -> bool:
    """Whether the fused operators can be used on `x`."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
    )


@dataclass
class PackedConv:
    """A 3-D convolution B x C_in x T x H x W -> B x C x T' x H' x W' whose weight is laid out at the first call."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    packed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        geometry = list(self.padding), list(self.stride), list(self.dilation), self.groups
        if not available(x):
            return F.conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight.detach(), *geometry, list(x.shape))
        return torch.ops.mkldnn._convolution_pointwise(x, self.packed, self.bias, *geometry, "none", [], "")


def add_depthwise_(total: Tensor, x: Tensor, weight: Tensor, relu: bool) -> Tensor:
    """total += depthwise 3 x 3 convolution of x, then ReLU if asked for, in place.

    `total` and `x` are n x C x H x W, `weight` is C x 1 x 3 x 3.
    """
    groups = x.shape[1]
    if available(x) and total.is_contiguous(memory_format=torch.channels_last):
        how = _ONES, _ONES, _ONES, groups, "add", 1.0, "relu" if relu else None, [], ""
        return torch.ops.mkldnn._convolution_pointwise_.binary(total, x, weight, None, *how)
    total.add_(F.conv2d(x, weight, padding=1, groups=groups))
    return total.relu_() if relu else total
