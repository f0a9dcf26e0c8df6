"""The verb `vared localize`: localisation heads on the backbones of a profile's runs, and the table of all."""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.
from vared import ahead, runs, scratch
from vared.runs import RunPlan, code_identity, fingerprint, in_order

OUTPUTS = ("metrics.json", "frames.parquet", "detections.parquet")
# Files beside those that decide the backbone's weights whose content changes a result; the stage watches the same.
LOCALIZATION_FILES = (
    "vared/data/boxed_clips.py",
    "vared/data/boxes.py",
    "vared/data/embedded/writer.py",
    "vared/execution.py",
    "vared/localization/experiment.py",
    "vared/localization/network.py",
    "vared/tasks/detections.py",
    "vared/tasks/localization.py",
    "vared/tasks/localization_head.py",
)
COLUMNS = (
    "run", "variant", "backbone", "search_space", "width", "frames", "seed", "clips", "gflops_static", "gflops_avg",
    "gflops_max", "gflops_min", "gflops_total", "frame_map", "recall", "classification_accuracy", "first_recall",
)  # fmt: skip


def add_verb(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it; `verb` takes a name, a function, a summary and the words that follow, and returns the parser."""
    command = verb("localize", localize, "train and evaluate localisation heads on trained backbones", "profile")
    command.add_argument("run", nargs="?", help="one run (default: all that params.yaml names, side by side)")
    cores = len(os.sched_getaffinity(0))
    command.add_argument("--jobs", type=int, default=cores, help="runs at a time (default: cores)")


def localize(root: Path, options: argparse.Namespace) -> int:
    """Fill data/localizations/PROFILE/RUN for one run, or for all and then write localization.csv of the results.

    All are those of `localization.runs` in params.yaml that the profile has; there may be none.
    Raises FileNotFoundError for a run that is not trained, ValueError for one that cannot localise.
    """
    from vared.cli import plan_of, profile_numbers, profile_runs

    numbers = profile_numbers(root, options.profile)
    if "localization" not in numbers:
        raise ValueError(f"params.yaml, profiles.{options.profile}: the section 'localization' is missing.")
    if options.run:
        publish(root, plan_of(root, options))
        return 0
    listed = profile_runs(root, options.profile)
    words = [word for word in numbers["localization"]["runs"] if word in listed]
    plans = [runs.plan_run(root, options.profile, word, numbers) for word in words]
    return publish_all(root, options.profile, plans, options.jobs)


def localized(root: Path, plan: RunPlan, weights: Path, home: Path | None = None) -> Path:
    """The scratch folder, in `home` or the run's, of heads on the backbone whose weights lie in folder `weights`.

    Trains them when that is not done.
    """
    identity = fingerprint([plan.numbers["localization"], code_identity(root, LOCALIZATION_FILES)])
    folder = (home or root / "scratch" / plan.training_fingerprint) / f"localization-{identity}"

    def work(target: Path) -> None:
        from vared.localization import experiment

        experiment.localize_run(root, plan, weights, target)

    return scratch.compute_once(folder, work, {"profile": plan.profile, "run": plan.run.word})


def publish(root: Path, plan: RunPlan) -> None:
    """Put the result on the published backbone of a run under data/localizations/.

    With `data` in the section `localization` the clips are those of that further set of the profile.
    """
    weights = root / "data" / "runs" / plan.profile / plan.run.word
    if not (weights / "weights.safetensors").exists():
        command = f"vared train {plan.profile} {plan.run.word}"
        raise FileNotFoundError(f"{weights / 'weights.safetensors'} does not exist. Train it: {command}")
    shown = elsewhere(root, plan)
    if shown is plan:
        folder = localized(root, plan, weights)
    else:
        backbone = carried(root, shown, weights)
        folder = localized(root, shown, backbone, home=backbone)
    scratch.publish(folder, OUTPUTS, root / "data" / "localizations" / plan.profile / plan.run.word)


def elsewhere(root: Path, plan: RunPlan) -> RunPlan:
    """The plan of the same run on the set that the section `localization` names; `plan` itself where it names none.

    Raises ValueError for a run that has a data set of its own already.
    """
    from vared.cli import profile_numbers

    name = plan.numbers["localization"].get("data")
    if not name:
        return plan
    if plan.run.data:
        raise ValueError(f"params.yaml, localization.data is {name}, but {plan.run.word} is on a set of its own.")
    return runs.plan_run(root, plan.profile, f"{name}-{plan.run.word}", profile_numbers(root, plan.profile))


def carried(root: Path, plan: RunPlan, weights: Path) -> Path:
    """The scratch folder of the weights in folder `weights` with a classifier for the data set of `plan`."""
    content = [hashlib.sha256((weights / f"{name}.safetensors").read_bytes()).hexdigest()
               for name in ("phase1", "weights")]  # fmt: skip
    folder = root / "scratch" / plan.training_fingerprint / f"carried-{fingerprint(content)}"

    def work(target: Path) -> None:
        from vared.localization import transfer

        transfer.carry_over(root, plan, weights, target)

    return scratch.compute_once(folder, work, {"profile": plan.profile, "run": plan.run.word})


def publish_all(root: Path, profile: str, plans: Sequence[RunPlan], jobs: int) -> int:
    """`publish` of all `plans`, `jobs` at a time, then the table of all. The exit status."""
    folder = root / "data" / "localizations" / profile
    folder.mkdir(parents=True, exist_ok=True)
    words = [plan.run.word for plan in in_order(plans)]
    commands = {word: [sys.executable, "-m", "vared", "localize", profile, word] for word in words}
    if commands and ahead.report_failures(ahead.run_side_by_side(commands, jobs, root)):
        return 1
    write_table([folder / plan.run.word / "metrics.json" for plan in plans], runs.results_folder(root, profile))
    return 0


def write_table(files: Sequence[Path], results: Path) -> None:
    """localization.csv in the folder `results`: a row a run and variant, its header alone without runs."""
    import pandas as pd

    rows = []
    for record in (json.loads(path.read_text(encoding="utf-8")) for path in files):
        rows += [record | numbers | {"variant": variant} for variant, numbers in record["variants"].items()]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"search_space": "Int64"}).round(6)
    scratch.write_text(results / "localization.csv", table.to_csv(index=False))
