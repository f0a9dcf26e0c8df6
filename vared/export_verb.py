"""The verb `vared export`: a trained run of the pipeline as an ONNX file."""

import argparse
from pathlib import Path

# Nothing slow (torch) at the top: every command of the package reads this file.
from vared import runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `vared export`."""
    parser.add_argument("profile")
    parser.add_argument("run")
    parser.add_argument("file", type=Path, help="what to write, such as model.onnx")
    parser.add_argument("--temporal", type=int, help="every layer of a dynamic network computes every R-th frame")
    parser.add_argument("--channel", type=float, help="and this share of its channels, such as 0.5")


def run(root: Path, options: argparse.Namespace) -> None:
    """Write the published weights of a run as ONNX and print the path.

    Raises FileNotFoundError for a run that is not trained, ValueError for what `export_onnx` refuses.
    """
    from vared.cli import plan_of

    plan = plan_of(root, options)
    weights = root / "data" / "runs" / plan.profile / plan.run.word / "weights.safetensors"
    if not weights.exists():
        raise FileNotFoundError(f"{weights} does not exist. Train it: vared train {plan.profile} {plan.run.word}")
    print(export_run(root, plan, weights, options.file, options.temporal, options.channel))


def export_run(
    root: Path, plan: runs.RunPlan, weights: Path, file: Path, temporal: int | None, channel: float | None
) -> Path:
    """Write the network of `plan` with the given weights to `file`, with one policy if it is dynamic."""
    from vared.checkpoints import load_weights
    from vared.experiments import build_network, load_videos
    from vared.export import export_onnx

    network = build_network(plan, len(load_videos(root, plan)["train"].classes))
    side = plan.numbers["model"]["crop_size"]
    example = (3, plan.run.frames, side, side)
    return export_onnx(load_weights(network, weights), file, example, temporal=temporal, channel=channel)
