"""R(2+1)D-18: every 3-D convolution is a 1 x k x k spatial and a k x 1 x 1 temporal one (thesis section 4.2).

    clip -> stem -> stage 1 (64) -> stage 2 (128, /2) -> stage 3 (256, /2) -> stage 4 (512, /2) -> mean -> linear

The hidden width of each pair keeps the parameters of the 3-D convolution it replaces. It is computed for every
convolution, which gives the operations that the thesis prints (27.5 / 55.1 / 110.2 GMACs at 8 / 16 / 32 frames of
128 x 128); computing it once a block, as elsewhere, gives 4 % less.

Shapes: B clip, C channel, T frame, H W pixel.
"""

from torch import Tensor, nn


class FactoredConv(nn.Sequential):
    """1 x k x k convolution -> BN -> ReLU -> t x 1 x 1 convolution, without biases.

    The stride in space belongs to the first, the stride in time to the second.
    """

    def __init__(self, in_channels: int, out_channels: int, *, spatial: int, temporal: int, stride: tuple[int, int]):
        super().__init__()
        hidden = (temporal * spatial**2 * in_channels * out_channels) // (
            spatial**2 * in_channels + temporal * out_channels
        )
        hidden = max(1, hidden)  # very narrow networks
        time_stride, space_stride = stride
        half = spatial // 2
        self.spatial = nn.Conv3d(
            in_channels, hidden, (1, spatial, spatial), (1, space_stride, space_stride), (0, half, half), bias=False
        )
        self.norm = nn.BatchNorm3d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.temporal = nn.Conv3d(
            hidden, out_channels, (temporal, 1, 1), (time_stride, 1, 1), (temporal // 2, 0, 0), bias=False
        )


class BasicBlock(nn.Module):
    """Two factored 3 x 3 x 3 convolutions with a shortcut. B x C x T x H x W."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = FactoredConv(in_channels, out_channels, spatial=3, temporal=3, stride=(stride, stride))
        self.norm1 = nn.BatchNorm3d(out_channels)
        self.conv2 = FactoredConv(out_channels, out_channels, spatial=3, temporal=3, stride=(1, 1))
        self.norm2 = nn.BatchNorm3d(out_channels)
        # Blocks start as their shortcut (Goyal et al., 2017): short trainings get off the ground much sooner.
        nn.init.zeros_(self.norm2.weight)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                FactoredConv(in_channels, out_channels, spatial=1, temporal=1, stride=(stride, stride)),
                nn.BatchNorm3d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + shortcut)


class R2Plus1D(nn.Module):
    """R(2+1)D-18 for clips B x 3 x T x H x W -> logits B x num_classes. Any T, H, W."""

    def __init__(self, num_classes: int, widths: tuple[int, int, int, int]):
        super().__init__()
        self.stem = nn.Sequential(
            FactoredConv(3, widths[0], spatial=7, temporal=3, stride=(1, 2)),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(inplace=True),
        )
        incoming = (widths[0], *widths[:3])
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1))
            for before, after, stride in zip(incoming, widths, (1, 2, 2, 2), strict=True)
        )
        self.head = nn.Linear(widths[3], num_classes)
        self.apply(_initialise)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.stem(clips)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((-3, -2, -1)))


def build(*, num_classes: int, width: float = 1.0) -> R2Plus1D:
    """R(2+1)D-18 whose channel counts 64, 128, 256, 512 are multiplied by `width`."""
    return R2Plus1D(num_classes, tuple(max(1, round(width * channels)) for channels in (64, 128, 256, 512)))


def is_dynamic(name: str, conv: nn.Module) -> bool:
    """The 16 spatial convolutions in the blocks: "mainly 2D convolutions" (appendix A.2), 72 % of the operations."""
    return name.startswith("stages.") and name.endswith((".conv1.spatial", ".conv2.spatial"))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
