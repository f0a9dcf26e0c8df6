"""I3D against the printed operations, the known network and its equations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vared
from tests.method_helpers import relative_difference
from tests.network_helpers import (
    Features,
    assert_full_policy_is_the_static_network,
    converted,
    floors,
    macs_seen_by_torch,
    on_meta,
    output_shapes,
)
from vared.backbones import i3d
from vared.policies import dynamic_layers, forced_policy

CLIP, LONG_CLIP = (3, 16, 256, 256), (3, 32, 256, 256)
# GoogLeNet's channels after each module; frames and side at 16 frames of 256 x 256.
MODULES = {
    "0.3a": (256, 8, 32), "0.3b": (480, 8, 32), "1.4a": (512, 4, 16), "1.4b": (512, 4, 16), "1.4c": (512, 4, 16),
    "1.4d": (528, 4, 16), "1.4e": (832, 4, 16), "2.5a": (832, 2, 8), "2.5b": (1024, 2, 8),
}  # fmt: skip
STEM = {"0": (64, 16, 128), "1": (64, 16, 64), "2": (64, 16, 64), "3": (192, 16, 64)}


@pytest.mark.parametrize(("classes", "millions"), [(200, 12.49), (400, 12.70)])
def test_parameters(classes, millions):
    assert sum(p.numel() for p in on_meta(i3d, num_classes=classes).parameters()) / 1e6 == pytest.approx(
        millions, abs=0.005
    )


@pytest.mark.parametrize(("clip", "gmacs"), [(CLIP, 55.932), (LONG_CLIP, 111.864)])
@pytest.mark.parametrize("classes", [200, 400])
def test_operations(clip, gmacs, classes):
    model = on_meta(i3d, num_classes=classes)
    counted = vared.count_flops(model, clip).static
    assert counted == pytest.approx(gmacs, abs=0.0006)
    assert counted == pytest.approx(macs_seen_by_torch(model, torch.empty(1, *clip, device="meta")), rel=1e-12)


def test_operations_by_kind_of_layer():
    layers = vared.count_flops(on_meta(i3d), CLIP).static_layers
    kernels = {n: m.kernel_size[0] for n, m in on_meta(i3d).named_modules() if isinstance(m, nn.Conv3d)}
    inside = {n: v for n, v in layers.items() if n.startswith("stages.")}
    assert [layers[f"stem.{i}.conv"] for i in (0, 2, 3)] == pytest.approx([17.264, 0.268, 21.743], abs=0.001)
    assert sum(v for n, v in inside.items() if kernels[n] == 3) == pytest.approx(14.404, abs=0.001)
    assert sum(v for n, v in inside.items() if kernels[n] == 1) == pytest.approx(2.253, abs=0.001)
    assert sorted(kernels.values()) == [1] * 37 + [3] * 19 + [7]


def test_shapes_at_every_stage():
    shapes = output_shapes(on_meta(i3d), [f"stem.{i}" for i in STEM] + [f"stages.{n}" for n in MODULES], CLIP)
    expected = {f"stem.{n}": s for n, s in STEM.items()} | {f"stages.{n}": s for n, s in MODULES.items()}
    assert shapes == {name: (c, t, side, side) for name, (c, t, side) in expected.items()}


def test_pools():
    pools = {n: (m.kernel_size, m.stride) for n, m in on_meta(i3d).named_modules() if isinstance(m, nn.MaxPool3d)}
    assert pools.pop("stem.1") == ((1, 3, 3), (1, 2, 2))
    assert [pools.pop(f"stages.{i}.pool") for i in range(3)] == [(3, 2)] * 3
    assert len(pools) == len(MODULES) and set(pools.values()) == {(3, 1)}


def test_only_the_stem_strides_and_no_convolution_has_a_bias():
    convs = {n: m for n, m in on_meta(i3d).named_modules() if isinstance(m, nn.Conv3d)}
    assert {n for n, m in convs.items() if m.stride != (1, 1, 1)} == {"stem.0.conv"}
    assert convs["stem.0.conv"].stride == (1, 2, 2)
    assert all(m.bias is None for m in convs.values())


def test_dynamic_are_the_twenty_convolutions_with_a_kernel_above_one():
    with torch.device("meta"):
        model = converted(i3d, on_meta(i3d), CLIP)
    layers = dynamic_layers(model)
    assert len(layers) == 20 and {"stem.0.conv", "stem.3.conv"} <= layers.keys()
    assert all(m.kernel_size in ((3, 3, 3), (7, 7, 7)) for m in layers.values())
    assert sum(vared.count_flops(model, CLIP).dynamic_layers.values()) == pytest.approx(53.41, abs=0.01)


@pytest.mark.parametrize(
    ("clip", "where", "expected"),
    [
        (CLIP, None, {(2, 1.0): 29.23, (1, 0.5): 29.23, (2, 0.5): 15.87, (4, 0.25): 5.89}),
        (LONG_CLIP, None, {(2, 1.0): 58.45, (1, 0.5): 58.45, (2, 0.5): 31.75, (4, 0.25): 11.72}),
        (CLIP, lambda name, conv: True, {(2, 1.0): 27.97, (1, 0.5): 27.97, (2, 0.5): 13.98, (4, 0.25): 3.53}),
    ],
    ids=["16 frames", "32 frames", "all 57 layers"],
)
def test_floors(clip, where, expected):
    assert floors(i3d, clip, expected, search_space=3, where=where) == pytest.approx(expected, abs=0.006)


def test_gates_and_reconstruction_cost_what_the_method_says():
    """Worst case, every candidate open: 0.314 GMACs of depthwise maps, 0.0001 of gates with 0.117 M parameters."""
    with torch.device("meta"):
        model = converted(i3d, on_meta(i3d), CLIP)
    with forced_policy(model, {name: (torch.ones(1, 2), torch.ones(1, 2)) for name in dynamic_layers(model)}):
        report = vared.count_flops(model, CLIP)
    assert report.costs.cheap.item() == pytest.approx(0.314, abs=0.001)
    assert report.costs.gate.item() == pytest.approx(0.0001, abs=0.00005)
    gates = sum(p.numel() for layer in dynamic_layers(model).values() for p in layer.gate.parameters())
    assert gates / 1e6 == pytest.approx(0.117, abs=0.002)


def test_features_are_the_map_that_localisation_stands_on():
    model = Features(on_meta(i3d))
    assert model(torch.empty(1, 3, 16, 224, 224, device="meta")).shape == (1, 1024, 2, 7, 7)
    # 43.857 with the localisation head, which takes 1.034.
    assert vared.count_flops(model, (3, 16, 224, 224)).static == pytest.approx(43.857 - 1.034, abs=0.001)


def test_logits_are_the_classified_mean_of_the_features():
    model = i3d.build(num_classes=5, width=1 / 8).eval()
    x = torch.randn(2, 3, 8, 40, 32)
    mean = model.features(x).flatten(2).mean(2)
    torch.testing.assert_close(model(x), mean @ model.head.weight.T + model.head.bias)


def test_an_inception_module_is_four_branches_side_by_side():
    module = i3d.Inception(6, (3, 2, 4, 2, 5, 1)).eval()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm3d)):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 6, 4, 5, 5)

    def unit(name: str, x: torch.Tensor) -> torch.Tensor:
        conv, norm = (module.get_submodule(f"{name}.{part}") for part in ("conv", "norm"))
        y = F.conv3d(x, conv.weight, padding=conv.weight.shape[-1] // 2)
        y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return y.clamp(min=0)

    branches = [
        unit("pointwise", x),
        unit("wide.1", unit("wide.0", x)),
        unit("slim.1", unit("slim.0", x)),
        unit("pooled.1", F.max_pool3d(x, 3, stride=1, padding=1)),
    ]
    assert [b.shape[1] for b in branches] == [3, 4, 5, 1]
    torch.testing.assert_close(module(x), torch.cat(branches, 1))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (5, 33, 47), (16, 32, 32)])
def test_any_size_gives_logits(frames, height, width):
    model = i3d.build(num_classes=5, width=1 / 16).eval()
    assert model(torch.randn(2, 3, frames, height, width)).shape == (2, 5)


@pytest.mark.parametrize("width", [1 / 16, 1 / 8, 1 / 4, 1 / 2])
def test_width_scales_every_channel_count(width):
    full, scaled = on_meta(i3d).state_dict(), on_meta(i3d, width=width).state_dict()
    assert full.keys() == scaled.keys()
    for name in full:
        if name.endswith("conv.weight"):
            assert scaled[name].shape[0] == pytest.approx(full[name].shape[0] * width, abs=0.5), name


def test_full_policy_is_the_static_network():
    assert_full_policy_is_the_static_network(i3d, i3d.build(num_classes=5, width=1 / 8), torch.randn(2, 3, 8, 32, 32))


def test_dropout_acts_in_training_only():
    model, clips = i3d.build(num_classes=5, width=1 / 16, dropout=0.5).eval(), torch.randn(2, 3, 4, 32, 32)
    assert relative_difference(model(clips), model(clips)) == 0
    model.dropout.train()
    assert relative_difference(model(clips), model(clips)) > 0
