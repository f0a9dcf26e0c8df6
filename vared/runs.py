"""Runs in plain words: what `s2_8f_seed0` means, and the identity of everything its numbers depend on.

A run's word is NETWORK_FRAMESf_seedSEED. NETWORK is `static` (the plain network), `sN` (dynamic, search space N) or
`single_frame` (the plain network shown one frame repeated: what can be told without motion).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

WORD = re.compile(r"(?P<network>static|single_frame|s(?P<search_space>[1-9]))_(?P<frames>[1-9]\d*)f_seed(?P<seed>\d+)")

# Files whose content changes trained weights, and those that change an evaluation of given weights. Stage dependencies
# in dvc.yaml are the same lists (tested). Anything else may be edited without training again.
TRAINING_FILES = (
    "vared/backbones/__init__.py",
    "vared/backbones/r2plus1d.py",
    "vared/batches.py",
    "vared/cheap_terms.py",
    "vared/conversion.py",
    "vared/data/class_names.py",
    "vared/data/dataset.py",
    "vared/data/frame_cache.py",
    "vared/data/jhmdb.py",
    "vared/data/kinetics.py",
    "vared/data/list_files.py",
    "vared/data/records.py",
    "vared/data/sampling.py",
    "vared/data/scanning.py",
    "vared/data/transforms.py",
    "vared/data/video.py",
    "vared/experiments.py",
    "vared/flops.py",
    "vared/gate.py",
    "vared/layers.py",
    "vared/losses.py",
    "vared/network_graph.py",
    "vared/observation.py",
    "vared/optimization.py",
    "vared/policies.py",
    "vared/recalibration.py",
    "vared/recipes.py",
    "vared/reconstruction.py",
    "vared/selection.py",
    "vared/tasks/recognition.py",
    "vared/training.py",
    "vared/training_mix.py",
    "vared/trial_run.py",
    "vared/warm_start.py",
)
EVALUATION_FILES = (
    "vared/controls.py",
    "vared/evaluation.py",
    "vared/execution.py",
    "vared/protocol.py",
)


@dataclass(frozen=True)
class Run:
    """One trained network. `search_space` is None for a static one."""

    word: str
    frames: int
    search_space: int | None
    single_frame: bool
    seed: int

    @property
    def plain(self) -> bool:
        """A static network that sees the video."""
        return self.search_space is None and not self.single_frame

    @property
    def group(self) -> str:
        """The word without its seed: runs of one group differ in the seed only."""
        return self.word.rsplit("_seed", 1)[0]

    def with_frames(self, frames: int) -> str:
        """The word of the same run with clips of `frames` frames."""
        return self.word.replace(f"_{self.frames}f_", f"_{frames}f_")


def require_plain(run: Run) -> None:
    """Raises ValueError for a run that is not a static network that sees the video: table B.1 is about those."""
    if not run.plain:
        what = "shown one frame repeated" if run.single_frame else "dynamic"
        raise ValueError(f"{run.word} is {what}; redundancy is measured in static networks on whole clips.")


def parse_run(word: str) -> Run:
    """The run that `word` names. Raises ValueError that shows the form when it names none."""
    match = WORD.fullmatch(word)
    if not match:
        raise ValueError(
            f"{word!r} is no run. Runs are called static_8f_seed0 (plain network, 8 frames, seed 0), s2_8f_seed0 "
            "(dynamic, search space 2) or single_frame_8f_seed0 (plain network, one frame repeated)."
        )
    search_space = match["search_space"]
    if match["seed"] != str(int(match["seed"])):
        raise ValueError(f"{word!r} is no run: write its seed without leading zeros, seed{int(match['seed'])}.")
    return Run(
        word=word,
        frames=int(match["frames"]),
        search_space=int(search_space) if search_space else None,
        single_frame=match["network"] == "single_frame",
        seed=int(match["seed"]),
    )


@dataclass(frozen=True)
class RunPlan:
    """A run together with all that decides its numbers.

    `numbers` are those of the profile in params.yaml, `data_identity` names the bytes of the data set. Two plans with
    equal fingerprints give the same result; profiles never share one, even with equal numbers.
    """

    profile: str
    run: Run
    numbers: Mapping[str, object]
    data_identity: str
    training_code: str
    evaluation_code: str
    start: "RunPlan | None" = None  # the run whose weights after phase 1 this one starts from

    @property
    def training_fingerprint(self) -> str:
        """16 hexadecimal digits over everything the weights depend on."""
        sections = {name: self.numbers[name] for name in ("model", "sampling", "training")}
        start = self.start.training_fingerprint if self.start else None
        return fingerprint([self.profile, self.run.word, sections, self.data_identity, self.training_code, start])

    @property
    def evaluation_fingerprint(self) -> str:
        """16 hexadecimal digits over everything the evaluation depends on."""
        return fingerprint([self.training_fingerprint, self.numbers["evaluation"], self.evaluation_code])


def plan_run(root: Path, profile: str, word: str, numbers: Mapping[str, object]) -> RunPlan:
    """The plan of run `word` on the data set of `profile` in the project at `root`.

    Raises ValueError for a word that names no run or a section that params.yaml lacks, FileNotFoundError without data.
    """
    missing = [name for name in ("data", "model", "sampling", "training", "evaluation") if name not in numbers]
    if missing:
        raise ValueError(f"params.yaml, profiles.{profile}: the section {missing[0]!r} is missing.")
    identity = root / "data" / profile / "identity.json"
    if not identity.exists():
        raise FileNotFoundError(f"{identity} does not exist. Make the data set first: vared data {profile}")
    run = parse_run(word)
    training = dict(numbers["training"])
    training |= training.pop("by_frames", {}).get(run.frames, {})
    start_frames = training.pop("start_from_frames", None)
    if run.single_frame:  # a floor for the static network, which is judged after phase 1
        training["finetune_epochs"] = 0
    return RunPlan(
        profile=profile,
        run=run,
        numbers={**numbers, "training": training},
        data_identity=json.loads(identity.read_text())["sha256"],
        training_code=code_identity(root, TRAINING_FILES),
        evaluation_code=code_identity(root, EVALUATION_FILES),
        start=plan_run(root, profile, run.with_frames(start_frames), numbers) if start_frames else None,
    )


def code_identity(root: Path, files: Iterable[str]) -> str:
    """Digest of the contents of `files` below `root`."""
    return fingerprint([hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files])


def fingerprint(content: object) -> str:
    """16 hexadecimal digits over anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def in_order(plans: Iterable[RunPlan]) -> list[RunPlan]:
    """Runs that others start from first, then the longest, so that none is left over at the end.

    Of those that start from others the plain ones come first, since what they wait for is done sooner.
    """
    plans = list(plans)
    needed = {plan.start.run.word for plan in plans if plan.start}

    def work(plan: RunPlan) -> tuple:
        space = plan.run.search_space or 0
        return plan.run.word not in needed, -plan.run.frames, space if plan.start else -space, plan.run.word

    return sorted(plans, key=work)


def results_folder(root: Path, profile: str) -> Path:
    """Where the committed results of `profile` lie: results/ for the default profile, results/PROFILE/ for others."""
    return root / "results" if profile == "embedded" else root / "results" / profile
