"""R(2+1)D-18 with a temporal pyramid network on top (thesis section 4.4, table 4.3; Yang et al., 2020).

    stage 3 -> spatial modulation -> temporal modulation --+-> top-down:  add stage 4 --> level fusion --+
    stage 4 -> (identity)         -> temporal modulation --+-> bottom-up: add stage 3 --> level fusion --+
        -> pyramid fusion -> mean -> linear

The thesis gives the name and two costs, which many layouts fit. This one follows the paper: both directions start
from the modulated levels. It meets the costs to 0.6 % (28.34 / 56.68 GMACs at 8 / 16 frames of 128 x 128).
The paper's auxiliary classifier on stage 3, used in training only, is left out: a network here returns one tensor,
and neither the printed costs nor the thesis's recipe (cross entropy and efficiency loss) contain it.

Shapes: B clip, C channel, T frame, H W pixel.
"""

import torch
from torch import Tensor, nn

from vared.backbones.r2plus1d import R2Plus1D, is_dynamic

__all__ = ["R2Plus1DTPN", "TemporalPyramid", "build", "is_dynamic"]  # dynamic: the 16 of the backbone, not the neck

GROUP_CHANNELS = 16  # channels of a group, 512 / 32: narrow networks have fewer groups, not smaller ones


class ConvNormReLU(nn.Sequential):
    """Convolution without bias that keeps the number of frames -> BN -> ReLU. B x C x T x H x W."""

    def __init__(self, in_channels: int, out_channels: int, *, space: int = 1, space_stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv3d(
            in_channels, out_channels, (1, space, space), (1, space_stride, space_stride), (0, space // 2, space // 2),
            groups=groups, bias=False,
        )  # fmt: skip
        self.norm = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)


class LevelFusion(nn.Module):
    """Two levels B x C x T x H x W -> B x 2C x T x H x W: each through a grouped 1 x 1 x 1, then joined."""

    def __init__(self, channels: int):
        super().__init__()
        groups = _groups(channels)
        self.levels = nn.ModuleList(ConvNormReLU(channels, channels, groups=groups) for _ in range(2))
        self.join = ConvNormReLU(2 * channels, 2 * channels)

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        return self.join(torch.cat([level(x) for level, x in zip(self.levels, (lower, upper), strict=True)], dim=1))


class TemporalPyramid(nn.Module):
    """Neck over two stages: B x C3 x T x H x W and B x C4 x T/2 x H/2 x W/2 -> B x 2 C4 x T x H/2 x W/2."""

    def __init__(self, lower_channels: int, channels: int):
        super().__init__()
        self.spatial_modulation = ConvNormReLU(lower_channels, channels, space=3, space_stride=2)
        self.temporal_modulation = nn.ModuleList(_over_time(channels, _groups(channels)) for _ in range(2))
        self.to_upper = _over_time(channels)
        self.top_down, self.bottom_up = LevelFusion(channels), LevelFusion(channels)
        self.pyramid_fusion = ConvNormReLU(4 * channels, 2 * channels)

    def forward(self, stage3: Tensor, stage4: Tensor) -> Tensor:
        lower = self.temporal_modulation[0](self.spatial_modulation(stage3))
        upper = self.temporal_modulation[1](stage4)
        # Frame t of stage 4 was computed around frames 2t and 2t + 1 of stage 3.
        upper = upper.repeat_interleave(2, dim=2)[:, :, : lower.shape[2]]
        top_down = self.top_down(lower + upper, upper)
        bottom_up = self.bottom_up(lower, upper + self.to_upper(lower))
        return self.pyramid_fusion(torch.cat([top_down, bottom_up], dim=1))


class R2Plus1DTPN(R2Plus1D):
    """R(2+1)D-18 with a temporal pyramid, B x 3 x T x H x W -> logits B x num_classes. Any T, H, W.

    The backbone keeps the parameter names and the initial weights of R(2+1)D-18; the neck adds `neck.*`.
    """

    def __init__(self, num_classes: int, widths: tuple[int, int, int, int]):
        super().__init__(num_classes, widths)
        self.neck = TemporalPyramid(widths[2], widths[3])
        self.head = nn.Linear(2 * widths[3], num_classes)
        for module in self.neck.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, clips: Tensor) -> Tensor:
        stage2 = self.stages[1](self.stages[0](self.stem(clips)))
        stage3 = self.stages[2](stage2)
        return self.head(self.neck(stage3, self.stages[3](stage3)).mean((-3, -2, -1)))


def build(*, num_classes: int, width: float = 1.0) -> R2Plus1DTPN:
    """R(2+1)D-18 + TPN; `width` multiplies every channel count, and with it the number of groups."""
    return R2Plus1DTPN(num_classes, tuple(max(1, round(width * channels)) for channels in (64, 128, 256, 512)))


def _over_time(channels: int, groups: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), groups=groups, bias=False)


def _groups(channels: int) -> int:
    """32 groups of 512 channels; the largest number of groups that divides another width."""
    most = max(1, channels // GROUP_CHANNELS)
    return max(groups for groups in range(1, most + 1) if channels % groups == 0)
