"""The accelerated copy computes the same function as the dynamic network, layer by layer and as a whole."""

import copy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

import vared
from tests.method_helpers import (
    CHEAP,
    Geometry,
    calibrate,
    every_pattern,
    geometries,
    oracle,
    plain_image_network,
    random_weights,
    randomise_cheap,
    randomise_gates,
    relative_difference,
    run,
    tiny_r2plus1d,
)
from tests.network_helpers import narrow
from vared.acceleration import accelerate, affine_kernel, blocks, compiling, mix_kernel, onednn
from vared.acceleration import layers as accelerated_layers
from vared.acceleration.blocks import execute_in_blocks
from vared.acceleration.gate_kernel import accelerated_gate
from vared.acceleration.layers import AcceleratedConv2d, AcceleratedConv3d, accelerated
from vared.backbones import i3d, r2plus1d, x3d
from vared.benchmarks.subjects import threads as torch_threads
from vared.gate import ALL_ZERO_WEIGHT, SoftModulationGate
from vared.layers import DynamicConfig
from vared.policies import dynamic_layers, fixed_policy, forced_policy, policy

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.fixture(params=["in blocks", "by groups"])
def way(request, monkeypatch):
    """Maps of any size run in blocks, or none does."""
    if request.param == "in blocks":
        monkeypatch.setattr(accelerated_layers, "BLOCKWISE_BYTES", 0)
    else:
        monkeypatch.setattr(accelerated_layers, "_pays_in_blocks", lambda layer, clips: False)


@torch.inference_mode()
def _in_blocks(layer, x, v_t, v_c, norm=None, relu=False):
    fast = accelerated(copy.deepcopy(layer).eval(), norm, relu)
    return execute_in_blocks(fast, x.contiguous(memory_format=torch.channels_last_3d), v_t, v_c)


def _norm(channels: int, dtype=torch.float64) -> nn.Module:
    norm = nn.BatchNorm3d(channels, dtype=dtype)
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean):
            value.normal_()
        norm.running_var.uniform_(0.5, 2)
    return norm.eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("cheap", CHEAP)
@pytest.mark.parametrize("channels, frames", [(7, 1), (7, 3), (7, 8), (35, 5)])
def test_every_open_pattern_of_three_candidates(cheap, channels, frames, dtype):
    config = DynamicConfig(search_space=3, cheap=cheap)
    layer = Geometry(out_channels=channels, frames=frames, config=config).layer(dtype=dtype)
    v_t, v_c = every_pattern(len(layer.temporal_factors), len(layer.kept_channels))
    x = Geometry(frames=frames).clips(len(v_t), dtype=dtype)
    found = _in_blocks(layer, x, v_t, v_c)
    assert relative_difference(found, run(layer, x, v_t, v_c, sparse=True)) < TOLERANCE[dtype]
    assert relative_difference(found[:5], oracle(layer, x[:5], v_t[:5], v_c[:5])) < TOLERANCE[dtype]


@given(geometry=geometries(), seed=st.integers(0, 999), dtype=st.sampled_from(list(TOLERANCE)), relu=st.booleans())
def test_random_layers_with_normalisation(geometry, seed, dtype, relu):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer, x = geometry.layer(seed, dtype), geometry.clips(4, seed, dtype)
    v_t = random_weights(4, len(geometry.factors()), seed)
    v_c = random_weights(4, len(geometry.kept()), seed + 1)
    norm = _norm(geometry.out_channels, dtype)
    expected = norm(run(layer, x, v_t, v_c, sparse=True))
    found = _in_blocks(layer, x, v_t, v_c, norm, relu)
    assert found.dtype == dtype
    assert relative_difference(found, expected.relu() if relu else expected) < TOLERANCE[dtype]


def test_normalisation_without_weights():
    layer, norm = Geometry(out_channels=6).layer(), nn.BatchNorm3d(6, affine=False, dtype=torch.float64).eval()
    norm.running_mean.fill_(0.5)
    v_t, v_c = every_pattern(2, 2)
    x = Geometry().clips(len(v_t))
    expected = norm(run(layer, x, v_t, v_c, sparse=True))
    assert relative_difference(_in_blocks(layer, x, v_t, v_c, norm), expected) < 1e-10


@pytest.mark.parametrize("fused", [True, False], ids=["oneDNN", "no oneDNN"])
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "no kernel"])
@pytest.mark.parametrize("channels, side, frames", [(16, 16, 8), (37, 5, 7), (6, 1, 3), (1, 2, 2)])
def test_the_same_with_and_without_fused_operators(monkeypatch, fused, compiled, channels, side, frames):
    monkeypatch.setattr(onednn, "available", lambda x: fused and not torch.is_grad_enabled())
    if not compiled:
        for module in (mix_kernel, affine_kernel):
            monkeypatch.setattr(module, "library", lambda: None)
    config = DynamicConfig(search_space=3)
    geometry = Geometry(in_channels=16, out_channels=channels, side=side, frames=frames, config=config)
    layer = geometry.layer(dtype=torch.float32)
    v_t, v_c = every_pattern(len(geometry.factors()), len(geometry.kept()))
    x = geometry.clips(len(v_t), dtype=torch.float32)
    expected = run(layer, x, v_t, v_c, sparse=True)
    assert relative_difference(_in_blocks(layer, x, v_t, v_c, None, True), expected.relu()) < 1e-5


def _assert_the_plain_layer(geometry: Geometry, threads: int) -> None:
    """Every open pattern in blocks, with normalisation and ReLU, equals the plain sparse layer."""
    layer, norm = geometry.layer(dtype=torch.float32), _norm(geometry.out_channels, torch.float32)
    v_t, v_c = every_pattern(len(geometry.factors()), len(geometry.kept()))
    x = geometry.clips(len(v_t), dtype=torch.float32)
    with torch_threads(threads):
        found = _in_blocks(layer, x, v_t, v_c, norm, True)
    assert relative_difference(found, norm(run(layer, x, v_t, v_c, sparse=True)).relu()) < 1e-5


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels, side, frames", [(54, 13, 7), (16, 9, 8), (5, 1, 3)])
def test_affine_layers_have_a_pass_of_their_own(monkeypatch, threads, channels, side, frames):
    monkeypatch.setattr(blocks, "plan_clip", None)  # the pass that other layers take
    config = DynamicConfig(search_space=3, cheap="affine")
    geometry = Geometry(in_channels=16, out_channels=channels, side=side, frames=frames, config=config)
    _assert_the_plain_layer(geometry, threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "inputs, channels, side, frames", [(24, 54, 9, 7), (5, 150, 3, 8), (33, 12, 1, 5), (7, 65, 8, 1)]
)
def test_pointwise_layers_convolve_in_their_pass(monkeypatch, threads, inputs, channels, side, frames):
    if not compiling.library() or not compiling.library().pointwise_fast():
        pytest.skip("The pass convolves only where there are the registers of AVX-512 and a C compiler.")
    monkeypatch.setattr(blocks, "_convolve", None)
    config = DynamicConfig(search_space=3, cheap="affine")
    geometry = Geometry(inputs, channels, kernel=(1, 1, 1), padding=(0, 0, 0), side=side, frames=frames, config=config)
    _assert_the_plain_layer(geometry, threads)


@torch.inference_mode()
@pytest.mark.parametrize("pool_time", [True, False])
@pytest.mark.parametrize("temporal, channel", [(3, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("channels, side, frames, hidden", [(37, 11, 5, 16), (64, 4, 8, 7), (1, 1, 1, 40)])
def test_a_gate_decides_the_same_in_one_call(pool_time, temporal, channel, channels, side, frames, hidden):
    torch.manual_seed(0)
    gate = SoftModulationGate(channels, frames, temporal, channel, hidden=hidden, bias=0.0, pool_time=pool_time)
    for part in (*gate.norm.parameters(), gate.norm.running_mean, gate.expand.weight):
        part.data.normal_()
    gate.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(64, channels, frames, side, side) + torch.randn(64, channels, 1, 1, 1)
    fast = accelerated_gate(gate.eval())
    for found, expected in zip(fast(x), gate(x), strict=True):
        assert (found - expected).abs().max() < 1e-5
        assert torch.equal((found == ALL_ZERO_WEIGHT).any(1), (expected == ALL_ZERO_WEIGHT).any(1))
    x[3, 0, 0, 0, 0] = float("nan")
    assert all(weights[3].isnan().all() for weights in fast(x) if weights.shape[1] > 1)
    assert all(weights[:3].isfinite().all() for weights in fast(x))


def test_what_the_call_cannot_do_the_gate_does_itself():
    layer_norm = SoftModulationGate(6, 4, 2, 2, norm="layer").eval()
    batch_norm = SoftModulationGate(6, 4, 2, 2).eval()
    x = torch.randn(3, 6, 4, 2, 2)
    for gate in (layer_norm, batch_norm):  # with a gradient, and with another normalisation
        assert all(torch.equal(*pair) for pair in zip(accelerated_gate(gate)(x), gate(x), strict=True))
    with torch.inference_mode(), pytest.raises(ValueError, match="built for 6 channels and 4 frames"):
        accelerated_gate(batch_norm)(torch.randn(3, 6, 5, 2, 2))


@pytest.mark.parametrize("cheap", ["depthwise", "affine"])
def test_not_a_number_stays_one(cheap):
    layer = Geometry(out_channels=20, config=DynamicConfig(cheap=cheap)).layer(dtype=torch.float32)
    x = Geometry().clips(1, dtype=torch.float32)
    x[0, 0, 2, 1, 1] = float("nan")
    found = _in_blocks(layer, x, torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.5]]), None, True)
    assert found[0, :, 2, 1, 1].isnan().all() and found[0, :, 6].isfinite().all()


def test_without_a_compiler_a_warning_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.warns(UserWarning, match="no-such-compiler"):
        assert compiling.library.__wrapped__() is None
    assert list((tmp_path / "vared").iterdir()) == []


def test_a_gate_that_opens_nothing_is_named():
    layer = Geometry().layer()
    layer.gate.layer = "stages.0.spatial"
    with pytest.raises(ValueError, match="stages.0.spatial"):
        _in_blocks(layer, Geometry().clips(1), torch.tensor([[float("nan"), 0.0]]), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("network", [r2plus1d, i3d, x3d], ids=lambda module: module.__name__.split(".")[-1])
def test_a_network_computes_the_same_with_nothing_left_to_normalise(way, network):
    example = (3, 8, 32, 32)
    model = calibrate(randomise_cheap(narrow(network, example), 0.1), torch.randn(16, *example)).double()
    clips = torch.randn(3, *example, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    weights = {}
    for seed, (name, layer) in enumerate(dynamic_layers(model).items()):
        counts = len(layer.temporal_factors), len(layer.kept_channels)
        weights[name] = random_weights(3, counts[0], seed), random_weights(3, counts[1], 99 + seed)
    with torch.inference_mode():
        fast = accelerate(model)
        with forced_policy(model, weights), forced_policy(fast, weights):
            assert relative_difference(fast(clips), model(clips)) < 1e-9
    assert all(isinstance(layer, AcceleratedConv3d) for layer in dynamic_layers(fast).values())
    called = [fast.get_submodule(node.target) for node in fast.graph.nodes if node.op == "call_module"]
    assert not any(isinstance(module, nn.BatchNorm3d) for module in called)


def test_gates_decide_as_before(way):
    model = calibrate(randomise_gates(tiny_r2plus1d()), torch.randn(16, 3, 8, 16, 16))
    clips = torch.randn(3, 3, 8, 16, 16)
    with torch.inference_mode():
        fast = accelerate(model)
        fast(clips), model(clips)
    for name, decided in policy(fast).items():
        torch.testing.assert_close(decided.temporal, policy(model)[name].temporal, rtol=0, atol=1e-4)
        torch.testing.assert_close(decided.channel, policy(model)[name].channel, rtol=0, atol=1e-4)


def test_a_network_of_images(way):
    model = vared.convert(plain_image_network(), example=(5, 16, 16), where=lambda name, conv: name == "0")
    model = calibrate(randomise_cheap(randomise_gates(model)), torch.randn(16, 5, 16, 16))
    images = torch.randn(4, 5, 16, 16)
    with torch.inference_mode():
        fast = accelerate(model)
        assert isinstance(fast.get_submodule("0"), AcceleratedConv2d)
        assert relative_difference(fast(images), model(images)) < 1e-5


def test_policies_can_be_forced_and_costs_counted(way):
    model = calibrate(tiny_r2plus1d(), torch.randn(8, 3, 8, 16, 16))
    clips = torch.randn(2, 3, 8, 16, 16)
    fast = accelerate(model)
    with torch.inference_mode(), fixed_policy(model, 2, 0.5), fixed_policy(fast, 2, 0.5):
        assert relative_difference(fast(clips), model(clips)) < 1e-5
        assert vared.count_flops(fast, clips).costs.total.equal(vared.count_flops(model, clips).costs.total)
    weights = {"stages.0.0.conv1.spatial": (torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))}
    with torch.inference_mode(), forced_policy(fast, weights):
        fast(clips)
    assert policy(fast)["stages.0.0.conv1.spatial"].stride.tolist() == [2, 2]


def test_the_model_itself_stays_as_it_was():
    model = calibrate(tiny_r2plus1d(), torch.randn(8, 3, 8, 16, 16)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    accelerate(model)
    assert model.training and not any(isinstance(m, AcceleratedConv3d) for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_moved_to_another_type_are_used():
    fast = accelerate(calibrate(tiny_r2plus1d(), torch.randn(8, 3, 8, 16, 16)))
    clips = torch.randn(2, 3, 8, 16, 16)
    with torch.inference_mode(), fixed_policy(fast, 2, 0.5):
        expected = fast(clips)
        assert relative_difference(fast.double()(clips.double()), expected) < 1e-5


def test_a_network_that_cannot_be_traced_is_accelerated_without_folding():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = plain_image_network()

        def forward(self, x):
            return self.body(x) if x.mean() < 1e9 else x

    model = vared.convert(Branching(), example=(5, 16, 16), where=lambda name, conv: name == "body.0")
    model = calibrate(model, torch.randn(16, 5, 16, 16))
    images = torch.randn(4, 5, 16, 16)
    with pytest.warns(UserWarning, match="not folded"):
        fast = accelerate(model)
    with torch.inference_mode():
        assert relative_difference(fast(images), model(images)) < 1e-5


def test_training_an_accelerated_network_is_refused():
    fast = accelerate(calibrate(tiny_r2plus1d(), torch.randn(8, 3, 8, 16, 16)))
    with pytest.raises(ValueError, match="cannot be trained"):
        fast.train()


def test_a_bare_layer_is_refused():
    with pytest.raises(ValueError, match="nn.Sequential"):
        accelerate(Geometry().layer())
