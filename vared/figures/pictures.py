"""Pictures of what the method does to one clip: its frames, gate weights, feature maps, and what was executed.

Everything is drawn into a matplotlib figure or subfigure that the caller makes, so that pictures can be put together.

Shapes: B clip, C channel, T frame, H W pixel, N picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from torch import Tensor, nn

from vared.data.transforms import MEAN, STD
from vared.gate import Policy

_PALETTE = sns.color_palette("colorblind")
_SMALL = 8  # points, of all text in the pictures
# Fractions of the figure: room for the names of rows on the left and of columns on top, the same in every picture.
_MARGINS = {"left": 0.18, "right": 0.99, "bottom": 0.06, "top": 0.88, "wspace": 0.04, "hspace": 0.06}


def layer_input(model: nn.Module, name: str, clips: Tensor) -> Tensor:
    """What layer `name` of `model` is given in a forward pass on `clips`, in evaluation mode."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            model.eval()(clips)
    finally:
        handle.remove()
    return seen[0]


def draw_clips(figure, clips: Mapping[str, Tensor]) -> None:
    """A row of frames a clip; `clips` are normalised ones 3 x T x H x W by title."""
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    frames = {title: (clip * std + mean).clamp(0, 1).permute(1, 2, 3, 0) for title, clip in clips.items()}
    _draw_rows(figure, frames, [f"frame {t}" for t in range(len(next(iter(frames.values()))))])


def draw_maps(figure, rows: Mapping[str, Tensor], titles: Sequence[str], *, scale_columns: bool = False) -> None:
    """Rows of feature maps N x H x W by title, `titles` above the columns: blue negative, white 0, red positive.

    One colour scale for all maps, or one for each column.
    """
    stacked = torch.stack(list(rows.values())).abs()
    limits = stacked.amax((0, 2, 3)) if scale_columns else stacked.max().expand(stacked.shape[1])
    _draw_rows(figure, rows, titles, [max(limit, 1e-12) for limit in limits.tolist()])


def _draw_rows(figure, rows: Mapping[str, Tensor], titles: Sequence[str], limits: Sequence[float] = ()) -> None:
    axes = figure.subplots(len(rows), len(titles), squeeze=False, gridspec_kw=_MARGINS | {"wspace": 0.06})
    for of_row, (title, pictures) in zip(axes, rows.items(), strict=True):
        for column, (axis, picture) in enumerate(zip(of_row, pictures, strict=True)):
            colours = {"cmap": "vlag", "vmin": -limits[column], "vmax": limits[column]} if limits else {}
            axis.imshow(picture.numpy(), interpolation="nearest", **colours)
            axis.set(xticks=[], yticks=[])
            sns.despine(ax=axis, left=True, bottom=True)
        of_row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=_SMALL)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=_SMALL, pad=3)


def draw_gates(figure, policies: Mapping[str, Policy], clips: Sequence[str]) -> None:
    """V_t and V_c of every layer, a panel a clip. A blank cell is a shut candidate, a grey one does not exist."""
    axes = figure.subplots(1, len(clips), sharey=True, squeeze=False, gridspec_kw=_MARGINS)[0]
    factors = sorted({factor for policy in policies.values() for factor in policy.temporal_factors})
    ratios = sorted({ratio for policy in policies.values() for ratio in policy.channel_ratios}, reverse=True)
    columns = [f"R = {factor}" for factor in factors] + [f"r = 1/{round(1 / ratio)}" for ratio in ratios]
    columns[len(factors)] = "r = 1"
    for clip, (axis, title) in enumerate(zip(axes, clips, strict=True)):
        grid = np.full((len(policies), len(columns)), np.nan)
        for row, policy in enumerate(policies.values()):
            for offset, known, candidates, weights in (
                (0, factors, policy.temporal_factors, policy.temporal),
                (len(factors), ratios, policy.channel_ratios, policy.channel),
            ):
                if len(candidates) > 1:
                    for candidate, weight in zip(candidates, weights[clip].tolist(), strict=True):
                        grid[row, offset + known.index(candidate)] = weight
        text = np.where(grid > 0, np.char.mod("%.2f", np.nan_to_num(grid)), "")
        axis.set_facecolor("0.85")
        sns.heatmap(
            grid, ax=axis, vmin=0, vmax=1, cmap="Blues", cbar=False, linewidths=0.5, annot=text, fmt="",
            annot_kws={"fontsize": _SMALL - 1}, xticklabels=columns, yticklabels=list(policies),
        )  # fmt: skip
        axis.axvline(len(factors), color="0.3", linewidth=1.5)
        axis.tick_params(labelsize=_SMALL, length=0, labelrotation=0)
        axis.set_title(title, fontsize=_SMALL)


def draw_execution(figure, policies: Mapping[str, Policy], weights: Mapping[str, float], clips: Sequence[str]) -> None:
    """Share of the operations that each layer has (grey), and of these the part executed for each clip (coloured).

    `weights` are the w_l of equation (3.6); the coloured bars of a clip add up to its e.
    """
    margins = _MARGINS | {"bottom": 0.14}
    axes = figure.subplots(1, len(clips), sharex=True, sharey=True, squeeze=False, gridspec_kw=margins)[0]
    names, dense = list(weights), [100 * weight for weight in weights.values()]
    for clip, (axis, title) in enumerate(zip(axes, clips, strict=True)):
        executed = [100 * weights[name] * policies[name].cost[clip].item() for name in names]
        axis.barh(names, dense, color="0.85")
        axis.barh(names, executed, color=_PALETTE[clip])
        axis.set_title(f"{title}: e = {sum(executed) / 100:.2f}", fontsize=_SMALL)
        axis.set_xlabel("operations of the dynamic layers (%)", fontsize=_SMALL)
        axis.tick_params(labelsize=_SMALL)
        sns.despine(ax=axis)
    axes[0].invert_yaxis()
