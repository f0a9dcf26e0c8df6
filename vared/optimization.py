"""Optimiser and learning rate of the thesis recipe (section A.2): SGD with Nesterov momentum, warm-up, cosine to 0."""

from dataclasses import dataclass

import torch
from torch import nn

import vared.torchvision_operators  # noqa: F401  timm imports torchvision

# isort: split
from timm.scheduler import CosineLRScheduler

from vared.conversion import gate_names, no_decay_names


@dataclass(frozen=True)
class Phase:
    """One phase of training. Rates are those of the optimiser, scaling already done."""

    number: int
    first_epoch: int
    epochs: int
    learning_rate: float
    warmup_epochs: float
    warmup_learning_rate: float
    efficiency_weight: float
    gate_rate_factor: float = 1.0


def parameter_groups(model: nn.Module, weight_decay: float, gate_rate_factor: float = 1.0) -> list[dict]:
    """Parameter groups for the optimiser: no decay on gates and affine cheap operations, `weight_decay` on the rest.

    Gates learn at `gate_rate_factor` times the rate (timm's schedules read `lr_scale`). Batch normalisation is
    decayed, as in the plain SGD of the thesis. Parts of a network may name parameters of theirs that are not, in a
    method `no_weight_decay`, as timm's networks do.
    """
    exempt, gates = no_decay_names(model), set(gate_names(model))
    for part, module in model.named_modules():
        if callable(named := getattr(module, "no_weight_decay", None)):
            exempt |= {f"{part}.{name}".lstrip(".") for name in named()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (0.0 if name in exempt else weight_decay, gate_rate_factor if name in gates else 1.0)
            groups.setdefault(key, []).append(parameter)
    return [{"params": part, "weight_decay": decay, "lr_scale": scale} for (decay, scale), part in groups.items()]


def build_optimizer(model: nn.Module, phase: Phase, *, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum at the peak rate of `phase`; the schedule sets the rate of every update."""
    groups = parameter_groups(model, weight_decay, phase.gate_rate_factor)
    return torch.optim.SGD(groups, lr=phase.learning_rate, momentum=momentum, nesterov=momentum > 0, foreach=True)


def build_schedule(optimizer: torch.optim.Optimizer, phase: Phase, updates_per_epoch: int) -> CosineLRScheduler:
    """Linear warm-up to the peak, then cosine to 0 over the rest of the phase; call `step_update(k)` before update k.

    rate(k) = w + (p - w) k / W                          k < W
              p (1 + cos(pi (k - W) / (N - W))) / 2      otherwise
    with W of the phase's N updates in the warm-up, which counts inside the total, peak p and first rate w.
    """
    total = phase.epochs * updates_per_epoch
    warmup = min(round(phase.warmup_epochs * updates_per_epoch), total - 1)
    return CosineLRScheduler(
        optimizer, t_initial=total - warmup, warmup_t=warmup, warmup_prefix=True,
        warmup_lr_init=phase.warmup_learning_rate, t_in_epochs=False,
    )  # fmt: skip
