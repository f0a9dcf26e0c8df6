"""Clips a second of the training loader beside raw decoding of the same frames by PyAV: what loading costs on top.

Same files, same frame numbers, one process, one thread, taken in turns. Versions:

    decode        the frames up to the last one of the clip are decoded, none is looked at
    decode, RGB   the same, and those of the clip become RGB arrays: the least that any loader has to do
    loader        an item of the training set: the same, checked for damage, with crop, resize, flip, normalisation
    loader, frame cache   an item from decoded frames on disk, as the profiles train

Shapes: T frame, S pixels.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch

from vared.data.dataset import ClipDataset
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord
from vared.data.sampling import ClipSampling
from vared.data.transforms import TrainTransform
from vared.rehearsal.sets import write_video

GOAL = 0.9  # of "decode, RGB"
# frames, stride, crop: those of the profile `paper`, R(2+1)D (8, 16, 32 frames), X3D, TSN
SETTINGS = ((8, 8, 128), (16, 4, 128), (32, 2, 128), (16, 5, 256), (16, 16, 224))


@dataclass(frozen=True)
class Files:
    """The videos to load: how many, frames, height, width (pixels). The default: Kinetics at 256 pixels, 10 s."""

    count: int = 6
    frames: int = 300
    height: int = 256
    width: int = 340


def measure(files: Files, rounds: int, settings=SETTINGS) -> pd.DataFrame:
    """A row a setting and version: frames, stride, crop_size, version, clips_per_second (median over rounds), iqr, and
    `share`: clips a second over those of "decode, RGB", the median over rounds of the same files."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="loader-") as folder:
        videos = write_files(Path(folder), files)
        cache = FrameCache.build(videos, Path(folder) / "frames")
        rows = []
        for frames, stride, crop in settings:
            versions = _versions(videos, cache, ClipSampling(frames, stride), TrainTransform(crop))
            rates = _rates(versions, len(videos), rounds)
            for name, found in rates.items():
                quartiles = np.quantile(found, (0.25, 0.5, 0.75))
                share = np.median(found / rates["decode, RGB"])
                rows.append((frames, stride, crop, name, quartiles[1], quartiles[2] - quartiles[0], share))
    columns = ["frames", "stride", "crop_size", "version", "clips_per_second", "iqr", "share"]
    return pd.DataFrame(rows, columns=columns).round(4)


def _rates(versions: dict[str, Callable], count: int, rounds: int) -> dict[str, np.ndarray]:
    """Clips a second of every version in every round, versions in turns from file to file; one round to warm up."""
    names = list(versions)
    seconds = {name: np.zeros(rounds + 1) for name in names}
    for number in range(rounds + 1):
        for index in range(count):
            for turn in range(len(names)):  # who comes first changes from file to file
                name = names[(index + turn) % len(names)]
                started = time.perf_counter()
                versions[name](number, index)
                seconds[name][number] += time.perf_counter() - started
    return {name: count / taken[1:] for name, taken in seconds.items()}


def _versions(videos: VideoList, cache: FrameCache, sampling: ClipSampling, transform: TrainTransform):
    """Version -> function of (epoch, index); all take the same frames of a video in the same epoch."""
    counts = [cache.frame_count(record) for record in videos.records]
    known = VideoList(
        tuple(VideoRecord(r.path, r.label, r.name, n) for r, n in zip(videos.records, counts, strict=True)),
        videos.classes,
    )
    loader = ClipDataset(known, sampling, transform, seed=0, training=True)
    cached = ClipDataset(known, sampling, transform, seed=0, training=True, frame_cache=cache)

    def indices(epoch: int, index: int) -> np.ndarray:
        return sampling.training(counts[index], np.random.default_rng([0, epoch, index]))

    def item(dataset: ClipDataset) -> Callable:
        def take(epoch: int, index: int) -> None:
            dataset.set_epoch(epoch)
            dataset[index]

        return take

    return {
        "decode": lambda epoch, index: decode(videos.records[index].path, indices(epoch, index), rgb=False),
        "decode, RGB": lambda epoch, index: decode(videos.records[index].path, indices(epoch, index)),
        "loader": item(loader),
        "loader, frame cache": item(cached),
    }


def decode(path: Path, indices: np.ndarray, *, rgb: bool = True) -> np.ndarray | None:
    """The frames at `indices`, T x H x W x 3, by PyAV alone on one thread, from the start of the file to the last."""
    wanted, last, images = set(indices.tolist()), int(indices.max()), {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if rgb and number in wanted:
                images[number] = frame.to_ndarray(format="rgb24")
            if number == last:
                break
    return np.stack([images[number] for number in indices.tolist()]) if rgb else None


def write_files(folder: Path, files: Files) -> VideoList:
    """H.264 videos of a photograph that moves under a shaking camera, with noise: they must not decode for free."""
    from skimage.data import astronaut

    photograph, records = astronaut(), []
    room = np.array(photograph.shape[:2]) - (files.height, files.width)
    for number in range(files.count):
        generator = np.random.default_rng(number)
        phase, noise = generator.uniform(0, 6.3, 2), generator.integers(-6, 7, (8, files.height, files.width, 3))
        frames = np.empty((files.frames, files.height, files.width, 3), np.uint8)
        for index in range(files.frames):
            top, left = (room * (0.5 + 0.5 * np.sin(phase + (0.021 * index, 0.034 * index)))).astype(int)
            cut = photograph[top : top + files.height, left : left + files.width]
            frames[index] = np.clip(cut + noise[index % 8], 0, 255)
        path = folder / f"{number:03d}.mp4"
        write_video(path, frames, rate=30)
        records.append(VideoRecord(path, 0, path.name))
    return VideoList(tuple(records), ("photograph",))
