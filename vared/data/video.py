"""Decoding of video files by frame index, with PyAV (FFmpeg), one thread.

A video is the sequence of frames its first video stream decodes to, in presentation order; index 0 is the first of
them. Header frame counts and time stamps are never used to find a frame: headers say 0 (Matroska, WebM), too many
(J-HMDB: 48 for 40) or the count before a file was cut. One thread, because FFmpeg reports some truncated files as
errors only then. A picture under a video name is a video of one frame.

Shapes: T frame, H W pixel, 3 RGB; uint8 in 0..255. A rotation asked for by the file is applied.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

# FFmpeg prints what it thinks of every damaged file to stderr; VideoError says it once, with the file's name
av.logging.set_libav_level(av.logging.PANIC)

# A file that ends before this share of the duration it declares was cut short. Not 1: the duration of a
# variable-rate video and of a trimmed one is off by some frames.
_COMPLETE_SHARE = 0.9


class VideoError(ValueError):
    """A video file cannot be read. The message names the file and the reason, also kept as `path` and `reason`."""

    path: Path | None = None
    reason: str = ""

    @classmethod
    def of(cls, path: str | Path, reason: str) -> "VideoError":
        error = cls(f"Cannot read the video {path}: {reason}.")  # one argument, so that it survives pickling
        error.path, error.reason = Path(path), reason
        return error


def count_frames(path: str | Path) -> int:
    """Number of frames the file decodes to, found by decoding all of it. Raises VideoError when damaged."""
    return sum(1 for _ in _decoded_frames(path))


def read_frames(path: str | Path, indices: Sequence[int] | None = None) -> np.ndarray:
    """The frames at `indices` (any order, repeats allowed), or every frame for None: uint8 (T, H, W, 3), RGB.

    Decoding stops at the largest index. Raises VideoError when the file is damaged up to there, or holds fewer
    frames than asked for; ValueError for a negative index.
    """
    wanted = None if indices is None else {int(index) for index in indices}
    if wanted is not None and (not wanted or min(wanted) < 0):
        raise ValueError(f"Frame indices must be at least one number, all 0 or more, but are {list(indices)}.")
    converter = VideoReformatter()  # kept over frames: a new one per frame costs more than the conversion
    images: dict[int, np.ndarray] = {}
    last = -1 if wanted is None else max(wanted)
    for position, frame in enumerate(_decoded_frames(path)):
        if wanted is None or position in wanted:
            images[position] = _to_rgb(frame, converter)
        if position == last:
            break
    if last >= 0 and last not in images:
        reason = f"frame index {last} was asked for, but it decodes to {position + 1} frames (indices from 0)"
        raise VideoError.of(path, reason)
    order = range(len(images)) if indices is None else [int(index) for index in indices]
    try:
        return np.stack([images[index] for index in order])
    except ValueError as error:
        sizes = sorted({image.shape[:2] for image in images.values()})
        raise VideoError.of(path, f"its frame size changes within the file (height, width: {sizes})") from error


def _decoded_frames(path: str | Path) -> Iterator[av.VideoFrame]:
    """Every frame in order; VideoError at the first sign of damage and, at the end, when the file was cut short."""
    with _open(path) as container:
        stream = _video_stream(container, path)
        stream.codec_context.thread_count = 1
        count, seconds = 0, {}
        try:
            for packet in container.demux():
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    seconds[packet.stream.index] = max(end, seconds.get(packet.stream.index, end))
                for frame in packet.decode() if packet.stream.index == stream.index else ():
                    if frame.is_corrupt:
                        raise VideoError.of(path, f"the data of frame {count} is damaged or cut off")
                    yield frame
                    count += 1
        except av.FFmpegError as error:
            raise VideoError.of(path, f"decode error after {count} frames ({error.strerror})") from error
        if count == 0:
            raise VideoError.of(path, "its video stream holds no frames")
        share = _share_present(container, stream, seconds)
        if share < _COMPLETE_SHARE:
            raise VideoError.of(path, f"it was cut short: data ends after {count} frames, {share:.0%} of its duration")


def _share_present(container: av.container.InputContainer, stream: av.VideoStream, seconds: dict[int, float]) -> float:
    """Time stamp reached by the data / duration declared; 1 where nothing reliable is declared.

    Matroska declares one duration for the whole file, so the longest of its streams counts; the other formats'
    duration of a whole file may be guessed from the bit rate.
    """
    if stream.duration:
        start = float((stream.start_time or 0) * stream.time_base)
        return (seconds.get(stream.index, 0.0) - start) / float(stream.duration * stream.time_base)
    if container.duration and "matroska" in container.format.name:
        return max(seconds.values(), default=0.0) * av.time_base / container.duration
    return 1.0


def _open(path: str | Path) -> av.container.InputContainer:
    path = Path(path)
    if not path.is_file():
        raise VideoError.of(path, "there is no such file")
    if path.stat().st_size == 0:
        raise VideoError.of(path, "the file is empty (zero bytes)")
    try:
        # the prefix keeps FFmpeg from taking a colon in the name for a network protocol
        container = av.open(f"file:{path}")
        if not container.streams:  # what FFmpeg makes of some MP4 files without an index
            container.close()
            raise av.InvalidDataError(0, "no streams")
        return container
    except (av.FFmpegError, OSError) as error:
        with path.open("rb") as file:
            start = file.read(512).lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml")):
            reason = "it is a web page saved under a video name; download it again"
        else:
            reason = "it is not a video FFmpeg can open, or its index is missing because the download was cut"
        raise VideoError.of(path, reason) from error


def _video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:  # the cover picture of a sound file
            continue
        if stream.codec_context is None:
            raise VideoError.of(path, "this FFmpeg build has no decoder for its video stream")
        return stream
    found = "only sound, no video stream" if container.streams.audio else "no video stream, or its index is damaged"
    raise VideoError.of(path, f"it has {found}")


def _to_rgb(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    image = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()  # starting threads takes 10 times longer
    quarter_turns = round(frame.rotation / 90)  # FFmpeg's display matrix, degrees counter-clockwise
    return np.rot90(image, quarter_turns) if quarter_turns % 4 else image
