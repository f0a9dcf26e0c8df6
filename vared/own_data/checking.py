"""All that is wrong with a data set of your own, at once and before anything trains: the list, then every file."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from vared.data.records import VideoList, VideoRecord
from vared.data.scanning import for_every_video
from vared.data.video import VideoError
from vared.own_data.layout import ERROR, WARNING, Entry, Layout, Problem, read_layout
from vared.own_data.probing import Probe, probe
from vared.own_data.splitting import check_parts, split
from vared.scratch import write_text

STRIDES = (4, 2, 1)  # frames from one to the next, the widest that the videos are long enough for
_SHOWN = 40  # problems printed; the report has all


@dataclass(frozen=True)
class Checked:
    """A data set as it was found: its entries with their parts, a probe for each that can be read (by name), problems.

    `stride` is the one asked for, or else one that suits the lengths of the videos.
    """

    layout: Layout
    entries: tuple[Entry, ...]
    split_by: str
    probes: dict[str, Probe]
    stride: int

    @property
    def problems(self) -> list[Problem]:
        return self.layout.problems

    def errors(self, leave_out: bool = False) -> list[Problem]:
        """Problems that forbid training; with `leave_out` without those of single files that cannot be read."""
        unreadable = {entry.name for entry in self.entries if leave_out} - self.probes.keys()
        return [p for p in self.problems if p.severity == ERROR and p.name not in unreadable]

    def require(self, leave_out: bool = False) -> None:
        """Raise ValueError that lists the errors, if there are any."""
        if errors := self.errors(leave_out):
            hint = "" if leave_out else "\nUnreadable files alone can be left out with --leave-out."
            raise ValueError(f"{self.layout.data} has {len(errors)} errors:\n{describe(errors)}{hint}")

    def videos(self, part: str, classes: Sequence[str] | None = None) -> VideoList:
        """The readable videos of a part ("train", "val" or "test"); `classes` are those of a trained network."""
        names = tuple(classes or self.layout.classes)
        labels = {name: label for label, name in enumerate(names)}
        chosen = (e for e in self.entries if e.part == part and e.name in self.probes and e.label in labels)
        records = tuple(VideoRecord(entry.path, labels[entry.label], entry.name) for entry in chosen)
        return VideoList(records, names, (), self.layout.kind)

    def summary(self) -> str:
        """What was found, in two lines."""
        counts = Counter(entry.part for entry in self.entries)
        parts = ", ".join(f"{counts[part]} {part}" for part in ("train", "val", "test") if counts[part])
        of = f"{len(self.entries)} videos in {len(self.layout.classes)} classes ({self.layout.kind}): {parts or 'none'}"
        return f"{of}\nparts: {self.split_by}"


def check(
    data: Path | str, frames: int, stride: int | None = None, *, root: Path | str | None = None, seed: int = 0,
    workers: int = 0, allow_outside: bool = False,
) -> Checked:  # fmt: skip
    """Read the layout at `data`, split it, and look at every file, in `workers` processes with a progress bar.

    Clips are of `frames` frames at `stride`; without a stride, the widest of STRIDES that nine videos of ten are long
    enough for.

    Raises only where there is nothing to look at (`read_layout`); everything else is a problem of the result.
    """
    layout = read_layout(data, root, allow_outside=allow_outside)
    entries, split_by = split(layout, seed)
    check_parts(layout, entries)
    widest = (frames - 1) * (stride or STRIDES[0]) + 1
    records = tuple(VideoRecord(entry.path, 0, entry.name) for entry in entries)
    found = for_every_video(partial(probe, needed=widest), VideoList(records, ()), workers, "checking videos")
    probes = {}
    for entry, result in zip(entries, found, strict=True):
        if isinstance(result, VideoError):
            layout.complain(ERROR, result.reason, entry.name, entry.line)
            continue
        probes[entry.name] = result
        _check_name(layout, entry)
    stride = stride or suitable_stride([found.frames for found in probes.values()], frames)
    for entry in entries:
        if entry.name in probes and probes[entry.name].frames < (frames - 1) * stride + 1:
            clip = f"a clip of {frames} frames at stride {stride}"
            reason = f"{probes[entry.name].frames} frames are too short for {clip}; its last frame is repeated"
            layout.complain(WARNING, reason, entry.name, entry.line)
    _check_copies(layout, entries, probes)
    return Checked(layout, tuple(entries), split_by, probes, stride)


def suitable_stride(lengths: Sequence[int], frames: int) -> int:
    """The widest of STRIDES at which nine of ten videos of these lengths hold a clip of `frames` frames; else 1."""
    short = sorted(lengths)[len(lengths) // 10] if lengths else 0
    return next((stride for stride in STRIDES if (frames - 1) * stride + 1 <= short), 1)


def _check_name(layout: Layout, entry: Entry) -> None:
    strange = [letter for letter in entry.name if not letter.isprintable()]
    padded = any(part != part.strip() for part in Path(entry.name).with_suffix("").parts)
    if strange or padded:
        what = f"the characters {''.join(strange)!a}" if strange else "blanks at an end"
        layout.complain(WARNING, f"its name has {what}; other tools may not find it", repr(entry.name), entry.line)


def _check_copies(layout: Layout, entries: Sequence[Entry], probes: dict[str, Probe]) -> None:
    copies: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.name in probes:
            copies[probes[entry.name].key].append(entry)
    for same in (group for group in copies.values() if len(group) > 1):
        first, last = same[0], same[-1]
        parts, labels = {entry.part for entry in same}, {entry.label for entry in same}
        what = f"the same file as {first.name}" + (f" (line {first.line})" if first.line else "")
        if len(labels) > 1:
            layout.complain(ERROR, f"{what} under another class, {' and '.join(sorted(labels))}", last.name, last.line)
        elif "train" in parts and len(parts) > 1:
            layout.complain(ERROR, f"{what}, which is in train while this judges", last.name, last.line)
        else:
            layout.complain(WARNING, f"{what}; it counts {len(same)} times", last.name, last.line)


def write_report(checked: Checked, path: Path) -> None:
    """All problems as CSV: severity, line, file, reason; empty but for its header where there are none."""
    rows = [(p.severity, p.line, p.name, p.reason) for p in checked.problems]
    table = pd.DataFrame(rows, columns=["severity", "line", "file", "reason"]).astype({"line": "Int64"})
    write_text(path, table.to_csv(index=False))


def describe(problems: Sequence[Problem]) -> str:
    """Problems a line each, errors first; the rest is counted."""
    ordered = sorted(problems, key=lambda problem: problem.severity != ERROR)
    lines = [str(problem) for problem in ordered[:_SHOWN]]
    return "\n".join(lines + ([f"and {len(ordered) - _SHOWN} more"] if len(ordered) > _SHOWN else []))
