"""Where the time of a forward pass goes: each convolution against what the machine could do (roofline model).

A layer needs at least its multiply-accumulates over the machine's peak, and at least its bytes over the bandwidth of
its memory; the larger of both is its attainable time (Williams et al., "Roofline", 2009). What it takes beyond that is
what an implementation can still gain. Operations and bytes are those that the layer has to execute and to move:

    MACs    convolution as executed for the clips, gate and cheap operations included
    bytes   what is read of the input, weights of the computed channels, and the output, once each

An attainable time is no lower bound where a layer finds its input in a cache: efficiencies above 1 are such layers.

Shapes: B clip, C channel, T frame, H W pixel. Units: seconds, GMACs and GB (1e9) for the whole batch.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vared.benchmarks.peaks import Machine, wait
from vared.flops import GIGA, FlopReport, count_flops
from vared.policies import dynamic_layers, policy
from vared.specialized import SpecializedConv
from vared.trial_run import batch, evaluating

REST = "everything else"  # normalisation, activation, pooling, sums; the classifier too
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def measure_layers(model: nn.Module, clips: Tensor, machine: Machine, *, repeats: int = 7) -> pd.DataFrame:
    """Medians over `repeats` passes of `model` in evaluation mode on clips B x C x T x H x W, a row a convolution.

    Dynamic layers, plain or accelerated, and specialised ones are one row each, all that happens in them included;
    other convolutions follow, then REST, so that the column `seconds` sums to the pass. Columns: layer, kind, seconds,
    gmacs, gigabytes, intensity (MACs a byte), attainable (seconds), efficiency (attainable / seconds; no number for
    REST), remaining (seconds - attainable), share (of the pass).
    Raises ValueError for a network without convolutions, on the meta device, or fewer than one pass.
    """
    layers = timed_layers(model)
    if not layers or clips.is_meta or repeats < 1:
        raise ValueError(f"Nothing to time: {len(layers)} convolutions, {repeats} passes, device {clips.device}.")
    clips = batch(model, clips)
    report = count_flops(model, clips)
    seconds, moved = _run(model, layers, clips, repeats)
    macs = _executed(model, report, layers, len(clips))
    rows = [
        (name, _kind(module), seconds[name], macs[name], moved[name])
        for name, module in layers.items()
        if name in moved
    ]
    table = pd.DataFrame(rows, columns=["layer", "kind", "seconds", "gmacs", "gigabytes"])
    table["intensity"] = table["gmacs"] / table["gigabytes"]
    table["attainable"] = np.maximum(table["gmacs"] / machine.peak, table["gigabytes"] / machine.bandwidth)
    table["efficiency"] = table["attainable"] / table["seconds"]
    rest = seconds[REST] - table["seconds"].sum()
    table.loc[len(table)] = {"layer": REST, "kind": REST, "seconds": rest, "gmacs": 0.0, "gigabytes": math.nan}
    table["remaining"] = table["seconds"] - table["attainable"].fillna(0.0)
    return table.assign(share=table["seconds"] / seconds[REST])


def timed_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Dynamic and specialised layers and the convolutions outside of these, by name in the order of registration."""
    whole = dynamic_layers(model)
    whole |= {name: module for name, module in model.named_modules() if isinstance(module, SpecializedConv)}
    inner = tuple(f"{name}." for name in whole)
    return {
        name: module
        for name, module in model.named_modules()
        if name in whole or (isinstance(module, _CONVOLUTIONS) and not name.startswith(inner))
    }


def touched(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many of `size` frames, rows or columns a convolution reads at all."""
    starts = range(-padding, size + padding - dilation * (kernel - 1), stride)
    return len({start + dilation * tap for start in starts for tap in range(kernel)} & set(range(size)))


def bytes_moved(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Bytes of input, weights and output that have to pass once between memory and processor in one run of `layer`.

    The gate of a dynamic layer looks at all of its input; its convolution has no use for the weights of channels that
    no clip of the batch computes. Any other convolution may skip what lies between its strides.
    """
    parameters = sum(p.numel() * p.element_size() for p in layer.parameters())
    read = x.numel()
    if getattr(layer, "last_policy", None) is not None:
        opened = layer.last_policy.channel > 0
        kept = max(layer.kept_channels[i] for i in opened.int().argmax(1).tolist())
        weight = layer.weight.numel() * layer.weight.element_size()
        parameters -= weight - weight * kept // layer.out_channels
    else:
        conv = layer.conv if isinstance(layer, SpecializedConv) else layer
        if not isinstance(conv.padding, str):
            geometry = zip(x.shape[2:], conv.kernel_size, conv.stride, conv.padding, conv.dilation, strict=True)
            read = math.prod(touched(*sizes) for sizes in geometry) * x.shape[0] * conv.in_channels
    return read * x.element_size() + parameters + y.numel() * y.element_size()


def _run(model, layers, clips: Tensor, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of every layer and, as REST, of the whole pass; GB of every layer."""
    passes: list[dict[str, float]] = []
    moved: dict[str, float] = defaultdict(float)
    with evaluating(model), torch.inference_mode():
        model(clips)  # warm-up
        with _hooked(
            layers, clips.device, lambda name, module, x, y, _: _add(moved, name, bytes_moved(module, x, y) / GIGA)
        ):
            model(clips)
        for _ in range(repeats):
            seconds: dict[str, float] = defaultdict(float)
            timed = {REST: model} | layers
            with _hooked(timed, clips.device, lambda name, module, x, y, spent, into=seconds: _add(into, name, spent)):
                model(clips)
            passes.append(seconds)
    return pd.DataFrame(passes).median().to_dict(), moved


def _add(into: dict[str, float], name: str, amount: float) -> None:
    into[name] += amount


@contextmanager
def _hooked(modules: dict[str, nn.Module], device: torch.device, note) -> Iterator[None]:
    """Call note(name, module, input, output, seconds) after each run of the modules."""
    started: dict[str, float] = {}

    def before(name: str):
        def hook(module, inputs) -> None:
            wait(device)
            started[name] = time.perf_counter()

        return hook

    def after(name: str):
        def hook(module, inputs, output) -> None:
            wait(device)
            note(name, module, inputs[0], output, time.perf_counter() - started[name])

        return hook

    handles = []
    for name, module in modules.items():
        handles += [module.register_forward_pre_hook(before(name)), module.register_forward_hook(after(name))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _executed(model: nn.Module, report: FlopReport, layers, clips: int) -> dict[str, float]:
    """GMACs of every layer for the batch, by the policies of the last pass."""
    policies, found = policy(model), {}
    for name in layers:
        if name in report.layers:
            convolution, cheap = report.layers[name].executed(policies[name])
            found[name] = ((convolution + cheap).sum().item() + clips * report.layers[name].gate_macs) / GIGA
        else:
            parts = (gmacs for part, gmacs in report.static_layers.items() if f"{part}.".startswith(f"{name}."))
            found[name] = clips * sum(parts)
    return found


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, SpecializedConv):
        return "specialised"
    if hasattr(layer, "kept_channels"):
        return "dynamic"
    return "depthwise" if layer.groups == layer.in_channels > 1 else "plain"
