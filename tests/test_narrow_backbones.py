"""What holds for every backbone, tried in numbers on narrow ones."""

import pytest
import torch

import vared
from tests.method_helpers import dynamic_layers
from tests.network_helpers import (
    CLASSES,
    assert_every_gate_gets_a_gradient,
    assert_every_parameter_gets_a_gradient,
    assert_sparse_is_dense,
    converted,
    macs_seen_by_torch,
    narrow,
)
from vared.backbones import corrnet, i3d, tpn, x3d


@pytest.mark.parametrize(("network", "layers"), [(i3d, 20), (x3d, 52)])
@pytest.mark.parametrize("width", [1 / 16, 1 / 8])
@pytest.mark.parametrize("frames", [4, 8])
def test_a_narrow_network_trains(network, layers, width, frames):
    model = narrow(network, (3, frames, 32, 32), width)
    assert len(dynamic_layers(model)) == layers
    assert_every_gate_gets_a_gradient(model, torch.randn(4, 3, frames, 32, 32))


@pytest.mark.parametrize("network", [i3d, x3d])
@pytest.mark.parametrize("search_space", [2, 3])
def test_sparse_is_dense(network, search_space):
    assert_sparse_is_dense(narrow(network, search_space=search_space), torch.randn(6, 3, 8, 32, 32))


@pytest.mark.parametrize("network", [i3d, x3d])
@pytest.mark.parametrize("policy", [(1, 1.0), (2, 0.5), (4, 0.25)])
def test_skipped_work_is_not_done(network, policy):
    model, clips = narrow(network, search_space=3).eval(), torch.randn(2, 3, 8, 32, 32)
    with vared.fixed_policy(model, *policy):
        costs = vared.count_flops(model, clips).costs
        executed = macs_seen_by_torch(model, clips)
    # Affine maps, which x3d has for cheap operations, are no convolutions: torch's counter does not see them.
    seen = costs.backbone if network is x3d else costs.backbone + costs.cheap
    assert executed == pytest.approx(seen.sum().item(), rel=1e-9)


@pytest.mark.parametrize(
    ("network", "frames", "height", "width"),
    [
        (tpn, 1, 32, 32), (tpn, 5, 20, 28), (tpn, 6, 33, 17),
        (corrnet, 1, 32, 32), (corrnet, 5, 20, 28), (corrnet, 2, 9, 17),
    ],
)  # fmt: skip
def test_any_size_gives_logits(network, frames, height, width):
    model = network.build(num_classes=CLASSES, width=1 / 16).eval()
    assert model(torch.randn(2, 3, frames, height, width)).shape == (2, CLASSES)


@pytest.mark.parametrize("network", [tpn, corrnet])
@pytest.mark.parametrize("width", [1 / 16, 1 / 8])
def test_every_parameter_gets_a_gradient(network, width):
    model = network.build(num_classes=CLASSES, width=width)
    assert_every_parameter_gets_a_gradient(model, torch.randn(4, 3, 8, 32, 32))


@pytest.mark.parametrize("network", [tpn, corrnet])
def test_a_dynamic_one_is_the_same_function_in_both_modes_and_every_gate_learns(network):
    clips = torch.randn(8, 3, 8, 32, 32)
    model = converted(network, network.build(num_classes=CLASSES, width=1 / 16), (3, 8, 32, 32))
    assert_every_gate_gets_a_gradient(model, clips)
    assert_sparse_is_dense(model, clips)
