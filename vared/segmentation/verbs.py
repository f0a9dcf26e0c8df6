"""The verb `vared segment`: train and evaluate PSPNet, static and dynamic, once in scratch/, then publish."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.
from vared import ahead, scratch
from vared.runs import results_folder
from vared.segmentation.plans import SegmentationPlan, plan_runs

TRAINING_OUTPUTS = ("weights.safetensors", "history.csv", "training.json")
EVALUATION_OUTPUTS = ("metrics.json", "images.parquet")


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it; `verb` takes a name, a function, a summary and the words that follow, and returns the parser."""
    parser = verb("segment", segment, "train and evaluate the segmentation networks of a profile", "profile")
    parser.add_argument("run", nargs="?", help="one run, such as pspnet-s2_seed0 (default: all, side by side)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help="runs at a time (default: cores)")


def segment(root: Path, options: argparse.Namespace) -> int:
    """Put runs under data/segmentation/PROFILE/RUN; without a run all of them, and their tables into the results.

    Raises ValueError for a run that the profile does not list.
    """
    from vared.cli import profile_numbers

    plans = {plan.run.word: plan for plan in plan_runs(root, options.profile, profile_numbers(root, options.profile))}
    folder = root / "data" / "segmentation" / options.profile
    if options.run:
        if options.run not in plans:
            where = f"params.yaml, profiles.{options.profile}.segmentation.runs"
            raise ValueError(f"{where}: there is no {options.run!r}, only {', '.join(plans) or 'nothing'}.")
        publish(root, plans[options.run], folder / options.run)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "vared", "segment", options.profile]
    commands = {word: [*command, word] for word in plans}
    if commands and ahead.report_failures(ahead.run_side_by_side(commands, options.jobs, root)):
        return 1
    from vared.segmentation.collecting import collect

    collect(folder, options.profile, list(plans), results_folder(root, options.profile))
    return 0


def publish(root: Path, plan: SegmentationPlan, target: Path) -> None:
    """Train and evaluate the run unless scratch/ holds that already, and copy its files to `target`."""
    record = {"profile": plan.profile, "run": plan.run.word}
    weights = root / "scratch" / plan.training_fingerprint

    def work(folder: Path) -> None:
        from vared.segmentation import experiment

        experiment.train(root, plan, folder)

    def measure(folder: Path) -> None:
        from vared.segmentation import protocol

        protocol.evaluate_run(root, plan, weights, folder)

    leader = int(os.environ.get("RANK", 0)) == 0
    scratch.compute_once(weights, work, record, leader=leader)
    if leader:
        evaluation = scratch.compute_once(weights / f"evaluation-{plan.evaluation_fingerprint}", measure, record)
        scratch.publish(weights, TRAINING_OUTPUTS, target)
        scratch.publish(evaluation, EVALUATION_OUTPUTS, target)
