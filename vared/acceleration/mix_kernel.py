"""`mix_kernel.c` and its call: the pass over memory for layers whose cheap operations look at neighbours.

Many short operations on maps that do not fit the innermost caches cost half as much again as one pass row by row
(measured: 1.4 to 1.7 times). Without a C compiler and in other number formats the operations of torch do the same.

Shapes: C channel, H W pixel, K kept channels, n frames.
"""

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from vared.acceleration.compiling import library
from vared.acceleration.plan import Cheap, ClipPlan

LANES = 16


class _Cheap(ctypes.Structure):
    _fields_ = (("taps", ctypes.c_long), ("source", ctypes.c_long), ("begin", ctypes.c_long),
                ("channels", ctypes.c_long), ("adds", ctypes.c_long), ("kernel", ctypes.c_void_p))  # fmt: skip


class MixKernel:
    """The mixes, normalisation and ReLU of one clip's plan: `kernel(kept, out)` for n x K x H x W, n' x C x H x W.

    Both are float32; `out` lies in channels-last memory, one frame after the other.
    """

    def __init__(self, plan: ClipPlan):
        self.plan, self.alive = plan, []  # ctypes does not keep tensors alive
        pieces, constant, computed = [], torch.zeros(plan.channels), len(plan.convolution.weight)
        for number, (first, cheap) in enumerate(sorted(plan.generated, key=lambda pair: pair[0])):
            edges = sorted({*range(first, plan.channels, first), plan.channels, computed})
            pieces += [
                (begin % first, begin, end - begin, number > 0, _taps(cheap)[begin - first :])
                for begin, end in zip(edges[:-1], edges[1:], strict=True)
            ]
            constant[first:] += _added(cheap)
        self.generated, self.generated_count = self._pack(pieces), len(pieces)
        terms = [(source, 0, plan.channels, False, _taps(cheap)) for _, of in plan.residues for source, cheap, _ in of]
        self.terms = self._pack(terms)
        self.term_counts = (ctypes.c_long * plan.period)(*(len(of) for _, of in plan.residues))
        self.has_direct = (ctypes.c_int * plan.period)(*(direct is not None for direct, _ in plan.residues))
        nothing = torch.zeros(plan.channels)
        rows = [nothing if direct is None else direct.flatten() for direct, _ in plan.residues]
        shifts = [
            sum((_added(cheap) for _, cheap, _ in of), nothing if direct is None else plan.shift.flatten())
            for direct, of in plan.residues
        ]
        self.direct, self.shift = self._keep(torch.stack(rows)), self._keep(torch.stack(shifts))
        self.constant = self._keep(F.pad(constant, (0, len(constant) + 4 * LANES)))

    def __call__(self, kept: Tensor, out: Tensor) -> None:
        plan, (frames, computed, height, width) = self.plan, kept.shape
        kept = kept.contiguous(memory_format=torch.channels_last)
        long = ctypes.c_long
        failed = library().mix_block(
            ctypes.c_void_p(kept.data_ptr()), long(frames), long(height), long(width), long(computed),
            long(plan.channels), self.generated, long(self.generated_count), self.constant, long(plan.period),
            long(plan.factor), self.direct, self.has_direct, self.term_counts, self.terms, self.shift, int(plan.relu),
            ctypes.c_void_p(out.data_ptr()), long(len(out)),
        )  # fmt: skip
        if failed:
            raise MemoryError("No memory for the rows of a block of frames.")

    def _pack(self, pieces: list[tuple[int, int, int, bool, Tensor]]) -> ctypes.Array:
        """(source, first channel, channels, adds, kernel C' x taps) -> the structures that the C code reads."""
        return (_Cheap * max(1, len(pieces)))(
            *(
                _Cheap(kernel.shape[1], source, begin, channels, adds, self._keep(kernel[:channels].t()))
                for source, begin, channels, adds, kernel in pieces
            )
        )

    def _keep(self, values: Tensor) -> ctypes.c_void_p:
        """Address of `values`, its last dimension filled up with zeros to whole vectors."""
        values = F.pad(values, (0, -values.shape[-1] % LANES)).contiguous()
        self.alive.append(values)
        return ctypes.c_void_p(values.data_ptr())


def _taps(cheap: Cheap) -> Tensor:
    """Kernel of a cheap operation, C x taps."""
    return cheap.factor[:, :, 0] if cheap.kernel is None else cheap.kernel.flatten(1)


def _added(cheap: Cheap) -> Tensor | float:
    """What a cheap operation adds to every pixel, C numbers; 0 for nothing."""
    return 0.0 if cheap.shift is None else cheap.shift.flatten()


def mix_kernel(plan: ClipPlan) -> MixKernel | None:
    """The kernel for a clip's plan, or None where torch's own operations must or should do its work."""
    shift = plan.shift
    usable = shift.dtype == torch.float32 and shift.device.type == "cpu" and library() is not None
    return MixKernel(plan) if usable else None
