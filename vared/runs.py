"""The plan of a run: all numbers that it depends on, and their identity. What its word means: vared/run_words.py."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vared.run_words import BACKBONES, BASELINES, Run, parse_run

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
# The same for runs with another backbone than the profile's, and for methods that the thesis compares with.
BACKBONE_FILES = tuple(f"vared/backbones/{name}.py" for name in ("corrnet", "i3d", "tpn", "tsn", "x3d"))
BASELINE_FILES = tuple(f"vared/baselines/{name}.py" for name in ("arnet", "cgnet", "pruning", "runs", "training"))
EVALUATION_FILES = (
    "vared/controls.py",
    "vared/evaluation.py",
    "vared/execution.py",
    "vared/protocol.py",
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
        if self.numbers.get("baseline"):
            sections["baseline"] = self.numbers["baseline"]
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
    run = parse_run(word)
    folder, further = root / run.data_folder(profile), numbers["data"].get("further", {})
    data = {key: value for key, value in numbers["data"].items() if key != "further"}
    if run.data:
        if run.data not in further:
            raise ValueError(
                f"params.yaml, profiles.{profile}.data.further has no data set {run.data!r} for {word}: only "
                f"{', '.join(further) or 'none'}. Backbones are {', '.join(BACKBONES)}."
            )
        data = further[run.data]
    if not (folder / "identity.json").exists():
        raise FileNotFoundError(
            f"{folder / 'identity.json'} does not exist. Make the data set first: vared data {profile}"
        )
    settings, named = recipe_numbers(numbers["training"], run), {"backbone": run.backbone} if run.backbone else {}
    start = settings.pop("start_from", None)
    # The controls are about the profile's own network and data; elsewhere they would cost more than the training.
    without = {"controls_at": []} if run.data or run.backbone else {}
    return RunPlan(
        profile=profile,
        run=run,
        numbers={
            **numbers,
            "data": data,
            "model": of_run(numbers["model"], {"by_backbone": run.backbone}) | named,
            "sampling": of_run(numbers["sampling"], {"by_backbone": run.backbone, "by_data": run.data}),
            "training": settings,
            "evaluation": of_run(numbers["evaluation"], {"by_data": run.data}) | without,
            "baseline": (numbers["training"].get("baselines") or {}).get(run.network, {}).get("settings", {}),
        },
        data_identity=json.loads((folder / "identity.json").read_text())["sha256"],
        training_code=code_identity(root, training_files(run)),
        evaluation_code=code_identity(root, EVALUATION_FILES),
        start=plan_run(root, profile, start, numbers) if start else None,
    )


def recipe_numbers(training: Mapping[str, object], run: Run) -> dict[str, object]:
    """What the section `training` says for `run`: its Recipe, and `start_from`, the run whose phase 1 it starts from.

    What params.yaml says for the run's frames, data, backbone and network, in this order, takes the place of what it
    says for all.
    """
    baselines = training.get("baselines") or {}
    known = {name: (entry or {}).get("recipe", {}) for name, entry in baselines.items()}
    keys = {"by_frames": run.frames, "by_data": run.data, "by_backbone": run.backbone, "by_network": run.network}
    numbers = of_run({**training, "by_network": known}, keys)
    numbers.pop("baselines", None)
    if frames := numbers.pop("start_from_frames", None):
        numbers["start_from"] = run.with_frames(frames)
    factor = numbers.pop("long_factor", 1)
    if run.long:
        numbers |= {name: round(numbers[name] * factor) for name in ("epochs", "finetune_epochs")}
    if run.network == "single_frame":  # a floor for the static network, which is judged after phase 1
        numbers["finetune_epochs"] = 0
    if run.network == "pruned":  # prunes what the static run has learned in phase 1
        numbers |= {"start_from": run.static_partner}
    return numbers


def of_run(numbers: Mapping[str, object], keys: Mapping[str, object]) -> dict[str, object]:
    """`numbers` of a section with what its parts (`by_data`, ...) say for these keys; later keys take precedence."""
    found = {name: value for name, value in numbers.items() if name not in keys}
    for section, key in keys.items():
        found |= (numbers.get(section) or {}).get(key) or {}
    return found


def training_files(run: Run) -> tuple[str, ...]:
    """Files whose content changes the weights of `run`."""
    further = BACKBONE_FILES if run.backbone or run.network == "arnet" else ()
    return TRAINING_FILES + further + (BASELINE_FILES if run.network in BASELINES else ())


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
