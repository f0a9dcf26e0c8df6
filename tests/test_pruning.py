"""Weight-level pruning: which weights go, how many operations are left, and what retraining may change."""

import copy

import pytest
import torch
from torch import nn

import vared
from tests.method_helpers import tiny_r2plus1d
from tests.training_helpers import CLIP, Clips, short_recipe, static_network
from vared.backbones import r2plus1d
from vared.baselines import pruning

EXAMPLE = (3, 8, 16, 16)


def masks(model):
    """Which weights of every convolution and linear layer are not 0."""
    kinds = (nn.Conv3d, nn.Linear)
    return {n: m.weight.detach() != 0 for n, m in model.named_modules() if isinstance(m, kinds)}


def network():
    return tiny_r2plus1d(search_space=0)


def test_operations_by_hand():
    # 2 -> 3 channels, 3 x 3 on 4 x 4 pixels: 54 weights at 16 positions; 3 -> 2 linear: 6 weights at 1.
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    assert pruning.remaining_gmacs(model, (2, 4, 4)) == pytest.approx((54 * 16 + 6) / 1e9)
    with torch.no_grad():
        model[0].weight[0] = 0  # 18 weights
        model[3].weight[1, 2] = 0
    assert pruning.remaining_gmacs(model, (2, 4, 4)) == pytest.approx((36 * 16 + 5) / 1e9)


def test_the_smallest_magnitudes_go_layer_by_layer_in_units_of_the_layers_deviation():
    conv, linear = torch.tensor([-4.0, 1.0, 3.0, -2.0]), torch.tensor([0.3, -0.1, 0.2, 0.4])
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(conv.view(4, 1, 1, 1))
        model[2].weight.copy_(linear.view(1, 4))
    found = pruning.prune_to(model, 5e-9, example=(1, 1, 1))  # every weight costs one operation: 5 of 8 stay
    saliency = torch.cat([conv.abs() / conv.std(), linear.abs() / linear.std()])
    expected = saliency >= saliency.sort().values[3]
    assert torch.cat([model[0].weight.flatten(), model[2].weight.flatten()]).ne(0).equal(expected)
    assert found.quality == pytest.approx(saliency.sort().values[2].item())
    assert found.gmacs == pytest.approx(5e-9)
    assert found.density == {"0": expected[:4].double().mean().item(), "2": expected[4:].double().mean().item()}


def test_the_threshold_of_a_layer_is_quality_times_its_deviation():
    model, plain = network(), network()
    found = pruning.prune_to(model, 0.5 * pruning.remaining_gmacs(model, EXAMPLE), example=EXAMPLE)
    for name, kept in masks(model).items():
        weight = plain.get_submodule(name).weight
        assert kept.equal(weight.abs().double() > found.quality * weight.double().std()), name


def test_a_later_round_measures_the_deviation_of_what_is_left():
    model = nn.Sequential(nn.Conv2d(1, 6, 1, bias=False), nn.Flatten())
    model[0].weight.data.copy_(torch.tensor([0.1, -0.2, 3.0, -4.0, 5.0, 1.5]).view(6, 1, 1, 1))
    pruning.prune_to(model, 4e-9, example=(1, 1, 1))
    found = pruning.prune_to(model, 3e-9, example=(1, 1, 1))
    assert found.quality == pytest.approx(1.5 / torch.tensor([3.0, -4.0, 5.0, 1.5]).std().item())


@pytest.mark.parametrize("share", [0.9, 0.72, 0.3, 0.05])
def test_the_target_is_reached_and_not_exceeded(share):
    model = network()
    target = share * pruning.remaining_gmacs(model, EXAMPLE)
    found = pruning.prune_to(model, target, example=EXAMPLE)
    exact = sum(
        cost * kept.double().mean().item()
        for cost, kept in zip(vared.count_flops(model, EXAMPLE).static_layers.values(), by_call(model), strict=True)
    )
    assert 0.995 * target <= found.gmacs <= target
    assert found.gmacs == pytest.approx(exact) and pruning.remaining_gmacs(model, EXAMPLE) == pytest.approx(exact)


def by_call(model):
    return [masks(model)[name] for name in vared.count_flops(model, EXAMPLE).static_layers]


def test_only_the_layers_asked_for_are_pruned():
    model = network()
    target = 0.8 * pruning.remaining_gmacs(model, EXAMPLE)
    found = pruning.prune_to(model, target, example=EXAMPLE, where=r2plus1d.is_dynamic)
    touched = {name for name, kept in masks(model).items() if not kept.all()}
    assert touched == set(found.density) and len(touched) == 16
    assert 0.995 * target <= pruning.remaining_gmacs(model, EXAMPLE) <= target


def test_pruned_weights_stay_zero_and_survivors_learn():
    model, clips = network(), torch.randn(4, *EXAMPLE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def steps(optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model.train()(clips), torch.arange(4)).backward()
            optimizer.step()

    steps(optimizer, 2)  # momentum is there before the pruning
    pruning.prune_to(model, 0.6 * pruning.remaining_gmacs(model, EXAMPLE), example=EXAMPLE)
    before, weights = masks(model), copy.deepcopy(pruning.make_permanent(copied(model)).state_dict())
    steps(optimizer, 4)
    pruning.make_permanent(model)
    after = masks(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, kept in after.items():
        change = (model.state_dict()[f"{name}.weight"] - weights[f"{name}.weight"]).abs()
        assert (change[kept] > 0).float().mean() > 0.99, name


def copied(model):
    """The same network, masks included. Masked weights are results of a graph, which copy.deepcopy refuses."""
    fresh = network()
    for name, kept in masks(model).items():
        nn.utils.prune.custom_from_mask(fresh.get_submodule(name), "weight", kept)
    fresh.load_state_dict(model.state_dict())
    return fresh


def test_the_masks_lie_in_the_state_of_the_network():
    model = network()
    plain = set(model.state_dict())
    pruning.prune_to(model, 0.6 * pruning.remaining_gmacs(model, EXAMPLE), example=EXAMPLE)
    assert {name for name in model.state_dict() if name.endswith("weight_mask")}
    expected, clips = model(torch.ones(1, *EXAMPLE)), torch.ones(1, *EXAMPLE)
    pruning.make_permanent(model)
    assert set(model.state_dict()) == plain
    assert torch.equal(model(clips), expected)
    fresh = network()
    fresh.load_state_dict(model.state_dict())
    assert pruning.remaining_gmacs(fresh, EXAMPLE) == pruning.remaining_gmacs(model, EXAMPLE)


def test_rounds_fall_by_the_same_factor_to_the_target():
    rounds = pruning.schedule(16.0, 2.0, 3)
    assert rounds == pytest.approx([8.0, 4.0, 2.0]) and rounds[-1] == 2.0
    assert pruning.schedule(16.0, 2.0, 1) == [2.0]
    for static, target, count in ((2.0, 2.0, 1), (2.0, 0.0, 1), (2.0, 1.0, 0)):
        with pytest.raises(ValueError, match="No schedule"):
            pruning.schedule(static, target, count)


def test_pruning_and_retraining_alternate_and_what_is_gone_stays_gone(tmp_path):
    model, clips = static_network(), Clips()
    vared.fit(model, clips, short_recipe(), directory=tmp_path / "dense", progress=False)
    static = pruning.remaining_gmacs(model, CLIP)
    targets, seen, weights = pruning.schedule(static, 0.4 * static, 3), [], []

    def retrain(number):
        weights.append(model[3].weight.detach().clone())
        recipe = short_recipe(epochs=0, warmup_epochs=0, finetune_epochs=2)
        vared.fit(model, clips, recipe, directory=tmp_path / f"round{number}", progress=False)
        seen.append(masks(model))

    rounds = pruning.prune_iteratively(model, targets, retrain, example=CLIP)
    for target, found in zip(targets, rounds, strict=True):
        assert 0.995 * target <= found.gmacs <= target
    for earlier, later in zip(seen, seen[1:], strict=False):
        assert all((earlier[name] | ~later[name]).all() for name in earlier), "nothing comes back"
    survivors = seen[1]["3"]
    assert (weights[0][survivors] != weights[1][survivors]).all(), "a round goes on from retrained weights"
    assert pruning.remaining_gmacs(model, CLIP) == pytest.approx(rounds[-1].gmacs)
    assert set(model.state_dict()) == set(static_network().state_dict())


def test_a_retraining_that_was_killed_goes_on_with_its_masks(tmp_path):
    def retrained(clips, folder):
        model = static_network()
        pruning.prune_to(model, 0.5 * pruning.remaining_gmacs(model, CLIP), example=CLIP)
        recipe = short_recipe(epochs=0, warmup_epochs=0, finetune_epochs=3)
        vared.fit(model, clips, recipe, directory=folder, progress=False, checkpoint_seconds=0)
        return pruning.make_permanent(model).state_dict()

    expected = retrained(Clips(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        retrained(Clips(fail_at=60), tmp_path / "killed")
    found = retrained(Clips(), tmp_path / "killed")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_targets_that_cannot_be_reached_are_refused_and_change_nothing():
    model = network()
    static = pruning.remaining_gmacs(model, EXAMPLE)
    with pytest.raises(ValueError, match="cannot leave"):
        pruning.prune_to(model, 1.01 * static, example=EXAMPLE)
    with pytest.raises(ValueError, match="in the 1 layers to prune"):
        pruning.prune_to(model, 0.5 * static, example=EXAMPLE, where=lambda name, _: name == "head")
    tiny = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False))
    with pytest.raises(ValueError, match="not within 0.5 %"):
        pruning.prune_to(tiny, 2.5e-9, example=(1, 1, 1))
    assert all(kept.all() for kept in masks(model).values()) and not dict(tiny.named_buffers())
