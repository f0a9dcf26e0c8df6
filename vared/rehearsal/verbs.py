"""The verb `vared rehearse`: a profile of thesis scale tried on tiny official files, or its networks at full size."""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.
PATHS, STEPS = Path("results") / "rehearsal", Path("results") / "full_size"


def add_verb(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it; `verb` takes a name, a function, a summary and the words that follow, and returns the parser."""
    command = verb("rehearse", run, "try every path of a profile with tiny official files, and full-size networks")
    command.add_argument("profile", nargs="?", default="paper")
    command.add_argument("--quick", action="store_true", help="one run of every data set, backbone and kind of network")
    command.add_argument("--folder", type=Path, help="work here and keep it (default: a folder that is removed)")
    command.add_argument(
        "--full-size", action="store_true", help="instead: one training and one evaluation step of every network"
    )
    command.add_argument("--network", action="append", help="with --full-size: only this case (may be repeated)")


def run(root: Path, options: argparse.Namespace) -> None:
    """Do what `options` ask for and write its record, CSV and Markdown, into results/."""
    from vared.cli import profile_numbers

    profile_numbers(root, options.profile)
    if options.full_size:
        from vared.rehearsal.full_size import record_steps

        record_steps(root, options.profile, root / STEPS, options.network)
        return
    walk_through(root, options)


def walk_through(root: Path, options: argparse.Namespace) -> None:
    """Rehearse in a throw-away project; only a walk through all runs is recorded."""
    from vared.rehearsal.project import make_project
    from vared.rehearsal.record import write_walk
    from vared.rehearsal.walk import rehearse, runs_of_every_set

    folder = options.folder or Path(tempfile.mkdtemp(prefix="rehearsal-"))
    try:
        project = make_project(root, folder, options.profile)
        only = runs_of_every_set(project, options.profile) if options.quick else None
        steps = rehearse(project, options.profile, only=only)
        print(f"{len(steps)} steps, {steps['seconds'].sum():.0f} s: every path works")
        if not options.quick:
            write_walk(root / PATHS, options.profile, steps)
    finally:
        if not options.folder:
            shutil.rmtree(folder)
