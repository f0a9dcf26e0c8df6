"""Your own data set as it lies on disk: a folder of class folders, or a CSV. Nothing is decoded here.

    DATA/CLASS/**/VIDEO                  classes are the folders; no parts
    DATA/PART/CLASS/**/VIDEO             PART is train, val or test (also training, validation, valid, dev, testing)
    DATA.csv                             a header with path, label and, if you like, split, in any order

Paths of a CSV are relative to its folder, or to `root`, and may not lead out of it unless that is allowed. Everything
that is not understood becomes a problem with its line or file, all of them in one go; what only the files themselves
tell is found by vared/own_data/checking.py.
"""

import csv
import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from vared.data.class_names import normalise_class
from vared.data.kinetics import VIDEO_EXTENSIONS
from vared.own_data.paths import forget_folders, leads_out, why_missing

EXTENSIONS = (*VIDEO_EXTENSIONS, ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp", ".ts", ".gif")
PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Entry:
    """One listed video: its file, its class as written, its part ("" where none is given), and where it is listed."""

    path: Path
    name: str
    label: str
    part: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line or file. An `error` keeps the set from being trained on, a `warning` does not."""

    severity: str
    reason: str
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{self.severity}: {where}{self.name + ': ' if self.name else ''}{self.reason}"


@dataclass
class Layout:
    """What was found at `data`: `kind` says in words which form. Entries are as listed, those of folders sorted."""

    data: Path
    kind: str
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, sorted; their positions are the labels."""
        return tuple(sorted({entry.label for entry in self.entries}))

    def complain(self, severity: str, reason: str, name: str = "", line: int | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(severity, reason, name, line))


def read_layout(data: Path | str, root: Path | str | None = None, *, allow_outside: bool = False) -> Layout:
    """The videos that `data` (a folder or a CSV) lists, with all problems of the listing.

    Files of a CSV that lie outside its root (by an absolute path, `..`, a link) are a problem unless `allow_outside`.
    Raises FileNotFoundError when there is nothing at `data`, ValueError when it is a file but no CSV.
    """
    data = Path(data)
    if data.is_dir():
        layout = _read_folders(data)
    elif not data.exists():
        raise FileNotFoundError(f"There is nothing at {data}. Give a folder of class folders, or a CSV of path,label.")
    elif data.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise ValueError(f"{data} is neither a folder nor a CSV. A CSV has the columns path, label and perhaps split.")
    else:
        layout = _read_csv(data, Path(root) if root else data.parent, allow_outside)
    if not layout.entries and not layout.problems:
        layout.complain(ERROR, f"no video found; endings known are {' '.join(EXTENSIONS)}")
    _check_labels(layout)
    return layout


def _read_folders(data: Path) -> Layout:
    folders = [path for path in _visible(data) if path.is_dir()]
    parts = {path: PARTS[path.name.lower()] for path in folders if path.name.lower() in PARTS}
    layout = Layout(data, "class folders within parts" if parts else "class folders")
    for path in _visible(data):
        if path.is_file() and path.suffix.lower() in EXTENSIONS:
            layout.complain(ERROR, "a video beside the class folders has no class; move it into one", path.name)
    if parts and len(parts) < len(folders):
        others = ", ".join(repr(path.name) for path in folders if path not in parts)
        named = ", ".join(repr(path.name) for path in parts)
        layout.complain(ERROR, f"{named} look like parts of the set, {others} like classes: keep one kind at the top")
        return layout
    for top in parts or [data]:
        for folder in (path for path in _visible(top) if path.is_dir()):
            _read_class(layout, folder, parts.get(top, ""))
        for path in _visible(top) if parts else ():
            if path.is_file() and path.suffix.lower() in EXTENSIONS:
                name = path.relative_to(data).as_posix()
                layout.complain(ERROR, "a video beside the class folders has no class; move it into one", name)
    return layout


def _read_class(layout: Layout, folder: Path, part: str) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path, folder)]
    videos = [path for path in files if path.suffix.lower() in EXTENSIONS]
    for path in videos:
        layout.entries.append(Entry(path, path.relative_to(layout.data).as_posix(), folder.name, part))
    others = [path for path in files if path not in set(videos)]
    name = folder.relative_to(layout.data).as_posix()
    if others:
        shown = ", ".join(path.name for path in others[:3])
        layout.complain(WARNING, f"{len(others)} files have no ending of a video and are left out: {shown}", name)
    if not videos:
        layout.complain(ERROR, "a class folder without a video; remove it, or name its parts train and val", name)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts) or path.name in (
        "Thumbs.db",
        "desktop.ini",
    )


def _read_csv(data: Path, root: Path, allow_outside: bool) -> Layout:
    layout = Layout(data, "CSV")
    try:
        text = data.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        layout.complain(ERROR, f"not UTF-8 at byte {error.start}; save the list as UTF-8", data.name)
        return layout
    header = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=header.count))
    columns = [column.strip().lower() for column in next(reader, [])]
    unknown = [column for column in columns if column not in ("path", "label", "split")]
    if len(set(columns)) < len(columns) or unknown or not {"path", "label"} <= set(columns):
        found = ", ".join(columns) or "nothing"
        layout.complain(ERROR, f"the header must be path, label and perhaps split, in any order, not: {found}", "", 1)
        return layout
    home = None if allow_outside else os.path.realpath(root)
    seen: dict[Path, int] = {}
    for fields in reader:
        if any(value.strip() for value in fields):
            _read_row(layout, root, home, reader.line_num, columns, fields, seen)
    forget_folders()
    given = {entry.part != "" for entry in layout.entries}
    if len(given) == 2:
        line = next(entry.line for entry in layout.entries if not entry.part)
        layout.complain(
            ERROR, "the split is empty here and given elsewhere; give it for every video or for none", "", line
        )
    return layout


def _read_row(
    layout: Layout, root: Path, home: str | None, line: int, columns: list[str], fields: list[str], seen: dict
) -> None:
    if len(fields) != len(columns):
        layout.complain(ERROR, f"{len(fields)} fields, but the header names {len(columns)}", "", line)
        return
    row = {column: value.strip() for column, value in zip(columns, fields, strict=True)}
    empty = [column for column in ("path", "label") if not row[column]]
    part = row.get("split", "")
    if empty or (part and part.lower() not in PARTS):
        reason = f"{' and '.join(empty)} is empty" if empty else f"the split {part!r} is none of train, val, test"
        layout.complain(ERROR, reason, row["path"], line)
        return
    path = root / row["path"]
    if path in seen:
        layout.complain(ERROR, f"listed before, in line {seen[path]}", row["path"], line)
    elif home is not None and leads_out(home, row["path"]):
        layout.complain(ERROR, f"it lies outside {root}; to read it all the same: --allow-outside", row["path"], line)
    elif not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        layout.complain(ERROR, why_missing(path), row["path"], line)
    else:
        layout.entries.append(Entry(path, row["path"], row["label"], PARTS.get(part.lower(), ""), line))
    seen.setdefault(path, line)


def _check_labels(layout: Layout) -> None:
    """Labels that differ only in case, blanks, underscores or quotes are one class written twice."""
    forms: dict[str, str] = {}
    for label in layout.classes:
        first = forms.setdefault(unicodedata.normalize("NFC", normalise_class(label)), label)
        if first != label:
            where = next(entry for entry in layout.entries if entry.label == label)
            reason = f"the labels {first!r} and {label!r} differ in case or blanks alone; write one class one way"
            layout.complain(ERROR, reason, where.name, where.line)
    if len(layout.classes) == 1:
        layout.complain(ERROR, f"there is one class only, {layout.classes[0]!r}; a network needs two to tell apart")
