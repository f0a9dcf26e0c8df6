"""Pictures: what is drawn is what was decided."""

import pytest
import torch
from matplotlib.figure import Figure

import vared
from tests.method_helpers import tiny_r2plus1d
from vared.figures import pictures
from vared.policies import forced_policy

FIRST, LAST = "stages.0.0.conv1.spatial", "stages.3.1.conv2.spatial"


@pytest.fixture(scope="module")
def decided():
    torch.manual_seed(0)
    model, clips = tiny_r2plus1d(), torch.randn(2, 3, 8, 16, 16)
    temporal, channel = torch.tensor([[0.0, 0.5], [0.25, 0.5]]), torch.tensor([[0.0, 0.75], [1.0, 0.0]])
    with forced_policy(model, {FIRST: (temporal, channel)}):
        model(clips)
        return model, clips, vared.policy(model), vared.count_flops(model, clips)


def test_the_input_of_a_layer_is_what_it_gets_in_the_network(decided):
    model, clips, _, _ = decided
    x = pictures.layer_input(model, FIRST, clips)
    torch.testing.assert_close(x, model.stem(clips))
    assert not model.get_submodule(FIRST)._forward_pre_hooks


def test_gates_show_open_candidates_and_leave_shut_ones_blank(decided):
    _, _, policies, _ = decided
    figure = Figure()
    pictures.draw_gates(figure, policies, ["a", "b"])
    for axis, expected in zip(figure.axes, (["", "0.50", "", "0.75"], ["0.25", "0.50", "1.00", ""]), strict=True):
        texts = [text.get_text() for text in axis.texts]
        assert texts[:4] == expected
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["R = 1", "R = 2", "r = 1", "r = 1/2"]
    # the last layer has one frame and no temporal gate: two cells fewer
    cells = figure.axes[0].collections[0].get_array()
    assert cells.mask.sum() == 2 * sum(len(policy.temporal_factors) == 1 for policy in policies.values()) > 0


def test_coloured_bars_add_up_to_the_cost_that_the_loss_squares(decided):
    _, _, policies, report = decided
    efficiency = vared.EfficiencyLoss(report.dynamic_layers)
    figure = Figure()
    pictures.draw_execution(figure, policies, efficiency.weights, ["a", "b"])
    shares = []
    for axis in figure.axes:
        dense, executed = axis.containers
        assert sum(bar.get_width() for bar in dense) == pytest.approx(100)
        shares.append(sum(bar.get_width() for bar in executed) / 100)
    assert efficiency(policies, torch.tensor([True, False])).item() == pytest.approx(shares[0] ** 2 / 2, rel=1e-5)
    assert efficiency(policies, torch.tensor([False, True])).item() == pytest.approx(shares[1] ** 2 / 2, rel=1e-5)


def test_maps_share_one_scale_or_one_a_column():
    maps = {"a": torch.tensor([1.0, -4.0]).view(2, 1, 1), "b": torch.tensor([2.0, 3.0]).view(2, 1, 1)}
    for scale_columns, limits in ((False, [4, 4, 4, 4]), (True, [2, 4, 2, 4])):
        figure = Figure()
        pictures.draw_maps(figure, maps, ["0", "1"], scale_columns=scale_columns)
        assert [axis.images[0].get_clim() for axis in figure.axes] == [(-limit, limit) for limit in limits]


def test_clips_are_shown_in_their_own_colours():
    from vared.data.transforms import MEAN, STD, normalise

    frames = torch.tensor([0.0, 51.0, 255.0]).view(1, 3, 1, 1)
    figure = Figure()
    pictures.draw_clips(figure, {"a": normalise(frames, MEAN, STD)})
    assert figure.axes[0].images[0].get_array().flatten().tolist() == pytest.approx([0, 0.2, 1], abs=1e-6)
