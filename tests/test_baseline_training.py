"""The baselines in the common training loop, and their costs in the common evaluation."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import vared
from tests.training_helpers import CLIP, Clips, digest, short_recipe, static_network
from vared.baselines import arnet, cgnet, pruning, training
from vared.checkpoints import load_weights
from vared.evaluation import evaluate


def gated(**settings):
    return cgnet.convert_cgnet(static_network(), where=lambda name, conv: name == "3", groups=2, **settings)


def decision(*actions):
    """One clip with these actions, one a frame."""
    return arnet.Decision(F.one_hot(torch.tensor([actions]), 7).float(), torch.ones(1, len(actions), dtype=torch.bool))


def test_the_loss_of_cgnet_by_hand():
    network, logits, labels = gated(threshold=0.5), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = F.cross_entropy(logits, labels) + 1e-2 * 8 * 1.5**2
    torch.testing.assert_close(training.cgnet_task(network, target=2.0, weight=1e-2).loss(logits, labels), expected)


@pytest.mark.parametrize("target", [-1.5, 1.5])
def test_cgnet_goes_to_its_target_and_the_cost_follows(target, tmp_path):
    network, clips = gated(), Clips()
    task = training.cgnet_task(network, target=target, weight=1.0)
    vared.fit(network, clips, short_recipe(epochs=6), directory=tmp_path, task=task, progress=False)
    assert (network[3].threshold - target).abs().max() < 0.5
    report = vared.count_flops(network, CLIP)
    found = evaluate(network, clips, batch_size=6, clip_gmacs=lambda: cgnet.clip_gmacs(network, report))
    spread, cheapest = found.clips["gflops_total"], report.static - report.static_layers["3"] / 2
    assert len(spread) == 16 and cheapest <= spread.min() < spread.max() <= report.static
    middle = report.static - report.static_layers["3"] / 4  # half of the gates open
    assert (spread.mean() < middle) == (target > 0)
    assert found.metrics["gflops_backbone_mean"] == pytest.approx(spread.mean())
    assert found.clips[["gflops_gate", "gflops_cheap"]].eq(0).all(axis=None) and len(found.policies) == 0


def test_the_cost_of_actions_and_of_their_unequal_use_by_hand():
    usage = torch.tensor([2, 1, 0, 0, 0, 1, 0]) / 4
    expected = 0.5 * 4.0 + 0.25 * 2.0 + 3 * (usage - 1 / 7).square().sum().sqrt()
    found = arnet.policy_loss(decision(0, 0, 1, 5), (4.0, 2.0, 0.5))
    torch.testing.assert_close(found, expected)
    even = arnet.policy_loss(decision(*range(7)), (4.0, 2.0, 0.5))
    torch.testing.assert_close(even, torch.tensor(6.5 / 7))


def test_arnet_trains_evaluates_and_cools_down(tmp_path):
    torch.manual_seed(0)
    network, clips = arnet.build(num_classes=4, width=1 / 16), Clips(8)
    recipe = short_recipe(
        epochs=1, warmup_epochs=0, recalibration_clips=0, channels_last=False, gradient_norm=2.0
    )  # its weights are 2-D, its maps one pixel
    task = training.arnet_task(network, crop_size=8, updates=2)
    before = {name: value.clone() for name, value in network.named_parameters()}
    vared.fit(network, clips, recipe, directory=tmp_path, task=task, progress=False)
    assert network.temperature.item() == pytest.approx(0.5, rel=1e-5)
    assert [name for name, value in network.named_parameters() if torch.equal(value, before[name])] == []
    with torch.no_grad():
        found = evaluate(
            network, clips, batch_size=8,
            clip_gmacs=lambda: arnet.clip_gmacs(network, network.last_decision, 8),
        )  # fmt: skip
    most = CLIP[1] * sum(arnet.frame_gmacs(network, 8))
    assert found.clips["gflops_total"].between(0, most, inclusive="neither").all()


def test_cross_entropy_and_policy_share_the_loss_of_arnet():
    network = arnet.build(num_classes=4, width=1 / 16)
    network.last_decision = decision(*range(7))
    logits, labels = torch.randn(3, 4), torch.tensor([0, 1, 2])
    *costs, _ = arnet.frame_gmacs(network, 8)
    expected = 0.9 * F.cross_entropy(logits, labels) + 0.1 * 4.088 * sum(costs) / costs[0] / 7
    found = training.arnet_task(network, crop_size=8, updates=10, efficiency_weight=0.1).loss(logits, labels)
    torch.testing.assert_close(found, expected)
    assert network.temperature.item() == pytest.approx(5 * (0.5 / 5) ** 0.1)


def pruned(folder, clips=None, rounds=2, **changes):
    network, recipe = static_network(), short_recipe(epochs=2, **{"finetune_epochs": 3} | changes)
    target = 0.4 * pruning.remaining_gmacs(network, CLIP)
    clips = Clips() if clips is None else clips
    left = training.fit_pruned(
        network, clips, recipe, directory=folder, target_gmacs=target, rounds=rounds, progress=False
    )
    return network, left, target, clips


def test_pruning_shares_phase_2_out_and_saves_a_plain_network(tmp_path):
    network, left, target, clips = pruned(tmp_path, recalibration_clips=0)
    assert 0.995 * target <= left[-1].gmacs <= target < left[0].gmacs
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["round"].tolist() == [1, 2, 2] and history["phase"].eq(2).all()
    assert clips.epochs == [2, 3, 4], "epochs go on where phase 1 ended"
    found = load_weights(static_network(), tmp_path / "weights.safetensors")
    assert 0.995 * target <= pruning.remaining_gmacs(found, CLIP) <= target
    gmacs = pruning.remaining_gmacs(found, CLIP)
    costs = evaluate(found, clips, batch_size=6, clip_gmacs=lambda: gmacs).clips
    assert costs["gflops_total"].tolist() == pytest.approx([gmacs] * 16)


def test_a_killed_pruning_goes_on_to_the_same_weights(tmp_path):
    pruned(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pruned(tmp_path / "killed", Clips(fail_at=100))
    assert (tmp_path / "killed" / "round2").exists() and not (tmp_path / "killed" / "weights.safetensors").exists()
    pruned(tmp_path / "killed")
    names = [folder / "weights.safetensors" for folder in (tmp_path / "whole", tmp_path / "killed")]
    assert digest(names[0]) == digest(names[1])


def test_rounds_without_an_epoch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 rounds of pruning need as many epochs"):
        pruned(tmp_path, rounds=3, finetune_epochs=2)


def test_a_round_keeps_every_other_setting_of_the_recipe(tmp_path, monkeypatch):
    seen = []
    real = training.fit

    def spy(network, clips, recipe, **settings):
        seen.append(recipe)
        return real(network, clips, recipe, **settings)

    monkeypatch.setattr(training, "fit", spy)
    pruned(tmp_path, weight_decay=1e-3, finetune_warmup_epochs=2)
    assert [recipe.finetune_epochs for recipe in seen] == [1, 2] and [r.epochs for r in seen] == [0, 0]
    assert [recipe.finetune_warmup_epochs for recipe in seen] == [0.5, 1.0]
    expected = dataclasses.asdict(short_recipe(weight_decay=1e-3))
    changed = {"epochs", "finetune_epochs", "finetune_warmup_epochs"}
    for recipe in seen:
        assert {n: v for n, v in expected.items() if getattr(recipe, n) != v}.keys() <= changed
    assert math.isclose(seen[0].phase(2).learning_rate, 0.05)
