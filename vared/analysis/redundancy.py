"""How alike the maps inside a network are (thesis section B.1, table B.1).

The output F of a convolution, C x T x H x W for one clip, is cut into slabs: its frames F[:, t] (temporal redundancy)
or its channels F[c] (channel redundancy), the units that equation (3.1) leaves out. `similarity` compares them.

For networks and validation sets of any size: a map is read in the forward pass that makes it and never kept, so that
memory is that of inference, of a few copies of one map in float64, and of a row of numbers a clip.

Shapes: B clip, C channel, T frame, H W pixel.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vared.analysis.similarity import MEASURES, pair_measures
from vared.observation import CONVOLUTIONS
from vared.policies import keeping_policies
from vared.trial_run import Inputs, batch_size, evaluating

DIMENSIONS = ("temporal", "channel")
TENSORS = ("convolution", "normalised", "rectified")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_LARGEST = 2**23  # float64 values of slabs, or of pairs, to hold at a time: 64 MiB; a single clip may need more


@dataclass(frozen=True)
class Redundancy:
    """`layers`: a row a convolution and dimension, mean over clips. `clips`: a row a clip and dimension, mean over
    layers; `clip` counts from 0 in the order of the batches. Both hold a column for each of MEASURES."""

    layers: pd.DataFrame
    clips: pd.DataFrame

    def summary(self) -> pd.DataFrame:
        """A row a dimension as in table B.1: mean over layers, then over clips; `CC_5%` and the like are quantiles over
        clips, 0 % the smallest and 100 % the largest."""
        rows = []
        for dimension, clips in self.clips.groupby("dimension", sort=False):
            row = {"dimension": dimension, "clips": len(clips)} | clips[list(MEASURES)].mean().to_dict()
            for name in ("CC", "RMSE", "RP"):
                row |= {f"{name}_{q:.0%}": float(clips[name].quantile(q)) for q in QUANTILES}
            rows.append(row)
        return pd.DataFrame(rows)


def measure_redundancy(
    model: nn.Module, batches: Iterable[Inputs], *, layers: Collection[str] | None = None, tensor: str = "convolution"
) -> Redundancy:  # fmt: skip
    """Temporal and channel redundancy of the convolutions of any network, in evaluation mode, on batches of clips.

    `batches` are inputs of `model`, moved to its device. `layers` names the nn.Conv2d and nn.Conv3d to look at, by
    default all. `tensor` is what is compared: the output of the "convolution" itself; that of the normalisation that
    takes it ("normalised"; where none does, the convolution's own); or the latter with negative values set to zero
    ("rectified", whatever activation the network has). The thesis does not say which it takes.

    Slabs that are constant, to rounding, have no correlation: they are left out of all pairs and counted. A dimension
    in which a layer has one slab, or slabs of one value, is skipped; so is a clip of which fewer than two slabs vary.
    A convolution that runs several times counts with the mean of its runs. Images of 2-D networks that fold T frames
    into the batch are taken as clips, frames last.

    Raises ValueError for names that are no convolution, an unknown `tensor`, no clips, and values that are not finite.
    """
    watched = _watched(model, layers)
    if tensor not in TENSORS:
        raise ValueError(f"tensor must be one of {TENSORS}, not {tensor!r}.")
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise ValueError("There is no clip to measure redundancy on: there are no batches.")
    read = (lambda x: x.clamp(min=0)) if tensor == "rectified" else (lambda x: x)
    sums, clips = {}, []
    with keeping_policies(model), evaluating(model), torch.no_grad():
        if tensor != "convolution":
            watched |= _normalisations(model, watched, _on_device(first, model))
        for inputs in chain([first], batches):
            inputs = _on_device(inputs, model)
            found = _measure_batch(model, inputs, watched, read)
            for key, values in found.items():
                total, count = sums.get(key, (0.0, 0))
                sums[key] = total + np.nansum(values, 0), count + (~np.isnan(values)).sum(0)
            clips.append(_over_layers(found, batch_size(inputs)))
    return Redundancy(_layer_table(watched, sums), _clip_table(np.concatenate(clips, axis=1)))


def _watched(model: nn.Module, layers: Collection[str] | None) -> dict[str, nn.Module]:
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, CONVOLUTIONS)}
    if unknown := sorted(set(layers or ()) - convolutions.keys()):
        raise ValueError(f"{', '.join(map(repr, unknown))}: no nn.Conv2d or nn.Conv3d of this network has that name.")
    if not convolutions or (layers is not None and not layers):
        raise ValueError("There is no convolution to measure redundancy in.")
    return convolutions if layers is None else {name: convolutions[name] for name in convolutions if name in layers}


def _normalisations(model: nn.Module, watched: dict[str, nn.Module], inputs: Inputs) -> dict[str, nn.Module]:
    """The normalisation that takes a convolution's output, by the convolution's name, found in one forward pass."""
    last: list[tuple[str, Tensor, int]] = []
    found = {}

    def leave(name: str):
        return lambda _, inputs, output: last.__setitem__(slice(None), [(name, output, output._version)])

    def enter(module: nn.Module, inputs: tuple) -> None:
        for name, output, version in last:
            if inputs and inputs[0] is output and output._version == version:  # an activation in place counts a version
                found[name] = module

    norms = [m for m in model.modules() if "Norm" in type(m).__name__ and not any(True for _ in m.children())]
    with _hooks(m.register_forward_hook(leave(n)) for n, m in watched.items()):
        with _hooks(m.register_forward_pre_hook(enter) for m in norms):
            model(inputs)
    return found


def _measure_batch(model, inputs: Inputs, watched, read: Callable) -> dict[tuple[str, str], np.ndarray]:
    """{(layer, dimension): B x MEASURES} of one forward pass, the mean over the runs of a layer."""
    runs: dict[tuple[str, str], list[np.ndarray]] = {}
    clips = batch_size(inputs)

    def hook(name: str):
        def measure(_, inputs, output: Tensor) -> None:
            maps = _as_clips(name, read(output), clips)
            for dimension, swapped in (("temporal", maps.transpose(1, 2)), ("channel", maps)):
                if swapped.shape[1] > 1 and swapped[0, 0].numel() > 1:
                    runs.setdefault((name, dimension), []).append(_in_parts(name, swapped))

        return measure

    with _hooks(module.register_forward_hook(hook(name)) for name, module in watched.items()):
        model(inputs)
    return {key: np.mean(values, axis=0) for key, values in runs.items()}


def _in_parts(name: str, maps: Tensor) -> np.ndarray:
    size = max(maps[0].numel(), maps.shape[1] ** 2)
    try:
        parts = [pair_measures(part.flatten(2)).cpu() for part in maps.split(max(1, _LARGEST // size))]
    except ValueError as error:
        raise ValueError(f"Layer {name!r}: {error}.") from error
    return torch.cat(parts).numpy()


def _as_clips(name: str, output: Tensor, clips: int) -> Tensor:
    """B x C x T x H x W of a convolution's output, of a 2-D one too."""
    if output.dim() == 4 and len(output) % clips == 0:
        return output.unflatten(0, (clips, -1)).transpose(1, 2)
    if output.dim() != 5 or len(output) != clips:
        raise ValueError(f"Layer {name!r} gave maps of shape {tuple(output.shape)} for a batch of {clips} clips.")
    return output


def _over_layers(found: dict[tuple[str, str], np.ndarray], clips: int) -> np.ndarray:
    """Mean over the layers that have a value: DIMENSIONS x B x MEASURES."""
    means = []
    for dimension in DIMENSIONS:
        values = np.array([v for (_, of), v in found.items() if of == dimension]).reshape(-1, clips, len(MEASURES))
        count = (~np.isnan(values)).sum(0)
        means.append(np.divide(np.nansum(values, 0), count, where=count > 0, out=np.full(count.shape, np.nan)))
    return np.stack(means)


def _layer_table(watched: dict[str, nn.Module], sums: dict) -> pd.DataFrame:
    rows = []
    for name in watched:
        for dimension in DIMENSIONS:
            if (name, dimension) in sums:
                total, count = sums[name, dimension]
                means = np.divide(total, count, where=count > 0, out=np.full(len(MEASURES), np.nan))
                rows.append({"layer": name, "dimension": dimension} | dict(zip(MEASURES, means, strict=True)))
    return pd.DataFrame(rows, columns=["layer", "dimension", *MEASURES])


def _clip_table(values: np.ndarray) -> pd.DataFrame:
    """DIMENSIONS x clips x MEASURES as rows, clip by clip."""
    tables = [
        pd.DataFrame(of_dimension, columns=list(MEASURES)).rename_axis("clip").reset_index().assign(dimension=dimension)
        for dimension, of_dimension in zip(DIMENSIONS, values, strict=True)
    ]
    table = pd.concat(tables).sort_values("clip", kind="stable", ignore_index=True)
    return table[["clip", "dimension", *MEASURES]]


def _on_device(inputs: Inputs, model: nn.Module) -> Inputs:
    device = next(model.parameters()).device
    return inputs.to(device) if isinstance(inputs, Tensor) else [part.to(device) for part in inputs]


@contextmanager
def _hooks(handles):
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield
