"""All segmentation runs of a profile as tidy tables. Without torch."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vared.scratch import write_text
from vared.segmentation.comparison import differences
from vared.segmentation.plans import parse_run

COLUMNS = (
    "run", "network", "search_space", "seed", "variant", "images", "pixel_accuracy", "mean_iou", "gflops_static",
    "gflops_backbone_mean", "gflops_backbone_max", "gflops_backbone_min", "gflops_gate_mean", "gflops_cheap_mean",
    "gflops_total_mean",
)  # fmt: skip
COMPARED = tuple(
    f"{metric}_{part}" for metric in ("pixel_accuracy", "mean_iou") for part in ("difference", "low", "high")
)


def collect(folder: Path, profile: str, words: Sequence[str], results: Path) -> None:
    """Write segmentation.csv, segmentation_classes.csv and segmentation.json to `results` from the runs in `folder`.

    A row a run and variant; the columns of COMPARED hold what the dynamic network of the same seed (the first listed)
    has above it, on the same images, with the ends of the 95 % interval. Classes: IoU of each in percent.
    """
    records = {word: json.loads((folder / word / "metrics.json").read_text()) for word in words}
    images = {word: pd.read_parquet(folder / word / "images.parquet") for word in words}
    dynamic = {run.seed: run.word for run in map(parse_run, reversed(words)) if run.search_space}
    rows, classes = [], []
    for word, record in records.items():
        run = parse_run(word)
        partner = word if run.search_space else dynamic.get(run.seed)
        for variant, metrics in record["variants"].items():
            row = {"run": word, "network": "dynamic" if run.search_space else "static", "variant": variant}
            row |= {"search_space": run.search_space, "seed": run.seed} | metrics
            if partner and variant != "dynamic":
                found = differences(_variant(images[partner], "dynamic"), _variant(images[word], variant))
                row |= dict(zip(COMPARED, (value for pair in found.values() for value in pair), strict=True))
            rows.append(row)
            named = zip(record["classes"], metrics["iou"], strict=True)
            classes += [{"run": word, "variant": variant, "class": name, "iou": iou} for name, iou in named]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *COMPARED]).round(6)
    write_text(results / "segmentation.csv", table.to_csv(index=False))
    by_class = pd.DataFrame(classes, columns=["run", "variant", "class", "iou"]).round(4)
    write_text(results / "segmentation_classes.csv", by_class.to_csv(index=False))
    first = next(iter(records.values()), {})
    summary = {name: first.get(name) for name in ("data", "model", "classes", "hardware")}
    summary["profile"] = profile
    write_text(results / "segmentation.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")


def _variant(images: pd.DataFrame, name: str) -> pd.DataFrame:
    return images[images["variant"] == name].sort_values("image")
