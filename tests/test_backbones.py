"""R(2+1)D-18 against the printed network."""

import pytest
import torch
from torch import nn

import vared
from tests.method_helpers import dynamic_layers, tiny_r2plus1d


def full_size(num_classes=200, **settings):
    with torch.device("meta"):
        return vared.create_model("r2plus1d_18", num_classes=num_classes, num_frames=16, crop_size=128, **settings)


@pytest.mark.parametrize(("classes", "millions"), [(200, 33.28), (400, 33.38)])
def test_parameters(classes, millions):
    assert sum(p.numel() for p in full_size(classes).parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_hidden_widths_are_computed_for_every_convolution():
    widths = {n: m.out_channels for n, m in full_size().named_modules() if n.endswith(".spatial")}
    blocks = [w for n, w in widths.items() if ".conv" in n]
    assert blocks == [144] * 4 + [230] + [288] * 3 + [460] + [576] * 3 + [921] + [1152] * 3
    assert [w for n, w in widths.items() if "shortcut" in n] == [42, 85, 170]
    assert [w for n, w in widths.items() if n.startswith("stem")] == [83]


def test_dynamic_are_the_sixteen_spatial_convolutions_in_blocks():
    model = full_size(dynamic=vared.DynamicConfig())
    layers = dynamic_layers(model)
    assert len(layers) == 16
    assert all(m.kernel_size == (1, 3, 3) and "shortcut" not in n and "stem" not in n for n, m in layers.items())
    plain = full_size()
    vared.convert(plain, example=(3, 16, 128, 128))  # the default choice finds the same ones
    assert dynamic_layers(plain).keys() == layers.keys()


def test_at_eight_frames_the_last_layers_have_fewer_temporal_candidates():
    with torch.device("meta"):
        model = vared.create_model(
            "r2plus1d_18", num_classes=200, num_frames=8, crop_size=128, dynamic=vared.DynamicConfig(search_space=3)
        )
    factors = [layer.temporal_factors for layer in dynamic_layers(model).values()]
    full, half, none = (1, 2, 4), (1, 2), (1,)
    assert factors == [full] * 4 + [full] * 4 + [full] + [half] * 3 + [half] + [none] * 3


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (5, 20, 28), (8, 33, 17)])
def test_any_size_gives_logits(frames, height, width):
    model = tiny_r2plus1d(search_space=0)
    assert model(torch.randn(2, 3, frames, height, width)).shape == (2, 5)


def test_strides_belong_to_the_right_half_of_a_pair():
    block = full_size().stages[1][0]
    assert block.conv1.spatial.stride == (1, 2, 2) and block.conv1.temporal.stride == (2, 1, 1)
    assert block.conv2.spatial.stride == block.conv2.temporal.stride == (1, 1, 1)
    assert block.shortcut[0].spatial.stride == (1, 2, 2) and block.shortcut[0].temporal.stride == (2, 1, 1)
    assert all(m.bias is None for m in block.modules() if isinstance(m, nn.Conv3d))


def test_width_scales_every_channel_count():
    model = tiny_r2plus1d(search_space=0)
    assert model.head.in_features == 64 and model.stages[0][0].norm1.num_features == 8


def test_a_block_is_two_pairs_and_a_shortcut():
    torch.manual_seed(0)
    block = tiny_r2plus1d(search_space=0).stages[1][0]
    x = torch.randn(2, 8, 4, 6, 6)

    def pair(convs, x):
        return convs.temporal(torch.relu(convs.norm(convs.spatial(x))))

    y = block.norm2(pair(block.conv2, torch.relu(block.norm1(pair(block.conv1, x)))))
    expected = torch.relu(y + block.shortcut[1](pair(block.shortcut[0], x)))
    torch.testing.assert_close(block(x), expected)


def test_wrong_requests_are_refused():
    good = {"num_classes": 5, "num_frames": 8, "crop_size": 16}
    with pytest.raises(ValueError, match=r"no network 'r2plus1d_50'; known are .*r2plus1d_18"):
        vared.create_model("r2plus1d_50", **good)
    for name, value in (("num_classes", 0), ("num_frames", 0), ("crop_size", -1)):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, not {value}"):
            vared.create_model("r2plus1d_18", **{**good, name: value})
    with pytest.raises(ValueError, match="width must be positive"):
        vared.create_model("r2plus1d_18", **good, width=0)
    assert "r2plus1d_18" in vared.list_models()


def test_other_layers_can_be_made_dynamic():
    stem = full_size(dynamic=True, where=lambda name, conv: name == "stem.0.temporal")
    assert list(dynamic_layers(stem)) == ["stem.0.temporal"]
    with pytest.raises(ValueError, match="give `dynamic` too"):
        full_size(where=lambda name, conv: True)
