"""How alike generated maps are to those that full computation gives (thesis section B.3, figures B-2 and B-3).

A layer with output F generates under the temporal factor R every frame t that R does not divide from the computed frame
R floor(t / R), and under the channel ratio r every channel c from K = ceil(r C) on from the computed channel c mod K.
Each generated map (one channel, one frame, H x W) is compared with the same map of F; so is, as the least that a cheap
operation must beat, a plain copy of its source.

    CC      Pearson correlation; CC_copy that of the copy
    RMSE    root mean squared difference, in standard deviations of F of that clip and layer; RMSE_copy likewise

Shapes: B clip, C channel, T frame, H W pixel, K kept channels, N generated channels or frames.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from vared.analysis.similarity import constant_slabs
from vared.execution import execute
from vared.figures.shown_run import trained_run
from vared.policies import dynamic_layers, keeping_policies, one_hot_policy
from vared.runs import RunPlan
from vared.scratch import write_text
from vared.trial_run import evaluating

AXES = {"temporal": 2, "channel": 1}  # of B x C x T x H x W
CLIPS, _BATCH = 48, 12  # validation clips a run is measured on, and at a time
_MEASURES = ("CC", "CC_copy", "RMSE", "RMSE_copy", "flat")


def maps_under(layer: nn.Module, x: Tensor, temporal: int = 1, channel: float = 1.0) -> Tensor:
    """Output of a dynamic layer for B x C_in x T x H x W with weight 1 on that candidate alone: B x C x T x H x W."""
    weights = (one.to(x.device).expand(len(x), -1) for one in one_hot_policy(layer, temporal, channel))
    return execute(layer, x, *weights)


def generated(layer: nn.Module, dimension: str, candidate: float, frames: int) -> tuple[Tensor, Tensor]:
    """Indices N of the frames (`dimension` "temporal", R = `candidate`, of `frames`) or channels ("channel", r) that
    the layer generates under that candidate alone, and of the computed ones they are generated from."""
    if dimension == "temporal":
        indices = torch.arange(frames)
        indices = indices[indices % int(candidate) > 0]
        return indices, indices - indices % int(candidate)
    kept = layer.kept_channels[layer.channel_ratios.index(candidate)]
    indices = torch.arange(kept, layer.out_channels)
    return indices, indices % kept


def measure_generated_maps(model: nn.Module, batches: Iterable[Tensor]) -> pd.DataFrame:
    """A row a clip, dynamic layer, dimension and candidate that saves something, in evaluation mode.

    Layers get the input that the network's own gates lead to. Columns: layer, dimension, candidate (R or r), clip
    (counts from 0; of a 2-D layer, image), the measures above as means over maps, `flat` (share of maps without a
    correlation, because one of the three has a single value) and `used` (whether the gate of the clip generates these
    maps: the candidate is the largest it opens).
    Raises ValueError for a network without dynamic layers, and for values that are not finite.
    """
    layers = dynamic_layers(model)
    if not layers:
        raise ValueError("This network has no dynamic layer that could generate maps.")
    tables, first = [], 0

    def compare(name: str):
        def hook(layer: nn.Module, inputs: tuple[Tensor], _) -> None:
            x = inputs[0] if layer.is_3d else inputs[0].unsqueeze(2)
            try:
                found = _compare_layer(layer, x)
            except ValueError as error:
                raise ValueError(f"Layer {name!r}: {error}.") from error
            tables.extend(table.assign(layer=name, clip=table["clip"] + first) for table in found)

        return hook

    with keeping_policies(model), evaluating(model), torch.no_grad(), ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(compare(name)).remove)
        for clips in batches:
            model(clips.to(next(model.parameters()).device))
            first += len(clips)
    if not tables:
        raise ValueError("There is no clip to measure: there are no batches.")
    return pd.concat(tables, ignore_index=True)


def _compare_layer(layer: nn.Module, x: Tensor) -> list[pd.DataFrame]:
    """A table a candidate for the input B x C_in x T x H x W of the layer, which has just decided about it."""
    policy, computed, tables = layer.last_policy, maps_under(layer, x), []
    deviation = computed.double().flatten(1).std(1, correction=0)
    for dimension, candidates, choice in (
        ("temporal", layer.temporal_factors, policy.temporal_choice),
        ("channel", layer.channel_ratios, policy.channel_choice),
    ):
        for number, candidate in enumerate(candidates[1:], start=1):
            indices, source = (i.to(x.device) for i in generated(layer, dimension, candidate, computed.shape[2]))
            mixed, axis = maps_under(layer, x, **{dimension: candidate}), AXES[dimension]
            target = computed.index_select(axis, indices)
            measures = _compare_maps(mixed.index_select(axis, indices), computed.index_select(axis, source), target)
            measures[:, 2:4] /= deviation[:, None]
            table = pd.DataFrame(measures.cpu().numpy(), columns=list(_MEASURES))
            row = {"dimension": dimension, "candidate": candidate, "clip": range(len(x))}
            tables.append(table.assign(used=(choice == number).cpu().numpy(), **row))
    return tables


def _compare_maps(rebuilt: Tensor, copied: Tensor, target: Tensor) -> Tensor:
    """_MEASURES of each clip, B x 5, float64, mean over its maps, for three tensors B x C x T x H x W of generated
    maps; RMSE in the unit of the maps."""
    rebuilt, copied, target = (maps.flatten(3).flatten(1, 2) for maps in (rebuilt, copied, target))
    flat = constant_slabs(rebuilt) | constant_slabs(copied) | constant_slabs(target)
    correlations = [_correlation(maps, target).masked_fill(flat, torch.nan).nanmean(1) for maps in (rebuilt, copied)]
    errors = [(maps.double() - target.double()).square().mean(2).sqrt().mean(1) for maps in (rebuilt, copied)]
    return torch.stack([*correlations, *errors, flat.double().mean(1)], dim=1)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation of maps B x N x D: B x N."""
    a, b = (maps.double() - maps.double().mean(2, keepdim=True) for maps in (first, second))
    return (a * b).sum(2) / (torch.linalg.vector_norm(a, dim=2) * torch.linalg.vector_norm(b, dim=2))


def similarity_rows(maps: pd.DataFrame) -> pd.DataFrame:
    """A row a dimension from `measure_generated_maps`: mean over clips, then over layers and candidates.

    Columns: dimension, CC, CC_over_copy and RMSE_over_copy (minus that of the copy: a cheap operation is better than
    the copy where the first is positive and the second negative), RMSE, flat, used (share of clips whose gates
    generate the maps) and CC_used (of these clips alone).
    """
    maps = maps.assign(CC_used=maps["CC"].where(maps["used"]), used=maps["used"].astype(float))
    columns = [*_MEASURES, "used", "CC_used"]
    means = maps.groupby(["dimension", "layer", "candidate"])[columns].mean().groupby("dimension").mean()
    for name in ("CC", "RMSE"):
        means[f"{name}_over_copy"] = means[name] - means[f"{name}_copy"]
    wanted = ["CC", "CC_over_copy", "RMSE", "RMSE_over_copy", "flat", "used", "CC_used"]
    return means.reindex([name for name in AXES if name in means.index])[wanted].rename_axis("dimension").reset_index()


def similarity_text(similarity: pd.DataFrame) -> pd.DataFrame:
    """Rows of generated_maps.csv for reading: a row a run."""
    titles = {
        "CC": "correlation (CC)", "CC_over_copy": "CC minus that of a copy", "RMSE": "RMSE (standard deviations)",
        "RMSE_over_copy": "RMSE minus that of a copy", "CC_used": "CC where the gates generate the maps",
    }  # fmt: skip
    numbers = similarity[list(titles)].map(lambda value: "–" if pd.isna(value) else f"{value:.3f}")
    return numbers.rename(columns=titles).assign(run=similarity["run"])[["run", *titles.values()]]


def write_generated_maps(root: Path, plans: Sequence[RunPlan], target: Path) -> None:
    """Write generated_maps.csv: `similarity_rows` on CLIPS validation clips of every dynamic run with 8 frames among
    `plans`, of the profile's own network and data. Raises ValueError when there is none, FileNotFoundError for one that
    is not trained."""
    tables = []
    for plan in plans:
        if plan.run.search_space is not None and plan.run.frames == 8 and not (plan.run.data or plan.run.backbone):
            shown = trained_run(root, plan, CLIPS)
            rows = similarity_rows(measure_generated_maps(shown.network, shown.clips.split(_BATCH)))
            rows.insert(0, "run", plan.run.word)
            tables.append(rows)
    if not tables:
        raise ValueError("No run of this profile is dynamic with 8 frames; params.yaml, run_lists, names the runs.")
    write_text(target, pd.concat(tables).round(6).to_csv(index=False))
