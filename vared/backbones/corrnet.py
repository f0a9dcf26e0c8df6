"""R(2+1)D-18 with correlation blocks (thesis section 4.4, table 4.4; Wang et al., "Video Modeling with Correlation
Networks", 2020): one block at the end of stages 1, 2 and 3.

    x -> 1 x 1 x 1, C -> C/4 -> BN -> ReLU -> correlation with the frame before
      -> 1 x 1 x 1, 49 G -> C -> BN -> + x -> ReLU

The thesis gives the name and one cost. Blocks at stages 1 to 3 meet it to 0.5 % (60.54 of 60.8 GMACs at 16 frames of
128 x 128). In the paper the weights of the correlation differ from frame to frame; here all frames share them, so that
any number of frames fits.

Shapes: B clip, C channel, T frame, H W pixel, G groups.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.backbones import r2plus1d
from vared.backbones.r2plus1d import is_dynamic

__all__ = ["CorrelationBlock", "GroupwiseCorrelation", "build", "correlation_gmacs", "is_dynamic"]

REACH = 3  # pixels in every direction: a window of 7 x 7


class GroupwiseCorrelation(nn.Module):
    """How well a pixel matches those around it in the frame before: B x C x T x H x W -> B x 49 G x T x H x W.

        S[g, dy, dx](t, y, x) = sum over channels c of group g of  W[c, dy, dx] X_c(t, y, x) X_c(t - 1, y + dy, x + dx)

    with dy, dx in -3 .. 3; zero outside the frame; the first frame is compared with itself. Output channel
    (7 (dy + 3) + (dx + 3)) G + g. W starts as the mean over a group, the plain correlation.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.channels, self.groups = channels, groups
        self.weight = nn.Parameter(torch.full((len(_offsets()), channels), groups / channels))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        before = F.pad(torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2), (REACH,) * 4)
        weights = self.weight.to(x.dtype)[:, :, None, None, None]
        matches = []
        # One offset at a time, without copies of the 49 windows: the matches alone are the network's largest tensor.
        for (dy, dx), weight in zip(_offsets(), weights, strict=True):
            neighbour = before[..., REACH + dy :, REACH + dx :][..., :height, :width]
            matches.append((x * weight * neighbour).unflatten(1, (self.groups, -1)).sum(2))
        return torch.cat(matches, dim=1)

    def macs(self, frames: int, height: int, width: int) -> int:
        """Multiply-accumulates for one clip, one a channel and offset; the window is counted at the border too."""
        return self.weight.numel() * frames * height * width


class CorrelationBlock(nn.Module):
    """Correlation with the frame before, added to the input. B x C x T x H x W, same shape out.

    As many groups as channels, 32 at most; narrow networks have fewer in proportion (`most_groups`).
    """

    def __init__(self, channels: int, most_groups: int):
        super().__init__()
        hidden = max(1, channels // 4)
        groups = max(g for g in range(1, max(1, most_groups) + 1) if hidden % g == 0)
        self.reduce = nn.Conv3d(channels, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm3d(hidden)
        self.correlation = GroupwiseCorrelation(hidden, groups)
        self.expand = nn.Conv3d(len(_offsets()) * groups, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        for conv in (self.reduce, self.expand):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        # The block starts as the identity, so that a trained R(2+1)D-18 can be loaded and extended.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.reduce(x)))
        return self.relu(self.norm2(self.expand(self.correlation(y))) + x)


def build(*, num_classes: int, width: float = 1.0) -> r2plus1d.R2Plus1D:
    """R(2+1)D-18 + CorrNet; `width` multiplies every channel count, and with it the largest number of groups.

    The backbone keeps the parameter names and the initial weights of R(2+1)D-18; the blocks add `stages.{0,1,2}.2.*`.
    """
    model = r2plus1d.build(num_classes=num_classes, width=width)
    channels = [stage[-1].norm2.num_features for stage in model.stages[:3]]
    for stage, count in zip(model.stages, channels, strict=False):
        stage.append(CorrelationBlock(count, most_groups=channels[0] // 2))  # 32 of 64
    return model


def correlation_gmacs(model: nn.Module, clip: tuple[int, int, int, int]) -> float:
    """GMACs of all correlations for a clip C x T x H x W. No convolutions, so `count_flops` leaves them out."""
    macs = []
    shapes_only = copy.deepcopy(model).to("meta").eval()
    for module in shapes_only.modules():
        if isinstance(module, GroupwiseCorrelation):
            module.register_forward_hook(lambda layer, _, output: macs.append(layer.macs(*output.shape[-3:])))
    with torch.no_grad():
        shapes_only(torch.empty(1, *clip, device="meta"))
    return sum(macs) / 1e9


def _offsets() -> list[tuple[int, int]]:
    return [(dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)]
