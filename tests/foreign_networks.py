"""Networks of other libraries, as their users build them, with random weights and the smallest inputs that run."""

import copy
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module

import torch
from torch import Tensor, nn

import vared
from tests.method_helpers import calibrate

import_module("vared.torchvision_operators")  # lets torchvision, timm and pytorchvideo import


@dataclass(frozen=True)
class Foreign:
    """A network of `library`, the shape of its example, and how many layers the default choice makes dynamic."""

    library: str
    example: tuple
    dynamic: int


CLIP, IMAGE = (3, 4, 32, 32), (3, 32, 32)
# Dynamic layers are counted by hand from the published topology: blocks times the 1x1 and k x k convolutions of one,
# without depthwise and purely temporal ones, shortcuts and squeeze-excite.
NETWORKS = {
    "x3d_xs": Foreign("pytorchvideo", CLIP, 2 * 26),  # expand and project of 3 + 5 + 11 + 7 blocks
    "x3d_s": Foreign("pytorchvideo", CLIP, 2 * 26),
    "x3d_m": Foreign("pytorchvideo", CLIP, 2 * 26),
    "x3d_l": Foreign("pytorchvideo", CLIP, 2 * 55),
    "slow_r50": Foreign("pytorchvideo", CLIP, 3 * 16 - 9),  # the first of a bottleneck is 3x1x1 in stages 3 and 4
    "c2d_r50": Foreign("pytorchvideo", CLIP, 3 * 16),
    "i3d_r50": Foreign("pytorchvideo", CLIP, 3 * 16 - 9),  # 3x1x1 in every block of stage 1 and every other one after
    "r2plus1d_r50": Foreign("pytorchvideo", CLIP, 3 * 16),
    "csn_r101": Foreign("pytorchvideo", CLIP, 2 * 33),
    # Slow pathway as slow_r50; fast pathway: 3x1x1 in every block, and 3 + 4 projections of 8 and 16 channels.
    "slowfast_r50": Foreign("pytorchvideo", ((3, 2, 32, 32), (3, 8, 32, 32)), 39 + 3 * 16 - 16 - 7),
    "r3d_18": Foreign("torchvision", CLIP, 2 * 8),
    "mc3_18": Foreign("torchvision", CLIP, 2 * 8),
    "r2plus1d_18": Foreign("torchvision", CLIP, 2 * 8),
    "s3d": Foreign("torchvision", (3, 8, 32, 32), 2 + 6 * 9),  # two of the stem, six of an Inception module
    "resnet50": Foreign("timm", IMAGE, 3 * 16),
    "resnetv2_50": Foreign("timm", IMAGE, 3 * 16),  # normalisation before the convolution
    "mobilenetv2_100": Foreign("timm", IMAGE, 2 * 14),  # the blocks from the first to the last with a shortcut
    "mobilenetv3_small_100": Foreign("timm", IMAGE, 2 * 9),
    "efficientnet_b0": Foreign("timm", IMAGE, 2 * 13),
    "regnety_002": Foreign("timm", IMAGE, 3 * 13),  # grouped convolutions, squeeze-excite
    "densenet121": Foreign("timm", IMAGE, 2 * 58),  # concatenations, no shortcut
    "ghostnet_100": Foreign("timm", IMAGE, 2 * 16 - 3),  # three of the pointwise ones read 16 channels only
    "convnext_tiny": Foreign("timm", IMAGE, 18),  # 7x7 depthwise; its pointwise layers are linear ones
}


def build_foreign(name: str, seed: int = 0) -> nn.Module:
    """Network `name`, in evaluation mode, in which every layer has an influence on the output."""
    torch.manual_seed(seed)
    library = NETWORKS[name].library
    if library == "timm":
        model = import_module("timm").create_model(name)
    elif library == "torchvision":
        model = getattr(import_module("torchvision.models.video"), name)()
    else:
        model = getattr(import_module("pytorchvideo.models.hub"), name)(pretrained=False)
    for parent in list(model.modules()):
        for child, module in parent.named_children():
            if isinstance(module, nn.AvgPool3d):  # heads are built for one crop, much larger than ours
                setattr(parent, child, nn.AdaptiveAvgPool3d(1))
    for part, parameter in model.named_parameters():
        if part.endswith("gamma"):
            nn.init.ones_(parameter)  # layer scale starts at 1e-6
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)  # some start at zero
    return calibrate(model, foreign_inputs(name, 3))


def foreign_inputs(name: str, batch: int) -> Tensor | list[Tensor]:
    """Random input of network `name`. SlowFast changes the list that it is given: ask anew for every call."""
    generator = torch.Generator().manual_seed(batch)
    example = NETWORKS[name].example
    shapes = example if isinstance(example[0], tuple) else (example,)
    tensors = [torch.randn(batch, *shape, generator=generator) for shape in shapes]
    return tensors if isinstance(example[0], tuple) else tensors[0]


@dataclass(frozen=True)
class Converted:
    """A network before and after conversion."""

    name: str

    @cached_property
    def source(self) -> nn.Module:
        return build_foreign(self.name)

    @cached_property
    def model(self) -> nn.Module:
        return vared.convert(copy.deepcopy(self.source), example=self.example)

    @property
    def example(self) -> tuple:
        return NETWORKS[self.name].example

    def inputs(self, batch: int = 3) -> Tensor | list[Tensor]:
        return foreign_inputs(self.name, batch)
