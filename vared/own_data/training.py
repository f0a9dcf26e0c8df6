"""`vared train --data`: from a checked data set to weights in a folder, going on where an earlier call stopped."""

import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pandas as pd
import torch
from torch import Tensor, nn

from vared import stopping
from vared.checkpoints import load_weights, save_weights
from vared.data.dataset import ClipDataset
from vared.experiments import hardware
from vared.failures import explaining_memory
from vared.flops import FlopReport, count_flops
from vared.own_data.run_folder import OwnRun, device
from vared.policies import dynamic_layers, fixed_policy
from vared.scratch import compute_once, write_text
from vared.target_loss import finetune_to_target, layers_target
from vared.tasks import recognition
from vared.training import fit

TIMED_UPDATES = 5  # after a first one that warms up
SAVED_EVERY = stopping.Interval(60)  # seconds; and when asked to stop


class FirstUpdates:
    """Recognition that says, once, after a few updates, how long an epoch and all of them will take."""

    correct = staticmethod(recognition.correct)

    def __init__(self, updates: int, epochs: int, task: ModuleType = recognition):
        self.updates, self.epochs, self.task, self.seen, self.started = updates, epochs, task, 0, 0.0

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar, of logits B x K and labels B; called once after every forward pass of training."""
        if self.seen == 1:
            self.started = time.monotonic()
        if self.seen == 1 + TIMED_UPDATES:
            update = (time.monotonic() - self.started) / TIMED_UPDATES
            epoch = update * self.updates
            total = f"{self.epochs} epochs about {epoch * self.epochs / 60:.1f} minutes"
            print(f"{update:.2f} s an update: an epoch takes about {epoch:.0f} s, {total}", flush=True)
        self.seen += 1
        return self.task.loss(logits, labels)


def train_run(run: OwnRun, *, workers: int = 0) -> Path:
    """Train what `run` says into its folder and return the weights; does nothing when that is done.

    Raises ValueError for a share of the cost that the network cannot reach, before anything trains.
    """
    return compute_once(run.folder, lambda _: _train(run, workers), {"data": run.facts["data"]}) / "weights.safetensors"


def _train(run: OwnRun, workers: int) -> None:
    network = run.build_network()
    shape = (3, run.settings.frames, run.settings.crop_size, run.settings.crop_size)
    report = count_flops(network, shape)
    if run.settings.share is not None:
        layers_target(report, run.settings.share)
    clips = run.data_set(run.part("train"), training=True, workers=workers)
    recipe = run.recipe
    print(expectation(run, network, report), flush=True)
    first = FirstUpdates(len(clips) // recipe.batch_size, recipe.epochs + recipe.finetune_epochs)
    with explaining_memory(recipe.batch_size, shape), stopping.saving_first():
        if run.settings.share is None:
            fit(network, clips, recipe, directory=run.folder, task=first, workers=workers,
                checkpoint_seconds=SAVED_EVERY)  # fmt: skip
        else:
            _train_to_share(run, network, clips, first, workers)
    record = [f"{index}: {bad.name} ({bad.reason}), {bad.replacement} instead"
              for index, bad in enumerate(clips.replaced)]  # fmt: skip
    facts = {"replaced": record, "hardware": hardware(), "device": str(device())}
    write_text(run.folder / "training.txt", "\n".join(f"{name}: {value}" for name, value in facts.items()) + "\n")


def _train_to_share(run: OwnRun, network: nn.Module, clips: ClipDataset, first: FirstUpdates, workers: int) -> None:
    """Both phases in folders of their own; the folder of the run gets what one call of `fit` would have left."""
    one = run.folder / "phase1"
    alone = type(run.recipe)(**asdict(run.recipe) | {"finetune_epochs": 0, "finetune_warmup_epochs": 0})
    if not (run.folder / "phase1.safetensors").exists():
        fit(network, clips, alone, directory=one, task=first, workers=workers, checkpoint_seconds=SAVED_EVERY)
        save_weights(network, run.folder / "phase1.safetensors")
    load_weights(network, run.folder / "phase1.safetensors")
    finetune_to_target(
        network, clips, run.recipe, share=run.settings.share, directory=run.folder / "phase2", workers=workers,
        checkpoint_seconds=SAVED_EVERY,
    )  # fmt: skip
    save_weights(network, run.folder / "weights.safetensors")
    tables = [pd.read_csv(run.folder / name / "history.csv") for name in ("phase1", "phase2")]
    write_text(run.folder / "history.csv", pd.concat(tables).to_csv(index=False))


def expectation(run: OwnRun, network: nn.Module, report: FlopReport) -> str:
    """What is about to happen, in words: clips, epochs, and what a clip costs, at least and at most."""
    recipe, count = run.recipe, int((run.clips["part"] == "train").sum())
    text = (
        f"{run.settings.network}, width {run.settings.width:g}, {run.settings.frames} frames of "
        f"{run.settings.crop_size} pixels: {report.static:.4g} GMACs a clip as a plain network"
    )
    if layers := dynamic_layers(network):
        temporal = max(max(layer.temporal_factors) for layer in layers.values())
        channel = min(min(layer.channel_ratios) for layer in layers.values())
        with fixed_policy(network, temporal, channel), torch.no_grad():
            least = count_flops(network, (3, run.settings.frames, *[run.settings.crop_size] * 2)).costs
        text += f", at least {least.backbone.item():.4g} with every gate at its smallest candidate"
    phases = f"{recipe.epochs} epochs, then {recipe.finetune_epochs} of fine-tuning"
    return f"{text}.\n{count} clips in batches of {recipe.batch_size}: {phases}, on {device()}."
