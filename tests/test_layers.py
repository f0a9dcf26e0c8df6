"""Dynamic convolution in training (equations 3.1-3.5) against literal loops, and its candidates."""

import copy

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
    geometries,
    oracle,
    plain_image_network,
    random_weights,
    relative_difference,
    run,
)
from vared.layers import DynamicConfig, DynamicConv2d, DynamicConv3d


@given(geometry=geometries(), seed=st.integers(0, 999))
def test_the_dense_output_is_the_equations(geometry, seed):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer, x = geometry.layer(seed), geometry.clips(3, seed)
    v_t = random_weights(3, len(geometry.factors()), seed)
    v_c = random_weights(3, len(geometry.kept()), seed + 1)
    assert relative_difference(run(layer, x, v_t, v_c, sparse=False), oracle(layer, x, v_t, v_c)) < 1e-10


@given(geometry=geometries())
def test_candidates_are_those_that_save_something(geometry):
    assume(geometry.frames_out >= 1)
    shape = (geometry.in_channels, geometry.frames, geometry.side, geometry.side)
    if len(geometry.factors()) == len(geometry.kept()) == 1:
        with pytest.raises(ValueError, match="Nothing to decide"):
            DynamicConv3d.from_conv(geometry.conv(), geometry.config, shape)
        return
    layer = DynamicConv3d.from_conv(geometry.conv(), geometry.config, shape)
    assert list(layer.temporal_factors) == geometry.factors()
    assert list(layer.kept_channels) == geometry.kept()
    assert len(layer.channel_ratios) == len(layer.kept_channels) and layer.channel_ratios[0] == 1.0
    assert layer.frames_out == geometry.frames_out


def test_too_few_frames_drop_candidates():
    def layer(frames):
        return Geometry(frames=frames, config=DynamicConfig(search_space=3)).layer()

    assert {t: layer(t).temporal_factors for t in (1, 2, 3, 5, 8)} == {
        1: (1,), 2: (1, 2), 3: (1, 2, 4), 5: (1, 2, 4), 8: (1, 2, 4),
    }  # fmt: skip


def test_odd_widths_round_up_and_groups_stay_whole():
    def kept(channels, groups=1, multiple=1):
        config = DynamicConfig(search_space=3, channel_multiple=multiple)
        return Geometry(in_channels=groups, out_channels=channels, groups=groups, config=config).layer().kept_channels

    assert kept(921) == (921, 461, 231)
    assert kept(7) == (7, 4, 2)
    assert kept(10, groups=5) == (10, 6, 4)
    assert kept(6, groups=6) == (6, 3, 2)
    assert kept(48, multiple=8) == (48, 24, 16)
    assert kept(1) == (1,)


@pytest.mark.parametrize("cheap", CHEAP)
def test_the_first_candidates_alone_are_the_plain_convolution(cheap):
    geometry = Geometry(out_channels=7, frames=5, bias=True, config=DynamicConfig(search_space=3, cheap=cheap))
    layer, x = geometry.layer(), geometry.clips(2)
    one = torch.tensor([[1.0, 0, 0]])
    plain = nn.functional.conv3d(x, layer.weight, layer.bias, layer.stride, layer.padding)
    for sparse in (False, True):
        torch.testing.assert_close(run(layer, x, one, one, sparse=sparse), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("cheap", ["copy", "depthwise", "affine"])
def test_a_fresh_smaller_candidate_copies_channels_and_holds_frames(cheap, sparse):
    geometry = Geometry(out_channels=7, frames=7, config=DynamicConfig(search_space=3, cheap=cheap))
    conv = geometry.conv()
    layer = DynamicConv3d.from_conv(conv, geometry.config, (3, 7, 4, 4))  # cheap operations as initialised
    x, full = geometry.clips(2), None
    full = conv(x)
    for which, kept, factor in ((1, 4, 2), (2, 2, 4)):
        one_hot = torch.eye(3)[[which]]
        y = run(layer, x, one_hot, one_hot, sparse=sparse)
        for c in range(7):
            for t in range(7):
                torch.testing.assert_close(y[:, c, t], full[:, c % kept, t - t % factor], rtol=1e-12, atol=1e-12)


def test_every_candidate_has_its_own_cheap_weights():
    two = Geometry(out_channels=7, config=DynamicConfig()).layer()
    three = Geometry(out_channels=7, config=DynamicConfig(search_space=3)).layer()
    shapes = {n: tuple(p.shape) for n, p in three.named_parameters() if n.startswith("cheap_")}
    assert shapes == {
        "cheap_channel.0.weight": (3, 1, 1, 3, 3),
        "cheap_channel.1.weight": (5, 1, 1, 3, 3),
        "cheap_temporal.0.0.weight": (7, 1, 1, 3, 3),
        "cheap_temporal.1.0.weight": (7, 1, 1, 3, 3),
        "cheap_temporal.1.1.weight": (7, 1, 1, 3, 3),
        "cheap_temporal.1.2.weight": (7, 1, 1, 3, 3),
    }
    assert [n for n, _ in two.named_parameters() if n.startswith("cheap_")] == [
        "cheap_channel.0.weight", "cheap_temporal.0.0.weight",
    ]  # fmt: skip


@pytest.mark.parametrize("cheap", CHEAP)
@pytest.mark.parametrize("frames", [4, 5])
def test_gradients_of_the_mixed_output(cheap, frames):
    geometry = Geometry(
        in_channels=2, out_channels=3, frames=frames, side=3, bias=True,
        config=DynamicConfig(search_space=3, cheap=cheap),
    )  # fmt: skip
    layer = geometry.layer(1)
    names = [n for n, _ in layer.named_parameters() if not n.startswith("gate.")]
    values = [dict(layer.named_parameters())[n].detach().clone().requires_grad_() for n in names]
    x = geometry.clips(2).requires_grad_()
    v_t = random_weights(2, len(layer.temporal_factors), 1).double().requires_grad_()
    v_c = random_weights(2, len(layer.kept_channels), 2).double().requires_grad_()
    layer.train()

    def output(x, v_t, v_c, *parameters):
        layer.decide = lambda _: (v_t, v_c)
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, (x, v_t, v_c, *values), fast_mode=True)


def test_every_parameter_gets_a_gradient_in_training_even_where_candidates_are_shut():
    geometry = Geometry(config=DynamicConfig(search_space=3))
    layer = geometry.layer(dtype=torch.float32).train()
    with torch.no_grad():
        layer.gate.expand.bias.copy_(torch.tensor([1.0, -5, -5, -5, -5, 1]))
    layer(geometry.clips(4, dtype=torch.float32)).square().sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("search_space", [1, 2, 3, 4])
def test_training_convolution_costs_the_same_for_every_search_space(search_space):
    config = DynamicConfig(search_space=search_space, cheap="copy", gate_hidden=1)
    geometry = Geometry(in_channels=4, out_channels=9, frames=8, kernel=(3, 3, 3), padding=(1, 1, 1), config=config)
    x = geometry.clips(2)
    plain = 2 * 2 * (9 * 8 * 4 * 4) * (4 * 27)
    module = geometry.conv() if search_space == 1 else geometry.layer()
    with FlopCounterMode(display=False) as counter:
        module.train()(x)
    flops = {op: n for op, n in counter.get_flop_counts()["Global"].items() if "conv" in str(op)}
    assert list(flops.values()) == [plain]


@pytest.mark.parametrize("training", [False, True])
def test_output_keeps_the_memory_format(training):
    geometry = Geometry(config=DynamicConfig(search_space=3))
    layer = geometry.layer(dtype=torch.float32).train(training)
    x = geometry.clips(3, dtype=torch.float32)
    fast = layer.to(memory_format=torch.channels_last_3d)
    y = fast(x.to(memory_format=torch.channels_last_3d))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    assert layer(x).shape == y.shape


def test_another_number_of_frames_gives_its_own_length_when_time_is_pooled():
    """Built for 8 frames, run at others: the candidates stay, the output is as long as the convolution's."""
    geometry = Geometry(frames=8, config=DynamicConfig(search_space=3, pool_time=True))
    layer = geometry.layer(3)
    for frames in (1, 3, 5, 16):
        x = torch.randn(2, 3, frames, 4, 4, dtype=torch.float64)
        v_t, v_c = random_weights(2, 3, frames), random_weights(2, 3, 9)
        outputs = [run(layer, x, v_t, v_c, sparse=sparse) for sparse in (False, True)]
        assert outputs[0].shape == (2, 6, frames, 4, 4)
        assert relative_difference(outputs[1], outputs[0]) < 1e-10
    x = torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    v_t, v_c = random_weights(2, 3, 5), random_weights(2, 3, 9)
    assert relative_difference(run(layer, x, v_t, v_c, sparse=True), oracle(layer, x, v_t, v_c)) < 1e-10


def test_a_two_dimensional_network_becomes_dynamic():
    torch.manual_seed(0)
    net = vared.convert(plain_image_network(), DynamicConfig(search_space=3), example=(5, 9, 9)).eval()
    layer, x = net[0], torch.randn(4, 5, 9, 9)
    assert isinstance(layer, DynamicConv2d) and layer.temporal_factors == (1,) and layer.kept_channels == (8, 4, 2)
    assert net(x).shape == (4, 7, 5, 5)
    v_t, v_c = torch.ones(4, 1), random_weights(4, 3, 0)
    outputs = [run(layer, x, v_t, v_c, sparse=sparse) for sparse in (False, True)]
    assert outputs[0].shape == (4, 8, 9, 9) and relative_difference(outputs[1], outputs[0]) < 1e-5
    net.train()(x).sum().backward()
    assert layer.gate.expand.weight.grad is not None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"search_space": 0}, "at least 1"),
        ({"gate_hidden": 0}, "at least 1"),
        ({"channel_multiple": 0}, "at least 1"),
        ({"cheap": "dense"}, "affine.*copy.*depthwise.*not 'dense'"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, words):
    with pytest.raises(ValueError, match=words):
        DynamicConfig(**settings)


def test_a_misspelt_setting_is_a_type_error():
    with pytest.raises(TypeError, match="serach_space"):
        DynamicConfig(serach_space=2)


def test_from_conv_refuses_what_it_cannot_do():
    conv = nn.Conv3d(3, 4, 3, padding=1, padding_mode="reflect")
    with pytest.raises(ValueError, match="padding_mode='reflect'"):
        DynamicConv3d.from_conv(conv, DynamicConfig(), (3, 4, 5, 5))
    with pytest.raises(ValueError, match="3 input channels, the example 5"):
        DynamicConv3d.from_conv(nn.Conv3d(3, 4, 3), DynamicConfig(), (5, 4, 5, 5))


@pytest.mark.parametrize(
    ("kind", "conv", "shape"),
    [
        (vared.DynamicConv2d, nn.Conv3d(4, 4, 1), (4, 4, 3, 3)), (vared.DynamicConv3d, nn.Conv2d(4, 4, 1), (4, 3, 3)),
        (vared.DynamicConv3d, nn.Conv3d(4, 4, 1), (4, 3, 3)),
    ],
)  # fmt: skip
def test_a_convolution_of_another_kind_is_refused(kind, conv, shape):
    with pytest.raises(ValueError, match=f"{kind.__name__}.from_conv takes"):
        kind.from_conv(conv, vared.DynamicConfig(), shape)


@pytest.mark.parametrize("wrong", [{"search_space": 2.5}, {"gate_hidden": 0}, {"gate_norm": "group"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        vared.DynamicConfig(**wrong)


def test_a_copy_made_under_a_fixed_policy_is_free():
    model = nn.Sequential(vared.DynamicConv3d.from_conv(nn.Conv3d(4, 4, 1), vared.DynamicConfig(), (4, 4, 3, 3)))
    with vared.fixed_policy(model, channel=0.5):
        copied = copy.deepcopy(model)
    assert copied[0].forced is None and model[0].forced is None
