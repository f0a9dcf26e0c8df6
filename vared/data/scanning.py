"""Decoding of many videos ahead of training: to count frames and find the unreadable ones, or to fill a cache."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from vared.data.records import VideoList, VideoRecord
from vared.data.video import VideoError, count_frames


def scan_frame_counts(videos: VideoList, workers: int = 0) -> list[int | VideoError]:
    """Per video its frame count by decoding, or the VideoError that names it; known counts are taken over."""
    return list(for_every_video(_known_or_counted, videos, workers, "checking videos"))


def _known_or_counted(record: VideoRecord) -> int:
    return count_frames(record.path) if record.frames is None else record.frames


def for_every_video(
    work: Callable[[VideoRecord], Any], videos: VideoList, workers: int, description: str
) -> Iterator[Any]:
    """`work` on every record, in order, in `workers` processes (0: in this one). A VideoError is passed on as value."""
    loader = DataLoader(
        _Work(work, videos),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # an iterator without one draws from the global generator
    )
    yield from tqdm(loader, total=len(videos), desc=description, unit="video", leave=False)


def _unchanged(item: Any) -> Any:
    return item


class _Work(Dataset):
    def __init__(self, work: Callable[[VideoRecord], Any], videos: VideoList):
        self.work, self.videos = work, videos

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.work(self.videos.records[index])
        except VideoError as error:
            return error
