"""Class lists, and matching of class names that differ by release in blanks, underscores, quotes and case."""

import re
from collections.abc import Sequence
from pathlib import Path

from vared.data.records import ListError


def normalise_class(name: str) -> str:
    """The form in which two spellings of a class are equal: `"Petting_cat"` and `petting cat`."""
    return re.sub(r"[\s_]+", " ", re.sub(r"[\"'`’]", "", name)).strip().lower()


def labels_by_name(classes: Sequence[str]) -> dict[str, int]:
    """Normalised name -> label (position in `classes`). ListError when two names cannot be told apart."""
    labels: dict[str, int] = {}
    for label, name in enumerate(classes):
        earlier = labels.setdefault(normalise_class(name), label)
        if earlier != label:
            raise ListError(f"The class list holds {classes[earlier]!r} and {name!r}, which are the same class.")
    return labels


def read_classes(path: Path) -> tuple[str, ...]:
    """One class name a line; the line, from 0 and without counting blank lines, is the label."""
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    if not names:
        raise ListError(f"The class list {path} is empty; it must hold one class name a line.")
    return names
