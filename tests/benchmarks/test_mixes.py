"""Policies of a benchmark: they cost what they should, differ between clips, and are dealt to gates that run."""

import copy

import pytest
import torch

import vared
from tests.network_helpers import open_branches
from vared.benchmarks.mixes import WEIGHTS, check_dealt, dealt, draw, parse_mix, policies_of
from vared.costs.static_costs import full_size
from vared.policies import dynamic_layers, forced_policy

# Network, mix, batch -> mean GMACs that the thesis prints (table 4.2), times our static count over its own.
FULL_SIZE = [
    ("r2plus1d_18", "ratio-0.63", 8, 40.4 / 55.2), ("r2plus1d_18", "ratio-0.63", 1, 40.4 / 55.2),
    ("i3d", "gmacs-26.5-of-56.0", 2, 26.5 / 56.0), ("i3d", "gmacs-26.5-of-56.0", 1, 26.5 / 56.0),
    ("x3d_m", "gmacs-5.03-of-6.20", 4, 5.03 / 6.20), ("x3d_m", "gmacs-5.03-of-6.20", 1, 5.03 / 6.20),
]  # fmt: skip


def narrow(search_space: int = 2):
    model = vared.create_model(
        "r2plus1d_18", num_classes=5, num_frames=8, crop_size=16, width=1 / 16,
        dynamic=vared.DynamicConfig(search_space=search_space),
    ).eval()  # fmt: skip
    return model, vared.count_flops(copy.deepcopy(model).to("meta"), (3, 8, 16, 16))


@pytest.mark.parametrize(("network", "mix", "batch", "share"), FULL_SIZE)
def test_the_mixes_of_the_thesis_are_met_at_full_size(network, mix, batch, share):
    side = 128 if network == "r2plus1d_18" else 256
    model = full_size(network, "Mini-Kinetics-200", 16, True)
    report = vared.count_flops(model, (batch, 3, 16, side, side))
    weights = draw(mix, report, batch, seed=0)
    # Counted by the counter itself, not by the draw.
    with forced_policy(model, weights):
        costs = vared.count_flops(model, (batch, 3, 16, side, side)).costs.backbone
    assert costs.mean().item() / report.static == pytest.approx(share, rel=0.01)
    assert torch.allclose(report.executed(policies_of(report, weights)).backbone, costs)


def test_a_ratio_is_the_share_that_the_dynamic_layers_execute():
    _, report = narrow()
    executed = report.executed(policies_of(report, draw("ratio-0.5", report, 16, seed=3))).backbone.mean().item()
    dynamic = sum(report.dynamic_layers.values())
    assert (executed - (report.static - dynamic)) / dynamic == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("search_space", [2, 3])
def test_clips_differ_and_every_smaller_candidate_is_open(search_space):
    _, report = narrow(search_space)
    weights = draw("ratio-0.63", report, 8, seed=0)
    different = 0
    for name, pair in weights.items():
        layer = report.layers[name]
        for value, count in zip(pair, (layer.temporal_factors, layer.kept_channels), strict=True):
            assert value.shape == (8, len(count))
            if len(count) == 1:
                assert torch.equal(value, torch.ones(8, 1))
                continue
            is_open = value > 0
            first = is_open.int().argmax(1)
            assert torch.equal(is_open, torch.arange(len(count)) >= first[:, None])
            assert value[is_open].min() >= WEIGHTS[0] and value.max() <= WEIGHTS[1]
            different += len(first.unique()) > 1
    assert different > len(weights)
    again, other = draw("ratio-0.63", report, 8, seed=0), draw("ratio-0.63", report, 8, seed=1)
    assert all(torch.equal(weights[name][1], again[name][1]) for name in weights)
    assert any(not torch.equal(weights[name][1], other[name][1]) for name in weights)


def test_dealt_policies_replace_the_decision_of_gates_that_run():
    model, report = narrow()
    weights, clips = draw("ratio-0.63", report, 4, seed=0), torch.randn(4, 3, 8, 16, 16)
    ran = []
    for layer in dynamic_layers(open_branches(model)).values():
        layer.gate.reduce.register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad():
        with forced_policy(model, weights):
            expected = model(clips)
        assert not ran
        own = model(clips)
        ran.clear()
        with dealt(model, weights):
            torch.testing.assert_close(model(clips), expected, rtol=0, atol=0)
            check_dealt(model, weights, "plain")
        assert len(ran) == len(weights) and not torch.equal(own, expected)
        torch.testing.assert_close(model(clips), own, rtol=0, atol=0)
        with pytest.raises(ValueError, match="'plain': layer .* did not run its gate"):
            check_dealt(model, weights, "plain")


def test_what_cannot_be_reached_is_refused():
    _, report = narrow()
    with pytest.raises(ValueError, match="No policy costs as little as ratio-0.2"):
        draw("ratio-0.2", report, 4, seed=0)
    model, _ = narrow()
    with pytest.raises(ValueError, match="other layers"), dealt(model, {}):
        pass


@pytest.mark.parametrize("mix", ["ratio-", "ratio-1.5", "ratio-0", "gmacs-3-of-2", "gmacs-3", "gmacs-1-of-0", "other"])
def test_words_that_are_no_mix_are_refused(mix):
    with pytest.raises(ValueError, match="mix"):
        parse_mix(mix)


def test_mixes_are_read():
    assert parse_mix("own") == ("own", 1.0) and parse_mix("ratio-0.63") == ("ratio", 0.63)
    assert parse_mix("gmacs-5.03-of-6.20") == ("gmacs", 5.03 / 6.20)
