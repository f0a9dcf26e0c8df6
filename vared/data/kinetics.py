"""Kinetics-style data sets: videos in `<root>/<split>/<class>/<youtube_id>_<start>_<end>.mp4`, with or without a list.

The list `<root>/<split>.csv` (or `.txt`) is one of
- the original Kinetics CSV: a header row naming at least `label` and `youtube_id`, read by name, in any order;
- PySlowFast and pytorchvideo: rows `path label` without header, path relative to the root, separated by a comma, tab
  or blank and parsed from the right, so that paths may hold blanks.
Without a list, every video below `<root>/<split>/<class>/` is taken.

Labels count from 0 and are positions in the class list: the `classes` given, else `<root>/classes.txt`, else the sorted
labels of the original CSV, else (path lists) the numbers themselves. Only without any of these are sorted folder names
taken, with a warning: one class missing from a download shifts all labels after it.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from vared.data.class_names import labels_by_name, normalise_class, read_classes
from vared.data.list_files import ListRow, find_list, read_list, resolve_below
from vared.data.records import ListError, VideoList, VideoRecord, shorten

VIDEO_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v")


def load_kinetics(
    root: str | Path, split: str, classes: Sequence[str] | None = None, *, allow_outside_root: bool = False
) -> VideoList:
    """The videos of `split`. Listed videos without a file are normal: they are counted in `VideoList.missing`.

    Raises ListError naming every bad row at once (no label, label or class unknown, path outside the root unless
    `allow_outside_root`), for folders that match no class, and when no video at all is found.
    """
    root = Path(root)
    if not root.is_dir():
        raise ListError(f"There is no data folder {root}; it must hold {split}/<class>/<video>.mp4.")
    list_path = find_list(root, split)
    if list_path is None:
        return _from_folders(root, split, classes)
    rows = read_list(list_path)
    names, source = _class_list(root, classes, rows, list_path)
    errors: list[str] = [f"row {row.number}: {row.problem}" for row in rows if row.problem]
    good = [row for row in rows if not row.problem]
    if all(row.path is None for row in rows):
        videos = _from_kinetics_rows(root, split, good, names, errors)
    else:
        videos = _from_path_rows(root, good, names, errors, allow_outside_root)
    if errors:
        raise ListError(f"{len(errors)} rows of {list_path} are wrong:\n  {shorten(errors, chr(10) + '  ')}")
    records, missing = videos
    if not records:
        raise ListError(f"None of the {len(missing)} videos listed in {list_path} exists, for example {missing[:3]}.")
    return VideoList(tuple(records), names, tuple(missing), source)


def _class_list(
    root: Path, classes: Sequence[str] | None, rows: Sequence[ListRow], list_path: Path
) -> tuple[tuple[str, ...], str]:
    if classes is not None:
        return tuple(classes), "class list given"
    if (root / "classes.txt").is_file():
        return read_classes(root / "classes.txt"), "classes.txt"
    if all(row.path is None for row in rows):
        by_form = {normalise_class(row.label): row.label for row in reversed(rows) if not row.problem}
        return tuple(sorted(by_form.values())), f"sorted labels of {list_path.name}"
    numbers = [int(row.label) for row in rows if row.label.isdecimal()]
    return tuple(str(number) for number in range(max(numbers, default=-1) + 1)), f"numbers in {list_path.name}"


def _from_kinetics_rows(root, split, rows: Sequence[ListRow], names, errors: list[str]):
    """Original CSV: the file is found by its id and times, in whatever spelling the class folder has."""
    labels = labels_by_name(names)
    files = _files_by_clip(root / split)
    records, missing = [], []
    for row in rows:
        form = normalise_class(row.label)
        if form not in labels:
            errors.append(f"row {row.number}: class {row.label!r} is not in the class list")
            continue
        candidates = files.get(row.clip) or files.get((row.clip[0], None, None)) or []
        # the same id and times can lie in two class folders; the row's own class comes first
        candidates = sorted(candidates, key=lambda path: (normalise_class(path.parent.name) != form, path))
        folder = normalise_class(candidates[0].parent.name) if candidates else form
        if folder != form and folder in labels:
            errors.append(f"row {row.number}: says {row.label!r}, but {candidates[0]} lies in another class's folder")
        elif candidates:
            records.append(_record(root, candidates[0], labels[form]))
        else:
            missing.append("_".join(str(part) for part in row.clip if part is not None))
    return records, missing


def _from_path_rows(root, rows: Sequence[ListRow], names, errors: list[str], allow_outside_root: bool):
    records, missing = [], []
    for row in rows:
        label = int(row.label) if row.label.isdecimal() else -1
        path = resolve_below(root, row.path, allow_outside_root)
        if not 0 <= label < len(names):
            errors.append(f"row {row.number}: label {row.label!r} is not a number from 0 to {len(names) - 1}")
        elif path is None:
            errors.append(f"row {row.number}: {row.path!r} lies outside the data folder, which is refused")
        elif path.is_file():
            records.append(VideoRecord(path, label, row.path))
        else:
            missing.append(row.path)
    return records, missing


def _from_folders(root: Path, split: str, classes: Sequence[str] | None) -> VideoList:
    folders = sorted(path for path in (root / split).glob("*") if path.is_dir())
    if classes is None and (root / "classes.txt").is_file():
        names, source = read_classes(root / "classes.txt"), "classes.txt"
    elif classes is not None:
        names, source = tuple(classes), "class list given"
    else:
        names, source = tuple(folder.name for folder in folders), f"sorted folders of {split}"
        warnings.warn(
            f"Labels are taken from the sorted folders of {root / split}: a missing class would shift all labels "
            f"after it. Put the class list into {root / 'classes.txt'}, one name a line.",
            stacklevel=3,
        )
    labels = labels_by_name(names)
    unknown = [folder.name for folder in folders if normalise_class(folder.name) not in labels]
    if unknown:
        raise ListError(f"Folders of {root / split} that match no class of the class list: {shorten(unknown)}.")
    records = [
        _record(root, path, labels[normalise_class(folder.name)]) for folder in folders for path in _videos(folder)
    ]
    if not records:
        raise ListError(f"There is no video in {root / split}; it must hold <class>/<video>.mp4 (or list {split}.csv).")
    return VideoList(tuple(records), names, (), source)


def _record(root: Path, path: Path, label: int) -> VideoRecord:
    return VideoRecord(path, label, path.relative_to(root).as_posix())


def _videos(folder: Path) -> list[Path]:
    """Video files directly in `folder`, sorted; the extension's case does not matter."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_EXTENSIONS)


def _files_by_clip(folder: Path) -> dict[tuple, list[Path]]:
    """(youtube id, start, end) -> files below `folder`; times None where the name does not end in two numbers."""
    files: dict[tuple, list[Path]] = {}
    for directory, _, names in os.walk(folder, followlinks=True):
        for name in names:
            stem, extension = os.path.splitext(name)
            if extension.lower() not in VIDEO_EXTENSIONS:
                continue
            fields = stem.rsplit("_", 2)  # ids hold underscores themselves
            timed = len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal()
            clip = (fields[0], int(fields[1]), int(fields[2])) if timed else (stem, None, None)
            files.setdefault(clip, []).append(Path(directory, name))
    return files
