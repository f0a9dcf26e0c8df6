"""Counting multiply-accumulates: against formulas, torch's and fvcore's counters, and the reference numbers."""

from importlib import import_module

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vared
from tests.foreign_networks import NETWORKS, build_foreign, foreign_inputs
from tests.method_helpers import (
    Geometry,
    calibrate,
    dynamic_layers,
    plain_image_network,
    randomise_gates,
    tiny_r2plus1d,
)
from vared.layers import DynamicConfig
from vared.policies import forced_policy

FULL_SIZE = {8: 27.541, 16: 55.081, 32: 110.162}
# Cost when every dynamic layer takes its cheapest choice, gates and cheap operations left out, printed to 0.01.
FLOORS = {8: (18.10, 17.59, 12.87, 9.22), 16: (35.18, 35.18, 25.22, 17.89), 32: (70.35, 70.35, 50.44, 35.52)}


def full_size(frames, search_space=None, **settings):
    with torch.device("meta"):
        dynamic = DynamicConfig(search_space=search_space, **settings) if search_space else None
        return vared.create_model("r2plus1d_18", num_classes=200, num_frames=frames, crop_size=128, dynamic=dynamic)


@pytest.mark.parametrize("frames", FULL_SIZE)
def test_static_cost_of_the_full_size_network(frames):
    report = vared.count_flops(full_size(frames), (3, frames, 128, 128))
    assert report.static == pytest.approx(FULL_SIZE[frames], abs=1e-3)
    assert report.costs.total.tolist() == [report.static] and report.dynamic_layers == {}
    assert report.static == pytest.approx(sum(report.static_layers.values()))


@pytest.mark.parametrize("frames", FLOORS)
def test_policy_floors_of_the_full_size_network(frames):
    clip = (3, frames, 128, 128)
    model = full_size(frames, 2)
    found = []
    for temporal, channel in ((2, 1.0), (1, 0.5), (2, 0.5)):
        with vared.fixed_policy(model, temporal, channel):
            found.append(vared.count_flops(model, clip).costs.backbone.item())
    model = full_size(frames, 3)
    with vared.fixed_policy(model, 4, 0.25):
        found.append(vared.count_flops(model, clip).costs.backbone.item())
    assert [round(value, 2) for value in found] == list(FLOORS[frames])
    assert vared.count_flops(model, clip).costs.backbone.item() == pytest.approx(FULL_SIZE[frames], abs=1e-3)


def test_parts_of_the_full_size_network():
    """GMACs at 16 frames by part of the network, spatial and temporal convolutions apart."""
    layers = vared.count_flops(full_size(16), (3, 16, 128, 128)).static_layers

    def part(start, end, shortcut=False):
        names = [k for k in layers if k.startswith(start) and k.endswith(end) and ("shortcut" in k) == shortcut]
        return sum(layers[name] for name in names)

    expected = [(0.800, 1.044), (21.743, 7.248), (10.324, 3.441), (5.162, 1.721), (2.582, 0.861)]
    for start, (spatial, temporal) in zip(("stem", *(f"stages.{i}." for i in range(4))), expected, strict=True):
        assert part(start, "spatial") == pytest.approx(spatial, abs=6e-4)
        assert part(start, "temporal") == pytest.approx(temporal, abs=6e-4)
    assert part("stages", "spatial", True) + part("stages", "temporal", True) == pytest.approx(0.155, abs=6e-4)


def test_dynamic_layers_hold_seventy_two_percent():
    report = vared.count_flops(full_size(16, 2), (3, 16, 128, 128))
    assert len(report.dynamic_layers) == 16
    assert sum(report.dynamic_layers.values()) == pytest.approx(39.81, abs=0.005)


@pytest.mark.parametrize(("cheap", "expected"), [("depthwise", 0.468), ("affine", 0.052), ("copy", 0.0)])
def test_worst_case_overhead_with_everything_open(cheap, expected):
    model = full_size(16, 2, cheap=cheap)
    everything = {
        n: (torch.ones(1, len(layer.temporal_factors)), torch.ones(1, len(layer.channel_ratios)))
        for n, layer in dynamic_layers(model).items()
    }
    with forced_policy(model, everything):
        costs = vared.count_flops(model, (3, 16, 128, 128)).costs
    assert costs.cheap.item() == pytest.approx(expected, abs=5e-4)
    assert costs.gate.item() == pytest.approx(0.0003, abs=5e-5)
    assert costs.backbone.item() == pytest.approx(FULL_SIZE[16], abs=1e-3)


@pytest.mark.parametrize(("pool_time", "millions"), [(False, 0.264), (True, 0.056)])
def test_gate_parameters_of_the_full_size_network(pool_time, millions):
    gates = [p.numel() for n, p in full_size(16, 2, pool_time=pool_time).named_parameters() if ".gate." in n]
    assert sum(gates) / 1e6 == pytest.approx(millions, abs=6e-4)


def test_the_counter_agrees_with_the_layout_of_torchvision():
    import_module("vared.torchvision_operators")  # lets torchvision import
    from torchvision.models.video import r2plus1d_18

    with torch.device("meta"):
        model = r2plus1d_18()
    assert vared.count_flops(model, (3, 16, 112, 112)).static == pytest.approx(40.52, abs=0.005)
    assert vared.count_flops(model, (3, 16, 128, 128)).static == pytest.approx(52.92, abs=0.005)


def test_the_static_count_is_that_of_torch_and_of_fvcore():
    model, clip = tiny_r2plus1d(search_space=0), torch.randn(1, 3, 8, 16, 16)
    report = vared.count_flops(model, clip)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    by_operator = FlopCountAnalysis(model, clip).unsupported_ops_warnings(False).by_operator()
    macs = round(1e9 * report.static)
    assert macs == counter.get_total_flops() / 2
    assert macs == by_operator["conv"] + by_operator["linear"]


@pytest.mark.filterwarnings("ignore:.*(jit.script|saved_variables|torch.jit):DeprecationWarning")
@pytest.mark.parametrize(
    "name", ["x3d_xs", "csn_r101", "slowfast_r50", "s3d", "resnet50", "efficientnet_b0", "densenet121", "convnext_tiny"]
)
def test_the_static_count_of_other_networks_is_that_of_torch_and_of_fvcore(name):
    model = build_foreign(name)
    macs = round(1e9 * vared.count_flops(model, NETWORKS[name].example).static)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(foreign_inputs(name, 1))
    by_operator = FlopCountAnalysis(model, (foreign_inputs(name, 1),)).unsupported_ops_warnings(False).by_operator()
    assert macs == counter.get_total_flops() / 2
    assert macs == by_operator["conv"] + by_operator["linear"]


@pytest.mark.parametrize(("name", "gmacs"), [("resnet50", 4.089), ("mobilenetv2_100", 0.301), ("convnext_tiny", 4.46)])
@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
def test_images_of_full_size(name, gmacs):
    with torch.device("meta"):
        model = import_module("timm").create_model(name)
    report = vared.count_flops(model, (3, 224, 224))
    assert report.static == pytest.approx(gmacs, rel=2e-3)
    assert vared.count_flops(model, (2, 3, 224, 224)).costs.total.tolist() == [report.static] * 2


def test_images_and_clips_are_told_apart_also_after_conversion_and_specialisation():
    model = vared.convert(plain_image_network(), example=(5, 9, 9))
    plain = vared.specialize(model, channel=0.5)
    with vared.fixed_policy(model, channel=0.5):
        costs = vared.count_flops(model, torch.randn(3, 5, 9, 9)).costs
    assert costs.total.shape == (3,)
    assert vared.count_flops(plain, (5, 9, 9)).static == pytest.approx(
        (costs.backbone + costs.cheap)[0].item(), rel=1e-12
    )
    with pytest.raises(ValueError, match=r"An image is C x H x W or B x C x H x W, not \(9, 9\)"):
        vared.count_flops(model, (9, 9))


def test_gates_that_decide_for_frames_are_refused():
    class FrameByFrame(nn.Module):
        def __init__(self):
            super().__init__()
            self.images = vared.convert(plain_image_network(), example=(5, 9, 9))

        def forward(self, clips):
            return self.images(clips.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clips), -1)).mean(1)

    with pytest.raises(ValueError, match=r"'images\.0' decided 8 times for a batch of 2: .* on an image C x H x W"):
        vared.count_flops(FrameByFrame(), (2, 5, 4, 9, 9))


def test_the_count_on_the_meta_device_is_the_count_of_a_run():
    model, clip = tiny_r2plus1d(search_space=3), torch.randn(3, 8, 16, 16)
    with vared.fixed_policy(model, 4, 0.25):
        run = vared.count_flops(model, clip)
        meta = vared.count_flops(model.to("meta"), (3, 8, 16, 16))
    assert run.dynamic_layers == meta.dynamic_layers and run.static == meta.static
    for part in ("backbone", "gate", "cheap", "total"):
        assert torch.equal(getattr(run.costs, part), getattr(meta.costs, part))


def test_one_layer_by_hand_clip_by_clip():
    """C = 10, T = 5, 4 x 4 pixels, kernel 1 x 3 x 3 of 6 channels, S = 3: K = 10, 5, 3 and 5, 3, 2 frames."""
    geometry = Geometry(in_channels=6, out_channels=10, frames=5, config=DynamicConfig(search_space=3, gate_hidden=4))
    model = nn.Sequential(geometry.layer(dtype=torch.float32))
    v_t = torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.7, 0.0], [0.2, 0.0, 0.4]])
    v_c = torch.tensor([[0.5, 0.5, 0.5], [0.0, 0.0, 0.9], [0.0, 0.3, 0.1]])
    with forced_policy(model, {"0": (v_t, v_c)}):
        report = vared.count_flops(model, geometry.clips(3, dtype=torch.float32))
    dense, pixels = 10 * 5 * 16 * 6 * 9, 16
    backbone = [dense, dense * 3 * 3 / 50, dense * 5 * 5 / 50]
    cheap = [
        9 * pixels * ((5 + 7) * 5 + 10 * (2 + 3)),  # both channel candidates on 5 frames; 2 + 3 frames of 10 channels
        9 * pixels * (7 * 3 + 10 * 2),
        9 * pixels * ((5 + 7) * 5 + 10 * 3),
    ]
    gate = (6 * 5) * 4 + 4 * 6
    assert [round(1e9 * v) for v in report.costs.backbone.tolist()] == backbone
    assert [round(1e9 * v) for v in report.costs.cheap.tolist()] == cheap
    assert [round(1e9 * v) for v in report.costs.gate.tolist()] == [gate] * 3
    torch.testing.assert_close(
        report.costs.total, report.costs.backbone + report.costs.gate + report.costs.cheap, rtol=0, atol=0
    )
    assert report.dynamic_layers == {"0": dense / 1e9}


def test_a_report_prices_the_policies_of_any_other_pass():
    model = calibrate(randomise_gates(tiny_r2plus1d(search_space=3)), torch.randn(12, 3, 8, 16, 16))
    report = vared.count_flops(model, torch.randn(3, 8, 16, 16))
    x = torch.randn(6, 3, 8, 16, 16)
    model(x)
    priced = report.executed(vared.policy(model))
    counted = vared.count_flops(model, x).costs
    assert torch.equal(priced.total, counted.total) and counted.total.unique().numel() > 2
    assert (priced.backbone < report.static).all() and priced.gate.unique().numel() == 1


def test_counting_leaves_modes_and_statistics_alone():
    model = tiny_r2plus1d().train()
    model.stem.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    vared.count_flops(model, torch.randn(3, 8, 16, 16))
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_clip_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r"B x C x T x H x W, not \(8, 16, 16\)"):
        vared.count_flops(tiny_r2plus1d(), (8, 16, 16))


def test_counting_leaves_the_policies_of_the_pass_before():
    model = tiny_r2plus1d()
    model.eval()(torch.randn(3, 3, 8, 16, 16))
    before = vared.policy(model)
    vared.count_flops(model, (3, 8, 16, 16))
    assert all(vared.policy(model)[name] is last for name, last in before.items())
