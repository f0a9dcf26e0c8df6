"""A data set as people have it: endings, sizes and frame rates mixed, blanks and letters beyond ASCII in names."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FORMS = (  # ending, codec, height, width, rate, frames
    (".mp4", "libx264", 48, 64, 25, 30), (".avi", "mpeg4", 64, 48, 15, 34), (".MOV", "libx264", 40, 40, 30, 32),
    (".mkv", "libx264", 72, 96, Fraction(30000, 1001), 40),
)  # fmt: skip


def write_odd_video(path: Path, seed: int, brightness: int = 0) -> Path:
    """A noisy video whose form follows from `seed`; a patch of the given brightness moves through it."""
    ending, codec, height, width, rate, frames = FORMS[seed % len(FORMS)]
    random = np.random.default_rng(seed)
    path = path.with_name(path.name + ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mov" if ending == ".MOV" else None) as container:
        stream = container.add_stream(codec, rate=rate, options={"threads": "1"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(frames):
            image = random.integers(90, 120, (height, width, 3)).astype(np.uint8)
            image[index % (height // 2) :][: height // 2] = brightness
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_odd_set(folder: Path, clips: int = 8, classes: tuple[str, ...] = ("fällt um", "dreht sich (links)")) -> Path:
    """Class folders with `clips` videos each, half of them in folders below."""
    for label, name in enumerate(classes):
        for index in range(clips):
            below = folder / name / ("Aufnahme 2" if index % 2 else "")
            write_odd_video(below / f"Clip {index} – größe {label}", label * clips + index, 230 * label)
    return folder
