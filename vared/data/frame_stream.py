"""The frames of a video one after another, for videos too long to be held in memory, and clips that slide over them.

Decoding is that of `vared/data/video.py`, by its inner functions: that file belongs to the identity of every training
and so stays as it is.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from vared.data.sampling import ClipSampling, clip_indices
from vared.data.video import VideoError, _decoded_frames, _to_rgb


@dataclass(frozen=True)
class Window:
    """One clip of a video: `clip` 3 x T x S x S, of the frames from `first` to `last` (counted from 0).

    `start` and `end` are their times in seconds, NaN where the file has none.
    """

    clip: Tensor
    first: int
    last: int
    start: float
    end: float


def stream_frames(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """Time in seconds (NaN where the file has none) and uint8 (H, W, 3) RGB of every frame, as `read_frames` gives.

    Raises VideoError at the first sign of damage, or at the end when the file was cut short.
    """
    converter = VideoReformatter()
    with naming_foreign_text(path):
        for frame in _decoded_frames(path):
            yield float("nan") if frame.time is None else frame.time, _to_rgb(frame, converter)


@contextmanager
def naming_foreign_text(path: str | Path) -> Iterator[None]:
    """Within it, a title or other text of the file in another encoding, which PyAV trips over, is a VideoError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise VideoError.of(path, f"a text in its header is not UTF-8 ({error.object!r}); write it anew") from error


def sliding_windows(frames: Iterable[tuple[float, Tensor]], sampling: ClipSampling, step: int) -> Iterator[Window]:
    """Clips that start every `step` frames, and one more at the end if frames were left over there.

    `frames` are times and frames ready for the network, 3 x 1 x S x S. A video shorter than a clip gives one, which
    repeats its last frame. At most the frames of one clip are held at a time.
    """
    span = (sampling.num_frames - 1) * sampling.stride + 1
    held: deque[tuple[float, Tensor]] = deque(maxlen=span)
    count, covered = 0, 0
    for frame in frames:
        held.append(frame)
        count += 1
        if count >= span and (count - span) % step == 0:
            yield _window(held, count - span, sampling)
            covered = count
    if covered < count:
        yield _window(held, max(0, count - span), sampling)


def _window(held: deque, first: int, sampling: ClipSampling) -> Window:
    chosen = clip_indices(0, len(held), sampling)
    clip = torch.cat([held[int(index)][1] for index in chosen], dim=1)
    return Window(clip, first, first + len(held) - 1, held[0][0], held[-1][0])
