"""Where and what: a YOWO head on one 3-D backbone, for spatio-temporal localisation (thesis section 4.3).

    clip -> backbone -> mean over T -> 1x1 -> 3x3 -> channel attention -> 3x3 -> 1x1 -> 1x1 -> anchors x (classes + 5)

The thesis puts a 3-D backbone in the place of YOWO's 2-D branch. One backbone followed by YOWO's fusion layers costs
what it prints (43.9 GFLOPs with I3D, 5.75 with X3D-M), so there is no second branch here.

Shapes: B clip, C channel, T frame, H W cell of the backbone's last map, A anchor, K class.
"""

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Mixes channels by their similarity over the map (YOWO): y = alpha softmax(x xᵀ) x + x, alpha learned from 0."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W, same shape out."""
        maps = x.flatten(2)
        attention = torch.softmax(maps @ maps.transpose(1, 2), dim=-1)
        return self.alpha * (attention @ maps).view_as(x) + x


class YowoHead(nn.Module):
    """Fusion layers and box predictor: B x C x H x W -> B x A (K + 5) x H x W.

    Of the K + 5 numbers of an anchor K are class scores, 4 the box and 1 the objectness.

    Args:
        in_channels: C of the backbone's map.
        num_classes, anchors: K and A.
        hidden: width of the fusion layers, 1024 in the thesis.
    """

    def __init__(self, in_channels: int, num_classes: int, anchors: int = 5, hidden: int = 1024):
        super().__init__()
        self.fusion = nn.Sequential(
            *_conv_norm_relu(in_channels, hidden, 1),
            *_conv_norm_relu(hidden, hidden, 3),
            ChannelAttention(),
            *_conv_norm_relu(hidden, hidden, 3),
            nn.Conv2d(hidden, hidden, 1),
        )
        self.predict = nn.Conv2d(hidden, anchors * (num_classes + 5), 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.fusion(x))


class Localizer(nn.Module):
    """Backbone and head: clips B x 3 x T x H x W -> B x A (K + 5) x H/32 x W/32.

    `backbone` needs a method `features` that gives B x C x T' x H/32 x W/32; its own classifier is not used.
    """

    def __init__(self, backbone: nn.Module, head: YowoHead):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.backbone.features(clips).mean(2))


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
