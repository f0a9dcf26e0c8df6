"""Which policies the clips of a benchmark get, and how they are dealt to gates that still run.

A mix is one of
    ratio-0.63            the dynamic layers execute 0.63 of their multiply-accumulates, on the mean over the batch
    gmacs-26.5-of-56.0    the network executes 26.5 / 56.0 of its multiply-accumulates, on the mean over the batch
    own                   what the trained gates decide for the clips

Fixed mixes are drawn for each clip and layer, so that the policies of a batch differ. With the chosen candidate all
smaller ones are open too, which is what trained gates do and what costs most: a layer that computes everything still
adds what the cheap operations rebuild.

Shapes: B clip, S_t / S_c candidates of time / channels.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vared.flops import DynamicLayerCost, FlopReport
from vared.gate import Policy
from vared.policies import dynamic_layers, policy

OWN = "own"
# Weights of open candidates: gates start at tanh 1 = 0.76 and stay below 1; near 0 they are about to close.
WEIGHTS = (0.3, 0.95)
_CLOSE, _ENOUGH = 0.002, 0.01  # when to stop repairing a draw, and how far from its target it may be
Weights = dict[str, tuple[Tensor, Tensor]]


def parse_mix(mix: str) -> tuple[str, float]:
    """Kind of a mix ("ratio", "gmacs" or "own") and the share it asks for. Raises ValueError for anything else."""
    if mix == OWN:
        return OWN, 1.0
    number = r"(\d+(?:\.\d+)?)"
    if match := re.fullmatch(f"ratio-{number}", mix):
        kind, share = "ratio", float(match[1])
    elif match := re.fullmatch(f"gmacs-{number}-of-{number}", mix):
        kind, share = "gmacs", float(match[1]) / max(float(match[2]), 1e-9)
    else:
        raise ValueError(f"{mix!r} is no mix. Mixes are ratio-0.63, gmacs-26.5-of-56.0 and own.")
    if not 0 < share <= 1:
        raise ValueError(f"The mix {mix!r} asks for the share {share:g}, which is not above 0 and at most 1.")
    return kind, share


def draw(mix: str, report: FlopReport, clips: int, seed: int) -> Weights:
    """V_t (B x S_t) and V_c (B x S_c) of every dynamic layer of `report`, so that the batch costs what `mix` says.

    The same seed draws the same. Raises ValueError when the layers cannot cost as little, or the draw misses the
    target by more than 1 % because there are too few clips and layers.
    """
    generator = torch.Generator().manual_seed(seed)
    costs = [_costs(layer) for layer in report.layers.values()]
    target = _target(mix, report)
    lowest = sum(cost.min().item() for cost in costs)
    if target < lowest * (1 - 1e-9):
        raise ValueError(f"No policy costs as little as {mix} asks of the dynamic layers: {target:.4g} < {lowest:.4g}.")
    chance = [_tilted(cost, _tilt(costs, target)) for cost in costs]
    choices = torch.stack([torch.multinomial(p, clips, replacement=True, generator=generator) for p in chance], 1)
    reached = _repair(choices, costs, target, generator)
    if abs(reached / target - 1) > _ENOUGH:
        raise ValueError(f"{mix}: the nearest draw of {clips} clips costs {reached:.4g} GMACs, not {target:.4g}.")
    return {
        name: _weights(choices[:, number], layer, generator)
        for number, (name, layer) in enumerate(report.layers.items())
    }


@contextmanager
def dealt(model: nn.Module, weights: Weights) -> Iterator[nn.Module]:
    """Within the context the gates of `model` run as always, and their results are replaced by `weights`.

    So the cost of deciding is paid while the decision is known; `forced_policy` would leave the gates out.
    Raises ValueError when the layers of `weights` are not the dynamic layers of `model`.
    """
    layers = dynamic_layers(model)
    if layers.keys() != weights.keys():
        difference = sorted(layers.keys() ^ weights.keys())
        raise ValueError(f"The policies dealt are for other layers than the model has: {difference}.")

    def replacing(gate: nn.Module, pair: tuple[Tensor, Tensor]):
        device = next(gate.parameters()).device
        moved = tuple(weight.to(device, torch.float32) for weight in pair)
        return gate.register_forward_hook(lambda module, inputs, output: moved)

    handles = [replacing(layer.gate, weights[name]) for name, layer in layers.items()]
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()


def check_dealt(model: nn.Module, weights: Weights, version: str) -> None:
    """Raises ValueError when the last forward pass of `model` did not decide by `weights`, or left its gates out."""
    for name, decided in policy(model).items():
        for given, taken in zip(weights[name], (decided.temporal, decided.channel), strict=True):
            if not torch.equal(given.float().cpu(), taken.float().cpu()):
                raise ValueError(f"{version!r}: layer {name!r} did not run its gate, or not with the policies dealt.")


def policies_of(report: FlopReport, weights: Weights) -> dict[str, Policy]:
    """`weights` as policies, to count what they execute (`FlopReport.executed`)."""
    return {name: _policy(layer, *weights[name]) for name, layer in report.layers.items()}


def _policy(layer: DynamicLayerCost, temporal: Tensor, channel: Tensor) -> Policy:
    ratios = tuple(kept / layer.channels for kept in layer.kept_channels)
    return Policy(temporal, channel, layer.temporal_factors, ratios)


def _costs(layer: DynamicLayerCost) -> Tensor:
    """GMACs of the layer's convolution for each pair of candidates, temporal one first: S_t * S_c."""
    factors, kept = (torch.eye(len(names)) for names in (layer.temporal_factors, layer.kept_channels))
    pairs = _policy(layer, factors.repeat_interleave(len(kept), 0), kept.repeat(len(factors), 1))
    return layer.executed(pairs)[0] / 1e9


def _target(mix: str, report: FlopReport) -> float:
    """GMACs that the dynamic layers may execute for a clip."""
    kind, share = parse_mix(mix)
    dynamic = sum(report.dynamic_layers.values())
    return share * dynamic if kind == "ratio" else dynamic - (1 - share) * report.static


def _tilted(costs: Tensor, tilt: float) -> Tensor:
    """Probability of each candidate pair: the larger `tilt`, the likelier the cheap ones."""
    return torch.softmax(-tilt * costs / costs.max(), 0)


def _tilt(costs: list[Tensor], target: float) -> float:
    """The tilt whose expected cost is `target`, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = sum((_tilted(cost, middle) * cost).sum().item() for cost in costs)
        low, high = (middle, high) if expected > target else (low, middle)
    return (low + high) / 2


def _repair(choices: Tensor, costs: list[Tensor], target: float, generator: torch.Generator) -> float:
    """Change single choices (B x layers, in place) until their mean cost is near `target`; returns that cost."""
    clips, layers = choices.shape
    mean = sum(cost[choices[:, number]].sum().item() for number, cost in enumerate(costs)) / clips
    for cell in torch.randperm(clips * layers, generator=generator).repeat(2).tolist():
        if abs(mean / target - 1) <= _CLOSE:
            break
        clip, number = divmod(cell, layers)
        means = mean + (costs[number] - costs[number][choices[clip, number]]) / clips
        best = int((means - target).abs().argmin())
        choices[clip, number], mean = best, means[best].item()
    return mean


def _weights(choice: Tensor, layer: DynamicLayerCost, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """V_t and V_c that open the chosen pair (B) and every smaller candidate; 1 where there is nothing to choose."""
    opened = []
    for count, first in (
        (len(layer.temporal_factors), choice // len(layer.kept_channels)),
        (len(layer.kept_channels), choice % len(layer.kept_channels)),
    ):
        low, high = WEIGHTS
        drawn = low + (high - low) * torch.rand(len(choice), count, generator=generator)
        is_open = torch.arange(count) >= first[:, None]
        opened.append(drawn * is_open if count > 1 else torch.ones(len(choice), 1))
    return opened[0], opened[1]
