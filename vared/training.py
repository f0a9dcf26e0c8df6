"""Two-phase training (thesis section A.2): learn with the accuracy loss, then fine-tune with the efficiency loss.

A static network goes through the same phases without the efficiency loss; that is the control with equal epochs.
A run can be killed at any moment and started again: on one CPU its weights come out the same to the last bit.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.batches import TrainingBatches
from vared.checkpoints import resume, save_state, save_weights
from vared.flops import count_flops
from vared.history import EpochMeter, History, epoch_bar, nominal_cost, print_epoch
from vared.losses import EfficiencyLoss
from vared.optimization import Phase, build_optimizer, build_schedule
from vared.policies import policy
from vared.recalibration import recalibrate
from vared.recipes import PHASE_NUMBERS, Recipe
from vared.tasks import recognition


@dataclass(frozen=True)
class FitResult:
    """Files and numbers of a finished run.

    `cost_before`, `cost_after` are the mean nominal costs around the final recalibration of batch normalisation, on
    the clips it used (None without recalibration).
    """

    history: pd.DataFrame
    phase1_weights: Path
    weights: Path
    cost_before: float | None
    cost_after: float | None


def fit(
    model: nn.Module, train_set: Dataset, recipe: Recipe, *, directory: Path | str, task: ModuleType = recognition,
    workers: int = 0, checkpoint_seconds: float = 600.0, progress: bool = True,
) -> FitResult:  # fmt: skip
    """Train `model` in place, both phases, and leave it with the final weights.

    `train_set` gives {"clip": 3 x T x H x W, "label": int}. `directory` receives phase1.safetensors,
    weights.safetensors, history.csv, curves/ and the state to resume from, saved every epoch and every
    `checkpoint_seconds`. Sets torch's global seed. Works under torchrun; then every process calls it.

    Raises ValueError when `directory` holds the state of another recipe, network or number of clips, and
    FloatingPointError when the loss is not finite.
    """
    run = _Run(model, train_set, recipe, Path(directory), task, workers)
    run.checkpoint_seconds, run.progress = checkpoint_seconds, progress
    try:
        for number in PHASE_NUMBERS[run.position["phase"] - 1 :]:
            run.train_phase(recipe.phase(number))
            before, after = run.recalibrate()
            run.save("phase1.safetensors" if number == 1 else "weights.safetensors")
    finally:
        run.close()
    return FitResult(
        pd.DataFrame(run.rows), run.directory / "phase1.safetensors", run.directory / "weights.safetensors",
        before, after,
    )  # fmt: skip


class _Run:
    """One training run: the network, its data and losses, and the position it has reached."""

    def __init__(self, model, train_set, recipe: Recipe, directory: Path, task: ModuleType, workers: int):
        self.network, self.recipe, self.directory, self.task = model, recipe, directory, task
        self.accelerator = Accelerator(mixed_precision=recipe.precision)
        self.batches = TrainingBatches(
            train_set, recipe.batch_size, recipe.seed, workers=workers,
            rank=self.accelerator.process_index, processes=self.accelerator.num_processes,
        )  # fmt: skip
        self.layer_macs = count_flops(model, tuple(train_set[0]["clip"].shape)).dynamic_layers
        # A static network has nothing to save: its L_e is the constant 0.
        self.efficiency = (
            EfficiencyLoss(self.layer_macs, recipe.efficiency_gradient)
            if self.layer_macs
            else lambda policies, correct: torch.zeros((), device=correct.device)
        )
        if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last_3d)
        self.identity = {
            "recipe": dataclasses.asdict(recipe), "clips": len(train_set),
            "network": {name: list(tensor.shape) for name, tensor in model.state_dict().items()},
        }  # fmt: skip
        self.position = {"phase": 1, "epoch": 0, "batch": 0, "updates": 0, "meter": None, "seconds": 0.0}
        self.rows, self.saved_optimizer = [], None
        if saved := resume(directory / "state", self.identity, model):
            self.position, self.rows = saved.state["position"], saved.state["rows"]
            self.saved_optimizer = saved.optimizer
        self.history = History(directory, self.rows) if self.accelerator.is_main_process else None
        self.accelerator.wait_for_everyone()  # nobody may save while another still reads the state

    def train_phase(self, phase: Phase) -> None:
        """Run what is left of a phase."""
        if self.position["phase"] != phase.number:
            self.position |= {"phase": phase.number, "epoch": 0, "batch": 0, "meter": None}
        if phase.epochs == 0:
            return
        optimizer = build_optimizer(
            self.network, phase, momentum=self.recipe.momentum, weight_decay=self.recipe.weight_decay
        )
        # The schedule is not prepared: accelerate would advance it once for every process.
        self.schedule = build_schedule(optimizer, phase, len(self.batches))
        self.model, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        if self.saved_optimizer is not None:
            self.optimizer.load_state_dict(self.saved_optimizer)
            self.saved_optimizer = None
        for epoch in range(self.position["epoch"], phase.epochs):
            self.train_epoch(phase, epoch)
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.accelerator.free_memory()

    def train_epoch(self, phase: Phase, epoch: int) -> None:
        """Run what is left of an epoch, log its row, save the state."""
        first, self.last_save = self.position["batch"], time.monotonic()
        earlier, started = self.position["seconds"] if first else 0.0, time.monotonic()
        meter = EpochMeter(self.accelerator.device, self.position["meter"])
        self.network.train()
        items = self.batches.epoch(phase.first_epoch + epoch, first)
        bar = self.progress and self.accelerator.is_main_process
        items = epoch_bar(items, len(self.batches), first, shown=bar, name=f"phase {phase.number} epoch {epoch + 1}")
        for batch, item in enumerate(items, first):
            self.schedule.step_update(epoch * len(self.batches) + batch)
            self.train_step(phase, item, meter)
            self.position["updates"] += 1
            if batch + 1 < len(self.batches) and time.monotonic() - self.last_save >= self.checkpoint_seconds:
                seconds = earlier + time.monotonic() - started
                self.position |= {"epoch": epoch, "batch": batch + 1, "meter": meter.saved(), "seconds": seconds}
                self.save_state()
        row = meter.row(self.accelerator)
        row["loss"] = row["accuracy_loss"] + phase.efficiency_weight * row["efficiency_loss"]
        row |= {"phase": phase.number, "epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
        row["seconds"] = earlier + time.monotonic() - started
        row = {name: row[name] for name in ("phase", "epoch", "lr", "loss", *row)}
        self.rows.append(row)
        self.position |= {"epoch": epoch + 1, "batch": 0, "meter": None, "seconds": 0.0}
        self.save_state()
        if self.history:
            self.history.add(row)
            if self.progress:
                print_epoch(row, phase.epochs)

    def train_step(self, phase: Phase, item: dict, meter: EpochMeter) -> None:
        """One update: L = L_a + weight * L_e, the weight 0 in phase 1."""
        device, task, weight = self.accelerator.device, self.task, phase.efficiency_weight
        clips, labels = self._to_device(item["clip"]), item["label"].to(device, non_blocking=True)
        logits = self.model(clips)
        policies, correct = policy(self.network), task.correct(logits, labels)
        accuracy_loss, efficiency_loss = task.loss(logits, labels), self.efficiency(policies, correct)
        loss = accuracy_loss + weight * efficiency_loss
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss is {loss.item()} in phase {phase.number} after {self.position['updates']} updates (accuracy "
                f"{accuracy_loss.item():g}, efficiency {efficiency_loss.item():g}). Lower the learning rate or train "
                f"with precision='no'; the last saved state is intact."
            )
        self.accelerator.backward(loss)
        if self.recipe.gradient_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        cost = nominal_cost(policies, self.layer_macs, len(labels))
        meter.add(accuracy_loss.detach(), efficiency_loss.detach(), correct, cost, policies)

    def recalibrate(self) -> tuple[float | None, float | None]:
        """Measure batch normalisation on training clips, after each phase; mean nominal cost before and after."""
        if not self.recipe.recalibration_clips:
            return None, None
        self.network.to(self.accelerator.device)
        epochs = self.recipe.epochs + self.recipe.finetune_epochs
        clips = self.batches.some_clips(self.recipe.recalibration_clips, epochs)
        return recalibrate(self.network, lambda: map(self._to_device, clips), self.layer_macs)

    def save(self, name: str) -> None:
        """Write the weights under `directory`, from the main process."""
        if self.accelerator.is_main_process:
            save_weights(self.network, self.directory / name)
        self.accelerator.wait_for_everyone()

    def save_state(self) -> None:
        """Write all that `fit` needs to go on from here."""
        if self.accelerator.is_main_process:
            state = {"identity": self.identity, "position": self.position, "rows": self.rows}
            save_state(
                self.directory / "state", self.position["updates"], state, self.network, self.optimizer.state_dict()
            )
        self.last_save = time.monotonic()

    def close(self) -> None:
        if self.history:
            self.history.close()

    def _to_device(self, clips: Tensor) -> Tensor:
        layout = torch.channels_last_3d if self.recipe.channels_last else torch.contiguous_format
        return clips.to(self.accelerator.device, memory_format=layout, non_blocking=True)
