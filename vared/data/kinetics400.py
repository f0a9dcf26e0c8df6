"""Kinetics-400 (Kay et al., 2017) with its own 400 class names, so that an incomplete download shifts no label.

    <root>/train.csv, val.csv                                         official lists: label,youtube_id,time_start,...
    <root>/train/<class>/<youtube_id>_<start:06d>_<end:06d>.mp4       the same under val/

What `vared.data.kinetics` reads besides (path lists, folders without a list, other video endings) is read here too.
"""

from pathlib import Path

from vared.data.class_names import read_classes
from vared.data.kinetics import load_kinetics
from vared.data.list_files import find_list
from vared.data.records import ListError, VideoList

# names under which releases hold the two parts, beside ours
_OTHER_NAMES = {"train": ("kinetics_train", "kinetics400_train"), "val": ("validate", "validation", "kinetics_val")}


def load_kinetics400(root: str | Path, part: str, splits: str | Path) -> VideoList:
    """The videos of `part` ("train" or "val"); `splits` is the folder of the class lists, data/splits of the project.

    Raises ListError as `load_kinetics` does, and for a list or folder that has another release's name.
    """
    if part not in _OTHER_NAMES:
        raise ValueError(f"The parts of Kinetics-400 are 'train' and 'val', not {part!r}.")
    root = Path(root)
    for name in _OTHER_NAMES[part]:
        for found in (root / f"{name}.csv", root / "kinetics400" / f"{name}.csv"):
            if found.is_file() and find_list(root, part) is None:
                raise ListError(f"{found} is the list of part {part!r}: rename it (or link to it) as {part}.csv.")
        if (root / name).is_dir() and not (root / part).is_dir():
            raise ListError(f"{root / name} holds the videos of part {part!r}: rename it (or link to it) as {part}.")
    return load_kinetics(root, part, class_list(splits, "kinetics400_classes.txt"))


def class_list(splits: str | Path, name: str) -> tuple[str, ...]:
    """A class list of the project, one name a line. Raises ListError when `splits` is not its folder of lists."""
    path = Path(splits) / name
    if not path.is_file():
        raise ListError(f"There is no class list {path}; it lies in data/splits of this project.")
    return read_classes(path)
