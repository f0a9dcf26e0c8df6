"""One policy baked into a plain network."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

import vared
from tests.method_helpers import (
    CHEAP,
    Geometry,
    geometries,
    is_dynamic,
    plain_image_network,
    randomise_cheap,
    relative_difference,
    tiny_r2plus1d,
)
from vared.layers import DynamicConfig
from vared.policies import one_hot_policy
from vared.specialized import SpecializedConv

POLICIES = [(1, 1.0), (2, 1.0), (1, 0.5), (4, 0.25)]


@given(geometry=geometries(), temporal=st.sampled_from([1, 2, 4, 8]), channel=st.sampled_from([1.0, 0.5, 0.25, 0.125]))
def test_a_specialized_layer_is_the_layer_under_that_policy(geometry, temporal, channel):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer, x = geometry.layer(2).eval(), geometry.clips(2)
    temporal = temporal if temporal in layer.temporal_factors else 1
    channel = channel if channel in layer.channel_ratios else 1.0
    with vared.fixed_policy(layer, temporal, channel):
        expected = layer(x)
    v_t, v_c = one_hot_policy(layer, temporal, channel)
    plain = SpecializedConv(layer, int(v_t.argmax()), int(v_c.argmax()))
    assert relative_difference(plain(x), expected) < 1e-10


@pytest.mark.parametrize(("temporal", "channel"), POLICIES)
@pytest.mark.parametrize("cheap", CHEAP)
def test_a_specialized_network_is_the_network_under_that_policy(cheap, temporal, channel):
    model = randomise_cheap(tiny_r2plus1d(search_space=3, cheap=cheap), spread=0.1).double()
    x = torch.randn(2, 3, 8, 16, 16, dtype=torch.float64)
    with vared.fixed_policy(model, temporal, channel):
        expected = model(x)
    plain = vared.specialize(model, temporal, channel)
    assert relative_difference(plain(x), expected) < 1e-10
    assert not any(is_dynamic(m) for m in plain.modules()) and vared.policy(plain) == {}
    assert not any("gate" in key for key in plain.state_dict()) and not plain.training


def test_specializing_leaves_the_model_as_it_was():
    model, x = tiny_r2plus1d(), torch.randn(2, 3, 8, 16, 16)
    before = model(x)
    plain = vared.specialize(model, 2, 0.5)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert torch.equal(model(x), before)
    assert all(layer.forced is None for layer in model.modules() if is_dynamic(layer))


def test_the_cost_of_a_specialized_network_is_that_of_its_policy():
    model, clip = tiny_r2plus1d(search_space=3), torch.randn(3, 8, 16, 16)
    with vared.fixed_policy(model, 4, 0.25):
        costs = vared.count_flops(model, clip).costs
    plain = vared.count_flops(vared.specialize(model, 4, 0.25), clip)
    assert plain.static == pytest.approx((costs.backbone + costs.cheap).item(), rel=1e-12)


@pytest.mark.parametrize("frames", [4, 5, 16])
def test_a_specialized_network_takes_another_number_of_frames(frames):
    geometry = Geometry(frames=8, stride=(2, 1, 1), config=DynamicConfig(search_space=2, pool_time=True))
    layer = geometry.layer().eval()
    x = torch.randn(2, 3, frames, 4, 4, dtype=torch.float64)
    with vared.fixed_policy(layer, 2, 0.5):
        expected = layer(x)
    assert expected.shape[2] == -(-frames // 2)
    assert relative_difference(SpecializedConv(layer, 1, 1)(x), expected) < 1e-10


def test_a_specialized_network_exports():
    plain = vared.specialize(tiny_r2plus1d(), temporal=2, channel=0.5)
    x = torch.randn(2, 3, 8, 16, 16)
    exported = torch.export.export(plain, (x,))
    torch.testing.assert_close(exported.module()(x), plain(x))


def test_a_two_dimensional_network_specializes():
    net = randomise_cheap(vared.convert(plain_image_network(), example=(5, 9, 9))).eval()
    x = torch.randn(3, 5, 9, 9)
    with vared.fixed_policy(net, channel=0.5):
        expected = net(x)
    plain = vared.specialize(net, channel=0.5)
    torch.testing.assert_close(plain(x), expected)
    assert [type(m) for m in plain][1] is nn.BatchNorm2d


def test_named_padding_specializes_or_says_why_not():
    def layer(kernel):
        net = nn.Sequential(nn.Conv3d(5, 6, kernel, padding="same"), nn.BatchNorm3d(6))
        return vared.convert(net, example=(5, 8, 6, 6)).eval()

    odd, x = layer(3), torch.randn(2, 5, 8, 6, 6)
    with vared.fixed_policy(odd, 2, 0.5):
        expected = odd(x)
    torch.testing.assert_close(vared.specialize(odd, 2, 0.5)(x), expected)
    with pytest.raises(ValueError, match=r"padding='same' with kernel \(3, 4, 3\)"):
        vared.specialize(layer((3, 4, 3)), 2, 0.5)


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="temporal=8"):
        vared.specialize(tiny_r2plus1d(), temporal=8)
    with pytest.raises(ValueError, match="dynamic layer"):
        vared.specialize(tiny_r2plus1d(search_space=0))


def test_a_bare_dynamic_layer_is_refused():
    layer = vared.DynamicConv3d.from_conv(nn.Conv3d(4, 4, 1), vared.DynamicConfig(), (4, 4, 3, 3))
    with pytest.raises(ValueError, match="wrap it in nn.Sequential"):
        vared.specialize(layer, channel=0.5)
