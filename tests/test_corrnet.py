"""R(2+1)D-18 with correlation blocks against the printed cost, and the correlation against its definition."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vared
from tests.method_helpers import calibrate, dynamic_layers, relative_difference
from tests.network_helpers import (
    CLASSES,
    converted,
    millions,
    open_branches,
)
from vared.backbones import corrnet, r2plus1d
from vared.backbones.corrnet import GroupwiseCorrelation, correlation_gmacs

CLIP = (3, 16, 128, 128)


def full_size(network=corrnet):
    with torch.device("meta"):
        return network.build(num_classes=200)


def correlation(channels, groups, dtype=torch.float64):
    layer = GroupwiseCorrelation(channels, groups).to(dtype)
    torch.nn.init.normal_(layer.weight)
    return layer


def test_parameters():
    assert millions(full_size()) == pytest.approx(33.95, rel=1e-3)


def test_operations_of_convolutions_and_of_the_correlation():
    report = vared.count_flops(full_size(), CLIP)
    assert report.static == pytest.approx(60.542, rel=1e-4) and report.static == pytest.approx(60.8, rel=0.01)
    blocks = {name: cost for name, cost in report.static_layers.items() if re.match(r"stages\.\d\.2\.", name)}
    assert sum(blocks.values()) == pytest.approx(5.461, abs=0.001)
    first = sum(cost for name, cost in blocks.items() if name.startswith("stages.0."))
    assert report.static - first == pytest.approx(57.19, abs=0.01)
    assert correlation_gmacs(full_size(), CLIP) == pytest.approx(0.067, abs=0.0005)
    assert correlation_gmacs(full_size(r2plus1d), CLIP) == 0


def test_counting_correlations_leaves_the_network_alone():
    model = corrnet.build(num_classes=CLASSES, width=1 / 16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    positions = 16 * 16 * 8 * 1 + 8 * 8 * 4 * 2 + 4 * 4 * 2 * 4  # times channels 4/4, 8/4, 16/4 of the three stages
    assert correlation_gmacs(model, (3, 8, 32, 32)) == pytest.approx(49 * positions / 1e9, rel=1e-12)
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_blocks_end_the_first_three_stages():
    model = full_size()
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, corrnet.CorrelationBlock)}
    assert list(blocks) == ["stages.0.2", "stages.1.2", "stages.2.2"]
    assert [block.reduce.out_channels for block in blocks.values()] == [16, 32, 64]
    assert [block.correlation.groups for block in blocks.values()] == [16, 32, 32]
    assert [block.expand.in_channels for block in blocks.values()] == [49 * 16, 49 * 32, 49 * 32]


@pytest.mark.parametrize(
    ("width", "groups"),
    [(1 / 16, [1, 2, 2]), (1 / 8, [2, 4, 4]), (1 / 4, [4, 8, 8]), (1 / 2, [8, 16, 16]), (0.3, [4, 9, 1])],
)  # fmt: skip
def test_narrow_networks_have_fewer_groups_of_the_same_size(width, groups):
    with torch.device("meta"):
        model = corrnet.build(num_classes=CLASSES, width=width)
    layers = [m for m in model.modules() if isinstance(m, GroupwiseCorrelation)]
    assert [layer.groups for layer in layers] == groups
    assert all(layer.channels % layer.groups == 0 for layer in layers)


@pytest.mark.parametrize(("channels", "groups"), [(3, 3), (4, 2), (4, 1)])
def test_the_correlation_is_its_definition(channels, groups):
    layer, x = correlation(channels, groups), torch.randn(2, channels, 3, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        found, weight = layer(x).numpy(), layer.weight.numpy()
    x, size, expected = x.numpy(), channels // groups, np.zeros_like(found)
    for b in range(2):
        for g in range(groups):
            for o, (dy, dx) in enumerate((dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)):
                for t in range(3):
                    for row in range(5):
                        for column in range(4):
                            y, z = row + dy, column + dx
                            if 0 <= y < 5 and 0 <= z < 4:
                                for c in range(g * size, (g + 1) * size):
                                    product = x[b, c, t, row, column] * x[b, c, max(t - 1, 0), y, z]
                                    expected[b, o * groups + g, t, row, column] += weight[o, c] * product
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@given(dy=st.integers(-3, 3), dx=st.integers(-3, 3), groups=st.sampled_from([1, 4]), seed=st.integers(0, 99))
def test_a_moved_frame_matches_best_where_it_came_from(dy, dx, groups, seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(1, 16, 14, 14, generator=generator)
    clip = torch.stack([first, first.roll((-dy, -dx), dims=(2, 3))], dim=2)  # x_1(p) = x_0(p + (dy, dx))
    inner = GroupwiseCorrelation(16, groups)(clip)[..., 3:-3, 3:-3].sum((0, 3, 4)).unflatten(0, (7, 7, groups))
    for group in range(groups):
        assert divmod(inner[:, :, group, 1].argmax().item(), 7) == (dy + 3, dx + 3)
        assert divmod(inner[:, :, group, 0].argmax().item(), 7) == (3, 3)  # the first frame is compared with itself


def test_it_starts_as_the_mean_product_of_a_group():
    x = torch.randn(1, 6, 1, 3, 3)
    centre = GroupwiseCorrelation(6, 2)(x).unflatten(1, (49, 2))[:, 24]
    torch.testing.assert_close(centre, (x * x).unflatten(1, (2, 3)).mean(2))


def test_gradients_of_input_and_weights():
    layer = correlation(2, 1)
    x = torch.randn(1, 2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(layer, {"weight": w}, x), (x, layer.weight), fast_mode=True
    )


def test_it_runs_in_half_precision_and_in_channels_last():
    layer, x = correlation(4, 2, torch.float32), torch.randn(1, 4, 2, 6, 6)
    expected = layer(x)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last_3d)), expected)
    half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.1)


def test_a_checkpoint_of_r2plus1d_loads_and_gives_its_logits():
    torch.manual_seed(0)
    clips = torch.randn(2, 3, 8, 32, 32)
    plain = calibrate(open_branches(r2plus1d.build(num_classes=CLASSES, width=1 / 8)), clips)
    model = corrnet.build(num_classes=CLASSES, width=1 / 8).eval()
    loaded = model.load_state_dict(plain.state_dict(), strict=False)
    assert loaded.unexpected_keys == []
    assert all(name.startswith(("stages.0.2.", "stages.1.2.", "stages.2.2.")) for name in loaded.missing_keys)
    assert torch.equal(model(clips), plain(clips)) and plain(clips).std() > 1e-3
    for stage in model.stages[:3]:
        torch.nn.init.ones_(stage[2].norm2.weight)
    assert relative_difference(model(clips), plain(clips)) > 0.01


def test_the_sixteen_backbone_layers_are_dynamic_and_the_blocks_are_not():
    plain, model = full_size(r2plus1d), full_size()
    converted(r2plus1d, plain, CLIP)
    converted(corrnet, model, CLIP)
    assert dynamic_layers(model).keys() == dynamic_layers(plain).keys() and len(dynamic_layers(model)) == 16
    with vared.fixed_policy(model, temporal=2, channel=0.5):
        assert vared.count_flops(model, CLIP).costs.backbone.item() == pytest.approx(25.22 + 5.461, abs=0.01)
