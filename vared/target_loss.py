"""Training for a given cost: the efficiency loss with a target, "give me 70 % of the operations".

    L_t = max(0, mean_b e(b) - target)^2        e(b) = sum_l w_l r_l(b) / R_l(b),  w_l = C(f_l) / sum_k C(f_k)

e(b) is the share of the dynamic layers' operations spent on clip b, weighted as in equation (3.6); the mean is over all
clips of the batch, so that some may cost more than others. As mu_b does there, only correctly classified clips pass the
gradient on to their gates: a clip the network gets wrong is not asked to cost less. At the target and below it the loss
and its gradient are 0. Where the thesis's loss needs a weight found by trial for each cost, this one stops by itself.

Shapes: B clip.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vared.flops import GIGA, FlopReport, count_flops
from vared.gate import Policy
from vared.losses import EfficiencyLoss
from vared.optimization import Phase
from vared.policies import policy
from vared.recipes import Recipe
from vared.tasks import recognition
from vared.training import FitResult, fit

# Of the target loss beside cross entropy. Its pull is 2 * weight * excess: at 20, an excess of 0.04 pulls like the loss
# of equation (3.6) with the thesis's weight of 0.8 does at full cost.
TARGET_WEIGHT = 20.0


class TargetCostLoss(nn.Module):
    """Squared excess of the batch's mean cost over a target; see above.

    Args:
        flops: static operations of each dynamic layer by name, in any unit (`FlopReport.dynamic_layers`).
        target: share of the dynamic layers' operations, above 0 and at most 1 (`layers_target` gives it for a network).
    """

    def __init__(self, flops: Mapping[str, float], target: float):
        super().__init__()
        if not 0 < target <= 1:
            raise ValueError(f"The target is a share of the operations, above 0 and at most 1, not {target}.")
        self.cost, self.target = EfficiencyLoss(flops), target

    def forward(self, policies: Mapping[str, Policy], correct: Tensor) -> Tensor:
        """Policies of a forward pass and `correct` (B, bool) -> scalar. Raises ValueError for layers it is not for."""
        if policies.keys() != self.cost.weights.keys():
            difference = sorted(policies.keys() ^ self.cost.weights.keys())
            raise ValueError(f"TargetCostLoss was built for other layers than the policies are from: {difference}.")
        cost = sum(weight * self.cost.layer_cost(policies[name]) for name, weight in self.cost.weights.items())
        cost = torch.where(correct.detach(), cost, cost.detach())
        return (cost.mean() - self.target).clamp(min=0).square()


def layers_target(report: FlopReport, share: float) -> float:
    """The target of the dynamic layers at which the whole backbone costs `share` of the plain network.

    Raises ValueError when the smallest candidates of all layers still cost more, or `share` is not in 0..1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The share of the cost is above 0 and at most 1, not {share}.")
    if not report.layers:
        raise ValueError("Only a dynamic network can be trained for a cost; this one is static.")
    least = sum(
        layer.macs * layer.kept_channels[-1] / layer.channels / layer.temporal_factors[-1]
        for layer in report.layers.values()
    ) / GIGA  # fmt: skip
    dynamic = sum(report.dynamic_layers.values())
    fixed = report.static - dynamic
    if share * report.static < fixed + least:
        raise ValueError(
            f"This network cannot cost {100 * share:.0f} % of the plain one: with the smallest candidate everywhere it "
            f"takes {100 * (fixed + least) / report.static:.0f} %. Ask for more, or take a larger search space."
        )
    return min(1.0, (share * report.static - fixed) / dynamic)


class _TowardsTarget:
    """Recognition whose loss also holds the cost at its target, as a task of `fit`."""

    correct = staticmethod(recognition.correct)

    def __init__(self, network: nn.Module, loss: TargetCostLoss, weight: float):
        self.network, self.target_loss, self.weight = network, loss, weight

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar, of logits B x K and labels B; called once after every forward pass of training."""
        excess = self.target_loss(policy(self.network), self.correct(logits, labels))
        return recognition.loss(logits, labels) + self.weight * excess


@dataclasses.dataclass(frozen=True)
class _SecondPhase(Recipe):
    """Phase 2 alone without the printed efficiency loss, over the epochs from `first_epoch` on.

    Share and weight are fields, so that a saved state is not resumed for another target.
    """

    first_epoch: int = 0
    target_share: float = 1.0
    target_weight: float = TARGET_WEIGHT

    def phase(self, number: int) -> Phase:
        return dataclasses.replace(super().phase(number), first_epoch=self.first_epoch)


def finetune_to_target(
    network: nn.Module, train_set: Dataset, recipe: Recipe, *, share: float, directory: Path | str,
    weight: float = TARGET_WEIGHT, workers: int = 0, checkpoint_seconds: float = 600.0, progress: bool = True,
) -> FitResult:  # fmt: skip
    """Phase 2 of `recipe` with the target loss, so that `network`, trained by phase 1, costs `share` of the plain one.

    In place; files as those of `fit`, in a `directory` of its own. The column `accuracy_loss` of the history holds the
    target term too, `efficiency_loss` the value of equation (3.6), which nothing follows here. Nothing pulls the cost
    up again, so it ends at the target or a little below; `mean_cost` counts the dynamic layers alone.
    Raises ValueError for a share that no policy of the network reaches, and what `fit` raises.
    """
    report = count_flops(network, tuple(train_set[0]["clip"].shape))
    loss = TargetCostLoss(report.dynamic_layers, layers_target(report, share))
    settings = dataclasses.asdict(recipe) | {"epochs": 0, "warmup_epochs": 0, "efficiency_weight": 0.0}
    second = _SecondPhase(**settings, first_epoch=recipe.epochs, target_share=share, target_weight=weight)
    task = _TowardsTarget(network, loss, weight)
    return fit(
        network, train_set, second, directory=directory, task=task, workers=workers,
        checkpoint_seconds=checkpoint_seconds, progress=progress,
    )  # fmt: skip
