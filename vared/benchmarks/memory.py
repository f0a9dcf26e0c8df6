"""Peak memory of one version, each in a process of its own, so that none inherits what another has left."""

import ctypes
import gc
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def in_child(function: Callable, *arguments):
    """`function(*arguments)` in a fresh process. Raises what it raises."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory(build: Callable[[], Callable[[], object]], device: str) -> dict[str, int | str]:
    """Bytes that the version made by `build` needs at most while it runs, with its weights: `peak_bytes`; `method`.

    On a CPU the peak of the resident memory of this process during two runs after a first one, less what it held
    before `build`; on a GPU the same of what torch has allocated. To be called in a fresh process.
    """
    _give_back()
    before = torch.cuda.memory_allocated() if device == "cuda" else _resident("VmRSS")
    run = build()
    run()
    _give_back()
    method = _start(device)
    for _ in range(2):
        run()
    if device == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = _resident("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_bytes": peak - before, "before_bytes": before, "memory_method": method}


def _start(device: str) -> str:
    """Forget the peak so far; says what is measured from here on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return "allocated by torch"
    try:
        _RESET.write_text("5")  # see proc(5): resets the peak resident set size
        return "resident"
    except OSError:
        return "resident, since start"


def keep_freed() -> bool:
    """Let this process keep freed memory rather than give it back and ask for it again (glibc): for all versions alike.

    By default every large map of every layer is fetched anew from the system, page by page. Whether it worked.
    """
    mmap_threshold, trim_threshold = -3, -1  # malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(mmap_threshold, 2**30) and libc.mallopt(trim_threshold, 2**31 - 1))
    except (OSError, AttributeError):
        return False


def _give_back() -> None:
    """Let the allocator return what building and warming up have left, where it can (glibc)."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass


def _resident(field: str) -> int:
    """Bytes in the line `field` of /proc/self/status; 0 where there is none."""
    if not _STATUS.exists():
        return 0
    lines = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
