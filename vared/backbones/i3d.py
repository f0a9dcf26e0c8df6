"""I3D "InceptionV2": GoogLeNet inflated to three dimensions, its 5 x 5 branches made 3 x 3 x 3 (thesis section 4.2).

    clip -> 7x7x7 (/1,2,2) -> pool -> 1x1x1, 3x3x3 -> pool -> 3a 3b -> pool -> 4a-4e -> pool -> 5a 5b -> mean -> linear

The thesis prints a name and the operations, 56.0 / 112.0 GFLOPs at 16 / 32 frames of 256 x 256. This network needs
55.9 / 111.9; no variant of the batch-normalised Inception that the name suggests came as near (55.6 at best).

Shapes: B clip, C channel, T frame, H W pixel. The strides divide T by 8 and H, W by 32, rounded up.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

# Channels of the four branches: 1x1x1 | 1x1x1, 3x3x3 | 1x1x1, 3x3x3 | 1x1x1 after max-pooling.
INCEPTION_CHANNELS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
STAGES = (("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b"))


class ConvNormReLU(nn.Sequential):
    """k x k x k convolution without bias -> BN -> ReLU. Keeps T; divides H, W by `space_stride`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, space_stride: int = 1):
        super().__init__()
        stride = (1, space_stride, space_stride)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)


class Inception(nn.Module):
    """Four branches side by side, concatenated over channels. B x C x T x H x W, same T, H, W out.

    1x1x1 | 1x1x1 -> 3x3x3 | 1x1x1 -> 3x3x3 | max-pool 3x3x3 -> 1x1x1
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]):
        super().__init__()
        pointwise, wide_reduced, wide, slim_reduced, slim, pooled = channels
        self.pointwise = ConvNormReLU(in_channels, pointwise, 1)
        self.wide = nn.Sequential(ConvNormReLU(in_channels, wide_reduced, 1), ConvNormReLU(wide_reduced, wide, 3))
        self.slim = nn.Sequential(ConvNormReLU(in_channels, slim_reduced, 1), ConvNormReLU(slim_reduced, slim, 3))
        self.pooled = nn.Sequential(nn.MaxPool3d(3, 1, 1), ConvNormReLU(in_channels, pooled, 1))
        self.out_channels = pointwise + wide + slim + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pointwise(x), self.wide(x), self.slim(x), self.pooled(x)], dim=1)


class I3D(nn.Module):
    """I3D for clips B x 3 x T x H x W -> logits B x num_classes. Any T, H, W.

    `width` multiplies every channel count. Dropout before the classifier is that of the original I3D; the thesis
    follows the original papers' settings (section 4.3) and does not mention it.
    """

    def __init__(self, num_classes: int, width: float, dropout: float):
        super().__init__()

        def scaled(*channels: int) -> tuple[int, ...]:
            return tuple(max(1, round(width * count)) for count in channels)

        first, last = scaled(64, 192)
        self.stem = nn.Sequential(
            ConvNormReLU(3, first, 7, space_stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            ConvNormReLU(first, first, 1),
            ConvNormReLU(first, last, 3),
        )
        self.stages = nn.ModuleList()
        for names in STAGES:
            stage = OrderedDict(pool=nn.MaxPool3d(3, 2, 1))
            for name in names:
                stage[name] = Inception(last, scaled(*INCEPTION_CHANNELS[name]))
                last = stage[name].out_channels
            self.stages.append(nn.Sequential(stage))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(last, num_classes)
        self.apply(_initialise)

    def features(self, clips: Tensor) -> Tensor:
        """Map before the classifier: B x 3 x T x H x W -> B x 1024 x T/8 x H/32 x W/32 (1024 at full width)."""
        x = self.stem(clips)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(clips).mean((-3, -2, -1))))


def build(*, num_classes: int, width: float = 1.0, dropout: float = 0.5) -> I3D:
    """I3D whose channel counts are multiplied by `width`."""
    return I3D(num_classes, width, dropout)


def is_dynamic(name: str, conv: nn.Module) -> bool:
    """The 20 convolutions with a kernel above 1, 95 % of the operations.

    Stem and third convolution are among them: with either of them static, not even the cheapest policy reaches the
    26.5 GFLOPs that the thesis prints for Mini-Kinetics-200.
    """
    return max(conv.kernel_size) > 1


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
