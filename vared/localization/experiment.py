"""Localisation on the backbone of one recognition run: train a head, find the actor in key frames of validation videos.

A static run gives `static` (backbone after phase 1) and `static_equal_epochs` (after phase 2), a dynamic run `dynamic`.
Every run also writes the floor of its data: one box of average size, place and the commonest class for every clip.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from vared.data.boxed_clips import BoxedClips, KeyFrameSampling
from vared.data.boxes import VideoBoxes, load_boxes
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord
from vared.experiments import hardware, load_videos
from vared.flops import count_flops
from vared.localization.network import as_input, build_localizer, choose_anchors, frozen_maps
from vared.policies import policy
from vared.recipes import Recipe
from vared.runs import RunPlan
from vared.scratch import write_text
from vared.tasks.detections import CORNERS, detections, localized, metrics
from vared.tasks.localization import Localization
from vared.tasks.localization_head import Localizer
from vared.training import fit
from vared.trial_run import evaluating

# Variant -> file of the recognition run with the backbone's weights.
STATIC = {"static": "phase1.safetensors", "static_equal_epochs": "weights.safetensors"}
DYNAMIC = {"dynamic": "weights.safetensors"}
COSTS = ("backbone", "gate", "cheap", "total")


def localize_run(root: Path, plan: RunPlan, weights: Path, folder: Path) -> None:
    """Train and evaluate heads on the backbones whose weights lie in the folder `weights`.

    `folder` gets metrics.json (metrics of every variant), frames.parquet (a row a variant and key frame: where the
    actor is, whether it was found, GMACs of the clip) and detections.parquet, and a folder for each training.
    Raises ValueError for runs without such a backbone and ListError for boxes that do not fit the videos.
    """
    torch.set_num_threads(1)
    settings = plan.numbers["localization"]
    if plan.run.network not in ("static", "dynamic"):
        raise ValueError(f"Localisation is about static and dynamic networks, not {plan.run.word}.")
    train_set, val_set = (boxed_clips(root, plan, part) for part in ("train", "val"))
    classes = train_set.videos.classes
    anchors = choose_anchors(np.concatenate([found.corners for found in train_set.boxes]), settings["anchors"])
    task, truths = Localization(anchors, len(classes)), truth_table(val_set)
    variants, frames, found = {"floor": metrics(floor(train_set, truths), truths)}, [], []
    files = STATIC if plan.run.plain else DYNAMIC
    localizers = {name: build_localizer(plan, len(classes), weights / file, settings) for name, file in files.items()}
    train_heads(localizers, train_set, task, plan, folder)
    for variant, localizer in localizers.items():
        table, costs, static = evaluate(localizer, val_set, task, settings)
        variants[variant] = {"gflops_static": static} | metrics(table, truths) | _cost_metrics(costs)
        print(f"{variant}: frame-mAP {variants[variant]['frame_map']:.1f} %", flush=True)
        frames.append(truths.join(localized(table, truths)).join(costs, on="clip").assign(variant=variant))
        found.append(table.assign(variant=variant))
    pd.concat(frames, ignore_index=True).to_parquet(folder / "frames.parquet", index=False)
    pd.concat(found, ignore_index=True).to_parquet(folder / "detections.parquet", index=False)
    record = {
        "profile": plan.profile, "run": plan.run.word, "backbone": plan.numbers["model"]["backbone"],
        "width": plan.numbers["model"]["width"], "search_space": plan.run.search_space, "frames": plan.run.frames,
        "seed": plan.run.seed, "settings": settings, "anchors": anchors, "classes": list(classes),
        "clips": len(val_set), "videos": val_set.videos.report(), "hardware": hardware(), "variants": variants,
    }  # fmt: skip
    write_text(folder / "metrics.json", json.dumps(record, indent=1, sort_keys=True) + "\n")


def boxed_clips(root: Path, plan: RunPlan, part: str) -> BoxedClips:
    """Clips of `part` ("train" or "val") with the boxes of their key frames; training clips are cut and flipped."""
    settings, sampling = plan.numbers["localization"], plan.numbers["sampling"]
    videos = load_videos(root, plan)[part]
    cache = FrameCache.build(videos, root / "scratch" / "frames", short_side=settings.get("short_side"))
    keys = KeyFrameSampling(
        plan.run.frames, sampling["stride"][plan.run.frames], settings["key_frame"], settings["key_frames_per_video"]
    )
    return BoxedClips(
        videos, boxes_of(root, plan, videos, cache), cache, keys, crop_size=settings["crop_size"], seed=plan.run.seed,
        training=part == "train", scales=settings["scales"],
    )  # fmt: skip


def boxes_of(root: Path, plan: RunPlan, videos: VideoList, cache: FrameCache) -> dict[str, VideoBoxes]:
    """Boxes of `videos`: of the generated set its table, of J-HMDB-21 those around the masks where you put them."""

    def shape_of(record: VideoRecord) -> tuple[int, int, int]:
        return cache.frame_count(record), *cache.read(record, [0]).shape[1:3]

    given = plan.numbers["data"].get("folder")
    return load_boxes(root / given if given else root / "data" / plan.profile / "clips", videos, shape_of)


def train_heads(
    localizers: dict[str, Localizer], clips: BoxedClips, task: Localization, plan: RunPlan, folder: Path
) -> None:  # fmt: skip
    """Train each head on maps of its frozen backbone, or with `frozen: false` all of it, by the loop of recognition.

    `folder` gets a folder for each. Raises ValueError for a second phase with a frozen backbone: it trains gates.
    """
    settings = plan.numbers["localization"]
    recipe = Recipe(seed=plan.run.seed, **settings["training"])
    if settings["frozen"] and recipe.finetune_epochs:
        raise ValueError("params.yaml, localization: phase 2 trains gates, and with `frozen: true` none learns.")
    learning, data = list(localizers.values()), [clips] * len(localizers)
    if settings["frozen"]:
        data = frozen_maps(learning, clips, settings["views"], settings["batch_size"])
        learning = [localizer.head for localizer in learning]
    for name, model, train_set in zip(localizers, learning, data, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        fit(model, train_set, recipe, directory=folder / name, task=task, progress=False)


def evaluate(
    localizer: Localizer, clips: BoxedClips, task: Localization, settings: dict
) -> tuple[pd.DataFrame, pd.DataFrame, float]:  # fmt: skip
    """Detections in all `clips`, GMACs of each (gflops_backbone, ..., head included) and of the plain network."""
    report = count_flops(localizer, tuple(clips[0]["clip"].shape))
    tables, costs, first = [], [], 0
    with evaluating(localizer), torch.inference_mode():
        for item in DataLoader(clips, settings["batch_size"]):
            output = localizer(as_input(item["clip"], localizer))
            limits = {"confidence": settings["confidence"], "overlap": settings["overlap"]}
            tables.append(detections(task.decode(output), first=first, **limits))
            executed = report.executed(policy(localizer))
            parts = {f"gflops_{part}": getattr(executed, part).expand(len(output)) for part in COSTS}
            costs.append(pd.DataFrame({name: value.numpy() for name, value in parts.items()}))
            first += len(output)
    return pd.concat(tables, ignore_index=True), pd.concat(costs, ignore_index=True), report.static


def truth_table(clips: BoxedClips) -> pd.DataFrame:
    """Where the actors of evaluation clips are: clip, class, x1, y1, x2, y2 (fractions), name, key_frame."""
    rows = []
    for clip, (position, key_frame) in enumerate(clips.shown):
        found, record = clips.boxes[position], clips.videos.records[position]
        for box in found.corners[found.frames == key_frame]:
            rows.append((clip, record.label, *box, record.name, key_frame))
    return pd.DataFrame(rows, columns=["clip", "class", *CORNERS, "name", "key_frame"])


def floor(train_set: BoxedClips, truths: pd.DataFrame) -> pd.DataFrame:
    """Detections without looking: in every clip the mean box of the training videos, and their commonest class."""
    box = np.concatenate([found.corners for found in train_set.boxes]).mean(0)
    label = pd.Series([record.label for record in train_set.videos.records]).mode()[0]
    clips = truths["clip"].unique()
    return pd.DataFrame({"clip": clips, "class": label, "score": 1.0} | dict(zip(CORNERS, box, strict=True)))


def _cost_metrics(costs: pd.DataFrame) -> dict[str, float]:
    aggregates = {"avg": "mean", "max": "max", "min": "min"}
    numbers = {f"gflops_{name}": float(costs["gflops_backbone"].agg(how)) for name, how in aggregates.items()}
    return numbers | {"gflops_total": float(costs["gflops_total"].mean())}
