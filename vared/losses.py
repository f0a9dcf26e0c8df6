"""Efficiency loss (thesis section 3.4, equation (3.6)).

    L_e = mean_b ( mu_b * sum_l w_l r_l(b) / R_l(b) )^2        w_l = C(f_l) / sum_k C(f_k)

mu_b is 1 for a correctly classified clip and 0 otherwise; C(f_l) are the operations of dynamic layer l run statically.
The chosen r and R are piecewise constant in the gate's weights, so the loss as printed has no gradient. The value here
is the printed one; its gradient is that of the expected cost when candidates are opened in order, each with
probability V ("first open"), which equals the hard cost whenever every V is 0 or 1.

Shapes: B clip, S candidates.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vared.gate import Policy


class EfficiencyLoss(nn.Module):
    """Mean squared share of computation over correctly classified clips, equation (3.6).

    Args:
        flops: static operations of each dynamic layer by name, in any unit (`FlopReport.dynamic_layers`).
        gradient: "first_open" (straight-through) or "literal" (none, as printed: it cannot train a gate).
    """

    def __init__(self, flops: Mapping[str, float], gradient: str = "first_open"):
        super().__init__()
        if gradient not in ("first_open", "literal"):
            raise ValueError(f"The gradient is 'first_open' or 'literal', not {gradient!r}.")
        if not flops or min(flops.values()) <= 0:
            raise ValueError(f"EfficiencyLoss needs the positive operations of every dynamic layer, got {dict(flops)}.")
        total = sum(flops.values())
        self.weights = {name: value / total for name, value in flops.items()}
        self.gradient = gradient

    def forward(self, policies: Mapping[str, Policy], correct: Tensor) -> Tensor:
        """Policies of a forward pass and `correct` (B, bool) -> scalar.

        Raises ValueError when the layers differ from those the loss was built for, or the number of clips differs.
        """
        if policies.keys() != self.weights.keys():
            difference = sorted(policies.keys() ^ self.weights.keys())
            raise ValueError(f"EfficiencyLoss was built for other layers than the policies are from: {difference}.")
        clips = {len(policies[name].temporal) for name in self.weights}
        if clips != {len(correct)}:
            raise ValueError(
                f"EfficiencyLoss got {len(correct)} clips, but the policies are of {sorted(clips)}: take them right "
                "after the forward pass on these clips."
            )
        # Layers with the same candidates go as one: there are many of them, and each is a handful of numbers.
        alike: dict[tuple, list[str]] = {}
        for name in self.weights:
            alike.setdefault((policies[name].temporal_factors, policies[name].channel_ratios), []).append(name)
        cost = 0.0
        for candidates, names in alike.items():
            weights = (
                torch.cat([getattr(policies[name], which) for name in names]) for which in ("temporal", "channel")
            )
            costs = self.layer_cost(Policy(*weights, *candidates)).unflatten(0, (len(names), -1))
            cost = cost + costs.new_tensor([self.weights[name] for name in names]) @ costs
        return (correct.detach().to(cost.dtype) * cost).square().mean()

    def layer_cost(self, policy: Policy) -> Tensor:
        """r / R of the chosen candidates, B; differentiable in the weights unless the gradient is literal."""
        hard = policy.cost
        if self.gradient == "literal":
            return hard
        soft = first_open(policy.channel, policy.channel_ratios) * first_open(
            policy.temporal, [1 / factor for factor in policy.temporal_factors]
        )
        return hard + (soft - soft.detach())


def first_open(weights: Tensor, costs: "tuple[float, ...] | list[float]") -> Tensor:
    """Expected cost when candidates are tried in order and opened with probability V: B x S -> B.

    V_1 c_1 + (1 - V_1) (V_2 c_2 + (1 - V_2) (... c_S)); the last candidate is taken when no other is open.
    """
    expected = torch.full_like(weights[:, 0], costs[-1])
    for i in range(len(costs) - 2, -1, -1):
        expected = weights[:, i] * costs[i] + (1 - weights[:, i]) * expected
    return expected
