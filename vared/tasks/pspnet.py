"""PSPNet on a dilated ResNet-18 (Zhao et al., 2017; thesis section 4.3), the network of semantic segmentation.

    image -> trunk at 1/8 -> bins 1, 2, 3, 6: pool, 1x1, upsample -> concatenate -> 3x3 -> 1x1 -> upsample

The trunk is timm's ResNet-18 with an output stride of 8: stages 3 and 4 have stride 1 and dilations 2 and 4. The thesis
names the network and no more; sizes of the head are those of the paper, at the width of ResNet-18.

Shapes: B image, C channel, H W pixel, h w = H/8, W/8 cell, K class.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vared.backbones.tsn import image_network
from vared.conversion import convert
from vared.layers import DynamicConfig

BINS = (1, 2, 3, 6)
DROPOUT = 0.1


class PyramidPooling(nn.Module):
    """The map and its means over grids of 1, 2, 3 and 6 bins: B x C x h x w -> about B x 2 C x h x w."""

    def __init__(self, channels: int):
        super().__init__()
        reduced = max(1, channels // len(BINS))
        self.branches = nn.ModuleList(nn.Sequential(*_conv_norm_relu(channels, reduced, 1)) for _ in BINS)
        self.out_channels = channels + len(BINS) * reduced

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        pooled = (branch(F.adaptive_avg_pool2d(x, bins)) for bins, branch in zip(BINS, self.branches, strict=True))
        return torch.cat([x, *(F.interpolate(part, size, mode="bilinear") for part in pooled)], 1)


class PSPNet(nn.Module):
    """Images B x 3 x H x W -> logits B x K x H x W; in training a pair of them, the second of the auxiliary head.

    The auxiliary head reads stage 3, is trained beside the main one and does not exist in evaluation.
    """

    def __init__(self, num_classes: int, width: float = 1.0):
        super().__init__()
        network = image_network(backbone="resnet18", num_classes=1, width=width)
        self.trunk = nn.ModuleDict(
            (name, child) for name, child in network.named_children() if name not in ("global_pool", "fc")
        )
        dilate(self.trunk["layer3"], before=1, after=2)
        dilate(self.trunk["layer4"], before=2, after=4)
        middle, last = (self.trunk[stage][-1].conv2.out_channels for stage in ("layer3", "layer4"))
        self.pyramid = PyramidPooling(last)
        self.head = _head(self.pyramid.out_channels, last, num_classes)
        self.auxiliary_head = _head(middle, max(1, middle // 4), num_classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        size, x = images.shape[-2:], images
        for name, part in self.trunk.items():
            x = part(x)
            if name == "layer3":
                middle = x
        logits = F.interpolate(self.head(self.pyramid(x)), size, mode="bilinear")
        if not self.training:
            return logits
        return logits, F.interpolate(self.auxiliary_head(middle), size, mode="bilinear")


def build(*, num_classes: int, crop_size: int, width: float = 1.0, dynamic: DynamicConfig | None = None) -> PSPNet:
    """PSPNet with every channel count multiplied by `width` (up to 1); with `dynamic` its 3x3 convolutions choose.

    Raises ValueError for a width above 1.
    """
    network = PSPNet(num_classes, width)
    if dynamic is not None:
        convert(network, dynamic, example=(3, crop_size, crop_size), where=is_dynamic)
    return network


def is_dynamic(name: str, conv: nn.Module) -> bool:
    """The 16 3x3 convolutions of the residual blocks and that of the head: 98 % of the operations.

    Stem, shortcuts, pyramid, classifier and auxiliary head stay static.
    """
    in_block = name.startswith("trunk.layer") and "downsample" not in name
    return in_block or name == "head.conv"


def dilate(stage: nn.Module, *, before: int, after: int) -> None:
    """Take the stride out of a stage of basic blocks and dilate: its first 3x3 by `before`, all others by `after`.

    As timm does for `output_stride=8`, which cannot be had together with a width.
    """
    first = stage[0].conv1
    for conv in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
        conv.stride = (1, 1)
        if conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (before, before) if conv is first else (after, after)


def _head(in_channels: int, hidden: int, num_classes: int) -> nn.Sequential:
    conv, norm, relu = _conv_norm_relu(in_channels, hidden, 3)
    classes = nn.Conv2d(hidden, num_classes, 1)
    parts = {"conv": conv, "norm": norm, "relu": relu, "drop": nn.Dropout2d(DROPOUT), "classes": classes}
    return nn.Sequential(OrderedDict(parts))


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
