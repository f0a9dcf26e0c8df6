"""The efficiency loss with a target: nothing at the target and below it, a push down above it."""

import dataclasses

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.test_losses import LAYERS, example, policy_of
from tests.training_helpers import CLIP, Clips, dynamic_network, short_recipe, static_network
from vared.flops import count_flops
from vared.losses import EfficiencyLoss
from vared.target_loss import TargetCostLoss, finetune_to_target, layers_target
from vared.training import fit

COST = [13 / 16, 10 / 16, 7 / 16]  # of `example`, weights 3/4 and 1/4, as in test_losses
ALL = torch.ones(3, dtype=torch.bool)


def with_gradient(policies):
    for found in policies.values():
        found.temporal.requires_grad_()
        found.channel.requires_grad_()
    return policies


@pytest.mark.parametrize("target", [0.4, 0.5, 0.62])
def test_above_the_target_the_value_is_the_squared_excess_of_the_mean(target):
    """Also with a clip that is wrong, whose cost counts in the mean although it passes no gradient on."""
    for correct in (ALL, torch.tensor([True, False, True])):
        found = TargetCostLoss(LAYERS, target)(example(), correct).item()
        assert found == pytest.approx((sum(COST) / 3 - target) ** 2, abs=1e-6)


@pytest.mark.parametrize("target", [sum(COST) / 3, 0.63, 0.8, 1.0])
def test_at_the_target_and_below_it_neither_value_nor_gradient(target):
    policies = with_gradient(example())
    loss = TargetCostLoss(LAYERS, target)(policies, ALL)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    for found in policies.values():
        assert found.temporal.grad.abs().max() < 1e-6 and found.channel.grad.abs().max() < 1e-6


def test_above_the_target_the_gradient_is_that_of_the_cost_and_only_for_clips_that_are_right():
    """dL/dV_c[1] of layer l and clip b is 2 (mean e - target) / B mu w 1/2 c_t, c_t = (1 + V_t[1]) / 2."""
    policies, target, mu = with_gradient(example()), 0.5, [1, 0, 1]
    TargetCostLoss(LAYERS, target)(policies, torch.tensor(mu, dtype=torch.bool)).backward()
    excess = sum(COST) / 3 - target
    for name, found in policies.items():
        for clip in range(3):
            open_first = (1 + found.temporal[clip, 0].item()) / 2
            expected = 2 * excess / 3 * mu[clip] * LAYERS[name] / 4 * 0.5 * open_first
            assert found.channel.grad[clip].tolist() == pytest.approx([expected, 0], abs=1e-6)
            assert expected > 0 or not mu[clip]  # gradient descent lowers the weight of the costly candidate


@given(st.lists(st.floats(0.05, 0.95), min_size=2, max_size=2), st.floats(0.3, 1.0))
def test_layers_weigh_by_their_operations_whatever_the_unit(weights, target):
    policies = {name: policy_of([[v, 0.5]], [[0.0, 0.5]]) for name, v in zip(LAYERS, weights, strict=True)}
    right = torch.tensor([True])
    mean = EfficiencyLoss(LAYERS)(policies, right).item() ** 0.5
    for unit in (1, 1e9):
        found = TargetCostLoss({name: unit * macs for name, macs in LAYERS.items()}, target)(policies, right)
        assert found.item() == pytest.approx(max(0, mean - target) ** 2, abs=1e-6)


def test_the_target_of_the_layers_gives_the_share_of_the_whole_network():
    network = dynamic_network()
    report = count_flops(network, CLIP)
    dynamic = sum(report.dynamic_layers.values())
    target = layers_target(report, 0.6)
    assert (report.static - dynamic + target * dynamic) / report.static == pytest.approx(0.6)
    assert layers_target(report, 1.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="cannot cost 10 % of the plain one"):
        layers_target(report, 0.1)
    with pytest.raises(ValueError, match="this one is static"):
        layers_target(count_flops(static_network(), CLIP), 0.7)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        layers_target(report, 70)


def test_a_target_that_is_no_share_and_other_layers_are_refused():
    with pytest.raises(ValueError, match="above 0 and at most 1, not 70"):
        TargetCostLoss(LAYERS, 70)
    with pytest.raises(ValueError, match="other layers"):
        TargetCostLoss({"a": 1.0}, 0.5)(example(), ALL)


def test_training_brings_the_cost_to_what_was_asked_for_and_more_for_more(tmp_path):
    """Nothing pulls the cost up again, and a network of two layers moves in steps: it may end below its target."""
    recipe = short_recipe(epochs=6, warmup_epochs=1, finetune_epochs=40, finetune_learning_rate=0.1, gradient_norm=2.0)
    clips, costs = Clips(16), {}
    for share in (0.9, 0.6):
        network = dynamic_network()
        first = dataclasses.replace(recipe, finetune_epochs=0)
        fit(network, clips, first, directory=tmp_path / f"first{share}", progress=False)
        target = layers_target(count_flops(network, CLIP), share)
        finetune_to_target(network, clips, recipe, share=share, directory=tmp_path / f"{share}", progress=False)
        history = pd.read_csv(tmp_path / f"{share}" / "history.csv")
        assert list(history["phase"].unique()) == [2] and history["mean_cost"].iloc[0] > target
        costs[share] = history["mean_cost"].iloc[-8:].mean()
        assert costs[share] < target + 0.03
    assert costs[0.9] > costs[0.6] + 0.05
    with pytest.raises(ValueError, match="another recipe"):  # a state is not resumed for another target
        finetune_to_target(network, clips, recipe, share=0.7, directory=tmp_path / "0.6", progress=False)
