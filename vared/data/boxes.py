"""Where the actor is in every frame of a video: boxes from the puppet masks of J-HMDB-21, or from a table of boxes.

    <root>/puppet_mask/<class>/<video>/puppet_mask.mat      key part_mask, H x W x T, the actor where it is not 0
    <root>/boxes.csv                                        clip, frame, x1, y1, x2, y2 and perhaps class

Boxes are half-open and count frames and pixels from 0: x1 <= x < x2. The tables published for J-HMDB-21 count from 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from vared.data.embedded.writer import mask_boxes
from vared.data.records import ListError, VideoList, VideoRecord, shorten

CORNERS = ["x1", "y1", "x2", "y2"]
MASK = "part_mask"


@dataclass(frozen=True)
class VideoBoxes:
    """Boxes of one video: frame indices (N,), ascending; x1, y1, x2, y2 as fractions of the frame (N, 4)."""

    frames: np.ndarray
    corners: np.ndarray


ShapeOf = Callable[[VideoRecord], tuple[int, int, int]]


def load_boxes(root: Path, videos: VideoList, shape_of: ShapeOf) -> dict[str, VideoBoxes]:
    """Boxes of every video by its name, from boxes.csv below `root` or, without one, from the puppet masks.

    `shape_of` gives frames, height and width of a video as it is decoded. Raises ListError that names files and lines
    for what is missing, unreadable or does not fit the videos.
    """
    table = Path(root) / "boxes.csv"
    return read_table(table, videos, shape_of) if table.exists() else read_masks(root, videos, shape_of)


def read_masks(root: Path, videos: VideoList, shape_of: ShapeOf) -> dict[str, VideoBoxes]:
    """Boxes around puppet masks. Frames may have been reduced in size since, but not cut. Raises as `load_boxes`."""
    if not (Path(root) / "puppet_mask").is_dir():
        raise ListError(f"{root} has neither boxes.csv nor puppet_mask/, so nothing says where the actors are.")
    boxes, errors = {}, []
    for record in videos.records:
        path = Path(root) / "puppet_mask" / videos.classes[record.label] / record.path.stem / "puppet_mask.mat"
        try:
            boxes[record.name] = _boxes_of_mask(path, shape_of(record))
        except ListError as error:
            errors.append(str(error))
    if errors:
        raise ListError(f"{len(errors)} of {len(videos)} puppet masks are wrong: {shorten(errors, '; ')}")
    return boxes


def _boxes_of_mask(path: Path, shape: tuple[int, int, int]) -> VideoBoxes:
    if not path.is_file():
        raise ListError(f"{path} is missing")
    try:
        mask = scipy.io.loadmat(path, variable_names=[MASK]).get(MASK)
    except Exception as error:  # scipy raises whatever damaged bytes lead to
        raise ListError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if mask is None or mask.ndim != 3:
        found = "is missing" if mask is None else f"has shape {mask.shape}"
        raise ListError(f"{path}: {MASK} must be H x W x T, but {found}")
    (frames, height, width), (rows, columns, count) = shape, mask.shape
    if count != frames:
        raise ListError(f"{path} has {count} frames, its video {frames}")
    # A video reduced to a smaller side keeps its proportions up to rounding to whole pixels.
    if abs(rows * width / columns - height) > 1:
        raise ListError(f"{path} is {columns}x{rows} pixels, its video {width}x{height}")
    found = mask_boxes(mask.transpose(2, 0, 1) != 0)
    if not len(found):
        raise ListError(f"{path} is empty in every frame")
    return VideoBoxes(found[:, 0], found[:, 1:] / [columns, rows, columns, rows])


def read_table(path: Path, videos: VideoList, shape_of: ShapeOf, *, first: int = 0) -> dict[str, VideoBoxes]:
    """Boxes of a CSV file, in pixels of the decoded frames; `first` is what it calls the first frame and pixel.

    Columns: clip or video (file name without ending), frame, x1, y1, x2, y2, and perhaps class (a name, or a number
    from 0). Rows of other videos are passed over. Raises ListError that names every wrong line.
    """
    table = _parsed(path)
    records = {record.path.stem: record for record in videos.records}
    table = table[table["video"].isin(records)]
    shapes = pd.DataFrame({name: shape_of(record) for name, record in records.items()}, index=["T", "H", "W"])
    table = table.join(shapes.T, on="video")
    table[["frame", *CORNERS]] -= first
    errors = _errors(table, {name: record.label for name, record in records.items()}, videos.classes)
    if errors:
        raise ListError(f"{len(errors)} lines of {path} are wrong: {shorten(errors, '; ')}")
    if absent := sorted(set(records) - set(table["video"])):
        raise ListError(f"{path} has no box for {len(absent)} of {len(videos)} videos: {shorten(absent)}")
    boxes = {}
    for video, rows in table.sort_values("frame", kind="stable").groupby("video"):
        size = rows[["W", "H", "W", "H"]].to_numpy(float)
        boxes[records[video].name] = VideoBoxes(rows["frame"].to_numpy(int), rows[CORNERS].to_numpy(float) / size)
    return boxes


def _parsed(path: Path) -> pd.DataFrame:
    """The table with numbers as numbers; its index is the line in the file."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ListError(f"{path} cannot be read ({error})") from error
    table = table.rename(columns={"clip": "video"}).set_axis(table.index + 2)
    if missing := [name for name in ("video", "frame", *CORNERS) if name not in table.columns]:
        raise ListError(f"{path}, line 1: the columns {', '.join(missing)} are missing")
    numbers = table[["frame", *CORNERS]].apply(pd.to_numeric, errors="coerce")
    if (bad := ~np.isfinite(numbers).all(axis=1)).any():
        lines = [f"line {line} is not a frame and a box in numbers" for line in table.index[bad]]
        raise ListError(f"{len(lines)} lines of {path} are wrong: {shorten(lines, '; ')}")
    return table.assign(**numbers)


def _errors(table: pd.DataFrame, labels: dict[str, int], classes: tuple[str, ...]) -> list[str]:
    """What is wrong in which line of a table that has T, H and W of each row's video."""
    found = []
    bad = (table["frame"] < 0) | (table["frame"] >= table["T"]) | (table["frame"] % 1 != 0)
    found += [(row.Index, f"frame {row.frame:g} of {row.video}, which has {row.T}") for row in table[bad].itertuples()]
    outside = (table["x1"] < 0) | (table["y1"] < 0) | (table["x2"] > table["W"]) | (table["y2"] > table["H"])
    outside |= (table["x1"] >= table["x2"]) | (table["y1"] >= table["y2"])
    for row in table[outside].itertuples():
        box = f"{row.x1:g},{row.y1:g} to {row.x2:g},{row.y2:g}"
        found.append((row.Index, f"box {box} is empty or not within the {row.W}x{row.H} pixels of {row.video}"))
    if "class" in table:
        known = dict(zip(classes, range(len(classes)), strict=True))
        known |= {str(label): label for label in range(len(classes))}
        for line, name, video in table[["class", "video"]].itertuples():
            if name not in known:
                found.append((line, f"class {name!r} is none of the {len(classes)} classes"))
            elif known[name] != labels[video]:
                found.append((line, f"class {name!r}, but {video} is {classes[labels[video]]!r}"))
    return [f"line {line}: {text}" for line, text in sorted(found)]
