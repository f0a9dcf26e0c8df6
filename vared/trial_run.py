"""A forward pass that looks at a network without using it: what goes in, and how nothing stays behind.

An example is a tensor, or the shape of one, for a network with one input; a list of either for a network that takes a
list (one tensor for each pathway, as in SlowFast).

Shapes: B clip or image, C channel, T frame, H W pixel.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Example = Tensor | Sequence[int] | Sequence[Tensor | Sequence[int]]
Inputs = Tensor | list[Tensor]


def takes_clips(model: nn.Module) -> bool:
    """True for clips C x T x H x W, False for images C x H x W: a network of 2-D and no 3-D convolutions.

    A network of 2-D convolutions that takes clips says so by an attribute `takes_clips`.
    """
    if getattr(model, "takes_clips", False):
        return True
    # The cheap operations of a specialised 2-D network are 3-D convolutions too.
    kinds = {type(m) for name, m in model.named_modules() if "cheap_" not in name}
    solid, flat = (any(issubclass(kind, base) for kind in kinds) for base in (nn.Conv3d, nn.Conv2d))
    return solid or not flat


def batch_of_one(model: nn.Module, example: Example) -> Inputs:
    """`example`, which has no batch dimension, as a batch of one; zeros where only a shape is given.

    Raises ValueError for another number of dimensions than the network's convolutions work on.
    """
    ranks, form = ((4,), "C x T x H x W") if takes_clips(model) else ((3, 4), "C x H x W")
    return _each(model, example, lambda x: x.unsqueeze(0) if x.dim() in ranks else _refuse(x, f"An example is {form}"))


def batch(model: nn.Module, example: Example) -> Inputs:
    """`example` with or without a batch dimension, as a batch. Five dimensions are always B x C x T x H x W.

    Raises ValueError for another number of dimensions.
    """
    alone, form = (4, "A clip is C x T x H x W or B x C x T x H x W")
    if not takes_clips(model):
        alone, form = (3, "An image is C x H x W or B x C x H x W")

    def with_batch(x: Tensor) -> Tensor:
        if x.dim() not in (alone, alone + 1, 5):
            _refuse(x, form)
        return x.unsqueeze(0) if x.dim() == alone else x

    return _each(model, example, with_batch)


def batch_size(inputs: Inputs) -> int:
    """B of a batch."""
    return (inputs if isinstance(inputs, Tensor) else inputs[0]).shape[0]


def shape(example: Example) -> tuple:
    """Shape of an example, or the shapes of its pathways, for messages."""
    if isinstance(example, Tensor):
        return tuple(example.shape)
    return tuple(example) if _is_shape(example) else tuple(shape(part) for part in example)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Within the context the model is in evaluation mode; afterwards every module has the mode it had."""
    before = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, training in before.items():
            module.training = training


def _each(model: nn.Module, example: Example, prepare) -> Inputs:
    if not isinstance(example, Tensor) and not _is_shape(example):
        return [prepare(_tensor(model, part)) for part in example]
    return prepare(_tensor(model, example))


def _tensor(model: nn.Module, example: Tensor | Sequence[int]) -> Tensor:
    if isinstance(example, Tensor):
        return example
    parameter = next(model.parameters())
    return torch.zeros(tuple(example), device=parameter.device, dtype=parameter.dtype)


def _is_shape(example: Sequence) -> bool:
    return all(isinstance(size, int) for size in example)


def _refuse(x: Tensor, rule: str) -> Tensor:
    raise ValueError(f"{rule}, not {tuple(x.shape)}.")
