"""AR-Net: its size, what each action runs and costs, and what a skip covers."""

import copy
from functools import cache
from random import Random

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests.method_helpers import calibrate, relative_difference
from tests.network_helpers import CLASSES, millions, open_branches
from vared.backbones.tsn import image_network
from vared.baselines import arnet

SKIPPED = {4: 1, 5: 2, 6: 4}  # action -> frames without a score


def full_size():
    with torch.device("meta"):
        return arnet.build(num_classes=200)


@cache
def _tiny():
    model = open_branches(arnet.build(num_classes=CLASSES, width=1 / 16))
    return calibrate(model, torch.randn(4, 3, 4, 32, 32))


def tiny():
    """A narrow AR-Net in evaluation whose networks all answer differently."""
    return copy.deepcopy(_tiny())


def scripted(model, script):
    """The policy answers each look with the next action of `script`, for all clips that look."""
    answers = iter(script)
    model._choose = lambda logits: F.one_hot(torch.full((len(logits),), next(answers)), 7).to(logits.dtype)
    return model


def plan(script, frames):
    """Action of each frame and whether it is looked at, worked out frame by frame."""
    actions, looked, answers, left = [], [], iter(script), 0
    for _ in range(frames):
        looked.append(left == 0)
        if left == 0:
            action = next(answers)
            left = SKIPPED.get(action, 1)
        actions.append(action)
        left -= 1
    return actions, looked


def test_parameters():
    model = full_size()
    assert millions(model) == pytest.approx(62.845, abs=0.001) and millions(model) == pytest.approx(63.0, rel=0.01)
    assert millions(model) - millions(model.mobilenet.classifier) == pytest.approx(62.588, abs=0.001)


def test_a_frame_costs_what_the_facts_say():
    assert arnet.frame_gmacs(full_size(), 224) == pytest.approx((4.088, 2.245, 0.485, 0.051), abs=0.0005)


def test_resolutions_are_those_of_the_thesis():
    assert [224 * fraction for fraction in arnet.RESOLUTIONS] == [224, 168, 112, 84]


@pytest.mark.parametrize("action", [0, 1, 2])
def test_a_resolution_is_the_mean_score_of_its_network_on_resized_frames(action):
    model, clips = tiny(), torch.randn(2, 3, 3, 32, 32)
    with torch.no_grad():
        found = scripted(model, [action] * 3)(clips)
        images = clips.transpose(1, 2).flatten(0, 1)
        images = F.interpolate(images, [32, 24, 16][action], mode="bilinear", antialias=True) if action else images
        expected = model.backbones[action](images).unflatten(0, (2, 3)).mean(1)
    torch.testing.assert_close(found, expected)
    assert found.std() > 0.01


def test_the_lowest_resolution_scores_features_and_the_state_reached_so_far():
    model, clips = tiny(), torch.randn(2, 3, 3, 32, 32)
    with torch.no_grad():
        found = scripted(model, [3] * 3)(clips)
        images = F.interpolate(clips.transpose(1, 2).flatten(0, 1), 12, mode="bilinear", antialias=True)
        features = model.mobilenet.forward_head(model.mobilenet.forward_features(images), pre_logits=True)
        features, state, scores = features.unflatten(0, (2, 3)), None, 0.0
        for t in range(3):
            state = model.lstm(features[:, t], state)
            scores = scores + model.mobilenet.classifier(features[:, t]) + model.state_classifier(state[0])
    torch.testing.assert_close(found, scores / 3)


@pytest.mark.parametrize("number", range(12))
def test_skips_cover_frames_and_the_others_are_averaged(number):
    random, model = Random(number), tiny()
    script, frames = random.choices(range(7), k=7), random.randint(1, 7)
    if number == 0:
        script = [6, 5, 4]  # nothing is scored
    actions, looked = plan(script, frames)
    clips = torch.randn(1, 3, frames, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = scripted(model, script)(clips)
    decision = model.last_decision
    assert decision.actions.argmax(2).tolist() == [actions] and decision.looked.tolist() == [looked]
    executed = 2e9 * arnet.clip_gmacs(model, decision, 32)
    assert counter.get_total_flops() == pytest.approx(executed.item(), rel=1e-12)
    scored = [t for t, action in enumerate(actions) if action < 4]
    if not scored:
        assert torch.equal(logits, torch.zeros(1, CLASSES))
        return
    changed = clips.clone()
    changed[:, :, [t for t in range(frames) if not looked[t]]] += 1.0  # covered frames are not seen at all
    with torch.no_grad():
        assert torch.equal(scripted(model, script)(changed), logits)
        if all(action != 3 for action in actions):  # that score depends on the frames before
            single = [scripted(model, [actions[t]])(clips[:, :, t : t + 1]) for t in scored]
            torch.testing.assert_close(logits, torch.stack(single).mean(0))


def test_clips_of_a_batch_decide_for_themselves():
    model, clips = tiny(), torch.randn(6, 3, 6, 32, 32)
    with torch.no_grad():
        states = []
        hook = model.action.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        model(clips)
        hook.remove()
        model.action.bias.copy_(-model.action.weight @ torch.cat(states).mean(0))  # no action is the likeliest of all
        together = model(clips)
        decision = model.last_decision
        assert len(decision.actions.argmax(2).unique()) > 3 and not decision.looked.all()
        costs = arnet.clip_gmacs(model, decision, 32)
        assert costs.unique().numel() > 1
        for b in range(6):
            alone = model(clips[b : b + 1])
            assert torch.equal(model.last_decision.actions[0], decision.actions[b])
            torch.testing.assert_close(alone[0], together[b], rtol=1e-4, atol=1e-5)
            assert arnet.clip_gmacs(model, model.last_decision, 32).item() == costs[b].item()
        assert torch.equal(model(clips), together)


def test_training_and_evaluation_are_the_same_function_of_a_decision():
    model, clips = tiny().double(), torch.randn(3, 3, 6, 32, 32, dtype=torch.float64)
    script = [0, 2, 4, 1, 3, 0]
    with torch.no_grad():
        sparse = scripted(model, script)(clips)
        model.training = True  # every network runs on every frame, its normalisation still in evaluation
        full = scripted(model, script)(clips)
    assert relative_difference(sparse, full) < 1e-10


def test_training_samples_and_reaches_every_parameter():
    model, clips = tiny().train(), torch.randn(4, 3, 8, 32, 32)
    logits = model(clips)
    decision = model.last_decision
    assert set(decision.actions.detach().unique().tolist()) <= {0.0, 1.0} and (decision.actions.sum(2) == 1).all()
    assert len(decision.actions.argmax(2).unique()) > 3, "an untrained policy uses many actions"
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_cost_of_actions_teaches_the_policy():
    model, clips = tiny().train(), torch.randn(4, 3, 4, 32, 32)
    model(clips)
    cost = model.last_decision.actions[..., 0].mean()  # use of the most expensive action
    cost.backward()
    assert model.action.bias.grad[0] > 0 and model.action.bias.grad[1:].sum() < 0
    assert model.lstm.weight_ih.grad.abs().max() > 0


def test_it_can_be_copied_after_a_forward_pass():
    model, clips = tiny(), torch.randn(2, 3, 2, 32, 32)
    expected = model(clips)
    assert torch.equal(copy.deepcopy(model)(clips), expected)


def test_its_networks_take_the_weights_of_image_networks():
    model = tiny()
    for name, network in zip(arnet.BACKBONES, model.backbones, strict=True):
        network.load_state_dict(image_network(backbone=name, num_classes=CLASSES, width=1 / 16).state_dict())
