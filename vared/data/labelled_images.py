"""Images with a class for every pixel, as training and evaluation of semantic segmentation take them.

Labels are 0..K-1, and IGNORED where nothing is known: those pixels count neither in the loss nor in a metric.

Shapes: H W pixel of an image, S side of a training crop. Images uint8 H x W x 3, labels uint8 H x W.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from vared.data.transforms import MEAN, STD, normalise, resize

IGNORED = 255


class AnnotationError(ValueError):
    """An image or its annotation cannot be used. The message names the file, and the line where there is one."""


class LabelledImages(Protocol):
    """What a loader returns: `classes` in the order of the labels, a name for every image, and the images."""

    classes: tuple[str, ...]
    names: tuple[str, ...]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image H x W x 3 and labels H x W, both uint8; raises AnnotationError."""


@dataclass(frozen=True)
class CropTransform:
    """Training augmentation of PSPNet: random size, random square crop, horizontal flip with probability 0.5.

    `scales` are the ends of the range that the factor on the image is drawn from, uniformly. What a crop has beyond
    the image is black and IGNORED.
    """

    crop_size: int
    scales: tuple[float, float] = (0.5, 2.0)

    def __call__(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """-> float32 3 x S x S, normalised, and int64 S x S."""
        factor, side = generator.uniform(*self.scales), self.crop_size
        size = [max(1, round(factor * length)) for length in labels.shape]
        pixels, classes = to_tensors(image, labels, size)
        missing = [max(0, side - length) for length in size]
        before = [int(generator.integers(length + 1)) for length in missing]
        padding = [before[1], missing[1] - before[1], before[0], missing[0] - before[0]]
        pixels, classes = F.pad(pixels, padding), F.pad(classes, padding, value=IGNORED)
        top, left = (int(generator.integers(length - side + 1)) for length in classes.shape)
        pixels, classes = (part[..., top : top + side, left : left + side] for part in (pixels, classes))
        return (pixels.flip(-1), classes.flip(-1)) if generator.random() < 0.5 else (pixels, classes)


class SegmentationDataset(Dataset):
    """{"clip": 3 x H x W float32, "label": H x W int64} of every image: crops for training, else the whole image.

    With `transform` the crop is drawn anew in every epoch (`set_epoch`), by (seed, epoch, index) alone.
    """

    def __init__(self, images: LabelledImages, transform: CropTransform | None = None, *, seed: int = 0):
        self.images, self.transform, self.seed, self.epoch = images, transform, seed, 0

    def __len__(self) -> int:
        return len(self.images.names)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, labels = self.images.read(index)
        if self.transform is None:
            pixels, classes = to_tensors(image, labels, labels.shape)
        else:
            generator = np.random.default_rng([self.seed, self.epoch, index])
            pixels, classes = self.transform(image, labels, generator)
        return {"clip": pixels, "label": classes}


def to_tensors(image: np.ndarray, labels: np.ndarray, size: tuple[int, int] | list[int]) -> tuple[Tensor, Tensor]:
    """Both at `size` (height, width): the image bilinear and normalised, the labels by the nearest pixel."""
    pixels = normalise(resize(image[None], *size), MEAN, STD)[:, 0]
    classes = torch.from_numpy(np.ascontiguousarray(labels))[None, None]
    return pixels, F.interpolate(classes, tuple(size), mode="nearest-exact")[0, 0].long()
