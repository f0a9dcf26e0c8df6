"""A quick look at one video file: its first and last frame decoded, its length, and a key of its content.

The file is decoded from end to end only where that is short or something looks wrong; the decoder of training
(vared/data/video.py) then has the last word. Damage in the middle of a long file is found when its frames are cached.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import av

from vared.data.frame_stream import naming_foreign_text
from vared.data.records import VideoRecord
from vared.data.video import count_frames, read_frames

_SAMPLED_BYTES = 65536
_COMPLETE_SHARE = 0.9  # of the declared duration, as in vared/data/video.py
_TAIL_SECONDS = 1.0  # the last frame is looked for from the key frame before this long before the end


@dataclass(frozen=True)
class Probe:
    """`frames` is exact up to twice the number asked for, and an estimate beyond; `rate` in frames a second, or 0."""

    frames: int
    width: int
    height: int
    rate: float
    key: str


def probe(record: VideoRecord, needed: int) -> Probe:
    """Look at a video of which clips take `needed` frames. Raises VideoError, with the reason, if it cannot be read."""
    with naming_foreign_text(record.path):
        height, width = read_frames(record.path, [0]).shape[1:3]
    frames, rate = _length(record.path, needed)
    return Probe(frames or count_frames(record.path), width, height, rate, content_key(record.path))


def _length(path: Path, needed: int) -> tuple[int, float]:
    """Frames by the header where the last frame is where the header says, else 0; and the frame rate."""
    rate = 0.0
    try:
        with av.open(f"file:{path}") as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            unit = float(stream.time_base)
            seconds = float(stream.duration * unit if stream.duration else (container.duration or 0) / av.time_base)
            frames = round(seconds * rate)
            if frames <= 2 * needed:
                return 0, rate
            start = float((stream.start_time or 0) * unit)
            container.seek(int((start + seconds - _TAIL_SECONDS) / unit), stream=stream)
            last = max(
                (float(frame.pts * unit) for frame in container.decode(stream) if frame.pts is not None), default=0
            )
            return (frames if last - start >= _COMPLETE_SHARE * seconds - 2 / rate else 0), rate
    except (av.FFmpegError, IndexError, OverflowError, ZeroDivisionError):
        return 0, rate


def content_key(path: Path) -> str:
    """Size and hash of the first and last bytes: files with equal keys are copies of each other."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_SAMPLED_BYTES))
        file.seek(max(0, size - _SAMPLED_BYTES))
        digest.update(file.read())
    return f"{size}-{digest.hexdigest()[:24]}"
