"""Mini-Kinetics-200, of which there are two: 200 classes of Kinetics-400 each, with 102 of them in common.

- "thesis": 121k training and about 10k validation videos (Meng et al., 2020, AR-Net; thesis section 4.1), by
  `<root>/mini_{train,val}_videofolder.txt` with rows `images/val/<class>/<id>_<start>_<end> frames label`;
- "xie": 80,000 and 5,000 videos (Xie et al., 2018), by `<root>/{train,val}_ytid_list.txt` with one YouTube id a line.

The lists do not come with this project, for their repositories name no licence: data/README.md says where they are.
The videos are those of Kinetics-400 (`vared.data.kinetics400`). Accuracies on the two are not comparable.
"""

import re
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from vared.data.class_names import labels_by_name, normalise_class
from vared.data.kinetics400 import class_list, load_kinetics400
from vared.data.list_files import ListRow, find_list, read_list
from vared.data.plain_lists import numbered_lines, raise_all
from vared.data.records import ListError, VideoList

CLASSES = 200
# as published, and the same rows separated by semicolons
_THESIS_LISTS = {"train": ("mini_train_videofolder.txt", "mini_train.txt"),
                 "val": ("mini_val_videofolder.txt", "mini_val.txt")}  # fmt: skip
_MIXED_UP = 50  # classes absent here and as many foreign ones: sooner the other data set than an incomplete download

Clip = tuple[str, int | None, int | None]  # YouTube id, start and end in seconds; None where a file name has no times


def load_mini_kinetics(root: str | Path, part: str, splits: str | Path, *, lists: str = "thesis") -> VideoList:
    """The videos of `part` ("train" or "val") below the folder `root` of Kinetics-400; `splits` is data/splits.

    Without the thesis's list of this part, every Kinetics-400 video of its 200 classes is taken, with a warning. Raises
    ListError naming every bad line at once, for absent lists of Xie et al., and when no video is found.
    """
    if lists not in ("thesis", "xie"):
        raise ValueError(f"lists must be 'thesis' or 'xie', the two data sets of this name, not {lists!r}.")
    root, videos = Path(root), load_kinetics400(root, part, splits)
    if lists == "xie":
        return _chosen_by_id(root, part, videos)
    classes = class_list(splits, "mini_kinetics200_classes.txt")
    _warn_of_the_other_set(root, videos, classes)
    list_path = next((root / name for name in _THESIS_LISTS[part] if (root / name).is_file()), None)
    if list_path is None:
        return _whole_classes(root, part, videos, classes)
    return _chosen_by_clip(videos, classes, list_path)


def _chosen_by_clip(videos: VideoList, classes: tuple[str, ...], list_path: Path) -> VideoList:
    listed, errors = _read_video_folders(list_path, classes)
    untimed = {clip[0]: clip for clip in listed}
    own, theirs = ([normalise_class(name) for name in names] for names in (classes, videos.classes))
    records, found, strangers = [], set(), {}
    for record in videos.records:
        clip = clip_of(record.path.stem)
        clip = clip if clip in listed else untimed.get(clip[0]) if clip[1] is None else None
        if clip is None:
            continue
        label = listed[clip][1]
        if theirs[record.label] == own[label]:
            records.append(replace(record, label=label))
            found.add(clip)
        else:  # the same clip may lie in two class folders; it is wrong only if it is not in the right one too
            strangers[clip] = record.name
    errors += [
        f"line {listed[clip][0]}: says {classes[listed[clip][1]]!r}, but {name} is of another class"
        for clip, name in strangers.items() if clip not in found
    ]  # fmt: skip
    raise_all(errors, list_path)
    missing = tuple(_clip_name(clip) for clip in listed if clip not in found)
    return _checked(VideoList(tuple(records), classes, missing, list_path.name), list_path)


def _read_video_folders(path: Path, classes: tuple[str, ...]) -> tuple[dict[Clip, tuple[int, int]], list[str]]:
    """Clip -> (line, label) of rows `dir frames label`, blank or `;` between fields; and what is wrong with which line.

    The frame counts are those of somebody else's extraction and are not used.
    """
    labels, form = labels_by_name(classes), lru_cache(normalise_class)
    listed, errors = {}, []
    for number, line in numbered_lines(path):
        fields = line.rsplit(";" if ";" in line else None, 2)
        if len(fields) != 3 or not fields[1].isdecimal() or not fields[2].isdecimal():
            errors.append(f"line {number}: {line!r} is not `folder frames label`")
            continue
        (folder, _, name), label = fields[0].rpartition("/"), int(fields[2])
        clip = clip_of(name)
        if label >= len(classes):
            errors.append(f"line {number}: label {label} is not a number from 0 to {len(classes) - 1}")
        elif labels.get(form(folder.rpartition("/")[2])) != label:
            errors.append(f"line {number}: label {label} is {classes[label]!r}, but the folder is {fields[0]!r}")
        elif clip[1] is None:
            errors.append(f"line {number}: {name!r} is not `<id>_<start>_<end>`")
        elif clip in listed:
            errors.append(f"line {number}: repeats line {listed[clip][0]}")
        else:
            listed[clip] = number, label
    return listed, errors


def _whole_classes(root: Path, part: str, videos: VideoList, classes: tuple[str, ...]) -> VideoList:
    labels = labels_by_name(classes)
    forms = [normalise_class(name) for name in videos.classes]
    records = [replace(record, label=labels[forms[record.label]]) for record in videos.records
               if forms[record.label] in labels]  # fmt: skip
    absent = root / _THESIS_LISTS[part][0]
    warnings.warn(
        f"There is no {absent}: all {len(records)} Kinetics-400 videos of its classes are taken instead. The thesis "
        "has 121k training and about 10k validation videos; data/README.md says where its lists are.",
        stacklevel=3,
    )
    ours = {_clip_name(row.clip) for row in _kinetics_rows(root, part) if normalise_class(row.label) in labels}
    missing = tuple(name for name in videos.missing if name in ours)
    return _checked(VideoList(tuple(records), classes, missing, "all videos of the 200 classes"), root / part)


def _chosen_by_id(root: Path, part: str, videos: VideoList) -> VideoList:
    """Labels are positions among the sorted classes of the training list, whatever `part` is."""
    ids = {name: _read_ids(root / f"{name}_ytid_list.txt") for name in ("train", part)}
    by_form = {normalise_class(name): name for name in videos.classes}
    trained = {normalise_class(row.label) for row in _kinetics_rows(root, "train") if row.clip[0] in ids["train"]}
    classes = tuple(sorted(by_form[form] for form in trained if form in by_form))
    if len(classes) != CLASSES:
        raise ListError(
            f"The ids of {root / 'train_ytid_list.txt'} are of {len(classes)} classes by the official list "
            f"{root / 'train.csv'}, but must be of {CLASSES}: one of them is absent or incomplete, which would shift "
            "the labels."
        )
    labels = {label: classes.index(name) for label, name in enumerate(videos.classes) if name in classes}
    records, found = [], set()
    for record in videos.records:
        youtube_id = clip_of(record.path.stem)[0]
        if youtube_id in ids[part] and record.label in labels:
            records.append(replace(record, label=labels[record.label]))
            found.add(youtube_id)
    missing = tuple(youtube_id for youtube_id in ids[part] if youtube_id not in found)
    path = root / f"{part}_ytid_list.txt"
    return _checked(VideoList(tuple(records), classes, missing, path.name), path)


def _read_ids(path: Path) -> dict[str, int]:
    """YouTube id -> line."""
    if not path.is_file():
        raise ListError(
            f"There is no {path}. The lists of Xie et al. do not come with this project; github.com/s9xie/"
            f"Mini-Kinetics-200 has train_ytid_list.txt and val_ytid_list.txt. Put both into {path.parent}."
        )
    ids, errors = {}, []
    for number, line in numbered_lines(path):
        if not re.fullmatch(r"[A-Za-z0-9_-]{11}", line):
            errors.append(f"line {number}: {line!r} is no YouTube id (11 letters, digits, - or _)")
        elif line in ids:
            errors.append(f"line {number}: repeats line {ids[line]}")
        else:
            ids[line] = number
    raise_all(errors, path)
    return ids


def _kinetics_rows(root: Path, part: str) -> list[ListRow]:
    """The usable rows of the official Kinetics list of `part`; none when there is no such list."""
    path = find_list(root, part)
    return [row for row in read_list(path) if row.clip and not row.problem] if path else []


def _warn_of_the_other_set(root: Path, videos: VideoList, classes: tuple[str, ...]) -> None:
    ours = {normalise_class(name) for name in classes}
    present = {normalise_class(videos.classes[label]) for label in {record.label for record in videos.records}}
    absent, foreign = len(ours - present), len(present - ours)
    if absent >= _MIXED_UP <= foreign:
        warnings.warn(
            f"{root} lacks {absent} of the 200 classes of the thesis's Mini-Kinetics-200 and has {foreign} others of "
            "Kinetics-400: is it the data set of Xie et al. (lists='xie'), which has the same name?",
            stacklevel=3,
        )


def clip_of(stem: str) -> Clip:
    """(id, start, end) of a file name without its ending; ids hold underscores themselves."""
    fields = stem.rsplit("_", 2)
    if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
        return fields[0], int(fields[1]), int(fields[2])
    return stem, None, None


def _clip_name(clip: Clip) -> str:
    return "_".join(str(field) for field in clip if field is not None)


def _checked(videos: VideoList, path: Path) -> VideoList:
    if not videos.records:
        raise ListError(f"None of the {len(videos.missing)} videos of {path} exists below the data folder.")
    return videos
