"""Floors and ceilings of the dynamic networks, against counts made elsewhere and formulas."""

from pathlib import Path

import pytest
import torch

import vared
from vared import paper
from vared.costs.policy_range import count_policies
from vared.costs.static_costs import full_size
from vared.policies import dynamic_layers
from vared.reports.cost_reporting import position_text, positions, range_text

PAPER = Path(__file__).resolve().parents[1] / "data" / "paper"
MINI, KINETICS, MOMENTS, JHMDB = paper.DATASETS

# network, choice, frames: static; temporal R = 2; channel r = 1/2; both, S = 2; both, S = 3
FLOORS = {
    ("r2plus1d_18", "thesis", 8): (27.54, 18.10, 17.59, 12.87, 9.22),
    ("r2plus1d_18", "thesis", 16): (55.08, 35.18, 35.18, 25.22, 17.89),
    ("r2plus1d_18", "thesis", 32): (110.16, 70.35, 70.35, 50.44, 35.52),
    ("i3d", "thesis", 16): (55.93, 29.23, 29.23, 15.87, 5.89),
    ("i3d", "thesis", 32): (111.86, 58.45, 58.45, 31.75, 11.72),
    ("i3d", "all", 16): (55.93, 27.97, 27.97, 13.98, 3.53),
    ("x3d_m", "thesis", 16): (6.18, 3.72, 3.72, 2.49, 1.56),
    ("tsn_resnet50", "thesis", 16): (65.40, 36.53, 36.53, 22.09, None),
}
# network, choice: dynamic layers, cheap operations with every candidate open (S = 2), gates; 16 frames
OVERHEADS = {
    ("r2plus1d_18", "thesis"): (16, 0.468, 0.0003),
    ("i3d", "thesis"): (20, 0.314, 0.0001),
    ("i3d", "all"): (57, 0.413, 0.0012),
    ("x3d_m", "thesis"): (52, 0.067, 0.0001),
    ("tsn_resnet50", "thesis"): (48, 1.268, 0.0003),
}
# network, data set, frames, search space, dimensions, training: mean executed ratio of the average clip (most / least)
RATIOS = {
    ("r2plus1d_18", MINI, 8, "2", "both", ""): (0.613, 0.719, 0.513),
    ("r2plus1d_18", MINI, 8, "3", "both", ""): (0.694, 0.774, 0.603),
    ("r2plus1d_18", MINI, 16, "2", "both", ""): (0.628, 0.699, 0.533),
    ("r2plus1d_18", MINI, 32, "2", "both", ""): (0.608, 0.736, 0.521),
    ("r2plus1d_18", MINI, 8, "2", "temporal", ""): (0.789,),
    ("r2plus1d_18", MINI, 16, "2", "temporal", ""): (0.771,),
    ("r2plus1d_18", MINI, 8, "2", "channel", ""): (0.749,),
    ("r2plus1d_18", MINI, 16, "2", "channel", ""): (0.776,),
    ("r2plus1d_18", KINETICS, 16, "2", "both", ""): (0.626,),
    ("r2plus1d_18", KINETICS, 32, "2", "both", ""): (0.626,),
    ("r2plus1d_18", KINETICS, 16, "2", "both", "before phase 2"): (0.864,),
    ("r2plus1d_18", MOMENTS, 16, "2", "both", ""): (0.681,),
    ("i3d", MINI, 16, "2", "both", ""): (0.448,),
    ("i3d", KINETICS, 16, "2", "both", ""): (0.553,),
    ("i3d", KINETICS, 32, "2", "both", ""): (0.553,),
    ("i3d", KINETICS, 16, "2", "both", "before phase 2"): (1.0,),
    ("i3d", MOMENTS, 16, "2", "both", ""): (0.553,),
    ("i3d", JHMDB, 16, "2", "both", ""): (0.447,),
    ("x3d_m", MINI, 16, "2", "both", ""): (0.762,),
    ("x3d_m", KINETICS, 16, "2", "both", ""): (0.789,),
    ("x3d_m", MOMENTS, 16, "2", "both", ""): (0.799,),
    ("x3d_m", KINETICS, 16, "2", "both", "256 epochs"): (0.888,),
    ("x3d_m", JHMDB, 16, "2", "both", ""): (0.761,),
    ("r2plus1d_18_tpn", MINI, 8, "2", "both", ""): (0.623,),
    ("r2plus1d_18_tpn", MINI, 16, "2", "both", ""): (0.616,),
    ("r2plus1d_18_corrnet", MINI, 16, "2", "both", ""): (0.616,),
    ("tsn_resnet50", MINI, 16, "2", "both", ""): (0.619,),
}


@pytest.fixture(scope="module")
def thesis():
    return paper.printed_dynamic(PAPER)


@pytest.fixture(scope="module")
def costs(thesis):
    return count_policies(thesis)


@pytest.fixture(scope="module")
def placed(costs, thesis):
    return positions(costs, thesis)


@pytest.mark.parametrize("key", FLOORS, ids=str)
def test_floors_are_those_counted_elsewhere(costs, key):
    network, choice, frames = key
    rows = costs.query(f"network == {network!r} and choice == {choice!r} and frames == {frames} and open == 'one'")
    rows = rows[rows["dataset"] == MINI].set_index(["search_space", "temporal", "channel"])["backbone"]
    static, temporal, channel, both, both_of_three = FLOORS[key]
    assert rows[2, 1, 1.0] == rows[3, 1, 1.0] == pytest.approx(static, abs=0.0051)
    assert rows[2, 2, 1.0] == rows[3, 2, 1.0] == pytest.approx(temporal, abs=0.0051)
    assert rows[2, 1, 0.5] == rows[3, 1, 0.5] == pytest.approx(channel, abs=0.0051)
    assert rows[2, 2, 0.5] == rows[3, 2, 0.5] == rows[2].min() == pytest.approx(both, abs=0.0051)
    if both_of_three is not None:
        assert rows[3, 4, 0.25] == rows[3].min() == pytest.approx(both_of_three, abs=0.0051)


@pytest.mark.parametrize("key", OVERHEADS, ids=str)
def test_overheads_are_those_counted_elsewhere(costs, key):
    network, choice = key
    rows = costs.query(f"network == {network!r} and choice == {choice!r} and frames == 16 and search_space == 2")
    rows = rows[rows["dataset"] == MINI]
    layers, cheap, gate = OVERHEADS[key]
    assert set(rows["layers"]) == {layers}
    assert rows[rows["open"] == "every"]["cheap"].item() == pytest.approx(cheap, abs=0.00051)
    assert (rows["gate"] - gate).abs().max() < 0.000051
    assert rows["cheap"].max() == rows[rows["open"] == "every"]["cheap"].item()
    assert (rows[(rows["temporal"] == 1) & (rows["channel"] == 1.0) & (rows["open"] == "one")]["cheap"] == 0).all()


def test_rows_are_those_of_fixed_policy_and_gates_follow_a_formula(costs):
    model = full_size("r2plus1d_18", MINI, 8, vared.DynamicConfig(search_space=3))
    rows = costs.query("network == 'r2plus1d_18' and frames == 8 and search_space == 3 and open == 'one'")
    for row in rows.itertuples():
        with vared.fixed_policy(model, row.temporal, row.channel):
            counted = vared.count_flops(model, (3, 8, 128, 128)).costs
        assert (counted.backbone.item(), counted.cheap.item()) == pytest.approx((row.backbone, row.cheap), abs=1e-6)
    # C T x 16 and 16 x outputs; a dimension with one candidate has no output
    gates = 0
    for layer in dynamic_layers(model).values():
        temporal = len(layer.temporal_factors)
        gates += layer.in_channels * layer.frames_in * 16 + 16 * (3 + (temporal if temporal > 1 else 0))
    assert rows["gate"].tolist() == pytest.approx([gates / 1e9] * 9, abs=1e-6)


def test_every_dynamic_cost_of_the_thesis_lies_in_its_range(placed):
    assert len(placed) == 35 and placed["position"].between(0, 100 + 1e-9).all()
    assert (placed["floor"] < placed["ceiling"]).all()


def test_the_mean_ratios_behind_the_printed_costs(placed):
    keys = ["network", "dataset", "frames", "search_space", "dimensions", "training"]
    found = {key: tuple(group.set_index("clip")["ratio"]) for key, group in placed.groupby(keys)}
    assert found.keys() == RATIOS.keys()
    for key, ratios in RATIOS.items():
        assert found[key] == pytest.approx(ratios, abs=0.00051), key


def test_a_position_is_the_share_of_the_way_from_floor_to_dense(placed):
    # 27.7 - 20.0 saved of the 27.54 - 12.87 that can be; with one dimension only of the 27.54 - 18.10
    rows = placed[(placed["network"] == "r2plus1d_18") & (placed["frames"] == 8) & (placed["clip"] == "average")]
    rows = rows[rows["search_space"] == "2"].set_index("dimensions")["position"]
    assert rows["both"] == pytest.approx(100 * (1 - 7.7 / (27.540 - 12.866)), abs=0.05)
    assert rows["temporal"] == pytest.approx(100 * (1 - 4.2 / (27.540 - 18.097)), abs=0.05)
    # no static TSN is printed: ours stands in
    tsn = placed[placed["network"] == "tsn_resnet50"]["position"].item()
    assert tsn == pytest.approx(100 * (1 - (65.401 - 43.4) / (65.401 - 22.09)), abs=0.05)


def test_the_tables_have_a_row_a_network_and_keep_average_most_and_least_apart(costs, placed):
    ranges = range_text(costs).set_index(["network", "frames"])
    assert len(ranges) == len(set(ranges.index)) == 13
    row = ranges.loc[("I3D-InceptionV2, all convolutions", "16")]
    assert (row["static"], row["both, S = 2"], row["both, S = 3"]) == ("55.93", "13.98", "3.53")
    text = position_text(placed).set_index(["network", "data set", "frames", "S", "dimensions"])
    assert text.loc[("R(2+1)D-18", MINI, "8", "2", "both"), "mean ratio"] == "0.613 (0.719 / 0.513)"
    assert text.loc[("TSN-ResNet-50", MINI, "16", "2", "both"), "thesis: static"] == "not printed"


def test_counting_needs_no_memory_of_full_size():
    model = full_size("i3d", JHMDB, 16, vared.DynamicConfig())
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert isinstance(model, torch.nn.Module) and len(dynamic_layers(model)) == 20
