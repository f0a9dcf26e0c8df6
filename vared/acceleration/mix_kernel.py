"""`mix_kernel.c`, compiled for this machine at first use, and its call.

Many short operations on maps that do not fit the innermost caches cost two to three times what one pass row by row
does. Without a C compiler, in other number formats and for other cheap operations the operations of torch do the same.

Shapes: C channel, H W pixel, K kept channels, n frames.
"""

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vared.acceleration.plan import ClipPlan

SOURCE = Path(__file__).with_name("mix_kernel.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
LANES = 16


class _Cheap(ctypes.Structure):
    _fields_ = (("source", ctypes.c_long), ("begin", ctypes.c_long), ("channels", ctypes.c_long),
                ("kernel", ctypes.c_void_p))  # fmt: skip


class MixKernel:
    """The mixes, normalisation and ReLU of one clip's plan: `kernel(kept, out)` for n x K x H x W, n' x C x H x W.

    Both are float32; `out` lies in channels-last memory, one frame after the other.
    """

    def __init__(self, plan: ClipPlan):
        self.plan, self.alive = plan, []  # ctypes does not keep tensors alive
        pieces = [
            (0, begin, min(first, plan.channels - begin), cheap.kernel[begin - first :])
            for first, cheap in plan.generated
            for begin in range(first, plan.channels, first)
        ]
        self.generated, self.generated_count = self._pack(pieces), len(pieces)
        terms = [(source, 0, plan.channels, cheap.kernel) for _, of in plan.residues for source, cheap, _ in of]
        self.terms = self._pack(terms)
        self.term_counts = (ctypes.c_long * plan.period)(*(len(of) for _, of in plan.residues))
        self.has_direct = (ctypes.c_int * plan.period)(*(direct is not None for direct, _ in plan.residues))
        nothing = torch.zeros(plan.channels)
        rows = [nothing if direct is None else direct.flatten() for direct, _ in plan.residues]
        self.direct, self.shift = self._keep(torch.stack(rows)), self._keep(plan.shift.flatten())

    def __call__(self, kept: Tensor, out: Tensor) -> None:
        plan, (frames, computed, height, width) = self.plan, kept.shape
        kept = kept.contiguous(memory_format=torch.channels_last)
        long = ctypes.c_long
        failed = _library().mix_block(
            ctypes.c_void_p(kept.data_ptr()), long(frames), long(height), long(width), long(computed),
            long(plan.channels), self.generated, long(self.generated_count), long(plan.period), long(plan.factor),
            self.direct, self.has_direct, self.term_counts, self.terms, self.shift, int(plan.relu),
            ctypes.c_void_p(out.data_ptr()), long(len(out)),
        )  # fmt: skip
        if failed:
            raise MemoryError("No memory for the rows of a block of frames.")

    def _pack(self, pieces: list[tuple[int, int, int, Tensor]]) -> ctypes.Array:
        """(source, first channel, channels, kernel C' x 1 x 3 x 3) -> the structures that the C code reads."""
        return (_Cheap * max(1, len(pieces)))(
            *(
                _Cheap(source, begin, channels, self._keep(kernel[:channels].flatten(1).t()))
                for source, begin, channels, kernel in pieces
            )
        )

    def _keep(self, values: Tensor) -> ctypes.c_void_p:
        """Address of `values`, its last dimension filled up with zeros to whole vectors."""
        values = F.pad(values, (0, -values.shape[-1] % LANES)).contiguous()
        self.alive.append(values)
        return ctypes.c_void_p(values.data_ptr())


def mix_kernel(plan: ClipPlan) -> MixKernel | None:
    """The kernel for a clip's plan, or None where torch's own operations must or should do its work."""
    operations = [cheap for _, cheap in plan.generated] + [cheap for _, terms in plan.residues for _, cheap, _ in terms]
    shift = plan.shift
    if not operations or any(cheap.kernel is None for cheap in operations):
        return None
    usable = shift.dtype == torch.float32 and shift.device.type == "cpu" and _library() is not None
    return MixKernel(plan) if usable else None


@cache
def _library() -> ctypes.CDLL | None:
    code = SOURCE.read_bytes()
    name = hashlib.sha256(b"\0".join([code, " ".join(FLAGS).encode(), _processor().encode()])).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vared"
    built = folder / f"mix-{name}.so"
    try:
        if not built.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                fresh = Path(scratch) / built.name
                command = [os.environ.get("CC", "cc"), *FLAGS, "-o", str(fresh), str(SOURCE)]
                subprocess.run(command, check=True, capture_output=True, text=True)
                fresh.replace(built)  # another process may have been faster: then its file is replaced by an equal one
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        warnings.warn(f"Dynamic layers run without the compiled mix, more slowly: {reason}", stacklevel=2)
        return None


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
