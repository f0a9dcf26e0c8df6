"""Backgrounds: crops of freely licensed photographs, muted and mixed with procedural noise.

Each photograph is cut into a left part for training and a right part for validation, so no pixel is in both.
Only sums, products and comparisons touch pixels: these are exact in IEEE arithmetic, hence equal on every machine.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import skimage.data

# CC0: brick, grass, gravel, coffee, camera, cat. Public domain (NASA): astronaut. All PNG, so decoding is exact.
PHOTOS = ("brick", "grass", "gravel", "coffee", "camera", "cat", "astronaut")
TRAIN_SHARE = 0.6


@cache
def photo_region(name: str, split: str) -> np.ndarray:
    """Part of a photograph that belongs to a split, float32 (H, W, 3) in 0..1."""
    image = getattr(skimage.data, name)()
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    cut = int(image.shape[1] * TRAIN_SHARE)
    part = image[:, :cut] if split == "train" else image[:, cut:]
    return part.astype(np.float32) / np.float32(255)


def upsampled_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise (H, W) in 0..1: uniform values on a grid of `cell` pixels, bilinearly enlarged."""
    grid = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32)
    y, x = np.arange(height, dtype=np.float32) / cell, np.arange(width, dtype=np.float32) / cell
    row, column = y.astype(int), x.astype(int)
    fy, fx = (y - row)[:, None], (x - column)[None]
    top = grid[row][:, column] * (1 - fx) + grid[row][:, column + 1] * fx
    bottom = grid[row + 1][:, column] * (1 - fx) + grid[row + 1][:, column + 1] * fx
    return top * (1 - fy) + bottom * fy


def background(rng: np.random.Generator, split: str, height: int, width: int) -> tuple[np.ndarray, str]:
    """Muted background float32 (H, W, 3) in 0..1 and its name, `photo@row,column`."""
    name = PHOTOS[rng.integers(len(PHOTOS))]
    region = photo_region(name, split)
    row = int(rng.integers(region.shape[0] - height + 1))
    column = int(rng.integers(region.shape[1] - width + 1))
    crop = region[row : row + height, column : column + width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    grey = (crop[..., :1] + crop[..., 1:2] + crop[..., 2:]) / np.float32(3)
    muted = grey + np.float32(rng.uniform(0.1, 0.35)) * (crop - grey)
    noise = upsampled_noise(rng, height, width, 5) + upsampled_noise(rng, height, width, 13)
    mixed = muted + np.float32(rng.uniform(0.1, 0.6)) * (noise[..., None] / 2 - muted)
    contrast, brightness = np.float32(rng.uniform(0.3, 0.7)), np.float32(rng.uniform(0.35, 0.6))
    tint = rng.uniform(-0.04, 0.04, 3).astype(np.float32)
    canvas = brightness + tint + contrast * (mixed - np.float32(0.5))
    return np.clip(canvas, 0, 1).astype(np.float32), f"{name}@{row},{column}"
