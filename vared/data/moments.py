"""Moments in Time (Monfort et al., 2019), the release of 339 classes that the thesis uses, in its official layout.

    <root>/moments_categories.txt               rows `name,id`; ids from 0, in no alphabetical order
    <root>/trainingSet.csv, validationSet.csv   rows `class/file.mp4,class,agree,disagree` without header
    <root>/training/<class>/<file>.mp4          the same under validation/; train/ and val/ are found too

Labels are the ids of the categories file. Names are taken as they stand: ten hold a `+`, such as
`adult+female+singing`, which is neither a blank nor a web escape. The votes (agree, disagree) are not needed.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from vared.data.plain_lists import numbered_lines, raise_all
from vared.data.records import ListError, VideoList, VideoRecord, shorten

CLASSES = 339
_LISTS = {"train": "trainingSet.csv", "val": "validationSet.csv"}
_FOLDERS = {"train": ("training", "train"), "val": ("validation", "val")}


def load_moments(root: str | Path, part: str) -> VideoList:
    """The videos of `part` ("train" or "val"). Listed videos without a file are counted in `VideoList.missing`.

    Raises ListError naming every bad line of a list at once, for a categories file of other than 339
    classes (305: a later release, not the thesis's), for an absent list or folder, and when no video is found.
    """
    if part not in _LISTS:
        raise ValueError(f"The parts of Moments in Time are 'train' and 'val', not {part!r}.")
    root = Path(root)
    list_path = _present(root, _LISTS[part])
    folder = next((root / name for name in _FOLDERS[part] if (root / name).is_dir()), None)
    if folder is None:
        raise ListError(f"{root} has no folder {_FOLDERS[part][0]}/ (or {_FOLDERS[part][1]}/) with the videos.")
    classes = read_categories(_present(root, "moments_categories.txt"))
    labels = {name: label for label, name in enumerate(classes)}
    records, missing, files = [], [], {}
    for video, name in _listed(list_path, labels):
        if name not in files:
            files[name] = _files_in(folder / name)
        if video.partition("/")[2] in files[name]:
            records.append(VideoRecord(folder / video, labels[name], f"{folder.name}/{video}"))
        else:
            missing.append(f"{folder.name}/{video}")
    if not records:
        raise ListError(f"None of the {len(missing)} videos listed in {list_path} exists, for example {missing[:3]}.")
    return VideoList(tuple(records), classes, tuple(missing), "ids of moments_categories.txt")


def read_categories(path: Path) -> tuple[str, ...]:
    """Class names in the order of their ids. Raises ListError naming every bad line, or the count when it is wrong."""
    names, errors = {}, []
    for number, line in numbered_lines(path):
        name, _, identity = line.rpartition(",")
        name, identity = name.strip(), identity.strip()
        if not name or not identity.isdecimal():
            errors.append(f"line {number}: {line!r} is not `name,id`")
        elif int(identity) in names or name in names.values():
            errors.append(f"line {number}: {line!r} repeats a name or an id")
        else:
            names[int(identity)] = name
    raise_all(errors, path)
    if sorted(names) != list(range(CLASSES)):
        hint = " 305 are those of the later release, on which the thesis does not report." if len(names) == 305 else ""
        found = f"{len(names)} classes with ids up to {max(names, default=-1)}"
        raise ListError(f"{path} holds {found}, but must hold {CLASSES} with ids from 0.{hint}")
    return tuple(names[identity] for identity in range(CLASSES))


def _listed(path: Path, labels: dict[str, int]) -> Iterator[tuple[str, str]]:
    """(`class/file.mp4`, class) of every line, each video once; all bad lines are raised together."""
    videos, errors, repeated = {}, [], []
    for number, line in numbered_lines(path):
        fields = [field.strip() for field in line.split(",")]
        votes = 0
        while votes < 2 and len(fields) > 2 and fields[-1].isdecimal():  # from the right: a file name may hold commas
            votes += bool(fields.pop())
        video, name = ",".join(fields[:-1]), fields[-1]
        folder, _, file = video.partition("/")
        if not file or not name:
            errors.append(f"line {number}: {line!r} is not `class/file.mp4,class`")
        elif name not in labels:
            errors.append(f"line {number}: class {name!r} is not in moments_categories.txt")
        elif folder != name or "/" in file or "\\" in file:
            errors.append(f"line {number}: {video!r} is no file of the class {name!r} it is said to be of")
        elif video in videos:
            repeated.append(f"line {number}: {video}")
        else:
            videos[video] = name
    raise_all(errors, path)
    if repeated:
        warnings.warn(f"{len(repeated)} lines of {path} repeat a video, taken once: {shorten(repeated)}", stacklevel=3)
    yield from videos.items()


def _present(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise ListError(
            f"There is no {root / name}. Moments in Time comes from moments.csail.mit.edu after registration; {root} "
            "must hold trainingSet.csv, validationSet.csv, moments_categories.txt, training/ and validation/."
        )
    return root / name


def _files_in(folder: Path) -> set[str]:
    """Names of the files in a class folder: one listing costs less than a question for every video."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}
