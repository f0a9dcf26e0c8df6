"""What a segmentation run trains: its images, its network, and the two phases of `fit`, with another loss."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from vared.data.ade20k import load_ade20k
from vared.data.embedded_masks import load_masked_frames
from vared.data.labelled_images import CropTransform, LabelledImages, SegmentationDataset
from vared.experiments import hardware
from vared.layers import DynamicConfig
from vared.recipes import Recipe
from vared.scratch import write_text
from vared.segmentation.plans import SegmentationPlan
from vared.tasks import pspnet, segmentation
from vared.training import fit


def load_images(root: Path, plan: SegmentationPlan, part: str) -> LabelledImages:
    """The images of `part` ("train" or "val") of the source that the profile names."""
    data = plan.numbers["data"]
    if data["source"] == "ade20k":
        return load_ade20k(root / data["folder"], part)
    clips, cache = root / "data" / plan.profile / "clips", root / "scratch" / "frames"
    return load_masked_frames(clips, part, cache, images_per_class=data[f"{part}_images_per_class"])


def training_set(root: Path, plan: SegmentationPlan) -> SegmentationDataset:
    """Augmented crops of the training images."""
    numbers = plan.numbers["model"]
    transform = CropTransform(numbers["crop_size"], tuple(numbers["scales"]))
    return SegmentationDataset(load_images(root, plan, "train"), transform, seed=plan.run.seed)


def build_network(plan: SegmentationPlan, num_classes: int) -> nn.Module:
    """The run's PSPNet with fresh weights, which depend on its seed alone."""
    torch.manual_seed(plan.run.seed)
    numbers, space = plan.numbers["model"], plan.run.search_space
    dynamic = None if space is None else DynamicConfig(search_space=space, temporal=False)
    return pspnet.build(
        num_classes=num_classes, crop_size=numbers["crop_size"], width=numbers["width"], dynamic=dynamic
    )


def recipe(plan: SegmentationPlan) -> Recipe:
    """The profile's recipe; memory is laid out for images, not for clips."""
    return Recipe(seed=plan.run.seed, channels_last=False, **plan.numbers["training"])


def train(root: Path, plan: SegmentationPlan, folder: Path) -> None:
    """Train the run into `folder`: weights, history.csv, training.json, and a state from which a killed run goes on."""
    torch.set_num_threads(1)
    images, settings = training_set(root, plan), recipe(plan)
    network = build_network(plan, len(images.images.classes))
    result = fit(network, images, settings, directory=folder, task=segmentation)
    record = {
        "profile": plan.profile, "run": plan.run.word, "fingerprint": plan.training_fingerprint,
        "recipe": asdict(settings), "images": len(images), "hardware": hardware(),
        "seconds": round(float(result.history["seconds"].sum()), 1),
    }  # fmt: skip
    write_text(folder / "training.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
