"""`affine_kernel.c` and its call: the pass over memory for layers whose cheap operations act pixel by pixel.

Affine and copied maps need no neighbours, so rows, frames and blocks are all the same to them, and what the gates
decided goes into a few factors a channel, which the C code puts together itself: pointwise convolutions are so short
that the work on plans in Python would show (X3D: 52 layers of 5 ms for four clips). They are bound by memory, so the
C code convolves too (`pointwise_kernel.c`), a few pixels at a time: the input is read once and the output written once.

Shapes: C channel, H W pixel, K kept channels, n frames.
"""

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from vared.acceleration.compiling import library
from vared.reconstruction import AffineCheap, DepthwiseCheap

LANES = 16
_long, _address = ctypes.c_long, ctypes.c_void_p


class _Layer(ctypes.Structure):
    _fields_ = (
        ("channels", _long), ("channel_candidates", _long), ("temporal_candidates", _long), ("held", _address),
        ("stride", _address), ("channel", _address), ("temporal", _address), ("scale", _address), ("shift", _address),
        ("weight", _address), ("relu", _long), ("inputs", _long),
    )  # fmt: skip


class AffineLayer:
    """What the C code reads of a layer of `layers`, whatever the decision. Weights may not move after it is made."""

    def __init__(self, layer):
        held, strides = (torch.tensor(values) for values in (layer.kept_channels, layer.temporal_factors))
        steps = [operation for steps in layer.cheap_temporal for operation in steps]
        self.alive = (  # ctypes does not keep tensors alive
            held, strides, _operations(layer, layer.cheap_channel, layer.kept_channels[1:]),
            _operations(layer, steps, [0] * len(steps)), layer.scale.contiguous(), layer.shift.contiguous(),
        )  # fmt: skip
        self.pointwise = _is_pointwise(layer)
        weight = _packed(layer.weight.detach().flatten(1)) if self.pointwise else None
        addresses = [tensor.data_ptr() for tensor in self.alive]
        self.alive += (weight,)
        self.structure = _Layer(
            layer.out_channels, len(held), len(strides), *addresses, weight.data_ptr() if self.pointwise else None,
            int(layer.relu), layer.in_channels,
        )  # fmt: skip


def _is_pointwise(layer) -> bool:
    """Whether the C code can convolve too."""
    stride, padding, _ = layer.geometry
    plain = set(layer.kernel_size) == {1} and set(stride) == {1} and set(padding) == {0}
    return plain and layer.groups == 1 and layer.bias is None and bool(library().pointwise_fast())


def _packed(weight: Tensor) -> Tensor:
    """C x C_in -> the layout of `pointwise_kernel.c`: C_in x 64 for every 64 channels, the last group narrower."""
    filled = F.pad(weight, (0, 0, 0, -len(weight) % LANES))
    return torch.cat([group.t().flatten() for group in filled.split(4 * LANES)])


def _operations(layer, operations, firsts) -> Tensor:
    """Factors and shifts of operations that make the channels from `first` on, one after the other."""
    numbers = [torch.zeros(0)]
    for operation, first in zip(operations, firsts, strict=True):
        ones = torch.ones(layer.out_channels - first)
        affine = isinstance(operation, AffineCheap)
        numbers += [operation.scale.detach().float(), operation.shift.detach().float()] if affine else [ones, 0 * ones]
    return torch.cat(numbers)


class AffineClip:
    """One clip's decision at an affine layer; the counterpart of ClipPlan and its MixKernel.

    `clip(maps, out)` for n x K x H x W and n' x C x H x W, float32 in channels-last memory, one frame after the other.
    `maps` are the kept ones, or with `reads_input` those of the layer's input. Raises ValueError when the gate opens
    nothing.
    """

    def __init__(self, layer, temporal: list[float], channel: list[float]):
        opened_t, opened_c = ([i for i, weight in enumerate(v) if weight > 0] for v in (temporal, channel))
        if not opened_t or not opened_c:
            raise ValueError(
                f"The gate of layer {layer.gate.layer!r} opens nothing: its input or weights are not finite."
            )
        self.layer, self.convolution = layer.affine, layer.convolution(opened_t[0], opened_c[0])
        self.channels_read = self.convolution.groups * self.convolution.weight.shape[1]
        self.reads_input, self.computed = self.layer.pointwise, layer.kept_channels[opened_c[0]]
        self.factor, self.period = layer.temporal_factors[opened_t[0]], layer.temporal_factors[opened_t[-1]]
        self.weights = [(ctypes.c_float * len(v))(*v) for v in (temporal, channel)]

    def __call__(self, maps: Tensor, out: Tensor) -> None:
        maps = maps.contiguous(memory_format=torch.channels_last)
        failed = library().affine_block(
            ctypes.byref(self.layer.structure), *self.weights, _address(maps.data_ptr()), _long(out[0, 0].numel()),
            _long(self.computed), _long(self.period), _long(self.factor), _address(out.data_ptr()), _long(len(out)),
        )  # fmt: skip
        if failed:
            raise MemoryError("No memory for the factors of a block of frames.")


def usable(layer) -> bool:
    """Whether the C code can do the work of `layer`: float32 on a CPU, a compiler, no depthwise cheap operation."""
    operations = [*layer.cheap_channel, *(operation for steps in layer.cheap_temporal for operation in steps)]
    return (
        layer.scale.dtype == torch.float32
        and layer.scale.device.type == "cpu"
        and not any(isinstance(operation, DepthwiseCheap) for operation in operations)
        and library() is not None
    )
