"""Which clips train and which judge: the parts that the data give, or a split of our own that a seed decides."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from vared.own_data.layout import ERROR, WARNING, Entry, Layout

VAL_SHARE = 0.2


def split(layout: Layout, seed: int, val_share: float = VAL_SHARE) -> tuple[list[Entry], str]:
    """Every entry with its part, and in words where the parts are from.

    Without parts, `val_share` of every class (rounded, at least one clip of two or more) becomes val: those that come
    first by a hash of seed and name, so that the split is the same on every machine and in any order of the list. With
    train and test alone, test stands in for val; with train alone, val is split off it.
    """
    given = {entry.part for entry in layout.entries} - {""}
    if "train" in given and given & {"val", "test"}:
        if "val" in given:
            return list(layout.entries), "given by the data"
        entries = [replace(entry, part="val") if entry.part == "test" else entry for entry in layout.entries]
        return entries, "given by the data (its test part judges)"
    if given - {"train"}:
        layout.complain(ERROR, f"there is a part {', '.join(sorted(given))} but none to train on")
        return list(layout.entries), "given by the data"
    judged = set()
    for label in layout.classes:
        names = sorted((entry.name for entry in layout.entries if entry.label == label), key=lambda n: _draw(seed, n))
        judged |= set(names[: max(1, round(val_share * len(names))) if len(names) > 1 else 0])
    entries = [replace(entry, part="val" if entry.name in judged else "train") for entry in layout.entries]
    return entries, f"{100 * val_share:.0f} % of every class by seed {seed}, because the data give no part to judge by"


def check_parts(layout: Layout, entries: Sequence[Entry]) -> None:
    """Complain of classes that cannot be learned or judged; `entries` have their parts."""
    counts = {part: Counter(entry.label for entry in entries if entry.part == part) for part in ("train", "val")}
    for label in layout.classes:
        train, val = counts["train"][label], counts["val"][label]
        if not train:
            layout.complain(ERROR, f"class {label!r} has {val} clips to judge by and none to train on")
        elif train + val == 1:
            layout.complain(WARNING, f"class {label!r} has one clip, which trains; nothing judges the class")
        elif not val:
            layout.complain(WARNING, f"class {label!r} has no clip to judge by")
    total = sum(counts["train"].values())
    if layout.entries and total < 4:
        layout.complain(ERROR, f"{total} clips to train on are too few; a batch needs 2, an epoch more")


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).hexdigest()
