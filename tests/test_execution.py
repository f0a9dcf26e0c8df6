"""Sparse evaluation equals dense training for every decision, clip by clip (method: equations A.1, A.2)."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vared
from tests.method_helpers import (
    CHEAP,
    Geometry,
    calibrate,
    dense,
    every_pattern,
    geometries,
    oracle,
    random_weights,
    randomise_cheap,
    randomise_gates,
    relative_difference,
    run,
    tiny_r2plus1d,
)
from vared.execution import convolve, group_by_open_candidates, output_frames
from vared.layers import DynamicConfig, DynamicConv2d, DynamicConv3d
from vared.policies import forced_policy

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}
KINDS = {
    "odd width, bias": {"out_channels": 7, "bias": True},
    "strides of 2": {"out_channels": 5, "kernel": (3, 3, 3), "stride": (2, 2, 2), "padding": (1, 1, 1)},
    "groups": {"in_channels": 6, "out_channels": 9, "groups": 3},
    "depthwise": {"in_channels": 5, "out_channels": 5, "groups": 5, "kernel": (3, 3, 3), "padding": (1, 1, 1)},
    "dilated": {"out_channels": 4, "kernel": (3, 3, 3), "padding": (2, 1, 2), "dilation": (2, 1, 2)},
}


@pytest.mark.parametrize("frames_out", [1, 2, 5, 7, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_open_pattern_in_one_batch(kind, frames_out):
    settings = KINDS[kind]
    frames = frames_out * settings.get("stride", (1,))[0]
    for search_space in (1, 2, 3):
        for cheap in CHEAP if search_space == 2 else ("depthwise",):
            config = DynamicConfig(search_space=search_space, cheap=cheap)
            geometry = Geometry(**settings, frames=frames, config=config)
            assert geometry.frames_out == frames_out
            if len(geometry.factors()) + len(geometry.kept()) == 2:
                continue  # nothing to decide, hence no dynamic layer
            layer = geometry.layer(search_space)
            v_t, v_c = every_pattern(len(layer.temporal_factors), len(layer.kept_channels))
            x = geometry.clips(len(v_t))
            sparse, full = run(layer, x, v_t, v_c, sparse=True), run(layer, x, v_t, v_c, sparse=False)
            assert relative_difference(sparse, full) < 1e-10
    assert relative_difference(full[:5], oracle(layer, x[:5], v_t[:5], v_c[:5])) < 1e-10


@given(geometry=geometries(), seed=st.integers(0, 999), dtype=st.sampled_from(list(TOLERANCE)), fast=st.booleans())
def test_sparse_is_dense_for_random_layers_and_decisions(geometry, seed, dtype, fast):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer, x = geometry.layer(seed, dtype), geometry.clips(4, seed, dtype)
    if fast:
        layer, x = (part.to(memory_format=torch.channels_last_3d) for part in (layer, x))
    v_t = random_weights(4, len(geometry.factors()), seed)
    v_c = random_weights(4, len(geometry.kept()), seed + 1)
    sparse, full = run(layer, x, v_t, v_c, sparse=True), run(layer, x, v_t, v_c, sparse=False)
    assert sparse.dtype == full.dtype == dtype
    assert relative_difference(sparse, full) < TOLERANCE[dtype]


@given(geometry=geometries(), seed=st.integers(0, 999))
def test_a_clip_alone_is_the_clip_in_its_batch(geometry, seed):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer, x = geometry.layer(seed), geometry.clips(3, seed)
    v_t = random_weights(3, len(geometry.factors()), seed)
    v_c = random_weights(3, len(geometry.kept()), seed + 1)
    together = run(layer, x, v_t, v_c, sparse=True)
    for b in range(3):
        alone = run(layer, x[b : b + 1], v_t[b : b + 1], v_c[b : b + 1], sparse=True)
        assert relative_difference(together[b : b + 1], alone) < 1e-10


@given(geometry=geometries(), factor=st.sampled_from([2, 4, 8]))
def test_a_larger_stride_gives_every_nth_frame(geometry, factor):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer, x = geometry.layer(), geometry.clips(2)
    plain = nn.functional.conv3d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    assert output_frames(layer, x.shape[2]) == plain.shape[2]
    strided = convolve(layer, x, factor, layer.out_channels)
    assert strided.shape[2] == -(-plain.shape[2] // factor)
    assert relative_difference(strided, plain[:, :, ::factor]) < 1e-10


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (2, 4, 2)])
def test_named_padding(padding, kernel):
    conv = nn.Conv3d(3, 5, kernel, padding=padding, dilation=(2, 1, 1), dtype=torch.float64)
    layer = randomise_cheap(DynamicConv3d.from_conv(conv, DynamicConfig(search_space=3), (3, 9, 6, 6))).double()
    v_t, v_c = every_pattern(3, 3)
    x = torch.randn(len(v_t), 3, 9, 6, 6, dtype=torch.float64)
    sparse, full = run(layer, x, v_t, v_c, sparse=True), run(layer, x, v_t, v_c, sparse=False)
    assert full.shape[2:] == conv(x).shape[2:]
    assert relative_difference(sparse, full) < 1e-10


@pytest.mark.parametrize("groups", [1, 2])
def test_two_dimensional_sparse_is_dense(groups):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, dtype=torch.float64)
    layer = randomise_cheap(DynamicConv2d.from_conv(conv, DynamicConfig(search_space=2), (4, 7, 7))).double()
    v_t, v_c = every_pattern(1, 2)
    x = torch.randn(len(v_c), 4, 7, 7, dtype=torch.float64)
    sparse, full = run(layer, x, v_t, v_c, sparse=True), run(layer, x, v_t, v_c, sparse=False)
    assert sparse.shape == conv(x).shape and relative_difference(sparse, full) < 1e-10


def test_gradients_of_sparse_are_those_of_dense():
    geometry = Geometry(out_channels=7, frames=7, bias=True, config=DynamicConfig(search_space=3))
    layer, x = geometry.layer(), geometry.clips(6).requires_grad_()
    v_t, v_c = random_weights(6, 3, 0), random_weights(6, 3, 1)
    probe, found = torch.randn(6, 7, 7, 4, 4, dtype=torch.float64), []
    parameters = [p for n, p in layer.named_parameters() if not n.startswith("gate.")]
    for sparse in (False, True):
        y = run(layer, x, v_t, v_c, sparse=sparse)
        grads = torch.autograd.grad((y * probe).sum(), [x, *parameters], allow_unused=True)
        found.append([torch.zeros_like(p) if g is None else g for g, p in zip(grads, [x, *parameters], strict=True)])
    for full, sparse in zip(*found, strict=True):
        assert (full - sparse).abs().max() < 1e-10


@pytest.mark.parametrize("cheap", CHEAP)
def test_under_autocast_a_mixed_batch_is_in_half_precision_and_equals_dense(cheap):
    geometry = Geometry(out_channels=6, config=DynamicConfig(cheap=cheap))
    layer = geometry.layer(dtype=torch.float32)
    v_t, v_c = every_pattern(2, 2)
    x = geometry.clips(len(v_t), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sparse, full = run(layer, x, v_t, v_c, sparse=True), run(layer, x, v_t, v_c, sparse=False)
    assert sparse.dtype == full.dtype == torch.bfloat16
    assert relative_difference(sparse, full) < 2e-2
    assert relative_difference(full, run(layer, x, v_t, v_c, sparse=False)) < 4e-2


def test_clips_are_grouped_by_what_they_open():
    v_t = torch.tensor([[0.5, 0.0], [0.0, 0.2], [0.9, 0.0]])
    v_c = torch.tensor([[0.1, 0.3], [0.1, 0.3], [0.7, 0.2]])
    assert group_by_open_candidates(v_t, v_c) == {((0,), (0, 1)): [0, 2], ((1,), (0, 1)): [1]}


def test_an_input_that_is_not_finite_is_an_error_that_names_the_layer():
    model = tiny_r2plus1d()
    with pytest.raises(ValueError, match="stages.0.0.conv1.spatial.*not finite"):
        model(torch.full((2, 3, 8, 16, 16), float("nan")))


def deciding_network(**settings):
    """Clips decide differently in it, the all-zero rule fires, and cheap operations differ from their start."""
    model = randomise_cheap(randomise_gates(tiny_r2plus1d(**settings), seed=5), spread=0.1)
    return calibrate(model, torch.randn(16, 3, 8, 16, 16))


def patterns(model):
    return {n: (p.temporal > 0, p.channel > 0) for n, p in vared.policy(model).items()}


@pytest.mark.parametrize("search_space", [2, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_whole_network_is_the_same_function_in_both_modes(search_space, memory_format):
    model = deciding_network(search_space=search_space).double().to(memory_format=memory_format)
    x = torch.randn(6, 3, 8, 16, 16, dtype=torch.float64).to(memory_format=memory_format)
    sparse, decided = model(x), vared.policy(model)
    with dense(model):
        full = model(x)
    assert relative_difference(sparse, full) < 1e-10
    for name, (temporal, channel) in patterns(model).items():
        assert torch.equal(temporal, decided[name].temporal > 0) and torch.equal(channel, decided[name].channel > 0)
    shares = torch.stack([p.cost for p in decided.values()])
    assert len(shares.unique()) > 2 and shares.std(1).max() > 0, "clips are meant to decide differently"
    assert any(p.all_zero_temporal.any() or p.all_zero_channel.any() for p in decided.values())


def test_two_evaluations_are_bit_equal():
    model, x = deciding_network(), torch.randn(5, 3, 8, 16, 16)
    first, before = model(x), vared.policy(model)
    second, after = model(x), vared.policy(model)
    assert torch.equal(first, second)
    for name in before:
        assert torch.equal(before[name].temporal, after[name].temporal)
        assert torch.equal(before[name].channel, after[name].channel)


def test_a_layer_decides_and_computes_the_same_for_a_clip_alone_and_in_its_batch():
    geometry = Geometry(in_channels=6, out_channels=9, config=DynamicConfig(search_space=3))
    layer = randomise_gates(geometry.layer(dtype=torch.float32))
    x = geometry.clips(12, dtype=torch.float32)
    calibrate(layer, x)
    together = layer(x)
    (policy,) = vared.policy(layer).values()
    assert policy.cost.unique().numel() > 2
    for b in range(12):
        alone = layer(x[b : b + 1])
        (own,) = vared.policy(layer).values()
        assert relative_difference(alone, together[b : b + 1]) < 1e-5
        assert torch.equal(own.cost, policy.cost[b : b + 1])
        torch.testing.assert_close(own.temporal, policy.temporal[b : b + 1], rtol=0, atol=1e-5)


def test_the_policy_of_a_clip_does_not_depend_on_its_batch():
    # Three layers: over the sixteen of an untrained R(2+1)D the rounding of the gates grows a thousandfold.
    blocks = [(nn.Conv3d(c, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU()) for c in (5, 8, 8)]
    model = nn.Sequential(*(module for block in blocks for module in block))
    vared.convert(model, DynamicConfig(search_space=3), example=(5, 8, 6, 6))
    calibrate(randomise_cheap(randomise_gates(model), spread=0.1), torch.randn(16, 5, 8, 6, 6))
    x = torch.randn(7, 5, 8, 6, 6)
    logits, together = model(x), patterns(model)
    assert torch.stack([p.cost for p in vared.policy(model).values()]).std(1).min() > 0
    order = torch.tensor([4, 2, 6, 0])
    subset = model(x[order])
    assert relative_difference(subset, logits[order]) < 2e-5
    for name, found in patterns(model).items():
        assert all(torch.equal(f, t[order]) for f, t in zip(found, together[name], strict=True))
    for b in range(7):
        alone = model(x[b : b + 1])
        assert relative_difference(alone, logits[b : b + 1]) < 2e-5
        for name, found in patterns(model).items():
            assert all(torch.equal(f, t[b : b + 1]) for f, t in zip(found, together[name], strict=True))


def executed_macs(model, x) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("cheap", ["depthwise", "copy"])
@pytest.mark.parametrize(("temporal", "channel"), [(1, 1.0), (2, 1.0), (1, 0.5), (4, 0.5), (2, 0.25), (4, 0.25)])
def test_skipped_work_is_not_done_under_a_fixed_policy(temporal, channel, cheap):
    """What torch's own counter sees executed is what count_flops says, to the last multiply-accumulate."""
    model, x = tiny_r2plus1d(search_space=3, cheap=cheap), torch.randn(3, 3, 8, 16, 16)
    with vared.fixed_policy(model, temporal, channel):
        costs = vared.count_flops(model, x).costs
        executed = executed_macs(model, x)
    assert executed == pytest.approx(1e9 * (costs.backbone + costs.cheap).sum().item(), abs=0.5)


def test_skipped_work_is_not_done_in_a_batch_of_different_decisions():
    model, x = deciding_network(search_space=3), torch.randn(6, 3, 8, 16, 16)
    report = vared.count_flops(model, x)
    assert report.costs.backbone.unique().numel() > 2
    assert executed_macs(model, x) == pytest.approx(1e9 * report.costs.total.sum().item(), abs=0.5)  # gates run here
    single = [vared.count_flops(model, clip).costs.total.item() for clip in x]
    torch.testing.assert_close(report.costs.total, torch.tensor(single, dtype=torch.float64), rtol=1e-12, atol=0)


def test_nothing_is_executed_for_closed_candidates_of_one_layer():
    geometry = Geometry(in_channels=4, out_channels=8, frames=8, config=DynamicConfig(search_space=3))
    layer, x = geometry.layer().eval(), geometry.clips(2)
    v_t, v_c = torch.tensor([[0.0, 0.3, 0.5], [0.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.4, 0.0], [0.2, 0.0, 0.9]])
    with forced_policy(layer, {"": (v_t, v_c)}):
        executed = executed_macs(layer, x)
    pixels = 16
    first = 4 * 4 * pixels * 4 * 9 + 9 * pixels * (4 * 4 + 8 * (4 + 6))  # K = 4, 4 frames; rebuild 4; frames 4 + 6
    second = 8 * 2 * pixels * 4 * 9 + 9 * pixels * (6 * 2 + 8 * 6)  # K = 8, 2 frames; rebuild 6 of r = 1/4; frames 6
    assert executed == first + second


def test_an_empty_batch_gives_an_empty_output():
    conv, config = nn.Conv3d(4, 6, 3, padding=1), vared.DynamicConfig(cheap="affine")
    layer = vared.DynamicConv3d.from_conv(conv, config, (4, 4, 5, 5)).eval()
    assert layer(torch.randn(0, 4, 4, 5, 5)).shape == (0, 6, 4, 5, 5)


def test_a_clip_is_decided_alike_alone_and_in_any_batch_of_the_whole_network():
    model = calibrate(randomise_gates(tiny_r2plus1d(), seed=3), torch.randn(16, 3, 8, 16, 16)).double()
    clips = torch.randn(6, 3, 8, 16, 16, dtype=torch.float64)
    model(clips)
    together = vared.policy(model)
    assert len({tuple(p.cost.tolist()) for p in together.values()}) > 1
    for clip in range(len(clips)):
        model(clips[[clip]])
        for name, alone in vared.policy(model).items():
            assert torch.equal(alone.temporal > 0, together[name].temporal[[clip]] > 0), name
            assert torch.equal(alone.channel > 0, together[name].channel[[clip]] > 0), name
