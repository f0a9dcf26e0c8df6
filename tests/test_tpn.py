"""R(2+1)D-18 with a temporal pyramid against the printed costs and the specified neck."""

import pytest
import torch
import torch.nn.functional as F

import vared
from tests.method_helpers import dynamic_layers
from tests.network_helpers import (
    CLASSES,
    converted,
    millions,
)
from vared.backbones import r2plus1d, tpn


def full_size(network=tpn):
    with torch.device("meta"):
        return network.build(num_classes=200)


def test_parameters():
    assert millions(full_size()) == pytest.approx(39.6, abs=0.05)


@pytest.mark.parametrize(("frames", "gmacs", "neck", "printed"), [(8, 28.338, 0.798, 28.5), (16, 56.676, 1.595, 56.8)])
def test_operations(frames, gmacs, neck, printed):
    report = vared.count_flops(full_size(), (3, frames, 128, 128))
    assert report.static == pytest.approx(gmacs, rel=1e-4) and report.static == pytest.approx(printed, rel=0.01)
    of_neck = sum(cost for name, cost in report.static_layers.items() if name.startswith("neck."))
    assert of_neck == pytest.approx(neck, abs=0.001)


def test_the_neck_is_the_specified_one():
    neck, shapes = full_size().neck, {}
    convs = {n: m for n, m in neck.named_modules() if isinstance(m, torch.nn.Conv3d)}
    for name, conv in convs.items():
        conv.register_forward_hook(lambda m, i, y, name=name: shapes.update({name: tuple(y.shape[1:])}))
    neck(torch.empty(1, 256, 4, 16, 16, device="meta"), torch.empty(1, 512, 2, 8, 8, device="meta"))
    spec = {
        "spatial_modulation.conv": ((1, 3, 3), 1, (512, 4, 8, 8)),
        "temporal_modulation.0": ((3, 1, 1), 32, (512, 4, 8, 8)),
        "temporal_modulation.1": ((3, 1, 1), 32, (512, 2, 8, 8)),
        "to_upper": ((3, 1, 1), 1, (512, 4, 8, 8)),
        "top_down.levels.0.conv": ((1, 1, 1), 32, (512, 4, 8, 8)),
        "top_down.levels.1.conv": ((1, 1, 1), 32, (512, 4, 8, 8)),
        "top_down.join.conv": ((1, 1, 1), 1, (1024, 4, 8, 8)),
        "bottom_up.levels.0.conv": ((1, 1, 1), 32, (512, 4, 8, 8)),
        "bottom_up.levels.1.conv": ((1, 1, 1), 32, (512, 4, 8, 8)),
        "bottom_up.join.conv": ((1, 1, 1), 1, (1024, 4, 8, 8)),
        "pyramid_fusion.conv": ((1, 1, 1), 1, (1024, 4, 8, 8)),
    }
    assert {name: (conv.kernel_size, conv.groups, shapes[name]) for name, conv in convs.items()} == spec
    assert all(conv.bias is None for conv in convs.values())
    assert [name for name, conv in convs.items() if conv.stride != (1, 1, 1)] == ["spatial_modulation.conv"]


@pytest.mark.parametrize("frames", [(4, 2), (3, 2), (1, 1)])
def test_the_two_directions_add_the_other_level(frames):
    torch.manual_seed(1)
    neck = tpn.TemporalPyramid(16, 32).eval()
    for norm in neck.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), torch.nn.init.normal_(norm.bias)
    stage3, stage4 = torch.randn(2, 16, frames[0], 7, 7), torch.randn(2, 32, frames[1], 4, 4)

    def conv_norm_relu(part, x, **settings):
        norm, y = part.norm, F.conv3d(x, part.conv.weight, **settings)
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()

    def over_time(conv, x, groups):
        return F.conv3d(x, conv.weight, padding=(1, 0, 0), groups=groups)

    def fusion(part, first, second):
        levels = [conv_norm_relu(p, x, groups=2) for p, x in zip(part.levels, (first, second), strict=True)]
        return conv_norm_relu(part.join, torch.cat(levels, 1))

    small = conv_norm_relu(neck.spatial_modulation, stage3, stride=(1, 2, 2), padding=(0, 1, 1))
    lower = over_time(neck.temporal_modulation[0], small, 2)
    upper = over_time(neck.temporal_modulation[1], stage4, 2)
    upper = torch.stack([upper[:, :, t // 2] for t in range(frames[0])], dim=2)  # stage 4 halves the time
    top_down = fusion(neck.top_down, lower + upper, upper)
    bottom_up = fusion(neck.bottom_up, lower, over_time(neck.to_upper, lower, 1) + upper)
    expected = conv_norm_relu(neck.pyramid_fusion, torch.cat([top_down, bottom_up], 1))
    torch.testing.assert_close(neck(stage3, stage4), expected)


def test_the_sixteen_backbone_layers_are_dynamic_and_the_neck_is_not():
    plain, model = full_size(r2plus1d), full_size()
    converted(r2plus1d, plain, (3, 16, 128, 128))
    converted(tpn, model, (3, 16, 128, 128))
    assert dynamic_layers(model).keys() == dynamic_layers(plain).keys() and len(dynamic_layers(model)) == 16
    with vared.fixed_policy(model, temporal=2, channel=0.5):
        floor = vared.count_flops(model, (3, 16, 128, 128)).costs.backbone.item()
    assert floor == pytest.approx(25.22 + 1.595, abs=0.01)


def test_the_backbone_is_r2plus1d_with_its_names_and_initial_weights():
    torch.manual_seed(0)
    plain = r2plus1d.build(num_classes=CLASSES, width=1 / 16).state_dict()
    torch.manual_seed(0)
    model = tpn.build(num_classes=CLASSES, width=1 / 16).state_dict()
    added = {name for name in model if name.startswith(("neck.", "head."))}
    assert model.keys() - added == {name for name in plain if not name.startswith("head.")}
    assert all(torch.equal(model[name], plain[name]) for name in model.keys() - added)


@pytest.mark.parametrize(("width", "groups"), [(1 / 16, 2), (1 / 8, 4), (1 / 4, 8), (1 / 2, 16), (1, 32), (0.29, 4)])
def test_narrow_networks_have_fewer_groups_of_the_same_size(width, groups):
    with torch.device("meta"):
        neck = tpn.build(num_classes=CLASSES, width=width).neck
    assert neck.temporal_modulation[0].groups == groups
    assert neck.top_down.levels[1].conv.groups == neck.bottom_up.levels[0].conv.groups == groups
