"""How commands end: their exit statuses, and plain words for what fails outside the program (memory, disk)."""

import errno
import resource
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

OK, FAILED, BAD_INPUT, NUMERICS, ENVIRONMENT, TERMINATED = 0, 1, 2, 3, 4, 143
STATUSES = {
    OK: "done",
    FAILED: "a run, notebook or video failed; the message says which",
    BAD_INPUT: "bad input, named with file, line or value",
    NUMERICS: "the loss is not finite any more",
    ENVIRONMENT: "disk full or not writable, out of memory, no decoder",
    TERMINATED: "asked to stop (SIGTERM); a training goes on when called again",
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES)


class DiskFull(OSError):
    """A file could not be written for want of room; nothing is left of it and an earlier one is as it was."""

    @classmethod
    def of(cls, path: Path, needed: int | None) -> "DiskFull":
        free = shutil.disk_usage(path.parent).free
        size = f"it needs {needed:,} bytes, " if needed else ""
        return cls(errno.ENOSPC, f"No room for {path}: {size}{free:,} are free there (a quota may allow fewer)")

    def __str__(self) -> str:
        return f"{self.strerror}."


class OutOfMemory(MemoryError):
    """Memory ran out; the message says on what, and what to change."""


def exit_status(error: BaseException) -> int | None:
    """The status a command ends with after `error`; None for an error of the program, which keeps its traceback."""
    if isinstance(error, FloatingPointError):
        return NUMERICS
    if out_of_memory(error) or no_room(error) or "FFmpeg build has no decoder" in str(error):
        return ENVIRONMENT
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return ENVIRONMENT
    return BAD_INPUT if isinstance(error, (ValueError, FileNotFoundError, FileExistsError)) else None


def no_room(error: BaseException) -> bool:
    """Whether a write failed because disk, quota or file size ran out.

    safetensors says so in its text alone, and torch raises another error while it handles the one of the system.
    """
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    if any(f"(os error {number})" in str(error) for number in _NO_ROOM):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and no_room(before)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the CPU (where torch raises a plain RuntimeError) or on an accelerator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


@contextmanager
def explaining_memory(batch: int, clip: Sequence[int]) -> Iterator[None]:
    """Within it, running out of memory is OutOfMemory, which names the batch, the clips (C, T, H, W) and the peak."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        shape = " x ".join(map(str, clip))
        raise OutOfMemory(
            f"Out of memory while training on batches of {batch} clips of {shape}; {_peak()} were in use at most. Take "
            "a smaller batch, crop or width, or fewer workers. The last saved state is intact."
        ) from error


def _peak() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the accelerator's memory"
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return f"{kilobytes * (1 if sys.platform == 'darwin' else 1024) / 1e9:.2f} GB"
