"""What a run of the pipeline measures: one row for each state of its network and each control, with per-clip tables.

A static run gives `static` (after phase 1) and `static_equal_epochs` (after phase 2, which for it is the same
fine-tuning without the efficiency loss). A dynamic run gives `before_finetuning` (phase 1), `dynamic` (phase 2) and, on
the final network, the controls `mean_policy` and `random_policy` (at the clip lengths that the profile asks for). A run
of a method that the thesis compares with gives one row by its name (`pruned`, `cgnet`, `arnet`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vared.batches import TrainingBatches
from vared.checkpoints import load_weights
from vared.controls import mean_policy, random_policy
from vared.evaluation import Evaluation, evaluate
from vared.experiments import build_network, data_set, hardware
from vared.flops import FlopReport, count_flops
from vared.policies import dynamic_layers
from vared.recipes import Recipe
from vared.run_words import BASELINES
from vared.runs import RunPlan
from vared.scratch import write_text


def evaluate_run(root: Path, plan: RunPlan, weights: Path, folder: Path) -> None:
    """Evaluate the run whose trained weights lie in `weights`.

    `folder` gets metrics.json (a row of metrics a variant), clips.parquet (a row a variant and clip) and
    policies.parquet (a row a clip and dynamic layer of the final network; empty for a static run).
    """
    torch.set_num_threads(1)
    centre = data_set(root, plan, "val")
    network = build_network(plan, len(centre.videos.classes))
    report = count_flops(network, tuple(centre[0]["clip"].shape))
    kind = plan.run.network
    rows = _dynamic_rows if kind == "dynamic" else _baseline_rows if kind in BASELINES else _static_rows
    clips, variants, policies = [], {}, pd.DataFrame({"clip": [], "layer": []})
    for name, found in rows(root, plan, network, weights, centre):
        print(f"{name}: {_line(found.metrics)}", flush=True)
        variants[name] = found.metrics
        clips.append(found.clips.assign(variant=name, correct=found.clips["correct"].astype(float)))
        if name == "dynamic":
            policies = found.policies.assign(share=_actual_share(found.policies, network, report))
    names = [record.name for record in centre.videos.records]
    table = pd.concat(clips, ignore_index=True)
    table.assign(name=table["clip"].map(dict(enumerate(names)))).to_parquet(folder / "clips.parquet", index=False)
    policies.to_parquet(folder / "policies.parquet", index=False)
    record = {
        "profile": plan.profile, "run": plan.run.word, "fingerprint": plan.evaluation_fingerprint,
        "data": plan.numbers["data"], "model": plan.numbers["model"], "classes": list(centre.videos.classes),
        "videos": centre.videos.report(), "hardware": hardware(), "gflops_static": _most(plan, network, report),
        "dynamic_layers": report.dynamic_layers, "variants": variants,
    }  # fmt: skip
    write_text(folder / "metrics.json", json.dumps(record, indent=1, sort_keys=True) + "\n")


def _most(plan: RunPlan, network: nn.Module, report: FlopReport) -> float:
    """GMACs of a clip of which nothing is saved."""
    if plan.run.network != "arnet":
        return report.static
    from vared.baselines.runs import most_gmacs

    return most_gmacs("arnet", network, (3, plan.run.frames, *[plan.numbers["model"]["crop_size"]] * 2))


def _static_rows(root, plan, network, weights, centre) -> Iterator[tuple[str, Evaluation]]:
    size = plan.numbers["evaluation"]["batch_size"]
    load_weights(network, weights / "phase1.safetensors")
    yield "static", evaluate(network, centre, views=data_set(root, plan, "val", views=True), batch_size=size)
    load_weights(network, weights / "weights.safetensors")
    yield "static_equal_epochs", evaluate(network, centre, batch_size=size)


def _baseline_rows(root, plan, network, weights, centre) -> Iterator[tuple[str, Evaluation]]:
    from vared.baselines.runs import clip_gmacs

    load_weights(network, weights / "weights.safetensors")
    cost = clip_gmacs(plan.run.network, network, tuple(centre[0]["clip"].shape))
    views, size = data_set(root, plan, "val", views=True), plan.numbers["evaluation"]["batch_size"]
    yield plan.run.network, evaluate(network, centre, views=views, batch_size=size, clip_gmacs=cost)


def _dynamic_rows(root, plan, network, weights, centre) -> Iterator[tuple[str, Evaluation]]:
    size = plan.numbers["evaluation"]["batch_size"]
    load_weights(network, weights / "phase1.safetensors")
    yield "before_finetuning", evaluate(network, centre, batch_size=size)
    load_weights(network, weights / "weights.safetensors")
    final = evaluate(network, centre, views=data_set(root, plan, "val", views=True), batch_size=size)
    yield "dynamic", final
    if plan.run.frames not in plan.numbers["evaluation"]["controls_at"]:
        return
    yield "mean_policy", mean_policy(network, centre, final.policies, _training_clips(root, plan), batch_size=size)
    count = plan.numbers["evaluation"]["permutations"]
    dealt = random_policy(network, centre, final.policies, permutations=count, seed=plan.run.seed, batch_size=size)
    yield "random_policy", _average(dealt, final.clips)


def _average(permutations: pd.DataFrame, clips: pd.DataFrame) -> Evaluation:
    """Mean over permutations, of the metrics and of `correct` of every clip."""
    metrics = permutations.drop(columns=["permutation", "correct"]).mean().to_dict()
    share = np.mean([list(row) for row in permutations["correct"]], axis=0)
    return Evaluation(metrics, clips[["clip", "label"]].assign(correct=share), pd.DataFrame())


def _training_clips(root: Path, plan: RunPlan) -> list[Tensor]:
    """Augmented training clips in batches, the same for every evaluation of the run."""
    training = plan.numbers["training"]
    batches = TrainingBatches(data_set(root, plan, "train", training=True), training["batch_size"], plan.run.seed)
    count = training.get("recalibration_clips", Recipe.recalibration_clips)
    return batches.some_clips(count, training["epochs"] + training["finetune_epochs"])


def _actual_share(policies: pd.DataFrame, network: nn.Module, report: FlopReport) -> pd.Series:
    """Share of a layer's multiply-accumulates executed for a clip, with the channels and frames really computed."""
    shares = {}
    for name, layer in dynamic_layers(network).items():
        cost = report.layers[name]
        for ratio, kept in zip(layer.channel_ratios, cost.kept_channels, strict=True):
            for stride in cost.temporal_factors:
                shares[name, stride, ratio] = kept / cost.channels * -(-cost.frames // stride) / cost.frames
    columns = (policies[name] for name in ("layer", "stride", "ratio"))
    return pd.Series([shares[key] for key in zip(*columns, strict=True)], index=policies.index, dtype=float)


def _line(metrics: dict[str, float]) -> str:
    return f"clip-1 {metrics['clip1_top1']:.1f} %, {metrics['gflops_backbone_mean']:.4g} GMACs a clip on average"
