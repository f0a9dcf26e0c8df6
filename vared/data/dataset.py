"""Clips of a list of videos as a torch data set.

Every item is a pure function of (seed, epoch, index): workers, their number and the order of requests change nothing.
Unreadable videos are found by decoding all of them first (a frame cache has done so already), by one rule: training
replaces at most `max_bad_fraction` of them, deterministically and listed in `replaced`; evaluation never does.

Shapes: V views (K clips x crops), T frame, S S pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord, shorten
from vared.data.sampling import ClipSampling
from vared.data.scanning import scan_frame_counts
from vared.data.video import VideoError, read_frames

__all__ = ["ClipDataset", "Replacement", "VideoList", "VideoRecord"]

# keeps the draws for replacement and frame order apart from those of augmentation
_REPLACEMENT, _FRAME_ORDER = 1, 2


@dataclass(frozen=True)
class Replacement:
    """Training: item `index`, whose video could not be read for `reason`, is served by `replacement` instead."""

    index: int
    name: str
    reason: str
    replacement: str


class ClipDataset(Dataset):
    """Items {"clip", "label", "index"}: one random clip a video in training, fixed views of it in evaluation.

    Training: clip float32 (3, T, S, S); `transform` takes (frames, generator), such as TrainTransform.
    Evaluation: `transform` takes frames and returns its crops (crops, 3, T, S, S), such as EvalTransform. Clip is
    (3, T, S, S) for one clip and one crop, else (V, 3, T, S, S) with V = K * crops, the crops of a clip together.

    Args:
        seed: of order-free random draws; together with the epoch and the index it fixes an item.
        max_bad_fraction: share of unreadable videos that training may replace.
        frame_cache: reads frames from there instead of decoding.
        repeat_single_frame: control without motion: all T frames are one frame, random in training, else the centre.
        shuffle_frames: control without order: the frames of a clip in a random order, fixed per index.
        workers: processes for the first pass over the videos; 0 for none.
    """

    def __init__(
        self,
        videos: VideoList,
        sampling: ClipSampling,
        transform: Callable[..., torch.Tensor],
        *,
        seed: int,
        training: bool,
        max_bad_fraction: float = 0.01,
        frame_cache: FrameCache | None = None,
        repeat_single_frame: bool = False,
        shuffle_frames: bool = False,
        workers: int = 0,
    ):
        if not len(videos):
            raise ValueError("A ClipDataset needs at least one video, but the list is empty.")
        self.videos, self.sampling, self.transform = videos, sampling, transform
        self.seed, self.training = seed, training
        self.frame_cache = frame_cache
        self.repeat_single_frame, self.shuffle_frames = repeat_single_frame, shuffle_frames
        # in shared memory, so that set_epoch also reaches workers that live on between epochs
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._frame_counts = _frame_counts(videos, frame_cache, workers)
        self.replaced: list[Replacement] = []
        self._served_by = list(range(len(videos)))
        self._handle_unreadable(max_bad_fraction if training else 0.0)

    def __len__(self) -> int:
        return len(self.videos)

    def set_epoch(self, epoch: int) -> None:
        """Training draws new clips and augmentation for each epoch; call before iterating."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | int]:
        """{"clip": (3, T, S, S) or (V, 3, T, S, S), "label": from 0, "index": position asked for}."""
        index = range(len(self))[index]  # negative positions, and IndexError beyond the end
        position = self._served_by[index]
        record = self.videos.records[position]
        clip = self._training_clip(index, position) if self.training else self._views(index, position)
        return {"clip": clip, "label": record.label, "index": index}

    def _training_clip(self, index: int, position: int) -> torch.Tensor:
        generator = np.random.default_rng([self.seed, int(self._epoch), index])
        count = self._frame_counts[position]
        if self.repeat_single_frame:
            indices = np.full(self.sampling.num_frames, generator.integers(count))
        else:
            indices = self.sampling.training(count, generator)
        return self.transform(self._read(position, self._ordered(indices, index)), generator)

    def _views(self, index: int, position: int) -> torch.Tensor:
        clips_KT = self.sampling.evaluation(self._frame_counts[position])
        if self.repeat_single_frame:
            clips_KT = np.repeat(clips_KT[:, [self.sampling.num_frames // 2]], self.sampling.num_frames, axis=1)
        clips_KT = np.stack([self._ordered(indices, index) for indices in clips_KT])
        frames = self._read(position, clips_KT.reshape(-1))  # one pass over the file for all K clips
        frames = frames.reshape(*clips_KT.shape, *frames.shape[1:])
        views = torch.cat([self.transform(clip) for clip in frames])
        return views[0] if len(views) == 1 else views

    def _ordered(self, indices: np.ndarray, index: int) -> np.ndarray:
        if not self.shuffle_frames:
            return indices
        return np.random.default_rng([self.seed, index, _FRAME_ORDER]).permutation(indices)

    def _read(self, position: int, indices: np.ndarray) -> np.ndarray:
        record = self.videos.records[position]
        if self.frame_cache is not None:
            return self.frame_cache.read(record, indices)
        return read_frames(record.path, indices)

    def _handle_unreadable(self, allowed_fraction: float) -> None:
        errors = {i: count for i, count in enumerate(self._frame_counts) if isinstance(count, VideoError)}
        if len(errors) > allowed_fraction * len(self):
            rule = f"training replaces at most {allowed_fraction:.1%}" if self.training else "evaluation replaces none"
            raise VideoError(
                f"{len(errors)} of {len(self)} videos cannot be read, and {rule}. Repair them or take them off the "
                f"list:\n  " + shorten([str(error) for error in errors.values()], "\n  ")
            )
        for index, error in errors.items():
            order = np.random.default_rng([self.seed, index, _REPLACEMENT]).permutation(len(self))
            substitute = next(int(position) for position in order if position not in errors)
            self._served_by[index] = substitute
            names = self.videos.records[index].name, self.videos.records[substitute].name
            self.replaced.append(Replacement(index, names[0], error.reason, names[1]))


def _frame_counts(videos: VideoList, cache: FrameCache | None, workers: int) -> list[int | VideoError]:
    if cache is None:
        return scan_frame_counts(videos, workers)
    counts: list[int | VideoError] = []
    for record in videos.records:
        try:
            counts.append(cache.frame_count(record))
        except VideoError as error:
            counts.append(error)
    return counts
