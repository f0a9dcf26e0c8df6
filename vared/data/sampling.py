"""Which frames of a video make a clip: pure functions of the video length (thesis section 4, "dense" TSN sampling).

A clip is T frames at a stride of s frames, covering a span of (T - 1) s + 1 frames, so its last possible start in a
video of N frames is N - span, or 0 when the video is shorter. A clip that runs over the end repeats the last frame.
Stride and start count decoded frames, not seconds. Every function takes any N, T, s >= 1.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClipSampling:
    """T frames (`num_frames`) at `stride`; `clips` is K, the clips per video in evaluation (1: the centre clip)."""

    num_frames: int
    stride: int = 1
    clips: int = 1

    def __post_init__(self):
        for name in ("num_frames", "stride", "clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"ClipSampling needs {name} of at least 1, but it is {getattr(self, name)}.")

    def training(self, video_frames: int, generator: np.random.Generator) -> np.ndarray:
        """Frame indices (T,) of one clip with a uniformly random start."""
        return clip_indices(random_start(video_frames, self, generator), video_frames, self)

    def evaluation(self, video_frames: int) -> np.ndarray:
        """Frame indices (K, T): the centre clip for K = 1, else K evenly spaced clips."""
        starts = spaced_starts(video_frames, self)
        return np.stack([clip_indices(start, video_frames, self) for start in starts])


def last_start(video_frames: int, sampling: ClipSampling) -> int:
    """The last start at which the clip still lies inside the video; 0 when it never does."""
    if video_frames < 1:
        raise ValueError(f"A video of {video_frames} frames has no clip; unreadable videos must be dropped before.")
    return max(0, video_frames - ((sampling.num_frames - 1) * sampling.stride + 1))


def clip_indices(start: int, video_frames: int, sampling: ClipSampling) -> np.ndarray:
    """Frame indices (T,) from `start`; those past the end repeat the last frame."""
    indices = start + sampling.stride * np.arange(sampling.num_frames)
    return np.minimum(indices, video_frames - 1)


def random_start(video_frames: int, sampling: ClipSampling, generator: np.random.Generator) -> int:
    """Training: every start from 0 to the last possible one is equally likely."""
    return int(generator.integers(last_start(video_frames, sampling) + 1))


def centre_start(video_frames: int, sampling: ClipSampling) -> int:
    """clip-1: as many frames before the clip as after it, one more after it when they are odd in number."""
    return last_start(video_frames, sampling) // 2


def spaced_starts(video_frames: int, sampling: ClipSampling) -> list[int]:
    """K starts equally spaced from 0 to the last possible start, rounded (K-LeftCenterRight); K = 1 is the centre."""
    if sampling.clips == 1:
        return [centre_start(video_frames, sampling)]
    starts = np.linspace(0, last_start(video_frames, sampling), sampling.clips)
    return [int(start) for start in np.floor(starts + 0.5)]
