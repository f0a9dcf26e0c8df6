"""How alike the slabs of a map are, pair by pair: correlation, RMSE, redundancy proportion (thesis section B.1).

Over all pairs of slabs (frames, or channels) of one clip:

    CC    mean Pearson correlation
    RMSE  mean root mean squared difference
    RP    share of pairs with a correlation above 0.85 and an RMSE above 0.001, as table B.1 prints it

The RMSE threshold leaves out pairs of identical maps; read the other way round, almost no pair would count (RP_below).

Shapes: B clip, N slab, D value in a slab.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# CC_abs: mean absolute correlation. RP_below: RMSE below the threshold instead of above. RP_maps: share of slabs that
# are in a pair counted by RP. constant: share of slabs with one value, which no other measure looks at.
MEASURES = ("CC", "CC_abs", "RMSE", "RP", "RP_below", "RP_maps", "constant")
CORRELATION_THRESHOLD, RMSE_THRESHOLD = 0.85, 0.001


def pair_measures(slabs: Tensor) -> Tensor:
    """MEASURES of each clip over the pairs of its slabs: B x N x D -> B x 7, float64; NaN where no pair is left.

    Two passes in float64, mean first, and |a - b|^2 = (|a| - |b|)^2 + 2 |a| |b| (1 - r) for centred a and b: so no
    large mean cancels, and an RMSE is exact to about 1e-7 of the standard deviation.
    Raises ValueError for values that are not finite.
    """
    constant = constant_slabs(slabs)
    centred = slabs.to(torch.float64, copy=True)
    mean = centred.mean(2)
    centred -= mean.unsqueeze(2)
    product = centred @ centred.mT
    norm = product.diagonal(dim1=1, dim2=2).sqrt()
    correlation = (product / _outer(norm.masked_fill(constant, 1), torch.mul)).clamp(-1, 1)
    square = _outer(norm, torch.sub) ** 2 + 2 * _outer(norm, torch.mul) * (1 - correlation)
    rmse = (square / slabs.shape[2] + _outer(mean, torch.sub) ** 2).sqrt()

    varies = ~constant
    pairs = _outer(varies, torch.logical_and) & ~torch.eye(slabs.shape[1], dtype=torch.bool, device=slabs.device)
    alike = pairs & (correlation > CORRELATION_THRESHOLD)
    redundant = alike & (rmse > RMSE_THRESHOLD)

    def mean_over_pairs(values: Tensor) -> Tensor:
        return (values * pairs).sum((1, 2)) / pairs.sum((1, 2))

    of_pairs = (correlation, correlation.abs(), rmse, redundant, alike & (rmse < RMSE_THRESHOLD))
    in_a_pair = redundant.any(2).double().sum(1) / varies.sum(1).masked_fill(~pairs.any(2).any(1), 0)
    measures = [mean_over_pairs(values.double()) for values in of_pairs] + [in_a_pair, constant.double().mean(1)]
    return torch.stack(measures, dim=1)


def _outer(values: Tensor, operation: Callable) -> Tensor:
    return operation(values.unsqueeze(2), values.unsqueeze(1))


def constant_slabs(slabs: Tensor) -> Tensor:
    """Slabs whose values differ by no more than rounding: B x N x D -> B x N.

    Raises ValueError for values that are not finite.
    """
    low, high = slabs.amin(2), slabs.amax(2)
    if not bool((low.isfinite() & high.isfinite()).all()):
        raise ValueError("its output holds values that are not finite")
    return (high - low) <= 4 * torch.finfo(slabs.dtype).eps * torch.maximum(low.abs(), high.abs())
