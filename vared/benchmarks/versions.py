"""The versions of a network that compete: all that PyTorch offers for the static one, and our dynamic ones.

A version is made from a network and a batch by a function of this module; it runs that batch when it is called.

Shapes: clips are B x C x T x H x W, outputs B x classes.
"""

import copy
import warnings
from collections.abc import Callable

import torch
import torch._inductor.config
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from vared.acceleration import accelerate

Run = Callable[[], Tensor]
Build = Callable[[nn.Module, Tensor], Run]
EAGER = "channels-last"  # the static version without any compiler
PLAIN, ACCELERATED, COMPILED = "dynamic, plain", "dynamic, accelerated", "dynamic, accelerated and compiled"


def static_builders(device: str, compile: bool) -> dict[str, Build]:
    """Every way to run a static network by name: memory layouts, BatchNorm folding, tracing and, if asked, compiling.

    The last two are done for each layout: compiling, with and without frozen weights or CUDA graphs, on top of folding;
    tracing without, since freezing a trace folds by itself.
    """
    builders: dict[str, Build] = {}
    for folded in (False, True):
        for last in (False, True):
            words = ["BatchNorm folded"] * folded + ["channels-last"] * last
            name, prepare = ", ".join(words) or "as it is", _preparation(folded, last)
            builders[name] = _eager(prepare)
            if compile and folded:
                builders[f"{name}, compiled"] = _compiled(prepare)
            if compile and folded and device == "cpu":
                builders[f"{name}, compiled and frozen"] = _compiled(prepare, freezing=True)
            if compile and folded and device == "cuda":
                builders[f"{name}, compiled with CUDA graphs"] = _compiled(prepare, mode="reduce-overhead")
            if not folded:  # freezing a trace folds by itself
                builders[f"{name}, traced and optimised"] = _traced(prepare)
    return builders


def dynamic_builders(compile: bool) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Our dynamic versions by name: what makes a copy of the network for each. The compiled one compiles when run."""
    builders = {
        PLAIN: lambda model: to_channels_last(copy.deepcopy(model)),
        ACCELERATED: lambda model: accelerate(model),
    }
    if compile:
        builders[COMPILED] = _compiled_copy
    return builders


def runner(model: nn.Module, clips: Tensor) -> Run:
    """The version that calls `model` on channels-last clips."""
    clips = clips.contiguous(memory_format=torch.channels_last_3d)

    def run() -> Tensor:
        with torch._inductor.config.patch(freezing=clips.device.type == "cpu"):  # looked at by the first call only
            return model(clips)

    return run


def _compiled_copy(model: nn.Module) -> nn.Module:
    fast = accelerate(model)
    fast.compile()
    return fast


def to_channels_last(model: nn.Module) -> nn.Module:
    """`model` with its weights in the layout channels-last, in place."""
    return model.to(memory_format=torch.channels_last_3d)


def difference(output: Tensor, reference: Tensor) -> tuple[float, float]:
    """Largest absolute difference, and the same relative to the largest absolute value of `reference`."""
    absolute = (output.double() - reference.double()).abs().max().item()
    return absolute, absolute / max(reference.double().abs().max().item(), 1e-30)


def _preparation(folded: bool, last: bool) -> Callable[[nn.Module, Tensor], tuple[nn.Module, Tensor]]:
    def prepare(model: nn.Module, clips: Tensor) -> tuple[nn.Module, Tensor]:
        model = fuse(model) if folded else copy.deepcopy(model)  # fuse copies
        layout = torch.channels_last_3d if last else torch.contiguous_format
        return (to_channels_last(model) if last else model), clips.contiguous(memory_format=layout)

    return prepare


def _eager(prepare) -> Build:
    def build(model: nn.Module, clips: Tensor) -> Run:
        model, clips = prepare(model, clips)
        return lambda: model(clips)

    return build


def _compiled(prepare, mode: str | None = None, freezing: bool = False) -> Build:
    def build(model: nn.Module, clips: Tensor) -> Run:
        model, clips = prepare(model, clips)

        def call(clips: Tensor) -> Tensor:
            return model(clips)

        # Compiled code is kept by code object, and versions that share one would get each other's.
        call.__code__ = call.__code__.replace()
        compiled = torch.compile(call, mode=mode)
        with torch._inductor.config.patch(freezing=freezing):
            compiled(clips)  # compiles
        return lambda: compiled(clips)

    return build


def _traced(prepare) -> Build:
    def build(model: nn.Module, clips: Tensor) -> Run:
        model, clips = prepare(model, clips)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, but still offered
            traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, clips)))
            traced(clips)
            traced(clips)  # profiled by the first two runs
        return lambda: traced(clips)

    return build
