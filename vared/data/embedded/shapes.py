"""Objects: signed distance functions painted with soft edges, and the exact mask of what is seen.

Arrays are (T, H, W): frames, rows, columns. Coordinates are pixels, pixel (row, column) has its centre at
(column + 0.5, row + 0.5).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

SHAPES = ("disc", "box", "triangle", "hexagon", "capsule")


@dataclass(frozen=True)
class Look:
    """Appearance of an object; `pattern` is "halves" (shows orientation), "striped" or "dotted"."""

    shape: str
    light: np.ndarray
    dark: np.ndarray
    outline: np.ndarray | None
    pattern: str = "halves"
    period: float = 5.0  # pixels of one stripe pair or one dot cell


@dataclass
class Track:
    """Centre, radius (pixels), angle (radians) and opacity of an object in every frame, each (T,).

    `glow` -1..1 fades its colours to black or white, `aspect` scales it along its own x axis; None leaves both alone.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    alpha: np.ndarray
    glow: np.ndarray | None = None
    aspect: np.ndarray | None = None


def random_look(rng: np.random.Generator, pattern: str = "halves", period: float = 5.0) -> Look:
    """A saturated, outlined object of random hue and shape."""
    hue, saturation, value = rng.random(), rng.uniform(0.8, 1), rng.uniform(0.85, 1)
    light = np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)
    dark = light * np.float32(0.25) if rng.random() < 0.5 else 1 - (1 - light) * np.float32(0.15)
    outline = np.float32(0.05 if rng.random() < 0.5 else 0.97) * np.ones(3, np.float32)
    return Look(SHAPES[rng.integers(len(SHAPES))], light, dark, outline, pattern, period)


def muted_look(rng: np.random.Generator, contrast: float) -> Look:
    """A distractor: greyish, without outline, differing from the mean background by about `contrast`."""
    level = 0.5 + contrast * (0.5 if rng.random() < 0.5 else -0.5)
    light = np.clip(level + rng.uniform(-0.12, 0.12, 3), 0, 1).astype(np.float32)
    return Look(SHAPES[rng.integers(len(SHAPES))], light, light * np.float32(0.8), None)


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the outline of a shape of unit radius, negative inside (arithmetic and square roots only)."""
    ax, ay = np.abs(x), np.abs(y)
    if shape == "disc":
        return np.sqrt(x * x + y * y) - 1
    if shape == "box":
        return np.maximum(ax, ay) - np.float32(0.85)
    if shape == "triangle":
        return np.maximum(np.float32(0.866) * ay + np.float32(0.5) * x, -x) - np.float32(0.6)
    if shape == "hexagon":
        return np.maximum(np.float32(0.866) * ay + np.float32(0.5) * ax, ax) - np.float32(0.92)
    beyond = np.maximum(ax - np.float32(0.5), 0)
    return np.sqrt(beyond * beyond + y * y) - np.float32(0.62)


def second_colour(look: Look, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the dark colour at local pixel coordinates, with edges one pixel wide."""
    if look.pattern == "halves":
        return np.clip(x + np.float32(0.5), 0, 1)
    period = np.float32(look.period)
    tx, ty = np.abs((x / period) % 1 - np.float32(0.5)), np.abs((y / period) % 1 - np.float32(0.5))
    if look.pattern == "striped":
        return np.clip((tx - np.float32(0.25)) * period + np.float32(0.5), 0, 1)
    # discs of radius 0.4 cell cover half of it, as stripes do
    return np.clip((np.sqrt(tx * tx + ty * ty) - np.float32(0.4)) * period + np.float32(0.5), 0, 1)


def paint(frames: np.ndarray, track: Track, look: Look) -> tuple[tuple[slice, slice], np.ndarray]:
    """Draw an object into float32 frames (T, H, W, 3) in place; return the window touched and its opacity there."""
    _, height, width, _ = frames.shape
    longest = 1.0 if track.aspect is None else np.maximum(track.aspect, 1.0)
    reach = track.radius * longest * 1.3 + 1.5
    left, right = max(0, int((track.x - reach).min())), min(width, int((track.x + reach).max()) + 1)
    top, bottom = max(0, int((track.y - reach).min())), min(height, int((track.y + reach).max()) + 1)
    window = (slice(top, max(top, bottom)), slice(left, max(left, right)))
    columns = np.arange(window[1].start, window[1].stop, dtype=np.float32) + np.float32(0.5)
    rows = np.arange(window[0].start, window[0].stop, dtype=np.float32) + np.float32(0.5)

    def per_frame(values: np.ndarray) -> np.ndarray:
        return np.round(values, 4).astype(np.float32)[:, None, None]

    radius, cosine, sine = (per_frame(v) for v in (track.radius, np.cos(track.angle), np.sin(track.angle)))
    dx, dy = columns - per_frame(track.x), rows[:, None] - per_frame(track.y)
    local_x, local_y = cosine * dx + sine * dy, cosine * dy - sine * dx
    if track.aspect is not None:  # distances along x are then approximate: its edge is that much softer or harder
        local_x = local_x / per_frame(track.aspect)
    depth = -radius * signed_distance(look.shape, local_x / radius, local_y / radius)  # pixels inside the outline
    opacity = np.clip(depth + np.float32(0.5), 0, 1) * per_frame(track.alpha)
    share = second_colour(look, local_x, local_y)[..., None]
    colour = look.light + share * (look.dark - look.light)
    if look.outline is not None:
        rim = np.clip(np.float32(1.7) - depth, 0, 1)[..., None]
        colour += rim * (look.outline - colour)
    if track.glow is not None:
        glow = per_frame(track.glow)[..., None]
        colour += np.abs(glow) * ((glow > 0) - colour)
    view = frames[:, window[0], window[1]]
    view += opacity[..., None] * (colour - view)
    return window, opacity
