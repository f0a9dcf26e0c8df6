"""Weighted sums of cheap operations and their gradients, against the operations one by one."""

import pytest
import torch

from tests.method_helpers import CHEAP, relative_difference
from vared.cheap_terms import add_generated, clip_sums, map_sums, pull_back
from vared.reconstruction import CHEAP_OPERATION


def terms(cheap, clips, count):
    """X that repeats 3 channels to 5, G, V and operations with random weights; all in fp64."""
    torch.manual_seed(0)
    base = torch.randn(clips, 3, 2, 4, 4, dtype=torch.float64).to(memory_format=torch.channels_last_3d)
    grad = torch.randn(clips, 5, 2, 4, 4, dtype=torch.float64).to(memory_format=torch.channels_last_3d)
    operations = [CHEAP_OPERATION[cheap](5).double() for _ in range(count)]
    for operation in operations:
        for parameter in operation.parameters():
            torch.nn.init.normal_(parameter)
    return base, grad, [torch.rand(clips, 1, 1, 1, 1, dtype=torch.float64) for _ in range(count)], operations


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("cheap", CHEAP)
def test_sums_and_gradients_are_those_of_the_operations_one_by_one(cheap, clips, count):
    base, grad, weights, operations = terms(cheap, clips, count)
    parameters = [[p.detach() for p in operation.parameters()] for operation in operations]
    leaves = [base.clone().requires_grad_(), *(v.clone().requires_grad_() for v in weights)]
    x = torch.cat([leaves[0], leaves[0][:, :2]], 1)
    expected = sum(v * operation(x) for v, operation in zip(leaves[1:], operations, strict=True))
    expected.backward(grad)

    start = torch.randn_like(grad)
    target, grad_x = start.clone(), torch.ones_like(base)
    gradients = [[torch.ones_like(p) for p in group] for group in parameters]
    add_generated(target, x.detach(), weights, parameters)
    inner = pull_back(grad, x.detach(), grad_x, weights, parameters, gradients)
    assert relative_difference(target - start, expected) < 1e-12
    assert relative_difference(grad_x - 1, leaves[0].grad) < 1e-12
    for of_candidate, leaf in zip(inner, leaves[1:], strict=True):
        assert relative_difference(of_candidate, leaf.grad.flatten()) < 1e-12
    for group, operation in zip(gradients, operations, strict=True):
        for gradient, parameter in zip(group, operation.parameters(), strict=True):
            assert relative_difference(gradient - 1, parameter.grad) < 1e-12


def test_sums_of_half_precision_are_kept_in_single():
    ones = torch.ones(1, 2, 1, 100, 100, dtype=torch.bfloat16) * 1.0078125  # 10078.125 is no bfloat16
    assert map_sums(ones).tolist() == [[10078.125, 10078.125]] and clip_sums(ones).tolist() == [20156.25]
