"""Checks that every dynamic backbone has to pass, at full size on the meta device and at narrow widths in numbers."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vared
from tests.method_helpers import calibrate, dense, randomise_cheap, randomise_gates, relative_difference
from vared.policies import dynamic_layers, forced_policy

CLASSES = 5


def on_meta(network, **settings) -> nn.Module:
    """A backbone without memory, to count."""
    with torch.device("meta"):
        return network.build(**{"num_classes": 200, **settings})


def converted(network, model: nn.Module, example: tuple[int, ...], where=None, **changes) -> nn.Module:
    """`model` with the layers and the settings of its own file, unless said otherwise."""
    config = vared.DynamicConfig(**{**getattr(network, "DEFAULTS", {}), **changes})
    return vared.convert(model, config, example=example, where=where or network.is_dynamic)


def floors(network, example: tuple[int, ...], policies: Iterable[tuple[int, float]], **changes) -> dict:
    """{policy: GMACs of the backbone alone at full size when every dynamic layer takes that (R, r)}."""
    with torch.device("meta"):
        model = converted(network, on_meta(network), example, **changes)
    found = {}
    for policy in policies:
        with vared.fixed_policy(model, *policy):
            found[policy] = vared.count_flops(model, example).costs.backbone.item()
    return found


def open_branches(model: nn.Module) -> nn.Module:
    """`model` with no block starting as its shortcut alone."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)
    return model


def millions(model: nn.Module) -> float:
    """Millions of parameters."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def narrow(network, example: tuple[int, ...] = (3, 8, 32, 32), width: float = 1 / 8, **changes) -> nn.Module:
    """Narrow dynamic network in which no block starts as its shortcut alone."""
    torch.manual_seed(0)
    model = network.build(num_classes=CLASSES, width=width)
    return converted(network, open_branches(model), example, **changes)


def assert_every_parameter_gets_a_gradient(model: nn.Module, clips: torch.Tensor) -> None:
    """One training step reaches every parameter."""
    nn.functional.cross_entropy(open_branches(model).train()(clips), torch.arange(len(clips)) % CLASSES).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def assert_every_gate_gets_a_gradient(model: nn.Module, clips: torch.Tensor) -> None:
    """One training step: finite loss and gradients, none of a gate or cheap operation missing or zero."""
    nn.functional.cross_entropy(open_branches(model).train()(clips), torch.arange(len(clips)) % CLASSES).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    for name, layer in dynamic_layers(model).items():
        for part in (layer.gate.reduce, layer.gate.expand, *layer.cheap_channel, *layer.cheap_temporal):
            for parameter in part.parameters():
                assert parameter.grad.abs().max() > 0, name


def assert_sparse_is_dense(model: nn.Module, clips: torch.Tensor) -> None:
    """For clips that decide differently, all-zero gates included, and cheap operations that are no copies.

    In fp64 the gates decide in each mode for themselves. In fp32 both modes get those decisions: random gates amplify
    the rounding of the layers before them until a clip decides otherwise.
    """
    calibrate(randomise_cheap(randomise_gates(model, seed=5), spread=0.1), torch.randn(16, *clips.shape[1:]))
    model.double()
    assert _difference_of_modes(model, clips.double()) < 1e-10
    policies = vared.policy(model)
    costs = torch.stack([policy.cost for policy in policies.values()])
    assert len(costs.unique()) > 2 and costs.std(1).max() > 0, "clips are meant to decide differently"
    assert any(p.all_zero_temporal.any() or p.all_zero_channel.any() for p in policies.values())
    with forced_policy(model.float(), {name: (p.temporal, p.channel) for name, p in policies.items()}):
        assert _difference_of_modes(model, clips) < 1e-5


@torch.no_grad()
def _difference_of_modes(model: nn.Module, clips: torch.Tensor) -> float:
    sparse = model(clips)
    with dense(model):
        return relative_difference(sparse, model(clips))


def assert_full_policy_is_the_static_network(network, model: nn.Module, clips: torch.Tensor) -> None:
    """Converted, every parameter keeps its name, and the policy (1, 1.0) gives the logits of before."""
    before, expected = set(model.state_dict()), model.eval()(clips)
    converted(network, model, tuple(clips.shape[1:]))
    with vared.fixed_policy(model):
        assert relative_difference(model(clips), expected) < 1e-5
    added = set(model.state_dict()) - before
    assert before <= set(model.state_dict()) and all(".gate." in k or ".cheap_" in k for k in added)


def macs_seen_by_torch(model: nn.Module, clips: torch.Tensor) -> float:
    """GMACs that torch's own counter sees executed; it counts two operations for each, and no affine maps."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(clips)
    return counter.get_total_flops() / 2e9


def output_shapes(model: nn.Module, names: list[str], clip: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Output C x T x H x W of the named modules for one clip."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str):
        return lambda module, inputs, output: shapes.update({name: tuple(output.shape[1:])})

    handles = [model.get_submodule(name).register_forward_hook(note(name)) for name in names]
    model(torch.empty(1, *clip, device=next(model.parameters()).device))
    for handle in handles:
        handle.remove()
    return shapes


class Features(nn.Module):
    """Only the map before the classifier, to count what a localisation head would stand on."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.model.features(clips)
