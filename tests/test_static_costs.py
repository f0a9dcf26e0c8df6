"""Costs of the thesis's plain networks, against what it prints and against counts made elsewhere."""

from pathlib import Path

import pytest
import torch
from torch import nn

import vared
from vared import paper
from vared.costs.static_costs import OtherOperations, count_networks, full_size
from vared.reports.cost_reporting import static_cost_rows, static_cost_text
from vared.tasks.localization_head import ChannelAttention, YowoHead

PAPER = Path(__file__).resolve().parents[1] / "data" / "paper"
MINI, KINETICS, MOMENTS, JHMDB = paper.DATASETS
GFLOPS, MILLIONS = "GFLOPs", "million parameters"

# What the thesis prints, and our GMACs or parameters to the decimals of an independent count.
EXPECTED = {
    ("r2plus1d_18", MINI, 8, GFLOPS): ("27.7", 27.541),
    ("r2plus1d_18", MINI, 16, GFLOPS): ("55.2", 55.081),
    ("r2plus1d_18", MINI, 32, GFLOPS): ("110.5", 110.162),
    ("r2plus1d_18", KINETICS, 16, GFLOPS): ("55.2", 55.081),
    ("r2plus1d_18", KINETICS, 32, GFLOPS): ("110.5", 110.162),
    ("r2plus1d_18", MOMENTS, 16, GFLOPS): ("55.2", 55.081),
    ("i3d", MINI, 16, GFLOPS): ("56.0", 55.932),
    ("i3d", KINETICS, 16, GFLOPS): ("56.0", 55.932),
    ("i3d", KINETICS, 32, GFLOPS): ("112.0", 111.864),
    ("i3d", MOMENTS, 16, GFLOPS): ("56.0", 55.932),
    ("i3d", JHMDB, 16, GFLOPS): ("43.9", 43.857),
    ("x3d_m", MINI, 16, GFLOPS): ("6.20", 6.180),
    ("x3d_m", KINETICS, 16, GFLOPS): ("6.42", 6.181),
    ("x3d_m", MOMENTS, 16, GFLOPS): ("6.20", 6.180),
    ("x3d_m", JHMDB, 16, GFLOPS): ("5.75", 5.735),
    ("r2plus1d_18_tpn", MINI, 8, GFLOPS): ("28.5", 28.338),
    ("r2plus1d_18_tpn", MINI, 16, GFLOPS): ("56.8", 56.676),
    ("r2plus1d_18_corrnet", MINI, 16, GFLOPS): ("60.8", 60.542),
    ("tsn_resnet50", MINI, 16, GFLOPS): (None, 65.401),
    ("tsn_resnet50", MINI, 16, MILLIONS): ("23.9", 23.918),
    ("ar_net", MINI, 16, MILLIONS): ("63.0", 62.845),
}


@pytest.fixture(scope="module")
def rows():
    thesis = paper.printed_static(PAPER)
    found = static_cost_rows(count_networks(thesis), thesis)
    return found.set_index(["network", "dataset", "frames", "quantity"])


def test_every_static_number_of_the_thesis_is_there_and_counted(rows):
    assert set(rows.index) == set(EXPECTED)
    for key, (printed, counted) in EXPECTED.items():
        assert rows.loc[key, "ours"] == pytest.approx(counted, abs=0.0006), key
        assert rows["thesis"].astype(object).where(rows["thesis"].notna(), None)[key] == printed


def test_all_agree_within_one_percent_but_the_x3d_of_kinetics_400(rows):
    apart = rows[rows["difference"].abs() > 1.0]
    assert list(apart.index) == [("x3d_m", KINETICS, 16, GFLOPS)]
    assert apart["difference"].iloc[0] == pytest.approx(-3.7, abs=0.05)


def test_the_two_printed_costs_of_x3d_are_two_ways_of_counting_it(rows):
    kinetics, mini = (rows.loc[("x3d_m", dataset, 16, GFLOPS)] for dataset in (KINETICS, MINI))
    assert kinetics["ours"] - mini["ours"] == pytest.approx(200 * 2048 / 1e9, abs=1e-6)  # only the classifier differs
    assert kinetics["with_normalisation"] == pytest.approx(6.42, abs=0.01)
    assert mini["with_pooling"] == pytest.approx(6.200, abs=0.0005)
    assert rows.loc[("x3d_m", JHMDB, 16, GFLOPS), "with_pooling"] == pytest.approx(5.75, abs=0.0005)
    for part in ("6.20 for Mini-Kinetics-200", "+0.0004", f"{kinetics['with_normalisation']:.3f}"):
        assert part in kinetics["explanation"]


def test_pooling_counts_what_it_reads_and_normalisation_twice_what_it_writes():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv3d(3, 5, 1), nn.BatchNorm3d(5), nn.AvgPool3d(2), nn.AdaptiveAvgPool3d(1)).eval()
        with OtherOperations() as other:
            network(torch.empty(1, 3, 4, 6, 8)).mean((-3, -2, -1))
    whole, halved = 5 * 4 * 6 * 8, 5 * 2 * 3 * 4
    assert other.normalisation == pytest.approx(2 * whole / 1e9)
    assert other.pooling == pytest.approx((whole + halved + 5) / 1e9)


@pytest.mark.parametrize(("network", "channels", "gmacs"), [("i3d", 1024, 1.034), ("x3d_m", 432, 1.005)])
def test_the_localisation_head_sits_on_the_map_before_the_classifier(network, channels, gmacs):
    model = full_size(network, JHMDB, 16)
    report = vared.count_flops(model, (3, 16, 224, 224))
    head = sum(macs for name, macs in report.static_layers.items() if name.startswith("head."))
    assert head == pytest.approx(gmacs, abs=0.001)
    assert model.head.fusion[0].in_channels == channels
    assert model(torch.empty(2, 3, 16, 224, 224, device="meta")).shape == (2, 5 * (21 + 4 + 1), 7, 7)


def test_a_narrow_head_predicts_for_every_cell_and_learns():
    head = YowoHead(6, num_classes=3, anchors=2, hidden=8)
    output = head(torch.randn(2, 6, 4, 5))
    assert output.shape == (2, 2 * 8, 4, 5)
    output.square().mean().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_channel_attention_starts_as_the_identity_and_mixes_similar_channels():
    attention, x = ChannelAttention(), torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    assert torch.equal(attention(x), x)
    nn.init.constant_(attention.alpha, 0.5)
    # products of the two maps: [[1, 0], [0, 4]]; softmax of each row
    e = torch.e
    first, second = torch.tensor([e, 1.0]) / (e + 1), torch.tensor([1.0, e**4]) / (1 + e**4)
    mixed = torch.stack([first[0] * x[0, 0] + first[1] * x[0, 1], second[0] * x[0, 0] + second[1] * x[0, 1]])
    torch.testing.assert_close(attention(x)[0], 0.5 * mixed + x[0])


def test_the_table_shows_thesis_and_ours_apart_and_names_what_is_not_printed(rows):
    text = static_cost_text(rows.reset_index()).set_index(["network", "data set", "unit", "input"])
    i3d = text.loc[("I3D-InceptionV2", JHMDB, GFLOPS, "3x16x224x224")]
    assert (i3d["thesis"], i3d["ours"], i3d["difference"]) == ("43.9", "43.857", "-0.10 %")
    tsn = text.loc[("TSN-ResNet-50", MINI, GFLOPS, "3x16x224x224")]
    assert (tsn["thesis"], tsn["difference"]) == ("not printed", "–")


def test_a_model_that_is_unknown_here_is_refused(tmp_path):
    for path in PAPER.glob("table_*.csv"):
        (tmp_path / path.name).write_text(path.read_text().replace("X3D-M", "X3D-L"))
    with pytest.raises(ValueError, match="X3D-L"):
        paper.printed_static(tmp_path)
