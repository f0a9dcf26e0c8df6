"""The verbs `vared redundancy`, `vared analyse` and `vared shipped-network`: what trained networks repeat, and what
their policies depend on."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.
from vared import pipeline, runs


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add all; `verb` takes a name, a function, a summary and the words that follow, and returns the parser."""
    measure = verb("redundancy", redundancy, "measure how alike the maps of trained static networks are", "profile")
    measure.add_argument("run", nargs="?", help="one static run (default: all of the profile, side by side)")
    cores = len(os.sched_getaffinity(0))
    measure.add_argument("--jobs", type=int, default=cores, help="runs at a time (default: cores)")
    verb("analyse", analyse, "gather redundancy and adaptivity of all runs into tidy tables", "profile")
    verb("shipped-network", shipped, "measure how alike the maps of a trained network are that a package ships")


def redundancy(root: Path, options: argparse.Namespace) -> int:
    """Measure the published weights of one static run, or of all, into data/redundancy/PROFILE/RUN.

    Raises FileNotFoundError for a run that is not trained, ValueError for one that is not static.
    """
    from vared.cli import plan_of, profile_numbers, profile_runs

    if options.run:
        pipeline.publish_redundancy(root, plan_of(root, options))
        return 0
    numbers = profile_numbers(root, options.profile)
    plans = [runs.plan_run(root, options.profile, word, numbers) for word in profile_runs(root, options.profile)]
    return 0 if pipeline.publish_all_redundancy(root, options.profile, plans, options.jobs) else 1


def analyse(root: Path, options: argparse.Namespace) -> None:
    """Gather redundancy and adaptivity of all runs of a profile into the tables of its results folder."""
    from vared.analysis import adaptivity
    from vared.analysis import collecting as analysis
    from vared.cli import profile_numbers, profile_runs
    from vared.data.sets import DEFAULT, set_folder

    profile, data = options.profile, root / "data"
    words = profile_runs(root, profile)
    generated = profile_numbers(root, profile)["data"]["source"].startswith("embedded")  # the others know no scenes
    names = dict.fromkeys(runs.parse_run(word).data for word in words)
    of_sets = {name: set_folder(root, profile, name or DEFAULT) / "clips" for name in names}
    scenes = {name: adaptivity.known_scenes(clips) for name, clips in of_sets.items()} if generated else None
    folders = (data / "redundancy" / profile, data / "evaluations" / profile)
    analysis.collect_analysis(*folders, words, scenes, runs.results_folder(root, profile))


def shipped(root: Path, options: argparse.Namespace) -> None:
    """Measure the network and videos that packages ship into results/shipped_network/.

    Raises ValueError with the way to get it for a package that is not installed.
    """
    from vared.analysis import shipped_network

    try:
        shipped_network.load_transnet(), shipped_network.shipped_videos()
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    shipped_network.write_shipped(root / "results" / "shipped_network")
