"""Tiny data sets in the official formats of the thesis's, to rehearse what nobody has at hand.

Class lists: those of data/splits for Kinetics-400 and Mini-Kinetics-200, the published ones of J-HMDB-21. Of Moments
in Time's 339 names and ADE20K's 150 the first ten are the published ones, the others only count. File names follow
the published patterns. Squares move to and fro, so that the files are not all alike; nothing can be learned.

Shapes: frames T x H x W x 3, uint8.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import scipy.io
from PIL import Image

from vared.data.class_names import read_classes

HEIGHT, WIDTH = 48, 64
JHMDB_CLASSES = (
    "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball", "pick", "pour", "pullup", "push", "run",
    "shoot_ball", "shoot_bow", "shoot_gun", "sit", "stand", "swing_baseball", "throw", "walk", "wave",
)  # fmt: skip
MOMENTS_CLASSES = (
    "clapping", "praying", "dropping", "burying", "covering", "flooding", "leaping", "drinking", "slapping", "cuddling",
    *(f"rehearsal+{number:03d}" for number in range(10, 339)),
)  # fmt: skip
ADE20K_CLASSES = (
    "wall", "building, edifice", "sky", "floor, flooring", "tree", "ceiling", "road, route", "bed",
    "windowpane, window", "grass", *(f"rehearsal {number}" for number in range(11, 151)),
)  # fmt: skip
KINETICS_HEADER = ("label", "youtube_id", "time_start", "time_end", "split", "is_cc")


def write_all(raw: Path, splits: Path, *, train: int = 8, val: int = 4, size: tuple[int, int] = (HEIGHT, WIDTH)):
    """All five sets below `raw`, `train` and `val` videos (images) each, of four classes; `size`: height, width.

    `splits` is data/splits of the project. Both numbers must be multiples of 4.
    """
    mini = read_classes(splits / "mini_kinetics200_classes.txt")
    write_kinetics(raw / "kinetics400", mini, train, val, size)
    write_moments(raw / "moments", train, val, size)
    write_jhmdb(raw / "jhmdb", train, val, size)
    write_ade20k(raw / "ADEChallengeData2016", train, val, size)


def write_kinetics(root: Path, mini: Sequence[str], train: int, val: int, size: tuple[int, int]) -> None:
    """Kinetics-400 and the lists of Mini-Kinetics-200, whose videos it holds; one listed video of each part is absent.

    The videos of the last class are not in Mini-Kinetics-200.
    """
    classes = (*mini[:3], "abseiling")
    for part, count in (("train", train), ("val", val)):
        rows, folders = [], []
        for number in range(count + 1):
            label = classes[class_of(number, count)] if number < count else mini[3]
            clip = (f"{part[0]}_{number:02d}-{'x' * 6}", 10 * number, 10 * number + 10)
            name = f"{clip[0]}_{clip[1]:06d}_{clip[2]:06d}"
            rows.append((label, *clip, part, 0))
            if label in mini:
                folders.append(f"images/{part}/{label}/{name} 300 {mini.index(label)}")
            if number < count:  # the last one is gone, as many are
                write_video(root / part / label / f"{name}.mp4", moving(number, 40, size))
        with _opened(root / f"{part}.csv") as stream:
            csv.writer(stream).writerows([KINETICS_HEADER, *rows])
        _write_lines(root / f"mini_{part}_videofolder.txt", folders)


def write_moments(root: Path, train: int, val: int, size: tuple[int, int]) -> None:
    """Moments in Time with 339 classes."""
    rows = [f"{name},{number}" for number, name in enumerate(MOMENTS_CLASSES)]
    _write_lines(root / "moments_categories.txt", rows)
    for folder, count in (("training", train), ("validation", val)):
        videos = [(MOMENTS_CLASSES[class_of(n, count)], f"yt-{folder[0]}{n:010d}_{n + 5}.mp4") for n in range(count)]
        _write_lines(root / f"{folder}Set.csv", [f"{label}/{file},{label},3,0" for label, file in videos])
        for number, (label, file) in enumerate(videos):
            write_video(root / folder / label / file, moving(number, 40, size))


def write_jhmdb(root: Path, train: int, val: int, size: tuple[int, int]) -> None:
    """J-HMDB-21 with videos of its first classes, its lists of split 1, and puppet masks around the moving square."""
    rows: dict[str, list[str]] = {name: [] for name in JHMDB_CLASSES}
    for number in range(train + val):
        part = (number, train) if number < train else (number - train, val)
        label = JHMDB_CLASSES[class_of(*part)]
        name = f"Rehearsal_(film)_{number}_{label}_u_nm_np1_fr_med_{number}"
        frames = moving(number, 20, size)
        write_video(root / "ReCompress_Videos" / label / f"{name}.avi", frames, codec="mpeg4")
        mask = (frames > 250).all(-1).transpose(1, 2, 0).astype(np.uint8)
        folder = root / "puppet_mask" / label / name
        folder.mkdir(parents=True)
        scipy.io.savemat(folder / "puppet_mask.mat", {"part_mask": mask}, do_compression=True)
        rows[label].append(f"{name}.avi {1 if number < train else 2}")
    for label, lines in rows.items():
        _write_lines(root / "splits" / f"{label}_test_split1.txt", lines)


def write_ade20k(root: Path, train: int, val: int, size: tuple[int, int]) -> None:
    """ADE20K for scene parsing: images of three regions, one of them not labelled."""
    for folder, short, count in (("training", "train", train), ("validation", "val", val)):
        for number in range(1, count + 1):
            name = f"ADE_{short}_{number:08d}"
            image = moving(number, 1, size)[0]
            mask = np.zeros(size, np.uint8)
            mask[: size[0] // 2], mask[-size[0] // 4 :] = 1 + number % 3, 150
            for kind, pixels, ending in (("images", image, "jpg"), ("annotations", mask, "png")):
                path = root / kind / folder / f"{name}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    rows = (f"{number}\t0\t1\t1\t{name}" for number, name in enumerate(ADE20K_CLASSES, start=1))
    _write_lines(root / "objectInfo150.txt", ["Idx\tRatio\tTrain\tVal\tName", *rows])


def class_of(number: int, count: int) -> int:
    """Which of four classes video `number` of `count` is of: as many of each, one after the other."""
    return 4 * number // count


def moving(number: int, count: int, size: tuple[int, int]) -> np.ndarray:
    """`count` frames T x H x W x 3 of a white square that crosses a grey background, in a direction set by `number`.

    It grows and shrinks by a few pixels, so that boxes around it differ.
    """
    height, width = size
    shift = (width - height // 3 - 5) / max(count - 1, 1)
    frames = np.full((count, height, width, 3), 40 + 10 * (number % 8), np.uint8)
    for index in range(count):
        left, side = round(shift * (index if number % 2 else count - 1 - index)), height // 3 + index % 6
        frames[index, height // 4 : height // 4 + side, left : left + side] = 255
    return frames


def write_video(path: Path, frames: np.ndarray, *, codec: str = "libx264", rate: int = 25) -> None:
    """A video of T x H x W x 3 frames at `rate` frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _opened(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", newline="", encoding="utf-8")


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with _opened(path) as stream:
        stream.write("".join(f"{line}\n" for line in lines))
