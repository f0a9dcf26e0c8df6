"""Temporal segment networks: an image network on every frame, frame scores averaged (thesis section 4.4, table 4.4).

The networks are timm's, with 1 x k x k instead of k x k convolutions, so that clips keep their time dimension and a
dynamic layer can skip frames too. Parameters keep timm's names, and a timm checkpoint loads as it is.

ResNet (He et al., 2016; stride in the 3 x 3 of a bottleneck), MobileNetV2 (Sandler et al., 2018).

Shapes: B clip, C channel, T frame, H W pixel, N image, K class.
"""

from collections import OrderedDict
from math import sqrt

import torch.nn.functional as F
from torch import Tensor, nn

import vared.torchvision_operators  # noqa: F401  timm imports torchvision

# isort: split
import timm
from timm.layers import BatchNormAct2d, SelectAdaptivePool2d

TIMM_NAMES = {
    "resnet50": "resnet50",
    "resnet34": "resnet34",
    "resnet18": "resnet18",
    "mobilenetv2": "mobilenetv2_100",
}
# Means over time in the gates: 48 first layers for every frame would be a fifth of the parameters of ResNet-50.
DEFAULTS = {"pool_time": True}
IMAGE_CHANNELS = 3


class TSN(nn.Sequential):
    """An image network's children, inflated, one after the other: B x 3 x T x H x W -> logits B x K. Any T, H, W.

    Takes checkpoints of the image network too: weights K x C x k x k become K x C x 1 x k x k.
    """

    def __init__(self, children: "OrderedDict[str, nn.Module]"):
        super().__init__(children)
        _inflate(self)
        self.register_load_state_dict_pre_hook(_inflate_weights)

    def forward(self, clips: Tensor) -> Tensor:
        return super().forward(clips).mean(1)  # over frames


class FramePool(nn.Module):
    """Mean over the pixels of every frame: B x C x T x H x W -> B x T x C."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1)).transpose(1, 2)


class NormReLU6(nn.BatchNorm3d):
    """Batch normalisation, then ReLU6, in one module as in timm's MobileNetV2."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(super().forward(x), inplace=True)


def build(*, backbone: str, num_classes: int, width: float = 1.0) -> TSN:
    """TSN on "resnet50", "resnet34", "resnet18" or "mobilenetv2"; `width` as in `image_network`."""
    network = image_network(backbone=backbone, num_classes=num_classes, width=width)
    return TSN(OrderedDict(network.named_children()))


def image_network(*, backbone: str, num_classes: int, width: float = 1.0) -> nn.Module:
    """timm's network for images N x 3 x H x W -> N x K, with every channel count multiplied by `width`.

    timm's own width settings leave the stem of a ResNet and the head of MobileNetV2 at full width, and give
    a ResNet-18 a shortcut convolution more. Raises ValueError for an unknown name and for a width above 1.
    """
    if backbone not in TIMM_NAMES:
        raise ValueError(f"There is no TSN on {backbone!r}; known are {sorted(TIMM_NAMES)}.")
    if not 0 < width <= 1:
        raise ValueError(f"The networks of timm can only be made narrower: width must be in (0, 1], not {width}.")
    network = timm.create_model(TIMM_NAMES[backbone], num_classes=num_classes)
    if width < 1:
        for module in network.modules():
            _narrow(module, width)
    return network


def is_dynamic(name: str, conv: nn.Module) -> bool:
    """Every convolution on the residual branch of a block, but for depthwise ones; no stem, shortcut or head.

    ResNet-50: 16 3 x 3 and 32 1 x 1, both kinds being needed for the thesis's cost. MobileNetV2: the 1 x 1 that
    expand and project. Its depthwise 3 x 3 have 7 % of the operations and would each pay a gate.
    """
    in_block = name.startswith(("layer", "blocks."))
    return in_block and "downsample" not in name and conv.groups == 1


def _narrow(module: nn.Module, width: float) -> None:
    """Cut a layer down to the first channels, and scale its initial weights to their number."""

    def scaled(channels: int) -> int:
        return max(1, round(width * channels))

    if isinstance(module, nn.Conv2d):
        inputs = module.in_channels if module.in_channels == IMAGE_CHANNELS else scaled(module.in_channels)
        outputs, groups = scaled(module.out_channels), 1 if module.groups == 1 else scaled(module.groups)
        # Both of timm's initialisations have the variance 2 / fan_out.
        gain = sqrt((module.out_channels / module.groups) / (outputs / groups))
        module.weight = nn.Parameter(gain * module.weight.detach()[:outputs, : inputs // groups])
        module.in_channels, module.out_channels, module.groups = inputs, outputs, groups
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = scaled(module.num_features)
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(module, part).data = getattr(module, part).data[: module.num_features].clone()
    elif isinstance(module, nn.Linear):
        module.in_features = scaled(module.in_features)
        module.weight = nn.Parameter(module.weight.detach()[:, : module.in_features].clone())


def _inflate(module: nn.Module) -> None:
    """Replace the two-dimensional layers inside `module`, in place, by ones that treat each frame of a clip alike."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(module, name, _conv(child))
        elif isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _norm(child))
        elif isinstance(child, nn.MaxPool2d):
            size, stride, padding = child.kernel_size, child.stride, child.padding
            setattr(module, name, nn.MaxPool3d((1, size, size), (1, stride, stride), (0, padding, padding)))
        elif isinstance(child, SelectAdaptivePool2d):
            setattr(module, name, FramePool())
        else:
            _inflate(child)


def _conv(conv: nn.Conv2d) -> nn.Conv3d:
    inflated = nn.Conv3d(
        conv.in_channels, conv.out_channels, (1, *conv.kernel_size), (1, *conv.stride), (0, *conv.padding),
        (1, *conv.dilation), conv.groups, bias=conv.bias is not None, device="meta",
    )  # fmt: skip
    inflated.weight, inflated.bias = nn.Parameter(conv.weight.detach().unsqueeze(2)), conv.bias
    return inflated


def _norm(norm: nn.BatchNorm2d) -> nn.BatchNorm3d:
    activated = isinstance(norm, BatchNormAct2d) and not isinstance(norm.act, nn.Identity)
    kind = NormReLU6 if activated else nn.BatchNorm3d
    inflated = kind(norm.num_features, norm.eps, norm.momentum, device="meta")
    inflated.load_state_dict(norm.state_dict(), assign=True)
    return inflated


def _inflate_weights(model: TSN, state: dict[str, Tensor], prefix: str, *_) -> None:
    for name, module in model.named_modules():
        key = f"{prefix}{name}.weight"
        if isinstance(module, nn.Conv3d) and key in state and state[key].dim() == 4:
            state[key] = state[key].unsqueeze(2)
