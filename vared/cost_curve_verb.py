"""The verb `vared cost-curve`: accuracy against cost of a trained network, of the pipeline or your own."""

import argparse
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.
from vared import runs, scratch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `vared cost-curve`."""
    parser.add_argument(
        "profile", nargs="?", help="a profile of the pipeline, whose cost_curve in params.yaml is drawn"
    )
    parser.add_argument("--folder", type=Path, help="what `vared train --data` made, instead of a profile")
    parser.add_argument("--static", type=Path, nargs="*", default=[], metavar="FOLDER", help="plain networks beside it")
    parser.add_argument("--share", type=float, help="also write weights that cost this share of the plain network, 0.7")
    parser.set_defaults(needs_project=lambda options: options.folder is None)


def run(root: Path | None, options: argparse.Namespace) -> None:
    """Write cost_curve.csv into the results of a profile, or the curve with its picture into a folder.

    Raises ValueError for both or neither of profile and folder, FileNotFoundError for what is not trained.
    """
    if bool(options.profile) == bool(options.folder):
        raise ValueError(
            "vared cost-curve takes a profile of the pipeline, or --folder with a trained run of your own."
        )
    if options.folder:
        from vared.own_data.curve import draw_folder

        draw_folder(options.folder, options.static, options.share)
        return
    if options.static or options.share:
        raise ValueError("--static and --share go with --folder; a profile's static runs are listed in params.yaml.")
    from vared.cli import profile_numbers

    numbers = profile_numbers(root, options.profile)
    table = sweep_run(root, options.profile, numbers)
    target = runs.results_folder(root, options.profile) / "cost_curve.csv"
    scratch.write_text(target, table.round(6).to_csv(index=False))
    print(target)


def sweep_run(root: Path, profile: str, numbers: dict):
    """The curve of the profile's run `cost_curve.run`, as `cost_curve.cost_curve` gives it, with the run's word.

    Raises FileNotFoundError when the run is not trained, ValueError when params.yaml says nothing about the curve.
    """
    import torch

    from vared.batches import TrainingBatches
    from vared.checkpoints import load_weights
    from vared.cost_curve import cost_curve
    from vared.experiments import build_network, data_set

    if "cost_curve" not in numbers:
        raise ValueError(f"params.yaml, profiles.{profile}: the section 'cost_curve' is missing.")
    settings = numbers["cost_curve"]
    plan = runs.plan_run(root, profile, settings["run"], numbers)
    weights = root / "data" / "runs" / profile / plan.run.word / "weights.safetensors"
    if not weights.exists():
        raise FileNotFoundError(f"{weights} does not exist. Train it: vared train {profile} {plan.run.word}")
    torch.set_num_threads(1)
    centre = data_set(root, plan, "val")
    network = load_weights(build_network(plan, len(centre.videos.classes)), weights)
    # The clips on which training itself measures batch normalisation at its end.
    training = plan.numbers["training"]
    batches = TrainingBatches(data_set(root, plan, "train", training=True), training["batch_size"], plan.run.seed)
    clips = batches.some_clips(settings["training_clips"], training["epochs"] + training["finetune_epochs"])
    table = cost_curve(
        network, centre, clips, settings["thresholds"], permutations=settings["permutations"], seed=plan.run.seed,
        batch_size=plan.numbers["evaluation"]["batch_size"],
    )  # fmt: skip
    return table.assign(run=plan.run.word)
