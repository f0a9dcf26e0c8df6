"""Lists with one entry a line, without header: their lines with numbers, and one error for all wrong lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vared.data.records import ListError, shorten


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and stripped text of every line that is not blank. Raises ListError when there is none."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    if not any(lines):
        raise ListError(f"The list {path} is empty.")
    return ((number, line) for number, line in enumerate(lines, start=1) if line)


def raise_all(errors: Sequence[str], path: Path) -> None:
    """Raise one ListError that names the file and what is wrong with each line; nothing for no errors."""
    if errors:
        raise ListError(f"{len(errors)} lines of {path} are wrong:\n  {shorten(errors, chr(10) + '  ')}")
