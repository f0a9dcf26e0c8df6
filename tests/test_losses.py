"""Efficiency loss, equation (3.6): value and gradient by hand."""

import itertools

import pytest
import torch

import vared
from tests.method_helpers import tiny_r2plus1d
from vared.gate import Policy, _open
from vared.losses import EfficiencyLoss, first_open

LAYERS = {"a": 3.0, "b": 1.0}  # hence weights 3/4 and 1/4


def policy_of(v_t, v_c) -> Policy:
    """Policy with the candidates that the numbers of columns imply."""
    v_t, v_c = (v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=torch.float64) for v in (v_t, v_c))
    factors, ratios = (tuple(2**j for j in range(v_t.shape[1])), tuple(0.5**i for i in range(v_c.shape[1])))
    return Policy(v_t, v_c, factors, ratios)


def example():
    """Three clips, two layers of search space 2; the last clip of layer b is all-zero in both dimensions."""
    a = policy_of([[0.6, 0.2], [0.0, 0.4], [0.7, 0.0]], [[0.8, 0.1], [0.3, 0.3], [0.0, 0.9]])
    b = policy_of([[0.0, 0.5], [0.5, 0.5], [0.0, 0.05]], [[0.0, 0.6], [0.1, 0.0], [0.0, 0.05]])
    return {"a": a, "b": b}


def test_the_value_by_hand():
    """rho_a = 1, 1/2, 1/2 and rho_b = 1/4, 1, 1/4: e = 13/16, 10/16, 7/16. With clip 2 wrong: (e1^2 + e3^2) / 3."""
    loss = EfficiencyLoss(LAYERS)
    correct = torch.tensor([True, False, True])
    assert loss(example(), correct).item() == pytest.approx(((13 / 16) ** 2 + (7 / 16) ** 2) / 3, abs=1e-6)
    everything = ((13 / 16) ** 2 + (10 / 16) ** 2 + (7 / 16) ** 2) / 3
    assert loss(example(), torch.ones(3, dtype=torch.bool)).item() == pytest.approx(everything, abs=1e-6)
    assert loss(example(), torch.zeros(3, dtype=torch.bool)).item() == 0.0


@pytest.mark.parametrize("gradient", ["first_open", "literal"])
def test_the_value_does_not_depend_on_the_gradient_or_the_unit(gradient):
    gigas = {name: 1e9 * value for name, value in LAYERS.items()}
    correct = torch.tensor([True, True, False])
    expected = ((13 / 16) ** 2 + (10 / 16) ** 2) / 3
    assert EfficiencyLoss(gigas, gradient)(example(), correct).item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_by_hand():
    """dL/dV_c[1] of layer l and clip b is (2/B) mu e w 1/2 c_t, c_t = (1 + V_t[1]) / 2; and the reverse."""
    policies = example()
    for p in policies.values():
        p.temporal.requires_grad_()
        p.channel.requires_grad_()
    mu, e, w = [1, 0, 1], [13 / 16, 10 / 16, 7 / 16], {"a": 0.75, "b": 0.25}
    EfficiencyLoss(LAYERS)(policies, torch.tensor(mu, dtype=torch.bool)).backward()
    for name, p in policies.items():
        for b in range(3):
            c_t, c_c = (1 + p.temporal[b, 0].item()) / 2, (1 + p.channel[b, 0].item()) / 2
            factor = 2 / 3 * mu[b] * e[b] * w[name] * 0.5
            assert p.channel.grad[b].tolist() == pytest.approx([factor * c_t, 0], abs=1e-6)
            assert p.temporal.grad[b].tolist() == pytest.approx([factor * c_c, 0], abs=1e-6)
    assert (policies["a"].channel.grad[0, 0] > 0.1) and not policies["a"].channel.grad[1].any()


def test_the_literal_loss_has_no_gradient_at_all():
    policies = example()
    for p in policies.values():
        p.temporal.requires_grad_()
    assert not EfficiencyLoss(LAYERS, "literal")(policies, torch.ones(3, dtype=torch.bool)).requires_grad


def test_first_open_against_finite_differences_for_search_space_three():
    """The gradient of L_e equals that of 2 e / B times the expected cost of "first open", found by differences."""
    torch.manual_seed(0)
    v_t, v_c = (torch.rand(4, 3, dtype=torch.float64) * 0.8 + 0.1 for _ in range(2))
    v_c[0, 0] = v_t[1, 0] = v_t[1, 1] = 0  # the choice differs between clips

    def expected_cost(v_t, v_c):
        def one(v, costs):
            return v[0] * costs[0] + (1 - v[0]) * (v[1] * costs[1] + (1 - v[1]) * costs[2])

        return one(v_t, (1, 1 / 2, 1 / 4)) * one(v_c, (1, 1 / 2, 1 / 4))

    hard, step = [1 * 0.5, 0.25 * 1, 1.0, 1.0], 1e-6
    leaf_t, leaf_c = v_t.clone().requires_grad_(), v_c.clone().requires_grad_()
    loss = EfficiencyLoss({"only": 7.0})({"only": policy_of(leaf_t, leaf_c)}, torch.ones(4, dtype=torch.bool))
    assert loss.item() == pytest.approx(sum(h**2 for h in hard) / 4, abs=1e-6)
    loss.backward()
    for b, i in itertools.product(range(4), range(3)):
        for leaf, which in ((leaf_t, 0), (leaf_c, 1)):
            up, down = ([v_t[b].clone(), v_c[b].clone()] for _ in range(2))
            up[which][i] += step
            down[which][i] -= step
            slope = ((expected_cost(*up) - expected_cost(*down)) / (2 * step)).item()
            assert leaf.grad[b, i].item() == pytest.approx(2 / 4 * hard[b] * slope, abs=1e-6)
    assert leaf_t.grad[:, 0].abs().min() > 1e-3 and not leaf_t.grad[:, -1].any()


@pytest.mark.parametrize("search_space", [1, 2, 3, 4])
def test_first_open_is_the_hard_ratio_when_every_weight_is_zero_or_one(search_space):
    costs = [0.5**i for i in range(search_space)]
    for bits in itertools.product((0.0, 1.0), repeat=search_space):
        hard = next((c for c, bit in zip(costs, bits, strict=True) if bit), costs[-1])
        assert first_open(torch.tensor([bits]), costs).item() == hard


def test_the_gradient_closes_open_first_gates_through_the_gate():
    """Down the loss the weight of the first candidate falls; a clip whose gate is shut pushes nothing."""
    score = torch.tensor([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]], requires_grad=True)
    weights = _open(score, 2)
    policy = policy_of(torch.ones(3, 1), weights)
    EfficiencyLoss({"a": 1.0})({"a": policy}, torch.ones(3, dtype=torch.bool)).backward()
    assert score.grad[0, 0] > 0 and score.grad[1:].abs().max() == 0 and score.grad[0, 1] == 0


def test_a_dimension_with_one_candidate_counts_one():
    p = policy_of(torch.ones(2, 1), [[0.5, 0.5], [0.0, 0.5]])
    assert EfficiencyLoss({"a": 2.0}).layer_cost(p).tolist() == [1.0, 0.5]


def test_every_gate_of_a_network_gets_a_gradient_from_the_loss_alone():
    model, clip = tiny_r2plus1d().train(), torch.zeros(3, 8, 16, 16)
    loss = EfficiencyLoss(vared.count_flops(model, clip).dynamic_layers)
    model.train()(torch.randn(6, 3, 8, 16, 16))
    loss(vared.policy(model), torch.ones(6, dtype=torch.bool)).backward()
    gates = {n: p for n, p in model.named_parameters() if ".gate.expand." in n}
    assert len(gates) == 32 and all(p.grad is not None and p.grad.abs().sum() > 0 for p in gates.values())


def test_the_correctness_of_a_clip_is_no_path_for_gradients():
    policies, correct = example(), torch.ones(3, dtype=torch.float64, requires_grad=True)
    policies["a"].channel.requires_grad_()
    EfficiencyLoss(LAYERS)(policies, correct).backward()
    assert correct.grad is None


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match=r"\['b'\]"):
        EfficiencyLoss(LAYERS)({"a": example()["a"]}, torch.ones(3))
    with pytest.raises(ValueError, match="'first_open' or 'literal', not 'soft'"):
        EfficiencyLoss(LAYERS, "soft")
    for flops in ({}, {"a": 0.0}, {"a": -1.0, "b": 2.0}):
        with pytest.raises(ValueError, match="positive operations"):
            EfficiencyLoss(flops)


def test_policies_of_another_batch_are_refused():
    policies = {"a": policy_of(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]]))}
    with pytest.raises(ValueError, match=r"got 4 clips, but the policies are of \[1\]"):
        vared.EfficiencyLoss({"a": 1.0})(policies, torch.ones(4, dtype=torch.bool))
