"""What one forward pass shows of a network's convolutions: their input, what follows them, and where they stand.

Shapes: B clip, C channel, T frame, H W pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks

from vared.network_graph import places_in_graph
from vared.policies import dynamic_layers, keeping_policies
from vared.trial_run import Example, batch_of_one, evaluating, shape

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_PASSED_OVER = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Dropout3d)  # do nothing to a scale


@dataclass(frozen=True)
class Observed:
    """A convolution in the forward pass of one clip.

    input_shape: C x T x H x W, or C x H x W, of its first run. runs: how often it ran.
    normalised: a normalisation runs right after it.
    pooled: it reads globally pooled maps, as in squeeze-excite.
    place: "block" in a residual branch, or between two residual blocks; "shortcut"; "outside": before the first or
    after the last residual block. In a network without residual blocks, all are "block".
    """

    input_shape: tuple[int, ...]
    runs: int
    normalised: bool
    pooled: bool
    place: str


def observe(model: nn.Module, example: Example) -> dict[str, Observed]:
    """The convolutions of `model` by name, in the order in which it runs them on one example without batch dimension.

    The run is in evaluation mode and leaves modes, statistics and the example as they were. Autograd follows it but
    keeps no activations: it takes about the memory of inference.
    Raises ValueError when the example does not fit the network.
    """
    watched = _watched(model)
    order: list[str] = []
    sizes: dict[str, tuple[int, ...]] = {}
    made: dict[Node, str] = {}  # node of the graph -> the convolution whose output it makes; "" for the input
    handles = [module.register_forward_pre_hook(_enter(name, order, sizes)) for name, module in watched.items()]
    handles += [m.register_forward_hook(_leave(n, made)) for n, m in watched.items() if isinstance(m, CONVOLUTIONS)]
    try:
        dropped = saved_tensors_hooks(lambda _: None, lambda _: None)
        with keeping_policies(model), evaluating(model), torch.inference_mode(False), torch.enable_grad(), dropped:
            inputs = batch_of_one(model, example)
            inputs = [_tracked(x, made) for x in inputs] if isinstance(inputs, list) else _tracked(inputs, made)
            outputs = model(inputs)
    except Exception as error:  # whatever the network's own code raises
        kind = type(error).__name__
        raise ValueError(f"The example {shape(example)} does not fit the network: {kind}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    places, pooled = places_in_graph(made, [t.grad_fn for t in _tensors(outputs) if t.grad_fn is not None])
    normalised = _normalised(order, watched)
    return {
        name: Observed(
            input_shape=size,
            runs=order.count(name),
            normalised=name in normalised,
            pooled=name in pooled and size[-2:] == (1, 1),
            place=places.get(name, "block"),
        )
        for name, size in sizes.items()
    }


def _watched(model: nn.Module) -> dict[str, nn.Module]:
    """Modules whose order of execution counts: leaves, normalisations and dynamic layers, but nothing inside these."""
    dynamic = dynamic_layers(model)
    inner = tuple(f"{name}." for name in dynamic)
    return {
        name: module
        for name, module in model.named_modules()
        if not name.startswith(inner) and (name in dynamic or _is_norm(module) or not list(module.children()))
    }


def _is_norm(module: nn.Module) -> bool:
    # By name: libraries bring their own (frozen, synchronised, fused with an activation) that share no base class.
    computes = any(isinstance(part, (*CONVOLUTIONS, nn.Linear)) for part in module.modules())
    return "Norm" in type(module).__name__ and not computes


def _enter(name: str, order: list[str], sizes: dict[str, tuple[int, ...]]):
    def note(module: nn.Module, inputs: tuple) -> None:
        order.append(name)
        if isinstance(module, CONVOLUTIONS):
            sizes.setdefault(name, tuple(inputs[0].shape[1:]))

    return note


def _leave(name: str, made: dict[Node, str]):
    def note(_, inputs: tuple, output: Tensor) -> None:
        if output.grad_fn is not None:
            made[output.grad_fn] = name

    return note


def _tracked(x: Tensor, made: dict[Node, str]) -> Tensor:
    """A copy whose way through the network autograd follows, even when no parameter asks for gradients."""
    if not x.is_floating_point():
        return x
    x = x.detach().clone().requires_grad_().clone()  # the second one may be changed in place
    made[x.grad_fn] = ""
    return x


def _normalised(order: list[str], watched: dict[str, nn.Module]) -> set[str]:
    steps = [name for name in order if not isinstance(watched[name], _PASSED_OVER)]
    return {name for name, after in zip(steps, steps[1:], strict=False) if _is_norm(watched[after])}


def _tensors(value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
