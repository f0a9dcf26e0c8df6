"""Accuracy against cost of one trained network: what moving the gates' threshold does, and to which clips."""

import math

import pandas as pd
import pytest
import torch

from tests.training_helpers import CLIP, Clips, dynamic_network, short_recipe, static_network
from vared import cost_curve as curves
from vared.cost_curve import DYNAMIC, MEAN, RANDOM, cost_curve, mean_share, threshold_for, with_threshold
from vared.evaluation import evaluate
from vared.flops import count_flops
from vared.policies import dynamic_layers
from vared.training import fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(0)
    network = dynamic_network(search_space=3)
    recipe = short_recipe(epochs=4, finetune_epochs=4, efficiency_weight=0.4)
    fit(network, Clips(16), recipe, directory=tmp_path_factory.mktemp("run"), progress=False)
    return network.eval()


@pytest.fixture(scope="module")
def batches():
    return [Clips(16).clips[:8], Clips(16).clips[8:]]


@torch.no_grad()
@pytest.mark.parametrize("threshold", [-0.7, -0.2, 0.3, 0.8])
def test_exactly_the_candidates_above_the_threshold_are_open(trained, threshold):
    """Layer by layer on its own input: V of the moved gate is above 0 where tanh z of the trained one is above t."""
    moved = dynamic_layers(with_threshold(trained, threshold))
    checked = 0
    for name, layer in dynamic_layers(trained).items():
        x = torch.randn(64, layer.in_channels, layer.frames_in, 5, 5)
        gate = layer.gate
        pooled = x.mean((3, 4)).flatten(1)
        score = torch.tanh(gate.expand(torch.tanh(gate.norm(gate.reduce(pooled)))))
        temporal, channel = moved[name].gate(x)
        found = torch.cat([temporal, channel], 1)
        for first, last in ((0, temporal.shape[1]), (temporal.shape[1], found.shape[1])):
            above, opened = score[:, first:last] > threshold, found[:, first:last] > 0
            shut = ~above.any(1)
            assert torch.equal(opened[~shut], above[~shut])
            assert torch.equal(found[shut, last - 1], torch.full_like(found[shut, last - 1], 0.05))
            assert not opened[shut, : last - first - 1].any()
            checked += int(above.any()) + int((~above).any())
    assert checked > 2  # some open, some shut


def test_the_trained_network_itself_is_left_alone_and_is_the_point_at_zero(trained, batches):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    with_threshold(trained, 0.4, batches)
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())
    same = with_threshold(trained, 0.0, batches).state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in same.items())


def test_a_moved_network_is_recalibrated_and_its_weights_load_into_the_same_network(trained, batches):
    moved, alone = with_threshold(trained, 0.4, batches), with_threshold(trained, 0.4)
    statistics = [name for name in moved.state_dict() if name.endswith("running_mean")]
    assert any(not torch.equal(moved.state_dict()[name], alone.state_dict()[name]) for name in statistics)
    again = dynamic_network(search_space=3).eval()
    again.load_state_dict(moved.state_dict())
    moved.eval()
    torch.testing.assert_close(again(batches[0]), moved(batches[0]))


def test_the_curve_has_the_published_point_and_falls_in_cost(trained, batches):
    clips = Clips(24)
    curve = cost_curve(trained, clips, batches, [0.6, 0.0, -0.6, 0.95], permutations=2)
    assert tuple(curve.columns) == curves.COLUMNS and set(curve["network"]) == {DYNAMIC, MEAN, RANDOM}
    own = curve[curve["network"] == DYNAMIC]
    assert list(own["threshold"]) == [-0.6, 0.0, 0.6, 0.95]
    plain = evaluate(trained, clips).metrics
    row = own[own["threshold"] == 0].iloc[0]
    assert row["clip1_top1"] == plain["clip1_top1"] and row["gflops"] == pytest.approx(plain["gflops_backbone_mean"])
    static = count_flops(trained, CLIP).static
    assert row["share"] == pytest.approx(row["gflops"] / static) and row["share_total"] > row["share"]
    assert own["gflops"].is_monotonic_decreasing and own["gflops"].iloc[-1] < 0.8 * own["gflops"].iloc[0]
    dealt = curve[curve["network"] == RANDOM]
    assert list(dealt["gflops"]) == pytest.approx(list(own["gflops"]))  # the same policies, other clips


@pytest.mark.parametrize("share", [0.9, 0.7])
def test_the_threshold_for_a_share_costs_that_share(trained, batches, share):
    threshold, reached = threshold_for(trained, batches, share, tolerance=0.03)
    assert reached <= share + 0.03
    assert reached == pytest.approx(mean_share(with_threshold(trained, threshold, batches), batches))
    assert reached > share - 0.25  # candidates are few and clips sixteen: the cost moves in steps


def test_what_cannot_be_moved_or_reached_is_refused(trained, batches):
    with pytest.raises(ValueError, match="between -1 and 1, not at 1"):
        with_threshold(trained, 1)
    with pytest.raises(ValueError, match="this one is static"):
        with_threshold(static_network(), 0.1)
    with pytest.raises(ValueError, match="No threshold brings this network to 1 %"):
        threshold_for(trained, batches, 0.01)


def test_the_page_keeps_plain_networks_of_any_width_apart_and_names_a_missing_one(trained, batches):
    from vared.reports.curve_reporting import curve_table, draw_curve, static_rows

    curve = cost_curve(trained, Clips(24), batches, [0.0, 0.6])
    runs = pd.DataFrame({
        "run": ["static_8f_seed0", "static_8f_seed0", "narrow"], "variant": ["static", "static_equal_epochs", "static"],
        "gflops_static": [2.0, 2.0, 1.0], "clip1_top1": [70.0, 72.0, 60.0], "clips": [24, 24, 24],
    })  # fmt: skip
    plain = static_rows(runs, ["static_8f_seed0", "narrow"], 2.0)
    assert list(plain["share"]) == [1.0, 1.0, 0.5] and all(math.isnan(t) for t in plain["threshold"])
    whole = pd.concat([curve, plain], ignore_index=True)
    table = curve_table(whole)
    assert list(table["threshold"])[:2] == ["0 (as trained)", "+0.60"] and len(table) == 5
    axis = draw_curve(whole).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()][3:] == list(plain["network"])
    with pytest.raises(ValueError, match="no plain run 'wide'"):
        static_rows(runs, ["wide"], 2.0)
    assert static_rows(runs, [], 2.0).empty
