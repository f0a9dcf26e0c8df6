"""A dynamic layer of a trained run at work on one clip: its input, what it computes, and what it generates from that.

Shapes: C channel, T frame, H W pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from vared.analysis.generated_maps import generated, maps_under
from vared.figures.pictures import layer_input
from vared.figures.shown_run import ShownRun


@dataclass(frozen=True)
class Execution:
    """One dynamic layer on one clip: input C_in x T_in x H x W, output C x T x H x W under one candidate alone.

    `indices` are the generated frames or channels, `sources` the computed ones they are made from. `weights` are the
    gate's; `chosen` says whether it took this candidate, or it was forced.
    """

    name: str
    layer: nn.Module
    clip: int
    dimension: str
    candidate: float
    input: Tensor
    output: Tensor
    indices: list[int]
    sources: list[int]
    weights: list[float]
    chosen: bool


def execution(run: ShownRun, dimension: str) -> Execution:
    """The first layer and clip of which a gate generates frames ("temporal") or channels; the first of all, with the
    next candidate forced, where none does (an untrained network)."""
    options = {n: layer for n, layer in _layers(run) if len(_candidates(layer, dimension)) > 1}
    choices = {n: getattr(run.policies[n], f"{dimension}_choice") for n in options}
    name = next((n for n in options if bool((choices[n] > 0).any())), next(iter(options)))
    chosen = bool((choices[name] > 0).any())
    clip = int((choices[name] > 0).int().argmax())
    layer = options[name]
    candidate = _candidates(layer, dimension)[int(choices[name][clip]) if chosen else 1]
    x = layer_input(run.network, name, run.clips[clip : clip + 1])
    with torch.no_grad():
        output = maps_under(layer, x, **{dimension: candidate})[0]
    indices, sources = (i.tolist() for i in generated(layer, dimension, candidate, output.shape[1]))
    weights = getattr(run.policies[name], dimension)[clip].tolist()
    return Execution(name, layer, clip, dimension, candidate, x[0], output, indices, sources, weights, chosen)


def map_table(executions: Sequence[Execution]) -> pd.DataFrame:
    """A row a frame or channel of every panel: panel, layer, dimension, candidate, index, generated, source (the index
    it is made from) and the standard deviation of its values."""
    rows = []
    for panel, one in zip("ab", executions, strict=True):
        maps = one.output.transpose(0, 1) if one.dimension == "temporal" else one.output
        sources = dict(zip(one.indices, one.sources, strict=True))
        for index, values in enumerate(maps):
            row = {"panel": panel, "layer": one.name, "dimension": one.dimension, "candidate": one.candidate}
            row |= {"index": index, "generated": index in sources, "source": sources.get(index, index)}
            rows.append(row | {"deviation": float(values.double().std(correction=0))})
    return pd.DataFrame(rows).round(6)


def _layers(run: ShownRun):
    return ((name, run.network.get_submodule(name)) for name in run.policies)


def _candidates(layer: nn.Module, dimension: str) -> tuple:
    return layer.temporal_factors if dimension == "temporal" else layer.channel_ratios
