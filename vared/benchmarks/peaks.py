"""What a machine does at its best: the two roofs of the roofline model."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vared.flops import GIGA

# Side of the matrices and bytes copied: enough to keep a CPU or GPU busy, and the copy larger than its caches. On a CPU
# a few milliseconds each and no more, so that some of the repeats are undisturbed by other processes.
_SIZES = {"cpu": (512, 2**25), "cuda": (8192, 2**30)}


@dataclass(frozen=True)
class Machine:
    """GMAC/s of a matrix product or dense convolution, and GB/s of a copy, with as many threads as torch had."""

    peak: float
    bandwidth: float


@torch.inference_mode()
def measure_machine(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, repeats: int = 100
) -> Machine:
    """Best of `repeats` after a warm-up. Copied bytes count twice: each is read and written."""
    side, size = _SIZES[torch.device(device).type]
    a, b, product = (torch.randn(side, side, device=device).to(dtype) for _ in range(3))
    macs, convolve = _dense_convolution(side // 4, device, dtype)
    source = torch.ones(size // dtype.itemsize, device=device, dtype=dtype)
    target = torch.zeros_like(source).add_(1)  # written once: before that its pages are not there
    product_speed = side**3 / _fastest(lambda: torch.mm(a, b, out=product), device, repeats)
    convolution_speed = macs / _fastest(convolve, device, repeats)
    bandwidth = 2 * size / _fastest(lambda: target.copy_(source), device, repeats)
    return Machine(max(product_speed, convolution_speed) / GIGA, bandwidth / GIGA)


def wait(device: torch.device | str) -> None:
    """Until a GPU has done what it was given; a CPU has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _dense_convolution(channels: int, device, dtype: torch.dtype) -> tuple[int, Callable[[], Tensor]]:
    """MACs of a 3 x 3 convolution, channels last, and what runs it: libraries of convolutions may beat the products."""
    maps, weight = torch.randn(2, channels, 32, 32), torch.randn(channels, channels, 3, 3)
    maps, weight = (x.to(device, dtype, memory_format=torch.channels_last) for x in (maps, weight))
    return maps.numel() * channels * 9, lambda: F.conv2d(maps, weight, padding=1)


def _fastest(run: Callable[[], object], device: torch.device | str, repeats: int) -> float:
    found = []
    for _ in range(repeats + 1):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        found.append(time.perf_counter() - start)
    return min(found[1:])
