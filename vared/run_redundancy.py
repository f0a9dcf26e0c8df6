"""Redundancy of the trained static networks of a profile, beside what is known of their clips (table B.1, figure B-1).

Each network is measured on the centre clips of its validation set; then all runs are gathered into tidy tables:

    redundancy.csv    a row a run, tensor and dimension: means over clips, and quantiles
    correlations.csv  rank correlations with known motion and clutter: of redundancy (static runs), of cost (dynamic)
    adaptivity.csv    a row a dynamic run: how its cost and its policy vary over clips
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from vared.adaptivity import correlation_table, run_adaptivity, with_scenes
from vared.checkpoints import load_weights
from vared.experiments import build_network, data_set
from vared.redundancy import DIMENSIONS, TENSORS, Redundancy, measure_redundancy
from vared.runs import RunPlan, parse_run
from vared.scratch import write_text

CORRELATED = ("CC", "RMSE", "RP")
_LAYERS, _CLIPS = "layers.csv", "clips.parquet"


def measure_dataset(model: nn.Module, dataset: Dataset, *, batch_size: int = 32, tensor: str) -> Redundancy:
    """`measure_redundancy` on the items {"clip", ...} of a data set, in their order."""
    return measure_redundancy(model, (item["clip"] for item in DataLoader(dataset, batch_size)), tensor=tensor)


def measure_run(
    root: Path, plan: RunPlan, weights: Path, folder: Path, tensors: Sequence[str] = TENSORS
) -> None:  # fmt: skip
    """Measure the static run whose trained weights lie in `weights`, as it is after phase 1.

    `folder` gets layers.csv (a row a tensor, layer and dimension) and clips.parquet (a row a tensor, clip and
    dimension, with the clip's name). Raises ValueError for a dynamic run: table B.1 is about static networks.
    """
    if plan.run.search_space is not None:
        raise ValueError(f"{plan.run.word} is dynamic; redundancy is measured in static networks.")
    torch.set_num_threads(1)
    clips = data_set(root, plan, "val")
    network = build_network(plan, len(clips.videos.classes))
    load_weights(network, weights / "phase1.safetensors")
    names = pd.Series([record.name for record in clips.videos.records])
    size, found = plan.numbers["evaluation"]["batch_size"], {}
    for tensor in tensors:
        found[tensor] = measure_dataset(network, clips, batch_size=size, tensor=tensor)
    layers = pd.concat([result.layers.assign(tensor=tensor) for tensor, result in found.items()], ignore_index=True)
    of_clips = pd.concat([result.clips.assign(tensor=tensor) for tensor, result in found.items()], ignore_index=True)
    write_text(folder / _LAYERS, layers.round(6).to_csv(index=False))
    of_clips.assign(name=of_clips["clip"].map(names)).to_parquet(folder / _CLIPS, index=False)


def redundancy_rows(word: str, clips: pd.DataFrame) -> list[dict]:
    """Rows of redundancy.csv from the clips.parquet of one run."""
    rows = []
    for tensor, of_tensor in clips.groupby("tensor", sort=False):
        summary = Redundancy(layers=pd.DataFrame(), clips=of_tensor).summary()
        rows += [{"run": word, "tensor": tensor} | row for row in summary.to_dict("records")]
    return rows


def redundancy_by_clip(clips: pd.DataFrame, tensor: str = "convolution") -> pd.DataFrame:
    """A row a clip: name, and a column such as `temporal CC` for every dimension and measure of CORRELATED."""
    wide = clips[clips["tensor"] == tensor].pivot(index=["clip", "name"], columns="dimension", values=list(CORRELATED))
    table = pd.DataFrame({f"{d} {m}": wide[m][d] for d in DIMENSIONS for m in CORRELATED})
    return table.reset_index().sort_values("clip", ignore_index=True)


def collect_analysis(
    measured: Path, evaluations: Path, words: Sequence[str], scenes: pd.DataFrame | None, target: Path
) -> None:
    """Write redundancy.csv, adaptivity.csv and, where `scenes` (`adaptivity.known_scenes`) are known, correlations.csv.

    `measured` and `evaluations` hold a folder a run of `words`, written by `measure_run` for the static ones and by
    `protocol.evaluate_run`. Raises FileNotFoundError that names the runs that are missing.
    """
    runs = [parse_run(word) for word in words if not parse_run(word).single_frame]
    static = {run.word: measured / run.word / _CLIPS for run in runs if run.search_space is None}
    dynamic = {run.word: evaluations / run.word for run in runs if run.search_space is not None}
    needed = [*static.values(), *(folder / "metrics.json" for folder in dynamic.values())]
    if missing := [path.parent.name for path in needed if not path.exists()]:
        raise FileNotFoundError(f"Not measured yet: {', '.join(missing)}. Run dvc repro, it does what is left.")
    redundancy, adaptivity, by_clip = [], [], {}
    for word, path in static.items():
        clips = pd.read_parquet(path)
        redundancy += redundancy_rows(word, clips)
        by_clip[word] = redundancy_by_clip(clips)
    costs = {}
    for word, folder in dynamic.items():
        clips = pd.read_parquet(folder / "clips.parquet").query("variant == 'dynamic'").sort_values("clip")
        static_cost = json.loads((folder / "metrics.json").read_text())["gflops_static"]
        policies = pd.read_parquet(folder / "policies.parquet")
        adaptivity.append({"run": word} | run_adaptivity(clips, policies, static_cost))
        costs[word] = clips.assign(cost=clips["gflops_backbone"])
    tables = {"redundancy": pd.DataFrame(redundancy), "adaptivity": pd.DataFrame(adaptivity)}
    if scenes is not None:
        names = [f"{dimension} {measure}" for dimension in DIMENSIONS for measure in CORRELATED]
        known = {word: with_scenes(table, scenes) for word, table in (by_clip | costs).items()}
        of_redundancy = correlation_table({word: known[word] for word in by_clip}, names)
        tables["correlations"] = pd.concat([of_redundancy, correlation_table({w: known[w] for w in costs}, ["cost"])])
    for name, table in tables.items():
        write_text(target / f"{name}.csv", table.round(6).to_csv(index=False))
