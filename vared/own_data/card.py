"""The results card: what was trained on what, what it reaches at which cost, and what would be reached without it."""

from pathlib import Path

import numpy as np
import pandas as pd

from vared.own_data.run_folder import OwnRun
from vared.reports.curve_reporting import percent
from vared.scratch import write_text

_Z = 1.96  # of a 95 % interval


def wilson(percent: float, clips: int) -> tuple[float, float]:
    """95 % interval (Wilson) of an accuracy in percent over so many clips, in percent; sound for few clips too."""
    share = percent / 100
    middle = (share + _Z**2 / (2 * clips)) / (1 + _Z**2 / clips)
    half = _Z * np.sqrt(share * (1 - share) / clips + _Z**2 / (4 * clips**2)) / (1 + _Z**2 / clips)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def write_card(run: OwnRun, record: dict, clips: pd.DataFrame) -> Path:
    """Write card.md into the folder of `run` from its `metrics.json` and a row a clip; returns the path."""
    text = f"""# Results card: {Path(run.facts["data"]).name}

{_first_line(record)}

## Accuracy and cost

{_networks(record)}

Accuracy without watching the videos, for comparison:

{_floors(record["floors"])}

{_by_class(clips)}

## Data

{_data(run, record)}

## Network and training

{_training(run)}

Weights: `weights.safetensors`; settings: `settings.json`; every clip with its part: `clips.csv`; a row a clip judged:
`evaluation.csv`; a row an epoch: `history.csv`. Made by `vared train --data` and `vared evaluate --data` on
{record["hardware"]}.
"""
    write_text(run.folder / "card.md", text)
    return run.folder / "card.md"


def _first_line(record: dict) -> str:
    name, metrics = next(iter(record["networks"].items()))
    low, high = wilson(metrics["clip1_top1"], record["clips"])
    share = metrics["gflops_backbone_mean"] / record["gflops_static"]
    return (
        f"**{metrics['clip1_top1']:.1f} %** of {record['clips']} clips right ({low:.1f} to {high:.1f}) at "
        f"{percent(share)} of the plain network's operations ({name})."
    )


def _networks(record: dict) -> str:
    rows, static = [], record["gflops_static"]
    for name, metrics in record["networks"].items():
        low, high = wilson(metrics["clip1_top1"], record["clips"])
        backbone, total = metrics["gflops_backbone_mean"], metrics["gflops_total_mean"]
        rows.append({
            "network": name, "clip-1 (95 % interval)": f"{metrics['clip1_top1']:.1f} ({low:.1f} to {high:.1f})",
            "video-1": f"{metrics['video1_top1']:.1f}" if "video1_top1" in metrics else "–",
            "GFLOPs avg": f"{backbone:.4g}",
            "min to max": f"{metrics['gflops_backbone_min']:.4g} to {metrics['gflops_backbone_max']:.4g}",
            "share of the plain network": percent(backbone / static),
            "gates and cheap operations counted": percent(total / static),
        })  # fmt: skip
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _floors(floors: dict[str, object]) -> str:
    rows = [{"floor": name, "clip-1": v if isinstance(v, str) else f"{v:.1f}"} for name, v in floors.items()]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _by_class(clips: pd.DataFrame) -> str:
    """Accuracy of every class, the worst first, with what it is most often taken for."""
    rows = []
    for label, part in clips.groupby("label"):
        wrong = part.loc[~part["correct"].astype(bool), "prediction"].mode()
        right = 100 * part["correct"].mean()
        rows.append(
            {"class": label, "clips": len(part), "right": right, "taken for": wrong.min() if len(wrong) else "–"}
        )
    table = pd.DataFrame(rows).sort_values(["right", "class"])
    return table.assign(right=table["right"].map("{:.0f} %".format)).to_markdown(index=False, disable_numparse=True)


def _data(run: OwnRun, record: dict) -> str:
    counts = run.clips["part"].value_counts()
    left_out = [*run.facts["left_out"], *record["left_out"]]
    lines = [
        f"- {run.facts['data']} ({run.facts['layout']}), {len(run.classes)} classes",
        f"- {counts.get('train', 0)} clips trained; {record['clips']} judged, part {record['part']} of "
        f"{record['judged_data']}, none of which trained",
        f"- parts: {run.facts['split']}",
        f"- left out as unreadable: {', '.join(sorted(set(filter(None, left_out)))) or 'none'}",
    ]
    return "\n".join(lines)


def _training(run: OwnRun) -> str:
    s, r = run.settings, run.recipe
    history = pd.read_csv(run.folder / "history.csv")
    minutes = history["seconds"].sum() / 60
    kind = f"dynamic, S = {s.search_space}" if s.search_space else "plain"
    goal = "" if s.share is None else f", trained for {100 * s.share:.0f} % of the plain network's operations"
    return "\n".join([
        f"- {s.network} ({kind}{goal}), width {s.width:g}, from nothing",
        f"- clips of {s.frames} frames at stride {s.stride}, {s.crop_size} pixels",
        f"- {r.epochs} + {r.finetune_epochs} epochs, batch {r.batch_size}, rates {r.learning_rate:g} and "
        f"{r.finetune_learning_rate:g}, seed {r.seed}: {minutes:.1f} minutes",
        f"- accuracy on training clips at the end {history['train_accuracy'].iloc[-1]:.1f} %",
    ])  # fmt: skip
