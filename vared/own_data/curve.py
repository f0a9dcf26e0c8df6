"""`vared cost-curve --folder`: what your trained network loses when it is asked to cost less."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vared.checkpoints import save_weights
from vared.cost_curve import cost_curve, mean_share, static_point, threshold_for, with_threshold
from vared.data.records import VideoList
from vared.evaluation import evaluate
from vared.flops import count_flops
from vared.own_data.run_folder import OwnRun, read_trained
from vared.policies import dynamic_layers
from vared.reports import reporting
from vared.reports.curve_reporting import PLAIN, curve_table, draw_curve, percent

THRESHOLDS = (-0.4, -0.2, 0.0, 0.2, 0.4, 0.5, 0.6)


def draw_folder(folder: Path, static: Sequence[Path] = (), share: float | None = None) -> Path:
    """Write cost_curve.csv, .png and .md into a trained folder; the clips judged are those of its val part.

    `static` are folders of plain networks (`vared train --data ... --static`, of any width) for the same picture. With
    `share`, weights that cost that share of the plain network are written as well, at_PERCENT.safetensors.
    Raises ValueError for a folder of a plain network, or a static one that judges by other clips.
    """
    run = read_trained(folder)
    videos = run.part("val")
    if not videos.records:
        raise ValueError(f"{folder} has no clips to judge by: {folder / 'clips.csv'} names none of part val.")
    network, clips = run.trained_network(), run.training_clips()
    if not dynamic_layers(network):
        raise ValueError(f"{folder} holds a plain network; give the folder of a dynamic one, and this one to --static.")
    plain = [_plain_point(run, path, videos, network) for path in static]
    if share is not None:
        write_for_share(run, network, clips, share)
    curve = cost_curve(network, run.data_set(videos), clips, THRESHOLDS)
    curve = pd.concat([curve, pd.DataFrame(plain, columns=curve.columns)], ignore_index=True) if plain else curve
    note = "" if plain else "\nNo plain network was given to compare with: `vared train --data ... --static`.\n"
    text = f"""# Accuracy against cost

Thresholds of the gates of `{run.folder}`, batch normalisation measured anew on training clips, weights as trained;
{len(videos)} clips of part val.

![clip-1 against operations](cost_curve.png)

{reporting.markdown(curve_table(curve))}
{note}"""
    files = {"cost_curve.csv": curve, "cost_curve.png": reporting.png(draw_curve(curve)), "cost_curve.md": text}
    reporting.save(run.folder, files, write=True)
    print(run.folder / "cost_curve.md")
    return run.folder / "cost_curve.md"


def write_for_share(run: OwnRun, network, clips: list, share: float) -> Path:
    """Weights of the network with its threshold moved so that it costs `share` of the plain one on training clips.

    They load into the same network as those of the training. Raises ValueError for a share out of reach.
    """
    threshold, reached = threshold_for(network, clips, share)
    moved = with_threshold(network, threshold, clips)
    path = run.folder / f"at_{round(100 * share)}.safetensors"
    save_weights(moved, path)
    print(f"{path}: threshold {threshold:+.3f}, {percent(reached)} of the plain network on training clips "
          f"({percent(mean_share(network, clips))} as trained)")  # fmt: skip
    return path


def _plain_point(run: OwnRun, folder: Path, videos: VideoList, network) -> dict[str, object]:
    plain = read_trained(folder)
    judged = [set(other.clips.loc[other.clips["part"] == "val", "key"]) for other in (run, plain)]
    if judged[0] != judged[1] or plain.classes != run.classes:
        raise ValueError(f"{folder} has other clips in its val part than {run.folder}: they cannot share a picture.")
    trained = plain.trained_network()
    if dynamic_layers(trained):
        raise ValueError(
            f"{folder} holds a dynamic network; --static takes plain ones (vared train --data ... --static)."
        )
    shape = (3, run.settings.frames, *[run.settings.crop_size] * 2)
    found = evaluate(trained, plain.data_set(videos))
    return static_point(f"{PLAIN} ({folder.name})", found, count_flops(network, shape).static)
