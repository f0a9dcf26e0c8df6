"""Decoded frames of a small data set on disk, so that training reads memory instead of decoding every epoch.

One folder per content: `<directory>/<key>/frames.bin` holds all frames one after another (uint8, RGB), `index.json`
the offset and size of every video, so videos of different sizes mix. The key is a hash of the videos' names, sizes and
first and last bytes and of `short_side`; file times do not enter. A folder appears under its final name only when
complete. Cost: T * H * W * 3 bytes a video.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vared.data.records import VideoList, VideoRecord
from vared.data.scanning import for_every_video
from vared.data.transforms import resize
from vared.data.video import VideoError, read_frames

_FORMAT = 1
_SAMPLED_BYTES = 65536


class FrameCache:
    """Frames of the videos of one list. Without `short_side`, `read` returns what `read_frames` returns.

    Use `FrameCache.build`; it finds a cache that exists, or decodes every video once.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        entries = json.loads((self.folder / "index.json").read_text())["videos"]
        self._entries = {entry["name"]: entry for entry in entries}
        self._frames: np.memmap | None = None

    @classmethod
    def build(
        cls, videos: VideoList, directory: str | Path, *, short_side: int | None = None, workers: int = 0
    ) -> "FrameCache":
        """The cache of `videos` below `directory`, made first when absent, by `workers` processes.

        Frames whose short side is above `short_side` (pixels) are reduced to it. Unreadable videos are noted and
        raise when used. A second process that asks for the same cache waits for the first.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        key = _content_key(videos, short_side)
        folder = directory / key
        with (directory / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when closed, also by a crash
            if not folder.exists():
                _write(videos, folder, short_side, workers)
        return cls(folder)

    def frame_count(self, record: VideoRecord) -> int:
        """Frames of the video; VideoError when it could not be decoded or is not in this cache."""
        entry = self._entries.get(record.name)
        if entry is None:
            raise VideoError.of(record.path, f"it is not in the frame cache {self.folder}, built from another list")
        if entry["error"]:
            raise VideoError.of(record.path, entry["error"])
        return entry["shape"][0]

    def read(self, record: VideoRecord, indices: Sequence[int]) -> np.ndarray:
        """The frames at `indices` (0 or more): uint8 (T, H, W, 3). Raises VideoError beyond the last frame."""
        count = self.frame_count(record)
        if min(indices) < 0 or max(indices) >= count:
            raise VideoError.of(record.path, f"frames {list(indices)} were asked for, but it has {count}")
        if self._frames is None:
            self._frames = np.memmap(self.folder / "frames.bin", dtype=np.uint8, mode="r")
        entry = self._entries[record.name]
        size = int(np.prod(entry["shape"]))
        video = self._frames[entry["offset"] : entry["offset"] + size].reshape(entry["shape"])
        return np.asarray(video[np.asarray(indices)])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_frames": None}  # a pickled memory map is a copy of the whole file


def _content_key(videos: VideoList, short_side: int | None) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, short_side]).encode())
    for record in videos.records:
        digest.update(json.dumps([record.name, _fingerprint(record.path)]).encode())
    return digest.hexdigest()[:24]


def _fingerprint(path: Path) -> list:
    """Size and hash of the first and last bytes: tells a changed file without reading all of it."""
    if not path.is_file():
        return [None]
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_SAMPLED_BYTES))
        file.seek(max(0, size - _SAMPLED_BYTES))
        digest.update(file.read())
    return [size, digest.hexdigest()]


def _write(videos: VideoList, folder: Path, short_side: int | None, workers: int) -> None:
    partial_folder = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)  # of a process that was killed: we hold the lock
    partial_folder.mkdir()
    try:
        entries, offset = [], 0
        decoded = for_every_video(partial(_decode, short_side=short_side), videos, workers, "decoding videos")
        with (partial_folder / "frames.bin").open("wb") as file:
            for record, frames in zip(videos.records, decoded, strict=True):
                entry = {"name": record.name, "offset": offset, "shape": None, "error": None}
                if isinstance(frames, VideoError):
                    entry["error"] = frames.reason
                else:
                    entry["shape"] = list(frames.shape)
                    offset += file.write(frames.data)
                entries.append(entry)
            file.flush()
            os.fsync(file.fileno())
        (partial_folder / "index.json").write_text(json.dumps({"format": _FORMAT, "videos": entries}))
        os.replace(partial_folder, folder)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _decode(record: VideoRecord, short_side: int | None) -> np.ndarray:
    frames = np.ascontiguousarray(read_frames(record.path))
    height, width = frames.shape[1:3]
    if short_side is None or min(height, width) <= short_side:
        return frames
    scale = short_side / min(height, width)
    small = resize(frames, round(height * scale), round(width * scale), antialias=True)
    return small.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
