"""One clip: draw every nuisance without knowledge of the class, let the actors act, film them with a moving camera.

A clip is a pure function of (seed, split, index, settings). Frames are uint8 (T, H, W, 3), masks uint8 (T, H, W).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from .actions import act, add_sway, companions, draw_guise, draw_motion, mean_motion, progress
from .settings import APPEARANCE_CLASSES, CLASSES, CUES, ClipFormat, SceneSettings, clip_format
from .shapes import Look, Track, muted_look, paint, random_look
from .textures import background

_SPLITS = ("train", "val")
_MARGIN = 12  # pixels of background beyond the frame, more than the camera ever shows


@dataclass(frozen=True)
class Clip:
    """Rendered frames, masks of the labelled object (the actors), and the row of clips.csv that describes them."""

    frames: np.ndarray
    masks: np.ndarray
    row: dict[str, object]
    pixel_format: str


@dataclass(frozen=True)
class Camera:
    """Offset (pixels) and zoom of the image in every frame, each (T,); zero offset and zoom 1 is a tripod."""

    x: np.ndarray
    y: np.ndarray
    zoom: np.ndarray

    def film(self, track: Track, centre_x: float, centre_y: float) -> Track:
        """A world track as the camera sees it."""
        x = centre_x + self.zoom * (track.x - centre_x) + self.x
        y = centre_y + self.zoom * (track.y - centre_y) + self.y
        return replace(track, x=x, y=y, radius=track.radius * self.zoom)


def clip_label(seed: int, split: str, index: int, classes: tuple[str, ...] = CLASSES) -> str:
    """Class of a clip. Each block of as many clips as classes holds every class once, in random order."""
    block, place = divmod(index, len(classes))
    order = np.random.default_rng([seed, _SPLITS.index(split), block, 1]).permutation(len(classes))
    return classes[order[place]]


def draw_camera(rng: np.random.Generator, frames: int, amplitude: float) -> Camera:
    """Hand-held camera: a slow and a fast sinusoid in x, y and zoom. `amplitude` in pixels."""
    time = np.arange(frames) / (frames - 1)

    def wave(low: float, high: float) -> np.ndarray:
        return np.sin(2 * np.pi * (rng.uniform(low, high) * time + rng.random()))

    x, y = (amplitude * (0.6 * wave(0.4, 1.5) + 0.4 * wave(2, 6)) for _ in range(2))
    return Camera(x, y, 1 + 0.012 * amplitude * wave(0.4, 1.5))


def sample_background(canvas: np.ndarray, camera: Camera, height: int, width: int) -> np.ndarray:
    """Frames (T, H, W, 3) of a canvas with `_MARGIN` pixels around the frame, by separable bilinear sampling."""

    def taps(offset: np.ndarray, size: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
        position = np.arange(size) + 0.5 - size / 2 - offset[:, None]
        position = np.clip(position / camera.zoom[:, None] + size / 2 - 0.5 + _MARGIN, 0, limit - 1.001)
        first = position.astype(int)
        return first, np.round(position - first, 4).astype(np.float32)

    rows, fy = taps(camera.y, height, canvas.shape[0])
    columns, fx = taps(camera.x, width, canvas.shape[1])
    frames = np.empty((len(camera.x), height, width, 3), np.float32)
    for t, frame in enumerate(frames):
        upper, lower = canvas[rows[t]], canvas[rows[t] + 1]
        blended = upper + fy[t][:, None, None] * (lower - upper)
        left, right = blended[:, columns[t]], blended[:, columns[t] + 1]
        np.add(left, fx[t][:, None] * (right - left), out=frame)
    return frames


def draw_places(rng: np.random.Generator, shape: ClipFormat, radius: float) -> list[Track]:
    """Three objects at rest at mid-action: the actor and one place on either side of it.

    The first two lie about the middle of the frame, so that every crop holds the actor.
    """
    side = rng.choice((-1.0, 1.0))
    x, y = shape.width / 2 - 0.9 * side * radius + rng.uniform(-4, 4), shape.height / 2 + rng.uniform(-3, 3)
    places = []
    for direction in (0.0, side, -side):
        gap, tilt = radius * rng.uniform(2.3, 2.9), rng.uniform(-0.7, 0.7)
        size = radius * rng.uniform(0.85, 1.1)
        at = (x + direction * gap * np.cos(tilt), y + abs(direction) * gap * np.sin(tilt))
        values = (*at, size, rng.uniform(0, 2 * np.pi), 1.0)
        places.append(Track(*(np.full(shape.frames, value) for value in values)))
    return places


def draw_bystanders(rng: np.random.Generator, label: str, cue: str, places: list[Track], share: float) -> list[Track]:
    """Objects that look like actors and stand still, in a `share` of the clips of every class.

    There the number of objects does not give the class away.
    """
    present, extra = rng.random() < share, rng.random()
    if not present:
        return []
    if label in ("merge", "split"):  # the second actor is in the first place beside the actor
        return places[2:] if extra < 0.3 else []
    if label in ("appear", "vanish"):  # the actor is absent half of the time
        return places[1:] if extra < (0.55 if cue == "alternating" else 0.8) else places[1:2]
    return places[1:] if extra < 0.3 else places[1:2]


def draw_clutter(rng: np.random.Generator, cue: str, count: int, contrast: float) -> list[Look]:
    """Looks of the distractors; in "fine" clips half of them look like actors."""
    alike = [random_look(rng) for _ in range(count)]
    muted = [muted_look(rng, contrast) for _ in range(count)]
    return [a if cue == "fine" and i % 2 else m for i, (a, m) in enumerate(zip(alike, muted, strict=True))]


def scatter(rng: np.random.Generator, frames: int, height: int, width: int, drift: float) -> Track:
    """A distractor anywhere in a field of the given size, drifting by up to `drift` pixels over the clip."""
    time = np.linspace(-0.5, 0.5, frames)
    x, y, radius, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2, 5), rng.uniform(0, 6.28)
    dx, dy = rng.uniform(-drift, drift, 2)
    still = np.ones(frames)
    return Track(x + dx * time, y + dy * time, radius * still, angle * still, still)


def render_clip(seed: int, split: str, index: int, settings: SceneSettings) -> Clip:
    """Draw and render one clip; the same arguments give the same frames on every machine."""
    label = clip_label(seed, split, index, settings.classes)
    shape = clip_format(settings, index // len(settings.classes))
    clip_seed = [seed, _SPLITS.index(split), index]
    rng = np.random.default_rng([*clip_seed, 2])
    guise = draw_guise(np.random.default_rng([*clip_seed, 3]), label, settings)
    cue = CUES[int(np.searchsorted(np.cumsum(settings.cue_shares)[:-1], rng.random(), side="right"))]
    radius = rng.uniform(*(settings.fine_radius if cue == "fine" else settings.actor_radius))
    bitrate = int(rng.integers(settings.bitrate[0], settings.bitrate[1] + 1))

    amplitude = settings.camera_amplitude * rng.random() ** 1.5
    camera = draw_camera(rng, shape.frames, amplitude)
    canvas, texture = background(rng, split, shape.height + 2 * _MARGIN, shape.width + 2 * _MARGIN)
    count = int(rng.integers(settings.clutter_count[0], settings.clutter_count[1] + 1))
    contrast = rng.uniform(*settings.clutter_contrast)
    looks = draw_clutter(rng, cue, count, contrast)
    drifting = min(count, int(rng.integers(0, 4)))  # the first few move on their own, two of them before the actor
    for look in looks[drifting:]:
        paint(canvas[None], scatter(rng, 1, *canvas.shape[:2], 0), look)
    movers = [(scatter(rng, shape.frames, shape.height, shape.width, 12), look) for look in looks[:drifting]]

    places = draw_places(rng, shape, radius)
    standing = draw_bystanders(rng, label, cue, places, settings.bystander_share)
    together = places[1 : guise.actors]
    bystanders = [(track, random_look(rng)) for track in standing if all(track is not taken for taken in together)]
    done = progress(rng, cue, shape.frames)
    actors = act(rng, label, done, cue, places, guise.extent)
    actors += companions(actors[0], places[0], places[len(actors) : guise.actors])
    add_sway(rng, actors, draw_motion(rng, cue, settings))
    motion = mean_motion(actors)
    phase = int(rng.integers(2 * settings.blink_frames))
    if cue == "alternating":  # one of two actors, for every other class has but one to hide
        shown = (np.arange(shape.frames) + phase) // settings.blink_frames % 2
        actors[0].alpha = actors[0].alpha * shown
    pattern = label if label in APPEARANCE_CLASSES else guise.pattern
    period = rng.uniform(4.2, 5.5) if cue == "fine" else rng.uniform(6, 8)
    cast = [(actor, random_look(rng, pattern, period)) for actor in actors]

    frames = sample_background(canvas, camera, shape.height, shape.width)
    behind, before = movers[: len(movers) // 2], movers[len(movers) // 2 :]
    masks = paint_layers(frames, camera, behind + bystanders, cast, before)
    noise = rng.uniform(*settings.noise)
    frames = to_bytes(rng, frames, noise)
    row = {
        "clip": "", "split": split, "label": label, "cue": cue, "motion": round(motion, 4),
        "camera_motion": round(float(np.hypot(np.diff(camera.x), np.diff(camera.y)).mean()), 4),
        "clutter": round(count * contrast, 4), "clutter_count": count, "clutter_contrast": round(contrast, 4),
        "texture": texture, "noise": round(noise, 4), "actor_radius": round(radius, 3), "bystanders": len(bystanders),
        "action_start": int(np.argmax(done > 0)), "action_end": int(np.argmax(done >= 1)) + 1,
        "width": shape.width, "height": shape.height, "frames": shape.frames, "fps": settings.fps,
        "bitrate": bitrate, "index": index, "seed": seed, "frames_sha256": hashlib.sha256(frames.tobytes()).hexdigest(),
    }  # fmt: skip
    return Clip(frames, masks, row, shape.pixel_format)


def paint_layers(frames: np.ndarray, camera, behind: list, cast: list, before: list) -> np.ndarray:
    """Paint objects (track, look) on `frames`, T x H x W x 3, the last ones in front; masks of the cast, T x H x W."""
    masks = np.zeros(frames.shape[:3], np.uint8)
    centre = frames.shape[2] / 2, frames.shape[1] / 2
    for layer, objects in enumerate((behind, cast, before)):
        for track, look in objects:
            window, opacity = paint(frames, camera.film(track, *centre), look)
            seen = masks[:, window[0], window[1]]
            if layer == 1:
                seen |= opacity >= 0.5
            elif layer == 2:  # a distractor in front cuts the mask
                seen &= opacity < 0.5
    return masks


def to_bytes(rng: np.random.Generator, frames: np.ndarray, noise: float) -> np.ndarray:
    """Add sensor noise of standard deviation `noise` (grey, triangular) and round to uint8."""
    draws = rng.integers(0, 256, (2, *frames.shape[:3]), dtype=np.uint8)
    grain = draws[0].astype(np.float32) - draws[1]  # standard deviation 256 / sqrt(6)
    frames += (grain * np.float32(noise * 6**0.5 / 256))[..., None]
    return (np.clip(frames, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
