"""What a model says it decided, and deciding for it."""

import pytest
import torch

import vared
from tests.method_helpers import Geometry, dynamic_layers, relative_difference, tiny_r2plus1d
from vared.layers import DynamicConfig
from vared.policies import forced_policy, one_hot_policy


def test_a_policy_names_the_first_open_candidate():
    layer = Geometry(out_channels=8, config=DynamicConfig(search_space=3)).layer(dtype=torch.float32).eval()
    v_t = torch.tensor([[0.5, 0, 0], [0, 0.1, 0.9], [0, 0, 0.3]])
    v_c = torch.tensor([[0, 0, 0.2], [0, 0.7, 0], [0.9, 0.9, 0.9]])
    with forced_policy(layer, {"": (v_t, v_c)}):
        layer(torch.randn(3, 3, 8, 4, 4))
    (policy,) = vared.policy(layer).values()
    assert policy.stride.tolist() == [1, 2, 4] and policy.stride.dtype == torch.int64
    assert policy.ratio.tolist() == [0.25, 0.5, 1.0]
    assert policy.cost.tolist() == [0.25, 0.25, 0.25]
    assert torch.equal(policy.temporal, v_t) and torch.equal(policy.channel, v_c)
    assert policy.temporal_factors == (1, 2, 4) and policy.channel_ratios == (1.0, 0.5, 0.25)


def test_no_forward_yet_is_an_error_and_a_static_model_has_no_policy():
    model = tiny_r2plus1d()
    for layer in dynamic_layers(model).values():
        layer.last_policy = None
    with pytest.raises(RuntimeError, match="stages.0.0.conv1.spatial.*run the model"):
        vared.policy(model)
    assert vared.policy(tiny_r2plus1d(search_space=0)) == {}


def test_all_zero_rows_are_marked():
    model = tiny_r2plus1d()
    layer = model.stages[0][0].conv1.spatial
    with torch.no_grad():
        layer.gate.expand.weight.zero_()
        layer.gate.expand.bias.copy_(torch.tensor([-1.0, -1.0, -1.0, 0.3]))
    model(torch.randn(2, 3, 8, 16, 16))
    policy = vared.policy(model)["stages.0.0.conv1.spatial"]
    assert policy.all_zero_temporal.tolist() == [True, True] and policy.all_zero_channel.tolist() == [False, False]
    assert policy.stride.tolist() == [2, 2] and policy.cost.tolist() == [0.25, 0.25]
    other = vared.policy(model)["stages.3.1.conv2.spatial"]  # one frame: no temporal candidates, never all-zero
    assert other.temporal.tolist() == [[1.0], [1.0]] and not other.all_zero_temporal.any()


def test_the_full_policy_is_the_dense_network_and_gates_return_afterwards():
    torch.manual_seed(0)
    static = tiny_r2plus1d(search_space=0)
    model = tiny_r2plus1d(search_space=3)
    model.load_state_dict(static.state_dict(), strict=False)
    x = torch.randn(3, 3, 8, 16, 16)
    before = model(x)
    with vared.fixed_policy(model):
        assert relative_difference(model(x), static(x)) < 1e-5
        assert all(torch.equal(p.cost, torch.ones(3)) for p in vared.policy(model).values())
    assert torch.equal(model(x), before)


def test_a_fixed_policy_is_one_hot_and_too_small_layers_take_the_next_larger_candidate():
    model = tiny_r2plus1d(search_space=3)
    with vared.fixed_policy(model, temporal=4, channel=0.25):
        model(torch.randn(2, 3, 8, 16, 16))
    policies = vared.policy(model)
    for name, layer in dynamic_layers(model).items():
        assert policies[name].stride.tolist() == [max(layer.temporal_factors)] * 2
        assert policies[name].ratio.tolist() == [0.25] * 2
        assert policies[name].temporal.sum(1).tolist() == [1.0] * 2
    assert policies["stages.3.1.conv2.spatial"].stride.tolist() == [1, 1]


def test_the_inner_context_wins_and_the_outer_one_returns_even_after_an_error():
    model, x = tiny_r2plus1d(), torch.randn(1, 3, 8, 16, 16)
    name = next(iter(dynamic_layers(model)))

    def stride():
        model(x)
        return vared.policy(model)[name].stride.item()

    with vared.fixed_policy(model, temporal=2):
        assert stride() == 2
        with pytest.raises(KeyError), vared.fixed_policy(model, temporal=1):
            assert stride() == 1
            raise KeyError
        assert stride() == 2
    assert dynamic_layers(model)[name].forced is None


def test_one_hot_policies():
    layer = Geometry(out_channels=8, config=DynamicConfig(search_space=3)).layer()
    assert [v.tolist() for v in one_hot_policy(layer, 2, 0.25)] == [[[0, 1, 0]], [[0, 0, 1]]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"temporal": 3}, r"temporal=3.*\[1, 2\]"), ({"channel": 0.25}, r"channel=0.25.*\[0.5, 1.0\]")],
)
def test_values_that_are_no_candidate_are_refused(settings, words):
    with pytest.raises(ValueError, match=words), vared.fixed_policy(tiny_r2plus1d(), **settings):
        pass


def test_a_static_model_has_nothing_to_fix():
    with pytest.raises(ValueError, match="no.*dynamic layer|needs dynamic layers"):
        with vared.fixed_policy(tiny_r2plus1d(search_space=0)):
            pass


@pytest.mark.parametrize(
    ("name", "v_t", "v_c", "words"),
    [
        ("nowhere", [[1.0, 0]], [[1.0, 0]], "'nowhere' is no dynamic layer"),
        ("stages.0.0.conv1.spatial", [[1.0]], [[1.0, 0]], "V_t.*needs 2 weights"),
        ("stages.0.0.conv1.spatial", [[1.0, 0]], [[0.0, 0]], "V_c.*at least one above 0"),
        ("stages.0.0.conv1.spatial", [[1.0, -1]], [[1.0, 0]], "V_t.*none negative"),
    ],
)
def test_forced_policies_are_checked(name, v_t, v_c, words):
    with pytest.raises(ValueError, match=words):
        with forced_policy(tiny_r2plus1d(), {name: (torch.tensor(v_t), torch.tensor(v_c))}):
            pass


def test_a_forced_policy_for_another_number_of_clips_names_layer_and_numbers():
    model, name = tiny_r2plus1d(), "stages.0.0.conv1.spatial"
    forced = {name: (torch.ones(3, 2), torch.ones(3, 2))}
    with forced_policy(model, forced), pytest.raises(ValueError, match=f"{name}.*3 clips.*2"):
        model(torch.randn(2, 3, 8, 16, 16))
