"""What a segmentation run measures, the rows and controls of recognition: see vared/protocol.py for their names.

A static run gives `static` (after phase 1) and `static_equal_epochs` (after phase 2); a dynamic run
`before_finetuning`, `dynamic`, and on the final network the controls `mean_policy` and `random_policy`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from vared.batches import TrainingBatches
from vared.checkpoints import load_weights
from vared.data.labelled_images import SegmentationDataset
from vared.evaluation import Evaluation
from vared.experiments import hardware
from vared.scratch import write_text
from vared.segmentation.comparison import COUNTS, class_iou, total
from vared.segmentation.evaluation import evaluate, mean_policy, random_policy
from vared.segmentation.experiment import build_network, load_images, recipe, training_set
from vared.segmentation.plans import SegmentationPlan


def evaluate_run(root: Path, plan: SegmentationPlan, weights: Path, folder: Path) -> None:
    """Evaluate the run whose trained weights lie in `weights`.

    `folder` gets metrics.json (a row of metrics a variant) and images.parquet (a row a variant and image).
    """
    torch.set_num_threads(1)
    images = load_images(root, plan, "val")
    network = build_network(plan, len(images.classes))
    variants, tables = {}, []
    for name, found in _rows(root, plan, network, weights, SegmentationDataset(images)):
        line = {key: round(found.metrics[key], 4) for key in ("pixel_accuracy", "mean_iou", "gflops_total_mean")}
        print(f"{name}: {line}", flush=True)
        variants[name] = found.metrics | {"iou": class_iou(*(total(found.clips, what) for what in COUNTS)).tolist()}
        tables.append(found.clips.assign(variant=name, image=range(len(images.names)), name=images.names))
    pd.concat(tables, ignore_index=True).to_parquet(folder / "images.parquet", index=False)
    record = {
        "profile": plan.profile, "run": plan.run.word, "fingerprint": plan.evaluation_fingerprint,
        "data": plan.numbers["data"], "model": plan.numbers["model"], "classes": list(images.classes),
        "hardware": hardware(), "variants": variants,
    }  # fmt: skip
    write_text(folder / "metrics.json", json.dumps(record, indent=1, sort_keys=True) + "\n")


def _rows(root, plan, network: nn.Module, weights: Path, images) -> Iterator[tuple[str, Evaluation]]:
    numbers = plan.numbers["evaluation"]
    settings = {"num_classes": len(images.images.classes), "batch_size": numbers["batch_size"]}
    static = plan.run.search_space is None
    load_weights(network, weights / "phase1.safetensors")
    yield "static" if static else "before_finetuning", evaluate(network, images, **settings)
    load_weights(network, weights / "weights.safetensors")
    final = evaluate(network, images, **settings)
    yield "static_equal_epochs" if static else "dynamic", final
    if static:
        return
    train, numbers = recipe(plan), plan.numbers["evaluation"]
    batches = TrainingBatches(training_set(root, plan), train.batch_size, plan.run.seed)
    some = batches.some_clips(train.recalibration_clips, train.epochs + train.finetune_epochs)
    yield "mean_policy", mean_policy(network, images, final.policies, some, **settings)
    count, seed = numbers["permutations"], plan.run.seed
    yield "random_policy", random_policy(
        network, images, final.policies, permutations=count, seed=seed, **settings
    )  # fmt: skip
