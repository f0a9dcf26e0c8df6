"""One contract for networks that nobody here wrote: what `convert` promises, it keeps on every one of them."""

import copy
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vared
from tests.foreign_networks import NETWORKS, Converted
from tests.method_helpers import dynamic_layers, is_dynamic, randomise_cheap, relative_difference

# Of the libraries: torch.jit.script when they are imported, and an old spelling in pytorchvideo's swish.
pytestmark = pytest.mark.filterwarnings("ignore:.*(jit.script|saved_variables):DeprecationWarning")

ADDED = re.compile(r"\.(gate\.(reduce|norm|expand)|cheap_channel\.\d+|cheap_temporal\.\d+\.\d+)\.\w+$")


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """Each network is built and converted once; tests that change it work on a copy."""
    return Converted(request.param)


def halves(model: nn.Module) -> list[tuple[int, float]]:
    """(R, r) that halve the frames, the channels and both, as far as the network has such candidates."""
    has_time = any(len(layer.temporal_factors) > 1 for layer in dynamic_layers(model).values())
    return [(2, 1.0), (1, 0.5), (2, 0.5)] if has_time else [(1, 0.5)]


def executed_macs(model: nn.Module, x) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() / 2


def erased(model: nn.Module) -> nn.Module:
    clone = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in clone.state_dict().values():
            tensor.zero_()
    return clone


def test_the_default_takes_the_convolutions_of_the_blocks(network):
    assert len(dynamic_layers(network.model)) == NETWORKS[network.name].dynamic


def test_keys_are_kept_a_dense_checkpoint_loads_and_the_full_policy_is_the_source(network):
    before, after = network.source.state_dict(), network.model.state_dict()
    assert before.keys() <= after.keys()
    added = after.keys() - before.keys()
    layers = tuple(dynamic_layers(network.model))
    assert added and all(key.startswith(layers) and ADDED.search(key) for key in added)
    model = erased(network.model)
    result = model.load_state_dict(before, strict=False)
    counters = {key for key in added if key.endswith("num_batches_tracked")}  # these may be absent
    assert result.unexpected_keys == [] and set(result.missing_keys) == added - counters
    with torch.no_grad(), vared.fixed_policy(model):
        found = model(network.inputs())
    assert relative_difference(found, network.source(network.inputs())) < 1e-5


def test_every_gate_gets_a_gradient(network):
    model = copy.deepcopy(network.model).train()
    logits = model(network.inputs())
    (logits * torch.randn_like(logits)).sum().backward()
    gates = {name: p.grad for name, p in model.named_parameters() if ".gate." in name}
    assert len(gates) == 5 * NETWORKS[network.name].dynamic
    silent = [name for name, grad in gates.items() if grad is None or not (grad.isfinite().all() and grad.any())]
    assert silent == []


def test_half_policies_cost_less_as_counted_and_as_executed(network):
    model, x = network.model, network.inputs(2)
    static = vared.count_flops(network.source, network.example).static
    assert round(1e9 * static) == executed_macs(network.source, network.inputs(1))
    assert vared.count_flops(model, network.example).static == pytest.approx(static, rel=1e-12)
    for temporal, channel in halves(model):
        with vared.fixed_policy(model, temporal, channel):
            costs = vared.count_flops(model, x).costs
            executed = executed_macs(model, network.inputs(2))
        assert executed == pytest.approx(1e9 * (costs.backbone + costs.cheap).sum().item(), abs=0.5)
        assert costs.total.max() < static and executed < 2e9 * static


def test_a_second_conversion_changes_nothing(network):
    modules, state = dict(network.model.named_modules()), network.model.state_dict()
    versions = {key: value._version for key, value in state.items()}
    assert vared.convert(network.model, example=network.example) is network.model
    assert dict(network.model.named_modules()) == modules
    assert {key: value._version for key, value in network.model.state_dict().items()} == versions


def test_revert_undoes_a_conversion(network):
    model = vared.revert(copy.deepcopy(network.model))
    assert {n: type(m) for n, m in model.named_modules()} == {n: type(m) for n, m in network.source.named_modules()}
    before, after = network.source.state_dict(), model.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[key], after[key]) for key in before)
    with torch.no_grad():
        assert torch.equal(model(network.inputs()), network.source(network.inputs()))


def test_state_survives_a_file_and_a_copy(network, tmp_path):
    save_file(network.model.state_dict(), tmp_path / "weights.safetensors")
    other = erased(network.model)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(other(network.inputs()), network.model(network.inputs()))
    for name, policy in vared.policy(network.model).items():
        assert torch.equal(policy.temporal, vared.policy(other)[name].temporal)
        assert torch.equal(policy.channel, vared.policy(other)[name].channel)


def test_the_specialised_network_exports_and_matches(network):
    model = randomise_cheap(copy.deepcopy(network.model), spread=0.1)
    temporal, channel = halves(model)[-1]
    plain = vared.specialize(model, temporal, channel)
    assert not any(is_dynamic(module) for module in plain.modules())
    with torch.no_grad():
        exported = torch.export.export(plain, (network.inputs(),)).module()
        found = exported(network.inputs())
        with vared.fixed_policy(model, temporal, channel):
            assert relative_difference(found, model(network.inputs())) < 1e-5
