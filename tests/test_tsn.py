"""TSN on timm's image networks: their numbers, their checkpoints, and one frame at a time."""

import copy
import re
from math import sqrt

import pytest
import torch
from torch import nn

import vared
from tests.method_helpers import calibrate, dynamic_layers
from tests.network_helpers import (
    CLASSES,
    assert_every_gate_gets_a_gradient,
    assert_every_parameter_gets_a_gradient,
    assert_sparse_is_dense,
    converted,
    millions,
)
from vared.backbones import tsn

# isort: split
import timm  # after tsn, which lets it import

CLIP = (3, 16, 224, 224)
BACKBONES = ["resnet50", "resnet34", "resnet18", "mobilenetv2"]
NAMES = {"resnet50": "resnet50", "resnet34": "resnet34", "resnet18": "resnet18", "mobilenetv2": "mobilenetv2_100"}


def full_size(backbone="resnet50", width=1.0):
    with torch.device("meta"):
        return tsn.build(backbone=backbone, num_classes=200, width=width)


def trained(backbone, classes=CLASSES):
    """timm's network with scales and statistics that no initialisation gives, and answers that differ by image."""
    network = timm.create_model(NAMES[backbone], num_classes=classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5), nn.init.normal_(module.bias, std=0.1)
    return calibrate(network, torch.randn(8, 3, 64, 64))


def test_resnet50_costs_what_the_facts_say():
    report = vared.count_flops(full_size(), CLIP)
    assert report.static == pytest.approx(65.401, abs=0.001)
    parts = {r"conv1$": 1.888, r"layer.*\.conv[13]$": 28.156, r"layer.*\.conv2$": 29.595, r".*downsample": 5.755}
    for pattern, gmacs in parts.items():
        layers = [cost for name, cost in report.static_layers.items() if re.match(pattern, name)]
        assert sum(layers) == pytest.approx(gmacs, abs=0.001), pattern


@pytest.mark.parametrize(
    ("backbone", "side", "gmacs"),
    [("resnet50", 224, 4.088), ("resnet34", 168, 2.245), ("resnet18", 112, 0.485), ("mobilenetv2", 84, 0.051)],
)
def test_a_frame_costs_what_the_facts_say(backbone, side, gmacs):
    assert vared.count_flops(full_size(backbone), (3, 1, side, side)).static == pytest.approx(gmacs, abs=0.0005)


def test_parameters():
    assert millions(full_size()) == pytest.approx(23.918, abs=0.001)


def test_resnet50_is_dynamic_in_the_48_convolutions_of_its_bottlenecks():
    model = converted(tsn, full_size(), CLIP)
    layers = dynamic_layers(model)
    kernels = [layer.kernel_size for layer in layers.values()]
    assert len(kernels) == 48 and kernels.count((1, 3, 3)) == 16 and kernels.count((1, 1, 1)) == 32
    assert all(layer.gate.pool_time for layer in layers.values())
    assert sum(millions(layer.gate) for layer in layers.values()) == pytest.approx(0.336, abs=5e-4)
    for policy, floor in (((2, 1.0), 36.53), ((1, 0.5), 36.53), ((2, 0.5), 22.09)):
        with vared.fixed_policy(model, *policy):
            assert vared.count_flops(model, CLIP).costs.backbone.item() == pytest.approx(floor, abs=0.005)


def test_other_networks_are_dynamic_on_the_branches_of_their_blocks():
    def chosen(backbone):
        model = full_size(backbone)
        return [n for n, m in model.named_modules() if isinstance(m, nn.Conv3d) and tsn.is_dynamic(n, m)]

    assert len(chosen("resnet18")) == 16 and len(chosen("resnet34")) == 32
    mobile = chosen("mobilenetv2")
    assert sum(n.endswith("conv_pw") for n in mobile) == 17 and sum(n.endswith("conv_pwl") for n in mobile) == 16
    assert len(mobile) == 33 and all(n.startswith("blocks.") for n in mobile)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_timm_checkpoint_loads_and_scores_are_averaged_over_frames(backbone):
    network, model = trained(backbone), tsn.build(backbone=backbone, num_classes=CLASSES).eval()
    state = network.state_dict()
    model.load_state_dict(state)
    assert state["conv1.weight" if "resnet" in backbone else "conv_stem.weight"].dim() == 4, "the caller's stays"
    clips = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        frames = torch.stack([network(clips[:, :, t]) for t in range(3)])
        logits = model(clips)
    assert frames.std(0).mean() > 0.01, "frames are meant to score differently"
    assert (logits - frames.mean(0)).abs().max() < 1e-5 * max(1.0, frames.abs().max().item())


def test_a_timm_checkpoint_loads_into_a_dynamic_network():
    network = trained("resnet18")
    model = converted(tsn, tsn.build(backbone="resnet18", num_classes=CLASSES), (3, 2, 64, 64))
    loaded = model.load_state_dict(network.state_dict(), strict=False)
    assert loaded.unexpected_keys == []
    assert all(".gate." in name or ".cheap_" in name for name in loaded.missing_keys)
    clips = torch.randn(1, 3, 2, 64, 64)
    with torch.no_grad(), vared.fixed_policy(model.eval(), 1, 1.0):
        expected = (network(clips[:, :, 0]) + network(clips[:, :, 1])) / 2
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-4)


def test_its_own_checkpoint_and_copies_load_too():
    first, second = (tsn.build(backbone="mobilenetv2", num_classes=CLASSES, width=1 / 8) for _ in range(2))
    clips = torch.randn(2, 3, 2, 32, 32)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(clips), second.eval()(clips))
    image = tsn.image_network(backbone="mobilenetv2", num_classes=CLASSES, width=1 / 8).eval()
    duplicate = copy.deepcopy(first)
    duplicate.load_state_dict(image.state_dict())  # the copy takes image weights too
    expected = (image(clips[:, :, 0]) + image(clips[:, :, 1])) / 2
    torch.testing.assert_close(duplicate(clips), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first(clips), second(clips))  # and leaves the original alone


@pytest.mark.parametrize("backbone", BACKBONES)
def test_narrow_networks_keep_the_topology(backbone):
    full = {name: value.shape for name, value in full_size(backbone).state_dict().items()}
    for width in (1 / 16, 1 / 8, 1 / 4, 1 / 2):
        model = full_size(backbone, width)
        assert [name for name in model.state_dict()] == list(full)
        for name, value in model.state_dict().items():
            expected = [n if n in (1, 3, 7, 200) else round(n * width) for n in full[name]]
            assert list(value.shape) == expected, (name, width)
        assert vared.count_flops(model, (3, 1, 32, 32)).static > 0


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_narrow_networks_start_with_the_variance_of_their_own_width(backbone):
    model = tsn.build(backbone=backbone, num_classes=CLASSES, width=1 / 2)
    for name, conv in model.named_modules():
        if isinstance(conv, nn.Conv3d) and conv.weight.numel() > 10_000:
            fan_out = conv.out_channels * conv.kernel_size[-1] ** 2 // conv.groups
            assert conv.weight.std().item() == pytest.approx(sqrt(2 / fan_out), rel=0.03), name
    if backbone == "resnet18":
        blocks = [m for m in model.modules() if hasattr(m, "zero_init_last")]
        assert len(blocks) == 8 and all(block.bn2.weight.abs().max() == 0 for block in blocks)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18", "mobilenetv2"])
def test_every_parameter_gets_a_gradient(backbone):
    model = tsn.build(backbone=backbone, num_classes=CLASSES, width=1 / 4)
    assert_every_parameter_gets_a_gradient(model, torch.randn(4, 3, 4, 32, 32))


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18", "mobilenetv2"])
def test_a_dynamic_one_is_the_same_function_in_both_modes_and_every_gate_learns(backbone):
    clips = torch.randn(6, 3, 8, 32, 32)
    model = converted(tsn, tsn.build(backbone=backbone, num_classes=CLASSES, width=1 / 8), (3, 8, 32, 32))
    assert_every_gate_gets_a_gradient(model, clips)
    assert_sparse_is_dense(model, clips)


def test_any_number_of_frames_and_any_size_fits_even_when_dynamic():
    model = converted(tsn, tsn.build(backbone="resnet18", num_classes=CLASSES, width=1 / 16), (3, 8, 32, 32)).eval()
    for frames, height, width in ((1, 32, 32), (5, 40, 28), (9, 33, 17)):
        assert model(torch.randn(2, 3, frames, height, width)).shape == (2, CLASSES)


def test_wrong_requests_are_refused():
    with pytest.raises(ValueError, match="no TSN on 'resnet101'; known are .*'resnet50'"):
        tsn.build(backbone="resnet101", num_classes=CLASSES)
    with pytest.raises(ValueError, match=r"width must be in \(0, 1\], not 2"):
        tsn.build(backbone="resnet18", num_classes=CLASSES, width=2)
