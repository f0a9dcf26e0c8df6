"""Where the time of a pass goes: operations and bytes by hand, times of layers whose speed is known."""

import math
import time

import matplotlib
import pytest
import torch
from torch import nn

import vared
from tests.method_helpers import randomise_gates, tiny_r2plus1d
from tests.network_helpers import narrow
from vared.backbones import x3d
from vared.benchmarks.peaks import Machine, measure_machine
from vared.benchmarks.roofline import REST, bytes_moved, measure_layers, timed_layers, touched
from vared.benchmarks.roofline_picture import draw_roofline, markdown_of_remaining

matplotlib.use("Agg")
MACHINE = Machine(peak=2.0, bandwidth=0.5)


def dynamic_pair() -> nn.Sequential:
    net = nn.Sequential(nn.Conv3d(4, 8, (1, 3, 3), padding=(0, 1, 1), bias=False), nn.BatchNorm3d(8))
    return vared.convert(net, example=(4, 6, 5, 5), where=lambda name, conv: True).eval()


def test_a_plain_convolution_by_hand():
    net = nn.Sequential(nn.Conv3d(4, 8, (3, 1, 1), padding=(1, 0, 0)), nn.ReLU())
    row = measure_layers(net, torch.randn(2, 4, 6, 5, 5), MACHINE, repeats=1).iloc[0]
    macs = 2 * 8 * 6 * 5 * 5 * (4 * 3)
    size = 4 * (2 * 4 * 6 * 25 + (8 * 4 * 3 + 8) + 2 * 8 * 6 * 25)
    assert row["gmacs"] == pytest.approx(macs / 1e9) and row["gigabytes"] == pytest.approx(size / 1e9)
    assert row["intensity"] == pytest.approx(macs / size)
    assert row["attainable"] == pytest.approx(max(macs / 2.0e9, size / 0.5e9))
    assert row["efficiency"] == pytest.approx(row["attainable"] / row["seconds"])
    assert (row["layer"], row["kind"]) == ("0", "plain")


def test_either_roof_can_bound_a_layer():
    net, clips = nn.Sequential(nn.Conv3d(4, 8, 1)), torch.randn(1, 4, 2, 3, 3)
    for machine, key, rate in ((Machine(1e-6, 1e6), "gmacs", 1e-6), (Machine(1e6, 1e-6), "gigabytes", 1e-6)):
        row = measure_layers(net, clips, machine, repeats=1).iloc[0]
        assert row["attainable"] == pytest.approx(row[key] / rate)


@pytest.mark.parametrize(("channel", "kept"), [(1.0, 8), (0.5, 4)])
def test_a_dynamic_layer_by_hand(channel, kept):
    net, clips = dynamic_pair(), torch.randn(2, 4, 6, 5, 5)
    layer = net[0]
    with vared.fixed_policy(net, 2, channel):
        row = measure_layers(net, clips, MACHINE, repeats=1).iloc[0]
    frames = 3
    convolution = 2 * kept * frames * 25 * (4 * 9)
    cheap = 2 * 25 * 9 * ((8 - kept) * frames + 8 * (6 - frames))
    assert row["gmacs"] == pytest.approx((convolution + cheap + 2 * layer.gate.macs) / 1e9)
    other = sum(p.numel() for name, p in layer.named_parameters() if name != "weight")
    size = 4 * (2 * 4 * 6 * 25 + kept * 4 * 9 + other + 2 * 8 * 6 * 25)
    assert row["gigabytes"] == pytest.approx(size / 1e9) and row["kind"] == "dynamic"


def test_the_weights_of_a_batch_are_those_of_its_widest_clip():
    net, clips = dynamic_pair(), torch.randn(2, 4, 6, 5, 5)
    y, sizes = net(clips), []
    for second in ([1.0, 0.0], [0.0, 1.0]):
        weights = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.0, 1.0], second])
        with vared.policies.forced_policy(net, {"0": weights}):
            net(clips)
        sizes.append(bytes_moved(net[0], clips, y))
    assert sizes[0] - sizes[1] == 4 * (4 * 4 * 9)


@pytest.mark.parametrize(
    "geometry", [(8, 1, 2, 0, 1), (8, 3, 2, 1, 1), (9, 2, 4, 0, 1), (7, 3, 1, 0, 3), (5, 3, 5, 2, 2)]
)
def test_what_a_convolution_reads_is_where_its_gradient_is_not_zero(geometry):
    size, kernel, stride, padding, dilation = geometry
    x = torch.zeros(1, 1, size, requires_grad=True)
    nn.functional.conv1d(x, torch.ones(1, 1, kernel), None, stride, padding, dilation).sum().backward()
    assert touched(*geometry) == int((x.grad != 0).sum())


def test_a_specialised_layer_reads_only_what_it_convolves_and_counts_its_cheap_operations():
    net, clips = dynamic_pair(), torch.randn(2, 4, 6, 5, 5)
    plain = vared.specialize(net, 2, 0.5)
    table = measure_layers(plain, clips, MACHINE, repeats=1)
    assert table["layer"].tolist() == ["0", REST] and table["kind"][0] == "specialised"
    parameters = sum(p.numel() for p in plain[0].parameters())
    assert table["gigabytes"][0] == pytest.approx(4 * (2 * 4 * 3 * 25 + parameters + 2 * 8 * 6 * 25) / 1e9)
    assert table["gmacs"][0] == pytest.approx(2 * vared.count_flops(plain, clips).static)


@pytest.mark.parametrize("build", [tiny_r2plus1d, lambda: narrow(x3d, (3, 8, 16, 16))], ids=["r2plus1d", "x3d"])
def test_the_rows_add_up_to_the_network(build):
    model, clips = randomise_gates(build()).eval(), torch.randn(3, 3, 8, 16, 16)
    table = measure_layers(model, clips, MACHINE, repeats=2)
    report = vared.count_flops(model, clips)
    linear = sum(
        gmacs for name, gmacs in report.static_layers.items() if isinstance(model.get_submodule(name), nn.Linear)
    )
    assert table["gmacs"].sum() + 3 * linear == pytest.approx(report.costs.total.sum().item(), rel=1e-9)
    assert table["share"].sum() == pytest.approx(1) and (table["seconds"][:-1] > 0).all()
    assert set(table.loc[table["kind"] == "dynamic", "layer"]) == set(report.layers)
    assert ("depthwise" in set(table["kind"])) == (build is not tiny_r2plus1d)


def test_a_slow_layer_is_the_one_that_is_found():
    class Slow(nn.Conv3d):
        def forward(self, x):
            time.sleep(0.02)
            return super().forward(x)

    net = nn.Sequential(nn.Conv3d(3, 4, 1), Slow(4, 4, 1), nn.Conv3d(4, 4, 1)).train()
    table = measure_layers(net, torch.randn(1, 3, 2, 4, 4), MACHINE, repeats=3).set_index("layer")
    assert table["seconds"].idxmax() == table["remaining"].idxmax() == "1" and table["seconds"]["1"] >= 0.02
    assert table["share"]["1"] > 0.5 and net.training
    assert "| 1 " in markdown_of_remaining(table.reset_index(), count=1)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_layer_used_twice_counts_twice_and_one_never_used_is_left_out():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unused = nn.Conv3d(3, 3, 1), nn.Conv3d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    table = measure_layers(Twice(), torch.randn(1, 3, 2, 4, 4), MACHINE, repeats=1)
    assert table["layer"].tolist() == ["conv", REST]
    assert table["gmacs"][0] == pytest.approx(2 * 3 * 3 * 32 / 1e9)
    assert table["gigabytes"][0] == pytest.approx(2 * 4 * (2 * 3 * 32 + 12) / 1e9)


def test_nothing_to_time_is_said():
    with pytest.raises(ValueError, match="0 convolutions"):
        measure_layers(nn.Sequential(nn.Linear(3, 3)), torch.randn(2, 3), MACHINE)
    with pytest.raises(ValueError, match="0 passes"):
        measure_layers(nn.Sequential(nn.Conv3d(3, 3, 1)), torch.randn(1, 3, 2, 4, 4), MACHINE, repeats=0)


def test_the_machine_is_measured():
    machine = measure_machine(repeats=2)
    assert 0.1 < machine.peak < 1e5 and 0.1 < machine.bandwidth < 1e5


def test_picture_and_table_show_what_was_measured():
    model = tiny_r2plus1d()
    table = measure_layers(model, torch.randn(1, 3, 8, 16, 16), MACHINE, repeats=1)
    figure = matplotlib.figure.Figure()
    axis = figure.subplots()
    draw_roofline(axis, table, MACHINE, "narrow")
    shown = sum(len(collection.get_offsets()) for collection in axis.collections)
    assert shown == len(timed_layers(model)) == len(table) - 1
    reach, roof = axis.lines[0].get_data()
    assert roof.max() == MACHINE.peak and math.isclose(roof[0], MACHINE.bandwidth * reach[0])
    assert "MACs / byte" in axis.get_xlabel() and "GMAC/s" in axis.get_ylabel()
    lines = markdown_of_remaining(table, count=3).splitlines()
    worst = table.sort_values("remaining", ascending=False)["layer"].tolist()[:3]
    assert [line.split("|")[1].strip() for line in lines[2:]] == [*worst, "whole pass"]
    assert "100%" in lines[-1]
