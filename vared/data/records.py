"""What every loader returns: the videos of one split with their labels, and what was listed but not found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# how many offenders an error message spells out
_SHOWN = 20


@dataclass(frozen=True)
class VideoRecord:
    """One video: `label` from 0, `name` its path below the data root (unique), `frames` its length when known."""

    path: Path
    label: int
    name: str
    frames: int | None = None


@dataclass(frozen=True)
class VideoList:
    """The videos of one split. `missing` names listed videos without a file; `source` says where labels are from."""

    records: tuple[VideoRecord, ...]
    classes: tuple[str, ...]
    missing: tuple[str, ...] = ()
    source: str = ""

    def __len__(self) -> int:
        return len(self.records)

    def subset(self, positions: Iterable[int]) -> "VideoList":
        """The videos at these positions, with the same class list."""
        return replace(self, records=tuple(self.records[position] for position in positions))

    def empty_classes(self) -> list[str]:
        """Names of the classes that have no video."""
        counts = Counter(record.label for record in self.records)
        return [name for label, name in enumerate(self.classes) if not counts[label]]

    def report(self) -> str:
        """One line to print beside every accuracy: how many videos were kept, how many are missing."""
        line = f"{len(self.records)} videos kept, {len(self.missing)} listed but missing, {len(self.classes)} classes"
        empty = self.empty_classes()
        return line + (f"; no video of: {shorten(empty)}" if empty else "")


class ListError(ValueError):
    """A list file or folder layout is wrong. The message names the list and every bad row."""


def shorten(lines: Sequence[str], separator: str = ", ") -> str:
    """The first lines joined, with a count of the rest: keeps an error about 100,000 rows readable."""
    shown = separator.join(lines[:_SHOWN])
    return shown if len(lines) <= _SHOWN else f"{shown}{separator}and {len(lines) - _SHOWN} more"
