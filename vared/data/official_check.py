"""What a profile's data sets lack: folders and lists of the official releases, all at once, before anything is read.

Only where everything is in place are the lists read, so that a wrong line is found too.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vared.data.ade20k import load_ade20k
from vared.data.jhmdb import load_jhmdb
from vared.data.official import OFFICIAL, PARTS, load_official

# Source -> (what must exist in the set's folder, why). Alternatives stand in one row.
KINETICS = (
    (("train.csv", "train.txt"), "the official list of the training part: label,youtube_id,time_start,time_end,split"),
    (("val.csv", "val.txt"), "the official list of the validation part (rename validate.csv)"),
    (("train",), "training videos, train/<class>/<youtube_id>_<start:06d>_<end:06d>.mp4"),
    (("val",), "validation videos, the same under val/"),
)
NEEDED = {
    "Kinetics-400": KINETICS,
    "Mini-Kinetics-200": KINETICS + (
        (("mini_train_videofolder.txt", "mini_train.txt"),
         "the thesis's list of 121k training videos, from data/kinetics/ of github.com/mengyuest/AdaFuse"),
        (("mini_val_videofolder.txt", "mini_val.txt"), "its list of about 10k validation videos, from there too"),
    ),
    "Moments-In-Time": (
        (("moments_categories.txt",), "the 339 classes with their ids (moments.csail.mit.edu, after registration)"),
        (("trainingSet.csv",), "the official list of the training part"),
        (("validationSet.csv",), "the official list of the validation part"),
        (("training", "train"), "training videos, training/<class>/<file>.mp4"),
        (("validation", "val"), "validation videos, the same under validation/"),
    ),
    "jhmdb": (
        (("ReCompress_Videos",), "the videos, ReCompress_Videos/<class>/<video>.avi (jhmdb.is.tue.mpg.de)"),
        (("splits",), "the lists, splits/<class>_test_split1.txt"),
        (("puppet_mask",), "the masks, puppet_mask/<class>/<video>/puppet_mask.mat, which boxes are drawn around"),
    ),
    "ade20k": (
        (("images/training",), "training images, ADE_train_<8 digits>.jpg (sceneparsing.csail.mit.edu)"),
        (("images/validation",), "validation images, ADE_val_<8 digits>.jpg"),
        (("annotations/training",), "their annotations, ADE_train_<8 digits>.png: 8 bits, one channel"),
        (("annotations/validation",), "those of the validation images"),
    ),
}  # fmt: skip
# Training and validation parts as the thesis counts them (section 4.1); J-HMDB-21: of split 1, counted in its lists.
EXPECTED = {
    "Kinetics-400": (240_000, None), "Mini-Kinetics-200": (121_000, 10_000), "Moments-In-Time": (802_244, 33_900),
    "jhmdb": (660, 268), "ade20k": (20_210, 2_000),
}  # fmt: skip


@dataclass
class Found:
    """One data set: its name in the profile, where it must lie, what is missing or wrong, and what was counted."""

    name: str
    source: str
    folder: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.problems:
            return "\n".join((f"{self.name} ({self.source}, {self.folder}): complete", *self.notes))
        lines = (f"    {line}" for line in self.problems)
        return "\n".join((f"{self.name} ({self.source}): {len(self.problems)} missing or wrong", *lines, *self.notes))


def profile_sets(numbers: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Name -> what params.yaml says of every set of a profile: its own, further ones, and that of segmentation."""
    data = dict(numbers["data"])
    further = data.pop("further", {})
    images = (numbers.get("segmentation") or {}).get("data", {})
    sets = {data["source"]: data, **further}
    return sets | ({"ade20k": images} if images.get("source") == "ade20k" else {})


def check_profile(root: Path, numbers: Mapping[str, object], only: str | None = None) -> list[Found]:
    """Look at every set of the profile, or at the one called `only`; generated ones need nothing.

    Raises ValueError that lists the sets when there is none of that name.
    """
    sets = profile_sets(numbers)
    if only and only not in sets:
        raise ValueError(f"The profile has no data set {only!r}, only {', '.join(sets)}.")
    chosen = {only: sets[only]} if only else sets
    return [check_set(root, name, source) for name, source in chosen.items() if source["source"] in NEEDED]


def check_set(root: Path, name: str, source: Mapping[str, object]) -> Found:
    """All that is missing of one set; when nothing is, what its lists say is wrong, and how many videos they give."""
    kind, folder = source["source"], root / str(source["folder"])
    found = Found(name, kind, str(source["folder"]))
    if not folder.is_dir():
        found.problems.append(f"{source['folder']} is missing: make this folder, or a link to where the set lies, with")
    for names, what in NEEDED[kind]:
        if not any((folder / entry).exists() for entry in names):
            found.problems.append(f"{source['folder']}/{' or '.join(names)}: {what}")
    if not found.problems:
        _read(root, source, found)
    return found


def _read(root: Path, source: Mapping[str, object], found: Found) -> None:
    for part, expected in zip(PARTS, EXPECTED[found.source], strict=True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                line, count = _counted(root, source, part)
            except (ValueError, OSError) as error:
                found.problems.append(f"{part}: {error}")
                continue
        found.notes += [f"    {part}: {line}" + (f"; the thesis has {expected:,}" if expected else "")]
        found.notes += [f"    {part}: {warning.message}" for warning in caught]
        if expected and count < expected / 2:
            found.notes.append(f"    {part}: that is less than half of it, so accuracies are not comparable")


def _counted(root: Path, source: Mapping[str, object], part: str) -> tuple[str, int]:
    folder = root / str(source["folder"])
    if source["source"] == "ade20k":
        images = load_ade20k(folder, part)
        return f"{len(images.names)} images, {len(images.classes)} classes", len(images.names)
    if source["source"] in OFFICIAL:
        videos = load_official(root, source, part)
    else:
        videos = load_jhmdb(folder, {"train": "train", "val": "test"}[part], source.get("split", 1))
    return videos.report(), len(videos)
