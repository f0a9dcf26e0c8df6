"""Weighted sums of cheap operations on one source, and their gradients, for `training_mix`.

    D = sum_j V_j cheap_j(X)

With G the gradient of D and E_j = cheap_j^T(G), the gradient of X is sum_j V_j E_j; that of V_j is <cheap_j(X), G>, or
<X, E_j> for a linear operation; that of the weights of cheap_j is the one of <cheap_j(V_j X), G>.

Everything is written into tensors of the caller. `operations` are lists of parameters: none for a copy, the weight of
a depthwise convolution, or scale and shift. Shapes: n clip, C channel, t frame, H W pixel; V_j is n x 1 x 1 x 1 x 1.
"""

import torch
from torch import Tensor

from vared.reconstruction import depthwise, frames_as_batch


def add_generated(target: Tensor, x: Tensor, weights: list[Tensor], operations: list[list[Tensor]]) -> None:
    """`target` += D for `x` = X, both n x C x t x H x W."""
    if not operations[0]:
        target.addcmul_(x, sum(weights))
    elif len(operations[0]) == 2:
        scale, shift = (_combined(weights, operations, number) for number in range(2))
        target.addcmul_(x, scale).add_(shift)
    elif len(x) == 1:  # what weighs the maps of a single clip may as well weigh the kernels
        target.add_(depthwise(x, sum(v * kernel for v, (kernel,) in zip(weights, operations, strict=True))))
    else:
        for v, (kernel,) in zip(weights, operations, strict=True):
            target.addcmul_(depthwise(x, kernel), v)


def pull_back(
    grad: Tensor, x: Tensor, grad_x: Tensor, weights: list[Tensor], operations: list[list[Tensor]],
    gradients: list[list[Tensor]],
) -> list[Tensor]:  # fmt: skip
    """Gradients of V_j, n each, for `grad` = G; those of X and of the parameters are added to `grad_x`, `gradients`.

    `grad_x` may have fewer channels than X, which then repeats them.
    """
    if not operations[0]:
        _fold(grad_x, grad, sum(weights))
        return [clip_sums(grad * x)] * len(weights)
    if len(operations[0]) == 2:
        return _pull_back_affine(grad, x, grad_x, weights, operations, gradients)
    kernels = [kernel for (kernel,) in operations]
    inner = []
    if len(x) == 1:
        _fold(grad_x, depthwise(grad, sum(v * k for v, k in zip(weights, kernels, strict=True)).flip(-2, -1)), None)
        by_kernel = _kernel_gradient(x, grad)
        for v, kernel, (gradient,) in zip(weights, kernels, gradients, strict=True):
            gradient.addcmul_(by_kernel, v)
            inner.append((by_kernel * kernel).sum(dtype=gradient.dtype)[None])
        return inner
    for v, kernel, (gradient,) in zip(weights, kernels, gradients, strict=True):
        pulled = depthwise(grad, kernel.flip(-2, -1))
        _fold(grad_x, pulled, v)
        gradient.add_(_kernel_gradient(x * v, grad))
        inner.append(clip_sums(pulled * x))
    return inner


def _pull_back_affine(grad, x, grad_x, weights, operations, gradients) -> list[Tensor]:
    _fold(grad_x, grad * _combined(weights, operations, 0), None)
    by_scale, by_shift = map_sums(grad * x), map_sums(grad)
    inner = []
    for v, (scale, shift), (grad_scale, grad_shift) in zip(weights, operations, gradients, strict=True):
        grad_scale.add_((by_scale * v[:, :, 0, 0, 0]).sum(0))
        grad_shift.add_((by_shift * v[:, :, 0, 0, 0]).sum(0))
        inner.append((by_scale * scale + by_shift * shift).sum(1))
    return inner


def _combined(weights: list[Tensor], operations: list[list[Tensor]], number: int) -> Tensor:
    """Sum of V_j times a parameter per channel, n x C x 1 x 1 x 1."""
    return sum(v * parameters[number][:, None, None, None] for v, parameters in zip(weights, operations, strict=True))


def _kernel_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Gradient of <depthwise(x, kernel), grad> for the kernel, C x 1 x 1 x 3 x 3."""
    channels, (images, of_images) = x.shape[1], (frames_as_batch(maps) for maps in (x, grad))
    return torch.nn.grad.conv2d_weight(images, (channels, 1, 3, 3), of_images, padding=1, groups=channels).unsqueeze(2)


def _fold(grad_x: Tensor, pulled: Tensor, weight: Tensor | None) -> None:
    for block in pulled.split(grad_x.shape[1], 1):
        part = grad_x[:, : block.shape[1]]
        part.add_(block) if weight is None else part.addcmul_(block, weight)


def clip_sums(x: Tensor) -> Tensor:
    """Sum over each clip in single precision at least, n."""
    return x.sum((1, 2, 3, 4), dtype=torch.promote_types(x.dtype, torch.float32))


def map_sums(x: Tensor) -> Tensor:
    """Sum over each channel of each clip in single precision at least, n x C."""
    return x.sum((2, 3, 4), dtype=torch.promote_types(x.dtype, torch.float32))
