"""`gate_kernel.c` and its call: a gate's decision in one call instead of some twenty short operations.

Those cost about as much as a small convolution, and a network has a gate for each of its dynamic layers.

Shapes: B clip, C input channel, T frame, H W pixel, S_t / S_c candidates.
"""

import ctypes

import torch
from torch import Tensor, nn

from vared.acceleration.compiling import library
from vared.gate import ALL_ZERO_WEIGHT, SoftModulationGate

_long, _address, _float = ctypes.c_long, ctypes.c_void_p, ctypes.c_float


class _Gate(ctypes.Structure):
    _fields_ = (
        ("channels", _long), ("frames", _long), ("hidden", _long), ("outputs", _long), ("temporal_outputs", _long),
        ("pool_time", ctypes.c_int), ("reduce", _address), ("mean", _address), ("variance", _address),
        ("weight", _address), ("bias", _address), ("expand", _address), ("expand_bias", _address),
        ("epsilon", _float), ("all_zero", _float),
    )  # fmt: skip


class AcceleratedGate(SoftModulationGate):
    """The gate it was made from, with the same parameters, decided in one call wherever C code can."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """B x C x T x H x W -> V_t (B x S_t) and V_c (B x S_c). Raises what the gate it was made from raises."""
        if not self._usable(x):
            return super().forward(x)
        self.check(x)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        temporal, channel = self.candidates
        split = temporal if temporal > 1 else 0
        parts = (
            self.reduce.weight, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias,
            self.expand.weight, self.expand.bias,
        )  # fmt: skip
        gate = _Gate(
            self.channels, x.shape[2], self.reduce.out_features, self.outputs, split, int(self.pool_time),
            *(part.data_ptr() for part in parts), self.norm.eps, ALL_ZERO_WEIGHT,
        )  # fmt: skip
        opened = torch.empty(len(x), self.outputs)
        failed = library().gate_decisions(
            ctypes.byref(gate), _address(x.data_ptr()), _long(len(x)), _long(x[0, 0, 0].numel()),
            _address(opened.data_ptr()),
        )  # fmt: skip
        if failed:
            raise MemoryError("No memory for the averages that a gate looks at.")
        ones = opened.new_ones(len(x), 1)
        return opened[:, :split] if split else ones, opened[:, split:] if channel > 1 else ones

    def _usable(self, x: Tensor) -> bool:
        parts = self.reduce.weight, self.expand.weight
        return (
            x.dtype == torch.float32
            and x.device.type == "cpu"
            and isinstance(self.norm, nn.BatchNorm1d)
            and not self.norm.training
            and all(part.dtype == torch.float32 and part.device == x.device for part in parts)
            and self.outputs > 0
            and not torch.is_grad_enabled()
            and library() is not None
        )


def accelerated_gate(gate: SoftModulationGate) -> AcceleratedGate:
    """`gate` with shared parameters and hooks, deciding in one call."""
    fast = AcceleratedGate.__new__(AcceleratedGate)
    fast.__dict__.update(gate.__dict__)
    return fast
