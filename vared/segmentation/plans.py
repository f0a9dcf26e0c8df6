"""Which networks a profile trains for segmentation, and all that their numbers depend on.

A run's word is pspnet-NETWORK_seedSEED with NETWORK `static` or `sN` (dynamic in its channels, search space N), for
example pspnet-s2_seed0. The section `segmentation` of the profile in params.yaml lists its runs and their numbers.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vared.runs import EVALUATION_FILES, TRAINING_FILES, code_identity, fingerprint

WORD = re.compile(r"pspnet-(?:static|s(?P<search_space>[2-9]))_seed(?P<seed>0|[1-9]\d*)", re.ASCII)
SECTIONS = ("runs", "data", "model", "training", "evaluation")
# Files beside TRAINING_FILES whose content changes trained weights, and beside EVALUATION_FILES what is measured in
# them. The stage watches the same (tested).
NETWORK_FILES = (
    "vared/backbones/tsn.py",
    "vared/data/ade20k.py",
    "vared/data/embedded_masks.py",
    "vared/data/labelled_images.py",
    "vared/segmentation/experiment.py",
    "vared/tasks/pspnet.py",
    "vared/tasks/segmentation.py",
)
MEASURING_FILES = (
    "vared/segmentation/comparison.py",
    "vared/segmentation/evaluation.py",
    "vared/segmentation/protocol.py",
)


@dataclass(frozen=True)
class SegmentationRun:
    """One trained network; search_space is None for the static one."""

    word: str
    search_space: int | None
    seed: int


@dataclass(frozen=True)
class SegmentationPlan:
    """A run with the numbers of its profile (`numbers`: section `segmentation`) and the identity of data and code."""

    profile: str
    run: SegmentationRun
    numbers: Mapping[str, object]
    data_identity: str
    training_code: str
    evaluation_code: str

    @property
    def training_fingerprint(self) -> str:
        """16 hexadecimal digits over everything the weights depend on."""
        sections = {name: self.numbers[name] for name in ("data", "model", "training")}
        return fingerprint([self.profile, self.run.word, sections, self.data_identity, self.training_code])

    @property
    def evaluation_fingerprint(self) -> str:
        """16 hexadecimal digits over everything the evaluation depends on."""
        return fingerprint([self.training_fingerprint, self.numbers["evaluation"], self.evaluation_code])


def parse_run(word: str) -> SegmentationRun:
    """The run that `word` names. Raises ValueError that shows the form when it names none."""
    match = WORD.fullmatch(word)
    if not match:
        raise ValueError(
            f"{word!r} is no segmentation run. They are called pspnet-static_seed0 (plain network, seed 0) and "
            "pspnet-s2_seed0 (channels dynamic, search space 2)."
        )
    space = match["search_space"]
    return SegmentationRun(word, int(space) if space else None, int(match["seed"]))


def plan_runs(root: Path, profile: str, numbers: Mapping[str, object]) -> list[SegmentationPlan]:
    """The plans of all segmentation runs of `profile`; none when its section in params.yaml is absent.

    Raises ValueError for an incomplete section, a word that names no run and an unknown source of images,
    FileNotFoundError without data.
    """
    section = numbers.get("segmentation")
    if section is None:
        return []
    if missing := [name for name in SECTIONS if name not in section]:
        raise ValueError(f"params.yaml, profiles.{profile}.segmentation: the section {missing[0]!r} is missing.")
    identity = data_identity(root, profile, section["data"])
    files = (TRAINING_FILES + NETWORK_FILES, EVALUATION_FILES + MEASURING_FILES)
    codes = [code_identity(root, names) for names in files]
    return [SegmentationPlan(profile, parse_run(word), section, identity, *codes) for word in section["runs"]]


def data_identity(root: Path, profile: str, data: Mapping[str, object]) -> str:
    """Digest of the images: the profile's generated set, or names and sizes of the files of ADE20K."""
    if data["source"] == "embedded":
        path = root / "data" / profile / "identity.json"
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist. Make the data set first: vared data {profile}")
        return json.loads(path.read_text())["sha256"]
    if data["source"] != "ade20k":
        raise ValueError(
            f"params.yaml, profiles.{profile}.segmentation.data.source is {data['source']!r}; known are embedded and "
            "ade20k."
        )
    folder, digest = root / data["folder"], hashlib.sha256()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist. Put ADEChallengeData2016 there, or a link to it.")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()
