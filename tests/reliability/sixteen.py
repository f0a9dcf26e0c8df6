"""Sixteen kinds of video files that people really have, good and bad, and what a check must say of each."""

import itertools
from pathlib import Path

import numpy as np

from tests.data.video_files import cut, encode, set_rotation, write_sound, write_video

GOOD, SHORT = "", "too short for a clip"  # else words of the reason, as a regular expression
FRAMES = 24


def noise(seed: int) -> list[np.ndarray]:
    """Frames in which no cut or damaged byte falls into unused space."""
    return list(np.random.default_rng(seed).integers(0, 256, (FRAMES, 48, 64, 3), dtype=np.uint8))


def write_sixteen(folder: Path) -> dict[str, str]:
    """Write them, by turns, into two class folders: name within `folder` -> GOOD, SHORT or words of the error.

    The rotated file comes in its three angles, so that there are eighteen.
    """
    names, expected = itertools.cycle(("left", "right")), {}

    def place(name: str, meaning: str) -> Path:
        path = folder / next(names) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        expected[path.relative_to(folder).as_posix()] = meaning
        return path

    write_video(place("h264.mp4", GOOD))
    write_video(place("vp9.webm", GOOD), codec="libvpx-vp9")
    write_video(place("mpeg4.avi", GOOD), codec="mpeg4")
    write_video(place("variable rate.mp4", GOOD), pts=[2 * i + (i > 10) * 30 for i in range(FRAMES)])
    for angle in (90, 180, 270):
        set_rotation(write_video(place(f"rotated {angle}.mp4", GOOD)), angle)
    write_video(place("one frame.mp4", SHORT), 1)
    write_video(place("short.mp4", SHORT), 5)
    write_video(place("odd width.avi", GOOD), FRAMES, 63, 48, codec="mpeg4")
    write_video(place("portrait.mp4", GOOD), FRAMES, 48, 64)
    place("zero bytes.mp4", "zero bytes").touch()
    place("page.mp4", "web page").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20)
    place("random.mp4", "not a video").write_bytes(np.random.default_rng(2).bytes(20_000))
    last, first = encode(folder / "last.mp4", noise(0)), encode(folder / "first.mp4", noise(1), faststart=True)
    cut(last, place("no index.mp4", "index is missing"), 0.9)
    cut(first, place("cut.mp4", "after|cut short|damaged"), 0.6)
    data = bytearray(first.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2500] = np.random.default_rng(1).bytes(2500)
    place("damaged.mp4", "after|damaged").write_bytes(data)
    write_sound(place("sound.mp4", "no video stream"))
    last.unlink(), first.unlink()
    return expected
