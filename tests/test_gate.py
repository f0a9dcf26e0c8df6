"""Soft modulation gate, equation (3.4): formula, precision, initialisation, all-zero rule, errors."""

import numpy as np
import pytest
import torch

import vared
from tests.method_helpers import Geometry, dynamic_layers, tiny_r2plus1d
from vared.gate import ALL_ZERO_WEIGHT, SoftModulationGate


def gate_by_hand(gate, x):
    """max(tanh(W2 tanh(N(W1 u)) + beta), 0) in numpy, with running statistics or layer normalisation."""
    state = {k: v.double().numpy() for k, v in gate.state_dict().items()}
    u = x.double().numpy().mean((-2, -1))
    u = u.mean(-1) if gate.pool_time else u.reshape(len(u), -1)
    h = u @ state["reduce.weight"].T
    if "norm.running_mean" in state:
        h = (h - state["norm.running_mean"]) / np.sqrt(state["norm.running_var"] + 1e-5)
    else:
        h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
    h = np.tanh(h * state["norm.weight"] + state["norm.bias"])
    return np.maximum(np.tanh(h @ state["expand.weight"].T + state["expand.bias"]), 0)


def random_gate(temporal=3, channel=2, **settings):
    gate = SoftModulationGate(5, 4, temporal, channel, hidden=7, **settings).eval()
    with torch.no_grad():
        for value in gate.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.1)
        gate.expand.weight.normal_()
        gate.expand.bias.normal_().add_(1)
    return gate


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("pool_time", [False, True])
def test_weights_follow_the_equation_temporal_first_then_channel(norm, pool_time):
    torch.manual_seed(3)
    gate, x = random_gate(norm=norm, pool_time=pool_time), torch.randn(16, 5, 4, 3, 6)
    expected = gate_by_hand(gate, x)
    v_t, v_c = gate(x)
    rows_t, rows_c = expected[:, :3].any(1), expected[:, 3:].any(1)
    assert rows_t.sum() > 4 and rows_c.sum() > 4, "the draw is meant to leave rows outside the all-zero rule"
    np.testing.assert_allclose(v_t.detach().numpy()[rows_t], expected[rows_t, :3], atol=2e-6)
    np.testing.assert_allclose(v_c.detach().numpy()[rows_c], expected[rows_c, 3:], atol=2e-6)


def test_shapes_of_the_weights_and_multiply_accumulates():
    gate = SoftModulationGate(6, 8, 2, 3, hidden=16)
    assert gate.reduce.weight.shape == (16, 6 * 8) and gate.reduce.bias is None
    assert gate.expand.weight.shape == (5, 16) and gate.expand.bias.shape == (5,)
    assert gate.macs == 6 * 8 * 16 + 16 * 5
    pooled = SoftModulationGate(6, 8, 2, 1, hidden=4, pool_time=True)
    assert pooled.reduce.weight.shape == (4, 6) and pooled.outputs == 2  # a single candidate has no output
    assert pooled.macs == 6 * 4 + 4 * 2


def test_a_dimension_with_one_candidate_is_the_constant_one():
    gate = SoftModulationGate(4, 2, 1, 3)
    v_t, v_c = gate(torch.randn(5, 4, 2, 3, 3))
    assert torch.equal(v_t, torch.ones(5, 1)) and v_c.shape == (5, 3)


def test_at_the_start_everything_is_open_near_tanh_one():
    means = []
    for seed in range(8):
        torch.manual_seed(seed)
        layer = Geometry(in_channels=12, out_channels=9, config=vared.DynamicConfig(search_space=3)).layer(seed).float()
        v_t, v_c = layer.gate.train()(torch.randn(16, 12, 8, 4, 4))
        assert not ((v_t == 0).all(1).any() or (v_c == 0).all(1).any())
        assert not ((v_t == ALL_ZERO_WEIGHT).any() or (v_c == ALL_ZERO_WEIGHT).any())
        means += [v_t.mean().item(), v_c.mean().item()]
    assert abs(np.mean(means) - np.tanh(1)) < 0.05
    assert max(abs(m - np.tanh(1)) for m in means) < 0.1


def test_a_whole_network_starts_open():
    model = tiny_r2plus1d().train()
    model(torch.randn(8, 3, 8, 16, 16))
    policies = vared.policy(model).values()
    values = torch.cat([v.flatten() for p in policies for v in (p.temporal, p.channel) if v.shape[1] > 1])
    assert abs(values.mean().item() - np.tanh(1)) < 0.05
    assert not any(p.all_zero_temporal.any() or p.all_zero_channel.any() for p in policies)


def test_the_last_layer_bounds_how_far_a_gate_can_move():
    torch.manual_seed(0)
    gate = random_gate()
    v_t, v_c = gate(1000 * torch.randn(64, 5, 4, 3, 3))
    reach = gate.expand.bias + gate.expand.weight.abs().sum(1)
    assert (torch.cat([v_t, v_c], 1) <= torch.tanh(reach).clamp(min=ALL_ZERO_WEIGHT) + 1e-6).all()


def shut_gate(temporal=2, channel=3):
    gate = SoftModulationGate(4, 2, temporal, channel, bias=-1.0)
    gate.norm.train()
    return gate


def test_all_shut_opens_the_smallest_candidate_by_five_hundredths():
    v_t, v_c = shut_gate()(torch.randn(6, 4, 2, 3, 3))
    assert torch.equal(v_t, torch.tensor([[0.0, 0.05]]).expand(6, 2))
    assert torch.equal(v_c, torch.tensor([[0.0, 0.0, 0.05]]).expand(6, 3))


def test_the_all_zero_rule_is_the_same_in_evaluation():
    gate = shut_gate().eval()
    v_t, v_c = gate(torch.randn(2, 4, 2, 3, 3))
    assert v_t.tolist() == [[0.0, pytest.approx(0.05)]] * 2 and v_c[0, -1].item() == pytest.approx(0.05)


def test_a_shut_gate_gets_the_gradient_of_the_tanh_of_its_last_entry_only():
    gate = shut_gate()
    with torch.no_grad():
        gate.expand.bias.copy_(torch.tensor([-0.4, -0.3, -0.5, -0.6, -0.2]))
        gate.expand.weight.zero_()
    v_t, v_c = gate(torch.randn(6, 4, 2, 3, 3))
    (v_t.sum() + v_c.sum()).backward()
    slope = [6 * (1 - np.tanh(b) ** 2) for b in (-0.3, -0.2)]
    np.testing.assert_allclose(gate.expand.bias.grad.numpy(), [0, slope[0], 0, 0, slope[1]], rtol=1e-5)


def test_a_shut_smallest_candidate_beside_an_open_one_stays_shut():
    gate = SoftModulationGate(4, 2, 2, 3).eval()
    with torch.no_grad():
        gate.expand.weight.zero_()
        gate.expand.bias.copy_(torch.tensor([0.7, -0.7, -0.1, 0.2, -3.0]))
    v_t, v_c = gate(torch.randn(2, 4, 2, 3, 3))
    np.testing.assert_allclose(v_t.detach().numpy(), [[np.tanh(0.7), 0]] * 2, rtol=1e-6)
    np.testing.assert_allclose(v_c.detach().numpy(), [[0, np.tanh(0.2), 0]] * 2, rtol=1e-6)
    (v_t.sum() + v_c.sum()).backward()
    assert gate.expand.bias.grad.tolist()[1] == 0 and gate.expand.bias.grad[4] == 0 and gate.expand.bias.grad[0] > 0


@pytest.mark.hazard("numerics", "gates under autocast", "fp32 under bf16 and fp16; open gates those of the fp32 run")
def test_autocast_leaves_the_gate_in_fp32_with_the_same_decision():
    torch.manual_seed(0)
    gate, x = random_gate(), torch.randn(32, 5, 4, 3, 3).bfloat16()
    plain = gate(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = gate(x)
    for before, after in zip(plain, cast, strict=True):
        assert after.dtype == torch.float32
        assert torch.equal(before, after)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_casting_a_network_leaves_its_gates_in_fp32(dtype):
    gate = SoftModulationGate(4, 2, 2, 2).to(dtype).eval()
    v_t, v_c = gate(torch.randn(3, 4, 2, 3, 3).to(dtype))
    assert {p.dtype for p in gate.parameters()} == {torch.float32} == {v_t.dtype, v_c.dtype}


def test_a_small_weight_that_half_precision_flushes_to_zero_stays_open():
    gate = SoftModulationGate(4, 2, 2, 1).eval()
    with torch.no_grad():
        gate.expand.weight.zero_()
        gate.expand.bias.copy_(torch.tensor([1e-9, 0.5]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        v_t, _ = gate(torch.randn(1, 4, 2, 3, 3))
    assert v_t[0, 0] > 0 and v_t.half()[0, 0] == 0


def test_wrong_frames_name_layer_expected_and_given():
    model = tiny_r2plus1d(frames=8)
    first = next(iter(dynamic_layers(model)))
    with pytest.raises(ValueError, match=rf"{first}.*8 frames.*16 frames"):
        model(torch.randn(2, 3, 16, 16, 16))
    with vared.fixed_policy(model, 2, 0.5), pytest.raises(ValueError, match=rf"{first}.*8 frames.*4 frames"):
        model(torch.randn(2, 3, 4, 16, 16))


def test_pooling_over_time_takes_any_number_of_frames():
    gate = SoftModulationGate(4, 8, 2, 2, pool_time=True).eval()
    assert gate(torch.randn(3, 4, 5, 2, 2))[0].shape == (3, 2)


def test_one_clip_in_training_is_refused_with_the_remedy():
    model = tiny_r2plus1d().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    with pytest.raises(ValueError, match="stages.0.0.conv1.spatial.*batch of one clip.*gate_norm='layer'"):
        model(torch.randn(1, 3, 8, 16, 16))
    layered = tiny_r2plus1d(gate_norm="layer").train()
    assert layered(torch.randn(1, 3, 8, 32, 32)).shape == (1, 5)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="'batch' or 'layer', not 'group'"):
        SoftModulationGate(4, 2, 2, 2, norm="group")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_casting_a_network_leaves_the_values_of_its_gates(dtype):
    gate = vared.SoftModulationGate(4, 2, 2, 2)
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    gate.to(dtype)
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())


def test_a_gate_with_frozen_statistics_trains_on_one_clip():
    gate = vared.SoftModulationGate(4, 2, 2, 2)
    gate.norm.eval()
    gate(torch.randn(1, 4, 2, 3, 3))[0].sum().backward()
    assert gate.expand.weight.grad is not None
