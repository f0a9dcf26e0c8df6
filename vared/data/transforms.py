"""Spatial augmentation and evaluation crops of a clip.

Training follows TSN (Wang et al., 2016; thesis section A.2): the crop's sides are drawn from fixed fractions of the
short side (scale jittering), its place from the corners, centre and points between (location jittering, corner crops),
then it is resized to a square and flipped with probability 0.5. One draw serves all frames of a clip. TSN first brings
the short side to 256; here the crop is cut from the frame as it is, which is the same crop with one resize less.

Shapes: frames uint8 (T, H, W, 3) in; clips float32 (3, T, S, S) out, (value / 255 - mean) / std per channel.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

# ImageNet statistics, as in TSN
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# above this reduction bilinear interpolation skips pixels, and the slower antialiased one is used
_ANTIALIAS_FROM = 1.5


@dataclass(frozen=True)
class TrainTransform:
    """TSN augmentation. `crop_size` is S in pixels, `scales` fractions of the short side, `flip` a probability."""

    crop_size: int
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    flip: float = 0.5
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def __call__(self, frames: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
        """frames (T, H, W, 3) uint8 -> (3, T, S, S) float32."""
        top, left, height, width = random_crop(*frames.shape[1:3], self.scales, generator)
        crop = frames[:, top : top + height, left : left + width]
        clip = normalise(resize(crop, self.crop_size, self.crop_size), self.mean, self.std)
        return clip.flip(-1) if generator.random() < self.flip else clip


@dataclass(frozen=True)
class EvalTransform:
    """Resize of the short side, then the centre crop (`crops=1`) or both ends and centre of the longer side (3).

    The crops of a landscape video are left, centre, right; of a portrait one top, centre, bottom. `short_side` is
    crop_size * 256 / 224, rounded, unless given: the crop then covers the same share of a frame as in TSN.
    """

    crop_size: int
    crops: int = 1
    short_side: int | None = None
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def __post_init__(self):
        if self.crops not in (1, 3):
            raise ValueError(f"EvalTransform takes 1 crop (centre) or 3 (both ends and centre), not {self.crops}.")
        if self.short_side is not None and self.short_side < self.crop_size:
            raise ValueError(
                f"A crop of {self.crop_size} pixels does not fit into a short side of {self.short_side}; "
                "raise short_side to at least crop_size."
            )

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        """frames (T, H, W, 3) uint8 -> (crops, 3, T, S, S) float32."""
        short = self.short_side or round(self.crop_size * 256 / 224)
        height, width = frames.shape[1:3]
        scale = short / min(height, width)
        frames_TCHW = resize(frames, max(short, round(height * scale)), max(short, round(width * scale)))
        size = self.crop_size
        places = crop_places(*frames_TCHW.shape[-2:], size, self.crops)
        views = [frames_TCHW[..., top : top + size, left : left + size] for top, left in places]
        return torch.stack([normalise(view, self.mean, self.std) for view in views])


def random_crop(
    height: int, width: int, scales: tuple[float, ...], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a TSN crop: two neighbouring scales for the sides, one of 13 fixed places."""
    sides = [max(1, round(min(height, width) * scale)) for scale in scales]
    shapes = [(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1]
    crop_height, crop_width = shapes[generator.integers(len(shapes))]
    row, column = _PLACES[generator.integers(len(_PLACES))]
    return (height - crop_height) * row // 4, (width - crop_width) * column // 4, crop_height, crop_width


# quarters of the free room (row, column): 4 corners, centre, 4 edge centres, 4 points between centre and corner
_PLACES = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)] + [(1, 1), (1, 3), (3, 1), (3, 3)]


def crop_places(height: int, width: int, size: int, crops: int) -> list[tuple[int, int]]:
    """(top, left) of each evaluation crop: the centre, or start, centre and end along the longer side."""
    top, left = (height - size) // 2, (width - size) // 2
    if crops == 1:
        return [(top, left)]
    if height > width:
        return [(0, left), (top, left), (height - size, left)]
    return [(top, 0), (top, left), (top, width - size)]


def resize(frames: np.ndarray, height: int, width: int, antialias: bool | None = None) -> torch.Tensor:
    """uint8 (T, H, W, 3) -> float32 (T, 3, height, width) in 0..255, bilinear.

    Antialiased if `antialias`; for None when the frames shrink enough for plain interpolation to skip pixels.
    """
    clip_TCHW = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    if clip_TCHW.shape[-2:] == (height, width):
        return clip_TCHW
    if antialias is None:
        antialias = max(clip_TCHW.shape[-2] / height, clip_TCHW.shape[-1] / width) > _ANTIALIAS_FROM
    return F.interpolate(clip_TCHW, (height, width), mode="bilinear", align_corners=False, antialias=antialias)


def normalise(frames_TCHW: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(T, 3, S, S) in 0..255 -> (3, T, S, S) with the channel means removed, in units of the deviations."""
    # a copy always: the views of one frame share its memory
    clip = frames_TCHW.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    shift = torch.tensor(mean).mul_(255).view(3, 1, 1, 1)
    scale = torch.tensor(std).mul_(255).view(3, 1, 1, 1)
    return clip.sub_(shift).div_(scale)
