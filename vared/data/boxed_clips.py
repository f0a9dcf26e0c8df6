"""Clips around key frames with the boxes of the key frame, as a torch data set for localisation (thesis section 4.3).

The clip is what the network sees, the key frame is where it must find the actor. Nothing is cut off in evaluation: the
whole frame is resized to a square, as in YOWO. In training both sides of the frame are cut to a drawn share, each by
itself, and the rest is resized; one draw serves all frames and the boxes.

Shapes: T frame, S S pixels, N boxes. Boxes are x1, y1, x2, y2 as fractions of what the network sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vared.data.boxes import VideoBoxes
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList
from vared.data.transforms import MEAN, STD, normalise, resize

NOTHING = -1  # class of a row without a box: labels of all items have equally many rows
KEY_FRAMES = ("centre", "last")


@dataclass(frozen=True)
class KeyFrameSampling:
    """Clips of `num_frames` at `stride`, with the key frame at their `key`: "centre", or "last" as in YOWO.

    Evaluation takes `per_video` key frames, evenly spaced over the frames that have a box. A clip that would begin
    before its video or end after it repeats the first or the last frame. Raises ValueError for another `key`.
    """

    num_frames: int
    stride: int
    key: str = "centre"
    per_video: int = 1

    def __post_init__(self):
        if self.key not in KEY_FRAMES:
            raise ValueError(f"The key frame is one of {KEY_FRAMES}, not {self.key!r}.")

    def indices(self, key_frame: int, video_frames: int) -> np.ndarray:
        """Frame indices (T,) of the clip of `key_frame`."""
        place = self.num_frames // 2 if self.key == "centre" else self.num_frames - 1
        indices = key_frame + self.stride * (np.arange(self.num_frames) - place)
        return np.clip(indices, 0, video_frames - 1)

    def evaluation(self, frames: np.ndarray) -> np.ndarray:
        """The key frames among `frames`, those of a video that have a box."""
        count = min(self.per_video, len(frames))
        return frames[((np.arange(count) + 0.5) * len(frames) / count).astype(int)]


class BoxedClips(Dataset):
    """Items {"clip": 3 x T x S x S, "label": N x 5, "index"}; rows of a label are class, x1, y1, x2, y2.

    Training: one item a video, its key frame, cut and flip drawn anew each epoch; `scales` bound the share of a side
    that is kept. Evaluation: an item a key frame; `shown` has its video and frame. Boxes whose centre is cut off are
    not in the label. Every item is a pure function of (seed, epoch, index).
    """

    def __init__(
        self, videos: VideoList, boxes: Mapping[str, VideoBoxes], frames: FrameCache, sampling: KeyFrameSampling, *,
        crop_size: int, seed: int = 0, training: bool = False, scales: tuple[float, float] = (0.8, 1.0),
    ):  # fmt: skip
        self.videos, self.frames, self.sampling = videos, frames, sampling
        self.boxes = [boxes[record.name] for record in videos.records]
        self.crop_size, self.seed, self.training, self.scales = crop_size, seed, training, tuple(scales)
        with_box = [np.unique(found.frames) for found in self.boxes]
        if training:
            self.shown = [(position, None) for position in range(len(videos))]
        else:
            evaluated = enumerate(map(sampling.evaluation, with_box))
            self.shown = [(position, int(frame)) for position, keys in evaluated for frame in keys]
        self._with_box = with_box
        self._rows = max(int(np.unique(found.frames, return_counts=True)[1].max()) for found in self.boxes)
        self._epoch = 0

    def __len__(self) -> int:
        return len(self.shown)

    def set_epoch(self, epoch: int) -> None:
        """Training draws other key frames and cuts in each epoch."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        index = range(len(self))[index]
        position, key_frame = self.shown[index]
        record = self.videos.records[position]
        generator = np.random.default_rng([self.seed, self._epoch, index])
        if self.training:
            key_frame = int(generator.choice(self._with_box[position]))
        indices = self.sampling.indices(key_frame, self.frames.frame_count(record))
        frames = self.frames.read(record, indices)
        window, flip = (0, 0, *frames.shape[1:3]), False
        if self.training:
            window, flip = jitter(*frames.shape[1:3], self.scales, generator), generator.random() < 0.5
        top, left, height, width = window
        cut = frames[:, top : top + height, left : left + width]
        clip = normalise(resize(cut, self.crop_size, self.crop_size), MEAN, STD)
        found = self.boxes[position]
        corners = moved_boxes(found.corners[found.frames == key_frame], window, frames.shape[1:3], flip)
        label = torch.full((self._rows, 5), float(NOTHING))
        label[: len(corners), 0] = record.label
        label[: len(corners), 1:] = torch.from_numpy(corners)
        return {"clip": clip.flip(-1) if flip else clip, "label": label, "index": index}


def jitter(
    height: int, width: int, scales: tuple[float, float], generator: np.random.Generator
) -> tuple[int, int, int, int]:  # fmt: skip
    """(top, left, height, width) of a part of the frame: each side a share drawn between `scales`, anywhere."""
    part = [max(1, round(side * generator.uniform(*scales))) for side in (height, width)]
    top, left = (
        int(generator.integers(side - kept + 1)) for side, kept in zip((height, width), part, strict=True)
    )  # fmt: skip
    return top, left, *part


def moved_boxes(
    corners: np.ndarray, window: tuple[int, int, int, int], size: tuple[int, int], flip: bool
) -> np.ndarray:  # fmt: skip
    """Corners (N, 4) as fractions of the `window` (top, left, height, width) of a frame of `size` height, width.

    Boxes are cut at its edges; those whose centre is outside are left out. `flip` mirrors left and right.
    """
    top, left, height, width = window
    pixels = corners * [size[1], size[0], size[1], size[0]]
    moved = (pixels - [left, top, left, top]) / [width, height, width, height]
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    moved = moved[((centre >= 0) & (centre < 1)).all(1)].clip(0, 1)
    return np.stack((1 - moved[:, 2], moved[:, 1], 1 - moved[:, 0], moved[:, 3]), 1) if flip else moved
