"""X3D-M against pytorchvideo's network, the printed operations and the thesis's changes."""

import warnings

import pytest
import torch
from torch import nn

import vared
import vared.torchvision_operators  # noqa: F401

# isort: split
from fvcore.nn import FlopCountAnalysis
from pytorchvideo.models.hub import x3d_m
from pytorchvideo.models.x3d import create_x3d

from tests.method_helpers import relative_difference
from tests.network_helpers import (
    Features,
    assert_full_policy_is_the_static_network,
    converted,
    floors,
    macs_seen_by_torch,
    narrow,
    on_meta,
    output_shapes,
)
from vared.backbones import x3d
from vared.policies import dynamic_layers, forced_policy

CLIP = (3, 16, 256, 256)
DEPTHS, WIDTHS, INNER, REDUCED = (3, 5, 11, 7), (24, 48, 96, 192), (54, 108, 216, 432), (8, 8, 16, 32)


def randomised(model: nn.Module) -> nn.Module:
    """Random statistics and scales too, so that no branch is silent and no order of operations is hidden."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
    nn.init.normal_(model.blocks[-1].proj.weight)
    return model.eval()


@pytest.fixture(scope="module")
def hub_weights(tmp_path_factory):
    """A checkpoint as the hub's X3D-M with 400 classes is saved."""
    path = tmp_path_factory.mktemp("hub") / "x3d_m.pyth"
    torch.save({"model_state": randomised(x3d_m()).state_dict()}, path)
    return torch.load(path, weights_only=True)["model_state"]


@pytest.mark.parametrize(("classes", "millions"), [(200, 3.385), (339, 3.669), (400, 3.794)])
def test_parameters(classes, millions):
    assert sum(p.numel() for p in on_meta(x3d, num_classes=classes).parameters()) / 1e6 == pytest.approx(
        millions, abs=0.0006
    )


@pytest.mark.parametrize(("classes", "gmacs"), [(200, 6.180), (339, 6.180), (400, 6.181)])
def test_operations(classes, gmacs):
    model = on_meta(x3d, num_classes=classes)
    counted = vared.count_flops(model, CLIP).static
    assert counted == pytest.approx(gmacs, abs=0.0006)
    assert counted == pytest.approx(macs_seen_by_torch(model, torch.empty(1, *CLIP, device="meta")), rel=1e-12)


def with_pooling_and_normalisation(model: nn.Module, clip: tuple[int, ...]) -> tuple[float, float, float]:
    """GMACs, inputs of average pools, and two operations for every normalised element, in 1e9 for one clip."""
    pooled, normalised = [], []
    handles = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            handles.append(module.register_forward_hook(lambda m, x, y: normalised.append(2 * y.numel())))
        elif isinstance(module, nn.AdaptiveAvgPool3d) or type(module).__name__ == "SqueezeExcitation":
            handles.append(module.register_forward_hook(lambda m, x, y: pooled.append(x[0].numel())))
    macs = vared.count_flops(model, clip).static
    for handle in handles:
        handle.remove()
    return macs, sum(pooled) / 1e9, sum(normalised) / 1e9


def test_the_printed_6_42_counts_normalisation_and_the_printed_6_20_does_not():
    macs, pooled, normalised = with_pooling_and_normalisation(on_meta(x3d, num_classes=400), CLIP)
    assert macs + pooled == pytest.approx(6.20, rel=1e-3)
    assert macs + pooled + normalised == pytest.approx(6.42, rel=1e-3)
    # A normalised shortcut in the first stage, which pytorchvideo has not, would bring it to 6.418.
    assert macs + pooled + normalised + 2 * 24 * 16 * 64 * 64 / 1e9 == pytest.approx(6.418, abs=0.0006)


def test_fvcore_counts_the_same_with_normalisation():
    shape = (3, 4, 64, 64)
    macs, _, normalised = with_pooling_and_normalisation(on_meta(x3d, num_classes=400), shape)
    analysis = FlopCountAnalysis(x3d.build(num_classes=400).eval(), torch.zeros(1, *shape))
    analysis.unsupported_ops_warnings(False)
    seen = analysis.by_operator()
    assert seen["conv"] + seen["linear"] == pytest.approx(1e9 * macs, abs=0.5)
    assert seen["batch_norm"] == pytest.approx(1e9 * normalised, abs=0.5)


def test_operations_by_part():
    layers = vared.count_flops(on_meta(x3d), CLIP).static_layers

    def total(part: str) -> float:
        return sum(macs for name, macs in layers.items() if name.startswith(part) or f".{part}" in name)

    assert total("blocks.0.") == pytest.approx(0.201, abs=0.0006)
    assert [total(f"branch2.conv_{kind}") for kind in "abc"] == pytest.approx([2.718, 0.872, 2.208], abs=0.0006)
    assert total("branch1") == pytest.approx(0.094, abs=0.0006)
    assert total("norm_b") == pytest.approx(0.0002, abs=0.00005)
    assert total("blocks.5.") == pytest.approx(0.086, abs=0.0006)


def test_shapes_at_every_stage():
    names = [f"blocks.{i}" for i in range(5)] + ["blocks.5.pool.pre_conv", "blocks.5.pool"]
    sides = zip((24, *WIDTHS), (128, 64, 32, 16, 8), strict=True)
    expected = [(channels, 16, side, side) for channels, side in sides] + [(432, 16, 8, 8), (2048, 1, 1, 1)]
    assert list(output_shapes(on_meta(x3d), names, CLIP).values()) == expected


def test_blocks_are_those_of_x3d_m():
    blocks = on_meta(x3d).blocks
    for stage, depth, width, inner, reduced in zip(blocks[1:5], DEPTHS, WIDTHS, INNER, REDUCED, strict=True):
        assert len(stage.res_blocks) == depth
        for number, block in enumerate(stage.res_blocks):
            branch, step = block.branch2, 1 if number else 2
            assert branch.conv_a.out_channels == branch.conv_c.in_channels == inner
            assert branch.conv_c.out_channels == width
            assert branch.conv_b.groups == inner and branch.conv_b.kernel_size == (3, 3, 3)
            assert branch.conv_b.stride == (1, step, step)
            assert (block.branch1_conv is None) == (number > 0)
            squeeze = [m.out_channels for n, m in branch.norm_b.named_modules() if n.endswith("block.0")]
            assert squeeze == ([] if number % 2 else [reduced])


@pytest.mark.parametrize(("swish", "count"), [("none", 0), ("squeeze_excite", 15), ("blocks", 26)])
def test_swish_stays_only_where_asked_and_costs_nothing(swish, count):
    model = on_meta(x3d, swish=swish)
    found = [name for name, m in model.named_modules() if isinstance(m, nn.SiLU)]
    assert len(found) == count
    place = ".norm_b.1.block.1" if swish == "squeeze_excite" else ".act_b"  # the first is between the two 1x1x1
    assert all(name.endswith(place) for name in found)
    assert model.state_dict().keys() == on_meta(x3d).state_dict().keys()
    assert vared.count_flops(model, CLIP).static == vared.count_flops(on_meta(x3d), CLIP).static


def test_unknown_swish_is_refused():
    with pytest.raises(ValueError, match=r"swish must be one of .*squeeze_excite.*, not 'hard'"):
        x3d.build(num_classes=5, swish="hard")


def test_weights_of_pytorchvideo_load_and_give_its_predictions(hub_weights):
    ours = x3d.build(num_classes=400, swish="blocks").eval()
    ours.load_state_dict(hub_weights)
    # The hub's builder, for a small clip and without the softmax that the hub's network ends in.
    theirs = create_x3d(input_clip_length=4, input_crop_size=64, head_activation=None).eval()
    theirs.load_state_dict(hub_weights)
    clips = torch.randn(2, 3, 4, 64, 64)
    logits = theirs(clips)
    assert logits.std(0).max() > 0.1, "predictions are meant to differ from clip to clip"
    assert relative_difference(ours(clips), logits) < 1e-5
    relu = x3d.build(num_classes=400).eval()
    relu.load_state_dict(hub_weights)
    assert relative_difference(relu(clips), logits) > 1e-2


def test_weights_of_pytorchvideo_load_into_the_dynamic_network(hub_weights):
    static = x3d.build(num_classes=400).eval()
    static.load_state_dict(hub_weights)
    dynamic = converted(x3d, x3d.build(num_classes=400).eval(), (3, 4, 64, 64))
    loaded = dynamic.load_state_dict(hub_weights, strict=False)
    assert not loaded.unexpected_keys
    assert loaded.missing_keys and all(".gate." in k or ".cheap_" in k for k in loaded.missing_keys)
    clips = torch.randn(2, 3, 4, 64, 64)
    with vared.fixed_policy(dynamic):
        assert relative_difference(dynamic(clips), static(clips)) < 1e-5


def test_dynamic_are_the_52_expand_and_project_convolutions():
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")  # every one of them is followed by a normalisation
        model = converted(x3d, on_meta(x3d), CLIP)
    layers = dynamic_layers(model)
    assert len(layers) == 52
    assert all(m.kernel_size == (1, 1, 1) and m.groups == 1 and m.bias is None for m in layers.values())
    assert {name.split(".")[-1] for name in layers} == {"conv_a", "conv_c"}
    assert sum(vared.count_flops(model, CLIP).dynamic_layers.values()) == pytest.approx(4.926, abs=0.001)


def test_floors():
    expected = {(2, 1.0): 3.72, (1, 0.5): 3.72, (2, 0.5): 2.49, (4, 0.25): 1.56}
    assert floors(x3d, CLIP, expected, search_space=3) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("changes", "gates", "cheap"),
    [({}, 0.144, 0.067), ({"pool_time": False}, 2.219, 0.067), ({"cheap": "depthwise"}, 0.144, 0.599)],
)
def test_gates_and_reconstruction_cost_what_the_method_says(changes, gates, cheap):
    """Worst case, every candidate open; million parameters of the gates and GMACs of the reconstruction."""
    with torch.device("meta"):
        model = converted(x3d, on_meta(x3d), CLIP, **changes)
    layers = dynamic_layers(model)
    with forced_policy(model, {name: (torch.ones(1, 2), torch.ones(1, 2)) for name in layers}):
        costs = vared.count_flops(model, CLIP).costs
    assert sum(p.numel() for layer in layers.values() for p in layer.gate.parameters()) / 1e6 == pytest.approx(
        gates, abs=0.002
    )
    assert costs.cheap.item() == pytest.approx(cheap, abs=0.001)


@pytest.mark.parametrize(
    ("where", "warned"),
    [
        (lambda name, conv: "norm_b" in name, r"No normalisation follows .*norm_b\.1\.block\.0"),
        (lambda name, conv: name == "blocks.5.pool.post_conv", r"No normalisation follows .*post_conv"),
        (lambda name, conv: name == "blocks.1.res_blocks.0.branch1_conv", r"No normalisation follows .*branch1_conv"),
        (lambda name, conv: name.startswith("blocks.2.") and name.endswith(("branch1_conv", "conv_b")), None),
    ],
)
def test_other_layers_can_be_chosen_and_those_without_normalisation_are_named(where, warned):
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore" if warned else "error")
        model = on_meta(x3d)
        if warned:
            with pytest.warns(UserWarning, match=warned):
                converted(x3d, model, CLIP, where=where)
        else:
            converted(x3d, model, CLIP, where=where)
    assert dynamic_layers(model) and all(where(name, layer) for name, layer in dynamic_layers(model).items())


def test_features_are_the_map_that_localisation_stands_on():
    model = Features(on_meta(x3d))
    assert model(torch.empty(1, 3, 16, 224, 224, device="meta")).shape == (1, 432, 16, 7, 7)
    # 5.735 with the localisation head, which takes 1.005.
    assert vared.count_flops(model, (3, 16, 224, 224)).static == pytest.approx(5.735 - 1.005, abs=0.001)


def test_logits_are_classified_from_the_mean_of_the_features():
    model = randomised(x3d.build(num_classes=5, width=1 / 8))
    x = torch.randn(2, 3, 4, 40, 32)
    head = model.blocks[-1]
    mean = model.features(x).flatten(2).mean(2)
    hidden = (mean @ head.pool.post_conv.weight.flatten(1).T).clamp(min=0)
    torch.testing.assert_close(model(x), hidden @ head.proj.weight.T + head.proj.bias)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (5, 33, 47), (16, 32, 32)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_any_size_gives_logits(frames, height, width, memory_format):
    model = x3d.build(num_classes=5, width=1 / 16).eval().to(memory_format=memory_format)
    x = torch.randn(2, 3, frames, height, width).to(memory_format=memory_format)
    assert model(x).shape == (2, 5)


@pytest.mark.parametrize("width", [1 / 16, 1 / 8, 1 / 4, 1 / 2])
def test_narrow_networks_have_the_layers_of_the_full_one(width):
    full, scaled = on_meta(x3d), on_meta(x3d, width=width)
    assert full.state_dict().keys() == scaled.state_dict().keys()
    assert scaled.blocks[-1].proj.in_features == 2048 * width
    for stage, channels in zip(scaled.blocks[1:5], WIDTHS, strict=True):
        found = stage.res_blocks[0].branch2.conv_c.out_channels
        assert found == 8 or (found % 8 == 0 and found == pytest.approx(channels * width, abs=4))


def test_full_policy_is_the_static_network():
    model = randomised(x3d.build(num_classes=5, width=1 / 8))
    assert_full_policy_is_the_static_network(x3d, model, torch.randn(2, 3, 8, 32, 32))


def test_gates_work_for_any_number_of_frames():
    model = narrow(x3d).eval()
    assert model(torch.randn(2, 3, 12, 32, 32)).shape == (2, 5)
    assert vared.count_flops(model, (3, 12, 32, 32)).layers["blocks.1.res_blocks.0.branch2.conv_a"].frames == 12
