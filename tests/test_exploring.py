"""One clip under other policies: what the explore notebook and its controls show."""

import builtins
from datetime import datetime

import pytest
import torch

import vared
from tests.data.video_files import write_video
from vared import exploring
from vared.exploring_panel import panel
from vared.figures import explored_clip
from vared.policies import dynamic_layers

STATIC = "r2plus1d_18-embedded-static"


@pytest.fixture(scope="module")
def one():
    return exploring.subject(clip=6)


def test_a_generated_clip_is_that_of_the_validation_set(one, tmp_path):
    from vared.data.embedded import generate

    generate(tmp_path / "data", train_clips=1, val_clips=7, seed=0, workers=1)
    label = one.title.rpartition(": ")[2]
    videos = (tmp_path / "data" / "val" / label).glob("*.mp4")
    assert any(torch.equal(exploring.subject(clip=path).clip, one.clip) for path in videos)


def test_without_steering_the_outcome_is_that_of_the_network(one):
    outcome = exploring.decide(one)
    with torch.no_grad():
        expected = one.model(one.clip[None]).softmax(1)[0]
    assert torch.equal(outcome.probabilities, expected)
    costs = vared.count_flops(one.model, one.clip).costs
    assert sum(outcome.gmacs.values()) == pytest.approx(float(costs.total[0]))
    assert outcome.share == pytest.approx(float(costs.total[0]) / outcome.static) and outcome.share < 1


def test_a_forced_policy_is_taken_by_every_layer_with_the_weight_of_the_gates(one):
    before = exploring.decide(one).policies
    outcome = exploring.decide(one, (2, 0.5))
    first = next(iter(before))
    for name, policy in outcome.policies.items():
        layer = one.model.get_submodule(name)
        assert int(policy.stride) == layer.temporal_factors[-1] and float(policy.ratio) == layer.channel_ratios[-1]
        assert int((policy.channel > 0).sum()) == 1
    assert float(outcome.policies[first].channel.sum()) == pytest.approx(float(before[first].channel.sum()))
    dense = exploring.decide(one, (1, 1.0))
    assert outcome.gmacs["backbone"] < exploring.decide(one).gmacs["backbone"] < dense.gmacs["backbone"]
    assert dense.gmacs["backbone"] == pytest.approx(one.report.static) and dense.gmacs["cheap"] == 0
    assert torch.equal(exploring.decide(one).probabilities, exploring.decide(one).probabilities)


def test_a_higher_threshold_opens_fewer_candidates_and_the_weights_add_up_as_before(one):
    weights = {name: policy for name, policy in exploring.decide(one).policies.items()}
    first = next(iter(weights))
    for threshold in (0.3, 0.7):
        policies = exploring.decide(one, threshold=threshold).policies
        kept = policies[first].temporal > 0
        expected = weights[first].temporal > threshold
        expected[~expected.any(1), -1] = True
        assert torch.equal(kept, expected)
        assert float(policies[first].temporal.sum()) == pytest.approx(float(weights[first].temporal.sum()))
    shares = [exploring.decide(one, threshold=threshold).gmacs["backbone"] for threshold in (0.0, 0.99)]
    assert shares[1] < shares[0]
    assert all(not layer.gate._forward_hooks for layer in dynamic_layers(one.model).values())
    with pytest.raises(ValueError, match="at least 0"):
        exploring.decide(one, threshold=-0.1)


def test_weight_goes_to_what_stays_open_in_proportion():
    weights = torch.tensor([[0.2, 0.6, 0.2], [0.0, 0.5, 0.0]])
    opened = torch.tensor([[False, True, True], [True, False, False]])
    expected = torch.tensor([[0.0, 0.75, 0.25], [0.5, 0.0, 0.0]])
    torch.testing.assert_close(exploring._put_on(weights, opened), expected)
    torch.testing.assert_close(exploring._put_on(weights[:1], opened[:1] & False), torch.tensor([[0.0, 0.0, 1.0]]))


def test_figures_say_what_was_decided(one):
    outcome = exploring.decide(one)
    left, right = explored_clip.draw_policy(one, outcome).subfigs
    rows = zip(*[iter(text.get_text() for text in left.axes[0].texts)] * 2, strict=True)
    expected = [(str(int(p.stride)), "1" if p.ratio == 1 else "1/2") for p in outcome.policies.values()]
    assert list(rows) == expected
    assert [label.get_text() for label in left.axes[0].get_yticklabels()] == list(outcome.policies)
    moves = explored_clip.draw_moves(one, thresholds=(0.0, 0.5))
    cost = next(line for line in moves.axes[0].lines if line.get_label() == "cost")
    assert cost.get_ydata()[0] == pytest.approx(outcome.share)
    forced = next(line for line in moves.axes[1].lines if line.get_label() == "cost").get_ydata()
    assert len(forced) == len(exploring.candidates(one)) == 4 and forced[-1] == min(forced)
    top = explored_clip.draw_outcome(one, outcome).subfigs[1].axes[0]
    best = one.card.classes[int(outcome.probabilities.argmax())]
    assert top.get_yticklabels()[0].get_text() == best


def test_a_static_network_has_frames_labels_and_cost_but_no_policy():
    one = exploring.subject(STATIC, 0)
    outcome = exploring.decide(one, (2, 0.5))
    assert outcome.share == 1 and not outcome.policies and exploring.candidates(one) == []
    explored_clip.draw_outcome(one, outcome)
    for draw in (lambda: explored_clip.draw_policy(one, outcome), lambda: explored_clip.draw_moves(one)):
        with pytest.raises(ValueError, match="decides nothing"):
            draw()
    with pytest.raises(ValueError, match="leaves out nothing"):
        explored_clip.draw_rebuilt(one, "stages.0.0.conv1.spatial", "temporal")


@pytest.mark.slow
def test_the_controls_show_what_is_chosen_and_name_a_bad_file(tmp_path):
    network, number, path, upload, forced, threshold, layer, pictures = panel(clip=6).children
    assert len(pictures.children) == 5 and len(forced.options) == 5
    before = [picture.value for picture in pictures.children]
    forced.value = (2, 0.5)
    after = [picture.value for picture in pictures.children]
    assert after[:2] != before[:2] and after[2:] == before[2:]  # labels and policy; the others do not depend on it
    network.value = STATIC
    assert len(pictures.children) == len(forced.options) == 1 and layer.value is None
    path.value = str(tmp_path / "absent.mp4")
    assert "no such file" in pictures.children[0].value
    content = write_video(tmp_path / "own.mp4", 5).read_bytes()
    details = {"type": "video/mp4", "size": len(content), "last_modified": datetime(2021, 5, 3)}
    upload.value = ({"name": "own.mp4", "content": memoryview(content)} | details,)
    uploaded = bytes(pictures.children[0].value)
    assert uploaded.startswith(b"\x89PNG")
    number.value = 7  # touched last
    assert bytes(pictures.children[0].value) not in (uploaded, before[0])


@pytest.mark.slow
def test_the_controls_start_at_the_clip_of_the_page(tmp_path):
    for clip, at in ((6, (6, "")), (write_video(tmp_path / "own.mp4", 5), (0, str(tmp_path / "own.mp4")))):
        _, number, path, *_, pictures = panel(STATIC, clip).children
        assert (number.value, path.value) == at and bytes(pictures.children[0].value).startswith(b"\x89PNG")


def test_without_ipywidgets_the_figures_are_all_there_is(monkeypatch, capsys):
    found = builtins.__import__

    def without(name, *rest, **named):
        if name == "ipywidgets":
            raise ImportError(name)
        return found(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert panel() is None and "pip install ipywidgets" in capsys.readouterr().out
