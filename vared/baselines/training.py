"""How the baselines train in the common loop: what they add to its loss, and the rounds of pruning.

A task of `fit` gives the loss of logits and labels. CGNet and AR-Net add a term that they compute from their own state
after the forward pass, in both phases. Pruning calls `fit` once a round.

Shapes: B clip, K class.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.baselines import arnet, cgnet, pruning
from vared.checkpoints import save_weights
from vared.optimization import Phase
from vared.recipes import Recipe
from vared.tasks import recognition
from vared.training import fit

# GMACs of a frame by AR-Net's largest network at full size. The weight of the cost is for such numbers: those of
# narrower networks are scaled to them, or the cost would not be felt.
FULL_SIZE_FRAME = 4.088


class Penalised:
    """Recognition with the loss `accuracy_weight` * cross entropy + `penalty()`."""

    correct = staticmethod(recognition.correct)

    def __init__(self, penalty: Callable[[], Tensor], accuracy_weight: float = 1.0):
        self.penalty, self.accuracy_weight = penalty, accuracy_weight

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar, of logits B x K and labels B; called once after every forward pass of training."""
        return self.accuracy_weight * recognition.loss(logits, labels) + self.penalty()


def cgnet_task(network: nn.Module, *, target: float, weight: float = 1e-4) -> Penalised:
    """CGNet's loss: cross entropy + weight * sum (T - Delta)^2, T = `target`.

    The pull on a threshold over a training grows with weight, learning rate and number of updates: the authors' 1e-4
    is for about 1e5 updates.
    """
    return Penalised(lambda: weight * cgnet.threshold_loss(network, target))


def arnet_task(
    network: arnet.ARNet, *, crop_size: int, updates: int, efficiency_weight: float = 0.05, balance: float = 3.0,
    last_temperature: float = 0.5,
) -> Penalised:  # fmt: skip
    """AR-Net's loss: (1 - w) * cross entropy + w * `policy_loss`, w = `efficiency_weight`.

    The temperature falls by the same factor at every update, to `last_temperature` after `updates` of them: the
    authors' 5 exp(-0.045 epoch) over their 50 epochs.
    """
    *backbones, _ = arnet.frame_gmacs(network, crop_size)
    costs = tuple(FULL_SIZE_FRAME * cost / backbones[0] for cost in backbones)
    factor = (last_temperature / arnet.FIRST_TEMPERATURE) ** (1 / updates)

    def penalty() -> Tensor:
        network.temperature.mul_(factor)
        return efficiency_weight * arnet.policy_loss(network.last_decision, costs, balance)

    return Penalised(penalty, 1 - efficiency_weight)


@dataclasses.dataclass(frozen=True)
class _Retraining(Recipe):
    """Phase 2 alone, over the epochs from `first_epoch` on, so that no round sees the clips of another."""

    first_epoch: int = 0

    def phase(self, number: int) -> Phase:
        return dataclasses.replace(super().phase(number), first_epoch=self.first_epoch)


def fit_pruned(
    network: nn.Module, train_set: Dataset, recipe: Recipe, *, directory: Path, target_gmacs: float, rounds: int = 3,
    progress: bool = True,
) -> list[pruning.Pruning]:  # fmt: skip
    """Prune a trained `network` to `target_gmacs` in place, sharing phase 2 of `recipe` out over the rounds.

    `network` has been through phase 1. A round is retrained with its own warm-up and schedule. `directory` receives
    weights.safetensors (plain, with zeros), history.csv with a column `round`, and a folder a round: killed, it goes
    on where it stopped.

    Raises ValueError when the rounds have no epoch each, and whatever `fit` and `prune_to` do.
    """
    if recipe.finetune_epochs < rounds:
        raise ValueError(f"{rounds} rounds of pruning need as many epochs of phase 2, not {recipe.finetune_epochs}.")
    example = tuple(train_set[0]["clip"].shape)
    targets = pruning.schedule(pruning.remaining_gmacs(network, example), target_gmacs, rounds)
    histories = []

    def retrain(number: int) -> None:
        first, last = (recipe.finetune_epochs * k // rounds for k in (number - 1, number))
        settings = dataclasses.asdict(recipe) | {"epochs": 0, "finetune_epochs": last - first}
        settings["finetune_warmup_epochs"] = min(recipe.finetune_warmup_epochs, (last - first) / 2)
        once = _Retraining(**settings, first_epoch=recipe.epochs + first)
        result = fit(network, train_set, once, directory=directory / f"round{number}", progress=progress)
        histories.append(result.history.assign(round=number))

    left = pruning.prune_iteratively(network, targets, retrain, example=example)
    save_weights(network, directory / "weights.safetensors")
    pd.concat(histories).to_csv(directory / "history.csv", index=False)
    return left
