"""The verbs `vared ready` and `vared model-card`: what the package ships, from trained runs of the pipeline."""

import argparse
from collections.abc import Callable
from pathlib import Path

# Nothing slow (torch) at the top: every command of the package reads this file.
from vared import runs


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both; `verb` takes a name, a function, a summary and the words that follow, and returns the parser."""
    verb("ready", make_ready, "put the weights and card of a trained run into vared/weights", "name")
    verb("model-card", make_model_card, "write the page about the networks in vared/weights")


def make_ready(root: Path, options: argparse.Namespace) -> None:
    """Write the ready network that params.yaml calls by that name. Raises ValueError for a name it does not list."""
    from vared.cli import profile_numbers
    from vared.ready_making import write_ready

    listed = ready_runs(root)
    if options.name not in listed:
        raise ValueError(f"params.yaml, ready_lists, has no network {options.name!r}, only {', '.join(listed)}.")
    profile, word = listed[options.name]["profile"], listed[options.name]["run"]
    plan = runs.plan_run(root, profile, word, profile_numbers(root, profile))
    card = write_ready(root, plan, options.name, root / "vared" / "weights")
    print(f"{card.name}: clip-1 {card.metrics['clip1_top1']:.1f} %, sha256 {card.sha256}")


def make_model_card(root: Path, options: argparse.Namespace) -> None:
    """Write vared/weights/README.md from the cards beside it."""
    from vared.ready_making import write_model_card

    write_model_card(list(ready_runs(root)), root / "vared" / "weights" / "README.md")


def ready_runs(root: Path) -> dict[str, dict[str, str]]:
    """Ready networks of all profiles by name: their profile and run."""
    from vared.cli import load_parameters

    lists = load_parameters(root)["ready_lists"]
    return {name: entry for listed in lists.values() for name, entry in listed.items()}
