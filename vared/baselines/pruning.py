"""Weight-level pruning: train, remove the smallest weights, retrain what is left, again and again (thesis section 4.4,
table 4.8; Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015, section 3).

A weight goes when |w| <= q std(w of its layer). As in the paper the threshold is a layer's own, a quality parameter q
times the standard deviation of the layer's weights; one q serves all layers and is chosen so that the network reaches a
given number of operations. The paper tunes q by layer and by hand. Survivors keep their values and are retrained, the
removed stay 0, and every round starts from the weights of the one before.

Masks are those of torch.nn.utils.prune: they multiply the weight in every forward pass, whatever the optimiser's
momentum and decay do, and lie in the state dict. Operations are weights that are not 0, times the positions they are
applied at. A network pruned so takes as long as before on common hardware.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from vared.flops import count_flops
from vared.selection import Where
from vared.trial_run import Example

TOLERANCE = 0.005  # of the target, by which the reached operations may be lower


@dataclass(frozen=True)
class Pruning:
    """What one round left: the quality parameter q, GMACs a clip, and the share of weights kept in every layer."""

    quality: float
    gmacs: float
    density: dict[str, float]


def prune_to(model: nn.Module, target_gmacs: float, *, example: Example, where: Where | None = None) -> Pruning:
    """Mask the smallest weights of `model`, in place, so that at most `target_gmacs` a clip remain.

    `example` is a clip C x T x H x W or its shape. All convolutions and linear layers are pruned, or those that
    `where(name, layer)` selects; biases and normalisations are not. May be called again for a lower target.

    Raises ValueError, and changes nothing, when as little remains already, when the layers that are left alone cost
    more, or when no threshold comes within 0.5 % of the target.
    """
    gmacs = count_flops(model, example).static_layers
    names = [name for name in gmacs if where is None or where(name, model.get_submodule(name))]
    weights = {name: model.get_submodule(name).weight.detach() for name in names}
    remaining, prunable = _remaining(model, gmacs), sum(gmacs[name] * _density(w) for name, w in weights.items())
    budget = target_gmacs - (remaining - prunable)
    if not remaining > target_gmacs or budget <= 0:
        raise ValueError(
            f"prune_to cannot leave {target_gmacs:g} GMACs a clip: the network has {remaining:g}, of which "
            f"{prunable:g} are in the {len(names)} layers to prune."
        )
    saliency = {name: _saliency(weight) for name, weight in weights.items()}
    costs = torch.cat([torch.full((w.numel(),), gmacs[n] / w.numel(), dtype=torch.float64) for n, w in weights.items()])
    ranked, order = torch.cat([part.flatten().cpu() for part in saliency.values()]).sort(descending=True)
    fitting = int((costs[order].cumsum(0) <= budget * (1 + 1e-9)).sum())  # a sum of parts may round up
    quality = ranked[min(fitting, len(ranked) - 1)].item()  # of the first that is too much
    masks = {name: part > quality for name, part in saliency.items()}
    reached = remaining - prunable + sum(gmacs[name] * mask.double().mean().item() for name, mask in masks.items())
    if reached < (1 - TOLERANCE) * target_gmacs:
        raise ValueError(
            f"prune_to: {reached:g} GMACs a clip would remain, not within 0.5 % of {target_gmacs:g}. Too many weights "
            f"are equal, or the network is too small."
        )
    for name, mask in masks.items():
        prune.custom_from_mask(model.get_submodule(name), "weight", mask)
    return Pruning(quality, reached, {name: mask.double().mean().item() for name, mask in masks.items()})


def prune_iteratively(
    model: nn.Module, targets: Sequence[float], retrain: Callable[[int], None], *, example: Example,
    where: Where | None = None,
) -> list[Pruning]:  # fmt: skip
    """Prune a trained `model` to each of `targets` in turn, retraining after each, and make the zeros permanent.

    `retrain(round)`, round = 1, 2, ..., trains `model` in place. Afterwards `model` has the parameters of the plain
    network, by the same names. Returns what each round left.
    """
    rounds = []
    for number, target in enumerate(targets, 1):
        rounds.append(prune_to(model, target, example=example, where=where))
        retrain(number)
    make_permanent(model)
    return rounds


def schedule(static_gmacs: float, target_gmacs: float, rounds: int) -> list[float]:
    """GMACs to leave after each round, falling by the same factor every time; the paper prints no schedule.

    Raises ValueError unless there is a round and the target lies between 0 and the static operations.
    """
    if rounds < 1 or not 0 < target_gmacs < static_gmacs:
        raise ValueError(f"No schedule leads from {static_gmacs:g} to {target_gmacs:g} GMACs in {rounds} rounds.")
    factor = (target_gmacs / static_gmacs) ** (1 / rounds)
    return [*(static_gmacs * factor**number for number in range(1, rounds)), target_gmacs]


def make_permanent(model: nn.Module) -> nn.Module:
    """Replace masked weights by plain ones with zeros, in place, and return `model`."""
    for module in model.modules():
        if any(isinstance(hook, prune.BasePruningMethod) for hook in module._forward_pre_hooks.values()):
            prune.remove(module, "weight")
    return model


def remaining_gmacs(model: nn.Module, example: Example) -> float:
    """GMACs of one clip: weights that are not 0, times the positions they are applied at."""
    return _remaining(model, count_flops(model, example).static_layers)


def _remaining(model: nn.Module, gmacs: dict[str, float]) -> float:
    return sum(cost * _density(model.get_submodule(name).weight) for name, cost in gmacs.items())


def _density(weight: Tensor) -> float:
    return (weight != 0).double().mean().item()


def _saliency(weight: Tensor) -> Tensor:
    """|w| over the standard deviation of the layer's weights that are left; 0 for those that are gone."""
    left = weight[weight != 0].double()
    deviation = left.std() if left.numel() > 1 else left.new_zeros(())
    return torch.where(weight == 0, 0.0, weight.double().abs() / deviation)
