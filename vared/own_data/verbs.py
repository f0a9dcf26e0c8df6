"""The verbs for your own videos: `vared check DATA`, `vared train --data DATA`, `vared evaluate --data DATA`.

`train` and `evaluate` without --data are the pipeline's. With it they work anywhere, also outside a clone.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.
Command = Callable[[Path | None, argparse.Namespace], int | None]


def add_verbs(verb: Callable[..., argparse.ArgumentParser], train: Command, evaluate: Command) -> None:
    """Add all three; `verb` makes a parser, `train` and `evaluate` are the pipeline's forms."""
    look = verb("check", run_check, "find all that is wrong with videos, or missing for a profile, before it trains")
    look.add_argument("data", type=Path, help="a folder of class folders, a CSV, or a profile of params.yaml (paper)")
    look.add_argument("set", nargs="?", help="with a profile: only this data set of it, such as kinetics400")
    _reading(look)
    look.add_argument("--report", type=Path, help="also write the problems to this CSV")
    learn = _two_forms(verb("train", _either(train, run_train), "train a run of the pipeline, or on your own videos"))
    _reading(learn)
    _training(learn)
    judge = verb("evaluate", _either(evaluate, run_evaluate), "evaluate a run of the pipeline, or of your own videos")
    _two_forms(judge)
    _reading(judge, clips=False)
    judge.add_argument("--part", default="val", choices=("val", "test"), help="which part judges (default: val)")
    for parser in (look, learn, judge):
        parser.set_defaults(needs_project=lambda options: "profile" in options and options.data is None)


def _two_forms(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("profile", nargs="?", help="of the pipeline; without --data")
    parser.add_argument("run", nargs="?", help="a run of it, such as s2_8f_seed0")
    parser.add_argument("--data", type=Path, help="your own videos: a folder of class folders, or a CSV")
    parser.add_argument(
        "--folder", type=Path, help="what is trained and found goes here (default: runs/NAME of the data)"
    )
    return parser


def _reading(parser: argparse.ArgumentParser, clips: bool = True) -> None:
    if clips:
        parser.add_argument("--frames", type=int, default=8, help="frames of a clip (default: 8)")
        parser.add_argument(
            "--stride", type=int, help="frames from one to the next (default: as lengths allow, up to 4)"
        )
        parser.add_argument("--seed", type=int, default=0, help="of the split and the training (default: 0)")
    parser.add_argument("--root", type=Path, help="folder that the paths of a CSV start from (default: the CSV's)")
    parser.add_argument("--allow-outside", action="store_true", help="also read what a CSV lists outside that folder")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", type=int, default=min(4, cores), help="processes that decode (default: up to 4)")
    if parser.prog.split()[-1] != "check":
        parser.add_argument("--leave-out", action="store_true", help="go on without files that cannot be read")


def _training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", default="r2plus1d_18", help="see vared.list_models() (default: r2plus1d_18)")
    parser.add_argument("--width", type=float, default=0.25, help="factor on all channel counts (default: 0.25)")
    parser.add_argument("--crop", type=int, default=64, help="pixels of a clip's side (default: 64)")
    parser.add_argument("--search-space", type=int, default=2, help="candidates of each gate (default: 2)")
    parser.add_argument("--static", action="store_true", help="the plain network, to compare with")
    parser.add_argument(
        "--share", type=float, help="train for this share of the plain network's operations, such as 0.7"
    )
    parser.add_argument("--epochs", type=int, help="of phase 1 (default: by the number of clips)")
    parser.add_argument("--finetune-epochs", type=int, help="of phase 2 (default: by the number of clips)")
    parser.add_argument("--batch", type=int, help="clips of a batch (default: 16, fewer for very small sets)")
    parser.add_argument(
        "--rate", type=float, help="learning rate of phase 1; half of it in phase 2 (default: by the batch)"
    )


def _either(pipeline: Command, own: Command) -> Command:
    def command(root: Path | None, options: argparse.Namespace) -> int | None:
        if options.data is not None and options.profile:
            raise ValueError("Give a profile and a run of the pipeline, or --data with your own videos, not both.")
        if options.data is not None:
            return own(root, options)
        if not (options.profile and options.run):
            raise ValueError("Give a profile and a run of the pipeline, such as embedded s2_8f_seed0, or --data DATA.")
        return pipeline(root, options)

    return command


def folder_of(options: argparse.Namespace) -> Path:
    """Where a run on these data lies: --folder, or runs/ and the name of the data."""
    return options.folder or Path("runs") / options.data.resolve().stem


def run_check(root: Path | None, options: argparse.Namespace) -> int:
    """Print what was found and all problems. Status 2 with errors, 0 without."""
    if not options.data.exists() and (numbers := _profile(str(options.data))):
        return _check_profile(*numbers, options.set)
    from vared.own_data.checking import check, describe, write_report

    found = check(
        options.data, options.frames, options.stride, root=options.root, seed=options.seed, workers=options.workers,
        allow_outside=options.allow_outside,
    )  # fmt: skip
    if options.report:
        write_report(found, options.report)
    errors = len(found.errors())
    if found.problems:
        print(describe(found.problems))
    print(f"{found.summary()}\nclips: {options.frames} frames at stride {found.stride}")
    print(f"{errors} errors, {len(found.problems) - errors} warnings")
    return 2 if errors else 0


def _profile(name: str) -> tuple[Path, dict] | None:
    """The project and the section of profile `name` in its params.yaml; None where there is neither."""
    from vared.cli import load_parameters, project_root

    try:
        root = project_root()
    except FileNotFoundError:
        return None
    numbers = load_parameters(root)["profiles"].get(name)
    return (root, numbers) if numbers else None


def _check_profile(root: Path, numbers: dict, only: str | None) -> int:
    """Print what the data sets of a profile lack. Status 2 when something is missing or wrong, 0 otherwise."""
    from vared.data.official_check import check_profile

    found = check_profile(root, numbers, only)
    for entry in found:
        print(entry)
    lacking = [entry.name for entry in found if entry.problems]
    print(f"not ready: {', '.join(lacking)}; data/README.md says more" if lacking else "all data sets are in place")
    return 2 if lacking else 0


def run_train(root: Path | None, options: argparse.Namespace) -> None:
    """Check the data, then train into the folder or go on there. Raises ValueError for errors in the data."""
    from vared.own_data.checking import check, describe, write_report
    from vared.own_data.run_folder import start_run
    from vared.own_data.settings import Settings, suitable_recipe
    from vared.own_data.training import train_run

    found = check(
        options.data, options.frames, options.stride, root=options.root, seed=options.seed, workers=options.workers,
        allow_outside=options.allow_outside,
    )  # fmt: skip
    found.require(options.leave_out)
    print(found.summary(), *([describe(found.problems)] if found.problems else []), sep="\n", flush=True)
    settings = Settings(
        options.network, None if options.static else options.search_space, options.width, options.frames, found.stride,
        options.crop, options.share,
    )  # fmt: skip
    chosen = {
        "batch_size": options.batch, "epochs": options.epochs, "finetune_epochs": options.finetune_epochs,
        "learning_rate": options.rate, "finetune_learning_rate": options.rate and options.rate / 2,
    }  # fmt: skip
    recipe = suitable_recipe(len(found.videos("train")), options.seed, **chosen)
    run = start_run(folder_of(options), found, settings, recipe)
    write_report(found, run.folder / "problems.csv")
    weights = train_run(run, workers=options.workers)
    print(f"{weights}\nnext: vared evaluate --data {options.data} --folder {run.folder}")


def run_evaluate(root: Path | None, options: argparse.Namespace) -> None:
    """Judge a trained folder by clips of the data that it was not trained on, and print its card."""
    from vared.own_data.checking import check
    from vared.own_data.evaluation import evaluate_run
    from vared.own_data.run_folder import read_trained

    run = read_trained(folder_of(options))
    clips = run.settings
    found = check(
        options.data, clips.frames, clips.stride, root=options.root, seed=run.recipe.seed, workers=options.workers,
        allow_outside=options.allow_outside,
    )  # fmt: skip
    card = evaluate_run(run, found, part=options.part, leave_out=options.leave_out, workers=options.workers)
    print(card.read_text(encoding="utf-8").partition("\n## Data")[0])
    print(card)
