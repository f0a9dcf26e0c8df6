"""What every dynamic network must pass, on a narrow one with real values."""

import torch
import torch.nn.functional as F
from torch import nn

import vared
from tests.method_helpers import calibrate, dense, dynamic_layers, randomise_cheap, randomise_gates, relative_difference
from vared.layers import DynamicConfig

CLASSES = 5


def open_branches(model: nn.Module) -> nn.Module:
    """Every residual branch contributes: none starts as its shortcut alone."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)
    return model


def check_both_modes_agree(model: nn.Module, clips: torch.Tensor) -> None:
    """Sparse evaluation equals dense evaluation where clips decide differently and cheap operations have learned."""
    model = calibrate(randomise_cheap(randomise_gates(open_branches(model), seed=5), spread=0.1), clips).double()
    clips = clips.double()
    sparse, decided = model(clips), vared.policy(model)
    with dense(model):
        full = model(clips)
    assert relative_difference(sparse, full) < 1e-8
    shares = torch.stack([policy.cost for policy in decided.values()])
    assert len(shares.unique()) > 2 and shares.std(1).max() > 0, "clips are meant to decide differently"


def check_every_gate_learns(model: nn.Module, clips: torch.Tensor) -> None:
    """The accuracy loss alone reaches every gate."""
    open_branches(model).train()
    F.cross_entropy(model(clips), torch.arange(len(clips)) % CLASSES).backward()
    layers = dynamic_layers(model)
    assert layers
    for name, layer in layers.items():
        assert layer.gate.expand.weight.grad.abs().max() > 0, name


def check_every_parameter_learns(model: nn.Module, clips: torch.Tensor) -> None:
    """One backward pass gives every parameter a gradient."""
    open_branches(model).train()
    F.cross_entropy(model(clips), torch.arange(len(clips)) % CLASSES).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def made_dynamic(model: nn.Module, network, clip: tuple[int, ...], **settings) -> nn.Module:
    """`model` with the layers that its file `network` names made dynamic."""
    config = DynamicConfig(**{**getattr(network, "DEFAULTS", {}), **settings})
    return vared.convert(model, config, example=clip, where=network.is_dynamic)


def millions(model: nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6
