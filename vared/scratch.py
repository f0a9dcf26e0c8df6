"""Results of one computation that survive interruption: `scratch/<fingerprint>/`, computed once, published any number
of times.

A folder is finished when it holds done.json, which is written last. Whoever computes holds the lock; everybody else
waits for it and then finds the folder finished. An unfinished folder is left as it is, so that work resumes there.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vared import failures

DONE = "done.json"


def is_finished(folder: Path) -> bool:
    """Whether `folder` holds a complete result."""
    return (folder / DONE).exists()


def compute_once(folder: Path, compute: Callable[[Path], None], record: dict, *, leader: bool = True) -> Path:
    """Fill `folder` by `compute(folder)` unless that is done already; `record` is kept in done.json. Returns `folder`.

    In a distributed run every process computes, but only the `leader` locks and finishes the folder.
    """
    if is_finished(folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if not leader:
        compute(folder)
        return folder
    with locked(folder / "lock"):
        # Another process may have finished it while this one waited.
        if not is_finished(folder):
            compute(folder)
            write_text(folder / DONE, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return folder


def publish(folder: Path, names: Sequence[str], target: Path) -> None:
    """Copy the files `names` of a finished `folder` to `target`, each whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        source, temporary = folder / name, target / f".{name}.partial"
        with _replacing(temporary, target / name, source.stat().st_size):
            shutil.copyfile(source, temporary)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that no reader ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, content = path.with_name(f".{path.name}.{os.getpid()}.partial"), text.encode("utf-8")
    with _replacing(temporary, path, len(content)), open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _replacing(temporary: Path, path: Path, size: int) -> Iterator[None]:
    """Put `temporary` at `path` when its `size` bytes are written, else remove it. Raises DiskFull for want of room."""
    try:
        yield
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if failures.no_room(error):
            raise failures.DiskFull.of(path, size) from error
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; waits while another process does. The system frees it when a process dies."""
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that works in {path.parent.name}", flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
