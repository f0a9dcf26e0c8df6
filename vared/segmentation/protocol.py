"""What a segmentation run measures, the rows and controls of recognition: see vared/protocol.py for their names.

A static run gives `static` (after phase 1) and `static_equal_epochs` (after phase 2); a dynamic run
`before_finetuning`, `dynamic`, and on the final network the controls `mean_policy` and `random_policy`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from vared.batches import TrainingBatches
from vared.checkpoints import load_weights
from vared.controls import PairedDifference
from vared.data.labelled_images import SegmentationDataset
from vared.evaluation import Evaluation
from vared.experiments import hardware
from vared.scratch import write_text
from vared.segmentation.evaluation import COUNTS, evaluate, mean_policy, random_policy
from vared.segmentation.experiment import build_network, load_images, recipe, training_set
from vared.segmentation.plans import SegmentationPlan

RESAMPLES = 2_000


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


def class_iou(hits: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Intersection over union of every class (... x K pixels each) in percent, NaN for one that is nowhere."""
    union = labelled + predicted - hits
    return 100.0 * np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)


def total(images: pd.DataFrame, what: str) -> np.ndarray:
    """Pixels of every class (K) over all images; `what` is one of COUNTS."""
    return np.stack(images[what]).sum(0)


def differences(a: pd.DataFrame, b: pd.DataFrame, *, seed: int = 0) -> dict[str, PairedDifference]:
    """`pixel_accuracy` and `mean_iou` of `a` minus those of `b` on the same images, in points, with 95 % intervals.

    Tables of one variant each (images.parquet). The intervals are a percentile bootstrap over clips: images whose name
    is the same up to a colon are drawn together. Raises ValueError when the images differ.
    """
    if a["name"].tolist() != b["name"].tolist():
        raise ValueError("A paired difference needs the same images on both sides.")
    clips, of_image = np.unique(a["name"].str.partition(":")[0], return_inverse=True)
    sums = [[_by_clip(np.stack(table[what]), of_image, len(clips)) for what in COUNTS] for table in (a, b)]
    draws = np.random.default_rng(seed).multinomial(len(clips), np.full(len(clips), 1 / len(clips)), RESAMPLES)
    found = {}
    for name, measure in (("pixel_accuracy", _pixel_accuracy), ("mean_iou", _mean_iou)):
        # The first row is the images as they are, the others what was drawn.
        weights = np.concatenate([np.ones((1, len(clips))), draws])
        ours, theirs = (measure(*(weights @ counts for counts in side)) for side in sums)
        difference = ours - theirs
        found[name] = PairedDifference(difference[0], *np.percentile(difference[1:], [2.5, 97.5]))
    return found


def _by_clip(counts: np.ndarray, of_image: np.ndarray, clips: int) -> np.ndarray:
    sums = np.zeros((clips, counts.shape[1]))
    np.add.at(sums, of_image, counts)
    return sums


def _pixel_accuracy(hits, labelled, predicted) -> np.ndarray:
    return 100.0 * hits.sum(-1) / labelled.sum(-1)


def _mean_iou(*counts: np.ndarray) -> np.ndarray:
    return np.nanmean(class_iou(*counts), axis=-1)
