"""Full-size networks of the tasks beside recognition, built as their runs build them: PSPNet, localisers, AR-Net."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from vared import experiments, runs
from vared.baselines import training
from vared.checkpoints import save_weights
from vared.cli import profile_numbers
from vared.data.labelled_images import SegmentationDataset
from vared.localization import experiment as heads
from vared.localization.network import build_localizer, choose_anchors
from vared.segmentation import evaluation
from vared.segmentation import experiment as images
from vared.segmentation.plans import plan_runs
from vared.tasks import segmentation as pixels
from vared.tasks.localization import Localization


def segmentation(root: Path, profile: str, word: str):
    """PSPNet on crops of ADE20K's training images."""
    from vared.rehearsal.full_size import BATCH, Subject, efficient_loss

    plan = next(plan for plan in plan_runs(root, profile, profile_numbers(root, profile)) if plan.run.word == word)
    train, recipe = images.training_set(root, plan), images.recipe(plan)
    classes, clip = len(train.images.classes), tuple(train[0]["clip"].shape)
    network = images.build_network(plan, classes)
    val = Subset(SegmentationDataset(images.load_images(root, plan, "val")), range(BATCH))
    rate = recipe.phase(2).learning_rate * BATCH / recipe.batch_size
    return Subject(
        network, train, efficient_loss(network, clip, pixels, recipe.efficiency_weight),
        lambda: evaluation.evaluate(network, val, num_classes=classes, batch_size=1), classes, clip[-1], clip, rate,
    )  # fmt: skip


def localization(root: Path, profile: str, word: str):
    """YOWO's head on a backbone with fresh weights, frozen as the profile says: only the head keeps and learns."""
    from vared.rehearsal.full_size import Subject

    numbers = profile_numbers(root, profile)
    settings = numbers["localization"] | {"key_frames_per_video": 1}
    plan = runs.plan_run(root, profile, word, numbers | {"localization": settings})
    train, val = (heads.boxed_clips(root, plan, part) for part in ("train", "val"))
    classes = len(train.videos.classes)
    anchors = choose_anchors(np.concatenate([found.corners for found in train.boxes]), settings["anchors"])
    task = Localization(anchors, classes)
    weights = root / "scratch" / f"{word}.safetensors"
    save_weights(experiments.build_network(plan, classes), weights)
    network = build_localizer(plan, classes, weights, settings)
    network.backbone.requires_grad_(not settings["frozen"])

    def loss(model: nn.Module, clips: Tensor, labels: Tensor) -> Tensor:
        model.backbone.eval()
        with torch.set_grad_enabled(not settings["frozen"]):
            maps = model.backbone.features(clips).mean(2)
        return task.loss(model.head.train()(maps), labels)

    return Subject(
        network, train, loss, lambda: heads.evaluate(network, val, task, settings), classes, settings["crop_size"],
        tuple(train[0]["clip"].shape), settings["training"]["learning_rate"],
    )  # fmt: skip


def arnet_task(network: nn.Module, crop_size: int):
    """AR-Net's loss, with its cost term, as in a run of one update."""
    return training.arnet_task(network, crop_size=crop_size, updates=1)
