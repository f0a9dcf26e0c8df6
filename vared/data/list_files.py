"""Reading of list files into rows, each with its number and, when it cannot be used, what is wrong with it."""

import csv
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vared.data.records import ListError


@dataclass(frozen=True)
class ListRow:
    """One row: `path` and a numeric `label`, or (original Kinetics CSV) `clip` = (id, start, end) and a class name."""

    number: int
    label: str = ""
    path: str | None = None
    clip: tuple[str, int | None, int | None] | None = None
    problem: str = ""


def find_list(root: Path, split: str) -> Path | None:
    """`<root>/<split>.csv` or `.txt`, when there is one."""
    return next((path for path in (root / f"{split}.csv", root / f"{split}.txt") if path.is_file()), None)


def read_list(path: Path) -> list[ListRow]:
    """All rows of an original Kinetics CSV (it has a header) or of a `path label` list, blank lines left out."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if not any(line.strip() for line in lines):
        raise ListError(f"The list {path} is empty.")
    header = [field.strip().lower() for field in next(csv.reader(lines[:1]))]
    if "youtube_id" in header:
        if "label" not in header:
            raise ListError(f"The list {path} has no column `label` (a test list?), so its videos cannot be used.")
        return _kinetics_rows(lines, header)
    return [_path_row(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _kinetics_rows(lines: list[str], header: list[str]) -> list[ListRow]:
    reader = csv.reader(lines)
    next(reader)
    return [_kinetics_row(reader.line_num, values, header) for values in reader if values]


def _kinetics_row(number: int, values: list[str], header: list[str]) -> ListRow:
    if len(values) != len(header):
        return ListRow(number, problem=f"{len(values)} fields, but the header names {len(header)}")
    fields = dict(zip(header, values, strict=True))
    label, youtube_id = fields["label"].strip(), fields["youtube_id"].strip()
    if not label or not youtube_id:
        return ListRow(number, problem="the label or the youtube_id is empty")
    try:  # some releases write the times as 12.0
        start, end = (int(float(fields[name])) if fields.get(name) else None for name in ("time_start", "time_end"))
    except ValueError:
        return ListRow(number, label, problem=f"times {fields['time_start']!r}, {fields['time_end']!r} are no numbers")
    return ListRow(number, label, clip=(youtube_id, start, end))


def _path_row(number: int, line: str) -> ListRow:
    fields = line.strip().rsplit("," if "," in line else None, 1)
    if len(fields) < 2:
        return ListRow(number, path=line.strip(), problem=f"{line.strip()!r} has no label; a row is `path label`")
    path, label = fields[0].strip().strip('"'), fields[1].strip()
    if not re.fullmatch(r"\d+", label):
        return ListRow(number, path=path, problem=f"label {label!r} of {path!r} is not a whole number from 0")
    return ListRow(number, label, path=path)


def resolve_below(root: Path, path: str, allow_outside_root: bool) -> Path | None:
    """`root / path`, or None when that leads outside the root: absolute, `..`, drive, web address, symbolic link."""
    if allow_outside_root:
        return root / path
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path) or path.startswith(("/", "\\")):
        return None
    folder, name = os.path.split(os.path.join(root, path))
    target = os.path.join(_real_folder(folder), name)
    if name in ("", ".", "..") or os.path.islink(target):
        target = os.path.realpath(target)
    inside = _real_folder(str(root))
    return root / path if target == inside or target.startswith(os.path.join(inside, "")) else None


# rows share few folders, and resolving one asks the file system about each of its parents
_real_folder = lru_cache(maxsize=4096)(os.path.realpath)
