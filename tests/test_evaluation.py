"""Evaluation and controls: counts, metrics worked out by hand, costs and policies clip by clip."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import vared
from tests.training_helpers import CLIP, Clips, dynamic_network, static_network
from vared.analysis.adaptivity import cost_spread, entropy, layer_adaptivity
from vared.controls import majority_policy, mean_policy, paired_difference, random_policy
from vared.evaluation import evaluate, policy_weights
from vared.tasks import recognition


class Answers(nn.Module):
    """Gives the logits that stand in the first pixels of a clip."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes, self.anchor = classes, nn.Parameter(torch.zeros(1))

    def forward(self, clips):
        return clips[:, 0, 0, 0, : self.classes] + self.anchor


class Written(torch.utils.data.Dataset):
    """Clips, or V views of clips, with given logits in their first pixels."""

    def __init__(self, logits, labels):
        self.logits, self.labels = torch.as_tensor(logits, dtype=torch.float32), labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        logits = self.logits[index]
        clip = torch.zeros(*logits.shape[:-1], 3, 2, 2, logits.shape[-1])
        clip[..., 0, 0, 0, :] = logits
        return {"clip": clip, "label": self.labels[index], "index": index}


def adaptive_network() -> nn.Module:
    """A dynamic network whose gates decide differently for different clips."""
    network = dynamic_network()
    for layer in vared.policies.dynamic_layers(network).values():
        nn.init.normal_(layer.gate.expand.weight, std=1.0)
        nn.init.zeros_(layer.gate.expand.bias)
    network.train()
    with torch.no_grad():
        network(Clips(40).clips)
    return network.eval()


def test_metrics_by_hand():
    logits = [[4, 1, 0, 0, 0, 0], [0, 5, 4, 3, 2, 1], [1, 0, 0, 2, 0, 0]]
    metrics = evaluate(Answers(6), Written(logits, [0, 0, 3]), batch_size=2).metrics
    assert metrics["clips"] == 3
    assert metrics["clip1_top1"] == pytest.approx(200 / 3)


def test_views_are_averaged_as_probabilities_not_logits():
    # Video 0: one very sure view for class 1 outweighs in logits, but two of three views say class 0.
    # Video 1: its class 2 comes last of six, so it misses the top five.
    views = [
        [[2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [0, 30, 0, 0, 0, 0]],
        [[5, 4, 0, 3, 2, 1], [5, 4, 0, 3, 2, 1], [5, 4, 0, 3, 2, 1]],
    ]
    single = Written([[1, 0, 0, 0, 0, 0]] * 2, [0, 0])
    result = evaluate(Answers(6), single, views=Written(views, [0, 2]), batch_size=2).metrics
    assert (result["video1_top1"], result["video5_top5"]) == (50.0, 50.0)
    expected = torch.tensor(views[0], dtype=torch.float32).softmax(1).mean(0)
    torch.testing.assert_close(recognition.average_views(torch.tensor(views, dtype=torch.float32))[0], expected)
    assert expected.argmax() == 0


def test_top_five_of_fewer_classes_is_everything():
    metrics = recognition.video_metrics(torch.eye(3), torch.tensor([2, 0, 1]))
    assert metrics == {"video1_top1": 0.0, "video5_top5": 100.0}


@pytest.mark.hazard("processes", "padding of the last batch", "clips judged = clips listed")
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_clip_is_evaluated_once_in_order(batch_size):
    clips = Clips(23)
    result = evaluate(adaptive_network(), clips, batch_size=batch_size)
    assert result.metrics["clips"] == len(result.clips) == 23
    assert result.clips["label"].tolist() == clips.labels.tolist()
    assert result.policies.groupby("layer").size().tolist() == [23, 23]
    assert result.clips["correct"].tolist() == (result.clips["prediction"] == result.clips["label"]).tolist()
    assert result.metrics["clip1_top1"] == pytest.approx(100 * result.clips["correct"].mean())


def test_costs_are_those_of_each_clip_alone_and_the_mode_is_kept():
    network, clips = adaptive_network(), Clips(12)
    network.train()
    result = evaluate(network, clips, batch_size=5)
    assert network.training
    network.eval()
    alone = [vared.count_flops(network, clip).costs.total.item() for clip in clips.clips]
    assert result.clips["gflops_total"].tolist() == pytest.approx(alone)
    assert len(set(alone)) > 1
    costs = result.clips["gflops_total"]
    for name, value in (("mean", np.mean(alone)), ("max", max(alone)), ("min", min(alone))):
        assert result.metrics[f"gflops_total_{name}"] == pytest.approx(value)
    parts = sum(result.clips[f"gflops_{part}"] for part in ("backbone", "gate", "cheap"))
    assert parts.tolist() == pytest.approx(costs.tolist())


def test_a_static_network_has_its_cost_and_no_policies():
    network = static_network()
    result = evaluate(network, Clips(5), batch_size=2)
    assert result.policies.empty
    assert result.clips["gflops_total"].tolist() == pytest.approx([vared.count_flops(network, CLIP).static] * 5)


def test_recorded_policies_replay_to_the_same_evaluation():
    network, clips = adaptive_network(), Clips(20)
    result = evaluate(network, clips, batch_size=8)
    replayed = evaluate(network, clips, batch_size=6, policies=policy_weights(result.policies))
    pd.testing.assert_frame_equal(result.clips, replayed.clips)
    with pytest.raises(ValueError, match="one policy or 20"):
        evaluate(network, clips, policies={"0": (torch.ones(3, 2), torch.ones(3, 2))})
    with pytest.raises(ValueError, match="data set is empty"):
        evaluate(network, Written(torch.zeros(0, 4), []))


def test_permuted_policies_keep_the_costs_and_change_who_pays():
    network, clips = adaptive_network(), Clips(20)
    result = evaluate(network, clips)
    dealt = random_policy(network, clips, result.policies, permutations=3, seed=1)
    again = random_policy(network, clips, result.policies, permutations=3, seed=1)
    pd.testing.assert_frame_equal(dealt, again)
    for name in ("mean", "max", "min"):
        assert dealt[f"gflops_total_{name}"].tolist() == pytest.approx([result.metrics[f"gflops_total_{name}"]] * 3)
    weights = policy_weights(result.policies)
    deal = torch.from_numpy(np.random.default_rng([1, 0]).permutation(20))
    by_hand = evaluate(network, clips, policies={name: tuple(v[deal] for v in pair) for name, pair in weights.items()})
    assert sorted(by_hand.clips["gflops_total"]) == pytest.approx(sorted(result.clips["gflops_total"]))
    assert by_hand.clips["gflops_total"].tolist() == pytest.approx(result.clips["gflops_total"][deal.numpy()].tolist())
    assert by_hand.metrics["clip1_top1"] == dealt["clip1_top1"][0]


def test_layers_permuted_on_their_own_keep_each_layer_s_mean_cost():
    network, clips = adaptive_network(), Clips(20)
    result = evaluate(network, clips)
    dealt = random_policy(network, clips, result.policies, permutations=2, per_layer=True)
    assert dealt["gflops_backbone_mean"].tolist() == pytest.approx([result.metrics["gflops_backbone_mean"]] * 2)


def test_the_majority_policy_is_the_most_frequent_pattern_with_its_mean_weights():
    rows = [(0.5, 0.25, 0.0, 0.5), (0.75, 0.75, 0.0, 1.0), (0.0, 0.9, 0.9, 0.9)]
    table = pd.DataFrame(rows, columns=["V_t1", "V_t2", "V_c1", "V_c2"])
    table.insert(0, "layer", "conv")
    table.insert(0, "clip", range(3))
    temporal, channel = majority_policy(table)["conv"]
    assert temporal.tolist() == [[0.625, 0.5]] and channel.tolist() == [[0.0, 0.75]]
    tied = majority_policy(table.iloc[[0, 2]])["conv"]
    assert tied[0].tolist() == [[0.5, 0.25]]


def test_the_mean_policy_is_one_policy_and_leaves_the_model_alone():
    network, clips = adaptive_network(), Clips(20)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    result = mean_policy(network, clips, evaluate(network, clips).policies, [clips.clips[:10], clips.clips[10:]])
    assert result.clips["gflops_total"].nunique() == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(layer.forced is None for layer in vared.policies.dynamic_layers(network).values())


def test_paired_difference_by_hand_and_against_the_normal_interval():
    assert paired_difference([1, 1, 0, 1], [1, 0, 0, 1]).mean == 25.0
    generator = np.random.default_rng(0)
    a, b = generator.random(2000) < 0.8, generator.random(2000) < 0.75
    result = paired_difference(a, b)
    difference = 100.0 * (a.astype(float) - b)
    half = 1.96 * difference.std() / 2000**0.5
    assert result.mean == pytest.approx(difference.mean())
    assert result.high - result.mean == pytest.approx(half, rel=0.05)
    assert result.mean - result.low == pytest.approx(half, rel=0.05)
    assert paired_difference(a, b) == result


def test_paired_difference_counts_seeds_that_disagree_as_uncertainty():
    b = np.zeros((3, 500))
    agreeing, disagreeing = np.zeros((3, 500)), np.zeros((3, 500))
    agreeing[:, :250], disagreeing[0, :], disagreeing[1, :250] = 1, 1, 1
    narrow, wide = paired_difference(agreeing, b), paired_difference(disagreeing, b)
    assert narrow.mean == wide.mean == 50.0
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)
    # Seeds that repeat the same answers bring no certainty: the interval is that of one seed.
    single = paired_difference(agreeing[0], b[0])
    assert narrow.high - narrow.low == pytest.approx(single.high - single.low, rel=0.1)
    with pytest.raises(ValueError, match="same seeds and clips"):
        paired_difference(b, b[:, :-1])


def test_adaptivity_of_a_constant_and_of_a_perfectly_informed_policy():
    clips = pd.DataFrame({"clip": range(8), "label": [0, 1] * 4, "gflops_total": [1.0, 3.0] * 4})
    assert cost_spread(clips) == {"mean": 2.0, "std": 1.0, "min": 1.0, "max": 3.0}
    table = pd.DataFrame(
        {
            "clip": range(8), "layer": "conv", "stride": [1, 2] * 4, "ratio": 0.5,
            "all_zero_temporal": [False, True] * 4, "all_zero_channel": False,
            "V_t1": [0.8, 0.0] * 4, "V_t2": [0.0, 0.05] * 4, "V_c1": 0.0, "V_c2": 0.4,
        }
    )  # fmt: skip
    temporal, channel = layer_adaptivity(table, clips).to_dict("records")
    assert temporal["entropy"] == temporal["class_information"] == 1.0
    assert (temporal["mean_cost"], temporal["closed_first"], temporal["all_zero"]) == (0.75, 0.5, 0.5)
    assert (channel["entropy"], channel["class_information"], channel["closed_first"]) == (0.0, 0.0, 1.0)
    assert (channel["never_open"], channel["mean_open_weight"]) == (1, pytest.approx(0.4))
    assert entropy(np.arange(8)) == 3.0


def test_evaluation_leaves_the_mode_of_every_module():
    network = adaptive_network().train()
    frozen = next(iter(network.children())).eval()
    evaluate(network, Clips(4), batch_size=2)
    assert network.training and not any(module.training for module in frozen.modules())
