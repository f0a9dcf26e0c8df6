"""What the labelled object does: one track for each actor, from a class name and draws that do not know the class.

A class and its time-reverse share one set of tracks; the reversed class plays the progress backwards, so the two
are equal in distribution frame by frame. `progress` runs from 0 to 1 over the clip's T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .settings import APPEARANCE_CLASSES, BACKWARDS, SceneSettings
from .shapes import Track

# pixels, at which a sway takes the number of cycles drawn for it
_SWAY_AMPLITUDE = 5.0


def progress(rng: np.random.Generator, cue: str, frames: int) -> np.ndarray:
    """How much of the action has happened, (T,) from 0 to 1, equal in distribution when played as 1 - s backwards."""
    time = np.arange(frames) / (frames - 1)
    begin, end, easing = rng.uniform(0, 0.1), rng.uniform(0.9, 1), rng.random()
    length, position = rng.uniform(7, 10) / 39, rng.random()
    if cue == "brief":  # inside the middle 22 of 40 frames, which every 32-frame window holds
        begin = 9 / 39 + position * (21 / 39 - length)
        end = begin + length
    linear = np.clip((time - begin) / (end - begin), 0, 1)
    return linear + easing * (linear * linear * (3 - 2 * linear) - linear)


def act(
    rng: np.random.Generator, label: str, done: np.ndarray, cue: str, places: list[Track], extent: float
) -> list[Track]:
    """Tracks of the actors of a clip: one, or two for merge and split.

    `done` is the progress of the forward class; `places` are the actor, and perhaps its partner, at mid-action.
    Raises ValueError for a class that nothing here acts.
    """
    action = BACKWARDS.get(label, label)
    if label in BACKWARDS:
        done = done[::-1]
    size, sign, phase, shift = rng.random(), rng.choice((-1.0, 1.0)), rng.random(), rng.uniform(-0.12, 0.12)
    track, partner = replace(places[0]), replace(places[1])
    centred = (done - 0.5) * extent
    if action == "rise":
        track.y = track.y - (14 + 8 * size) * centred
    elif action == "approach":
        track.radius = track.radius * (1.9 + 0.7 * size) ** centred
    elif action == "appear":
        track.alpha = np.clip((done - 0.5 + shift) * (2.5 + 3 * size) + 0.5, 0, 1)
    elif action == "merge":
        dx, dy = partner.x - track.x, partner.y - track.y
        step = (7.5 + 3 * size) * centred / np.sqrt(dx * dx + dy * dy)
        track.x, track.y = track.x + dx * step, track.y + dy * step
        partner.x, partner.y = partner.x - dx * step, partner.y - dy * step
        return [track, partner]
    elif action == "spin":
        track.angle = track.angle + sign * (2.6 + 1.5 * size) * centred
    elif action == "swing":
        # total rotation there and back as long as that of spin; brief swings go out once and return
        turn = 1 - np.cos(2 * np.pi * done) if cue == "brief" else np.sin(2 * np.pi * (1.1 * done + phase))
        track.angle = track.angle + sign * (2.6 + 1.5 * size) / 4 * extent * turn
    elif action == "launch":  # ever faster; played backwards it brakes
        track.x = track.x + sign * (14 + 6 * size) * (done * done - 0.5) * extent
    elif action == "brighten":  # both ends equally far from the look that every other class shows
        track.glow = np.clip((1.3 + 0.4 * size) * centred, -0.9, 0.9)
    elif action == "stretch":
        track.aspect = (2.4 + 0.8 * size) ** centred
    elif action in APPEARANCE_CLASSES:  # drift sideways
        track.x = track.x + sign * (12 + 6 * size) * centred
    else:
        raise ValueError(f"No action is known for the class {label!r}.")
    return [track]


@dataclass(frozen=True)
class Guise:
    """How a clip shows its class: number of actors, size of the action, pattern of those not told by their pattern."""

    actors: int
    extent: float
    pattern: str


def draw_guise(rng: np.random.Generator, label: str, settings: SceneSettings) -> Guise:
    """Drawn without knowledge of the class, but that merge and split take two."""
    actors = int(rng.integers(settings.actor_count[0], settings.actor_count[1] + 1))
    extent = settings.action_extent * rng.uniform(*settings.extent_factor)
    pattern = settings.actor_patterns[rng.integers(len(settings.actor_patterns))]
    return Guise(2 if label in ("merge", "split") else actors, extent, pattern)


def companions(actor: Track, place: Track, others: list[Track]) -> list[Track]:
    """The actor's action done by further objects at the same time: `place` at rest becomes each of the `others`."""
    return [
        replace(
            actor, x=actor.x - place.x + other.x, y=actor.y - place.y + other.y,
            radius=actor.radius * other.radius / place.radius, angle=actor.angle - place.angle + other.angle,
        )
        for other in others
    ]  # fmt: skip


def mean_motion(tracks: list[Track]) -> float:
    """Mean displacement, in pixels a frame, of material points spread over the actors (travel, growth and rotation)."""
    spokes = np.arange(6) * np.pi / 3
    steps = []
    for track in tracks:
        if track.aspect is not None:
            steps.append(_stretching_motion(track, spokes))
            continue
        x = track.x[:, None] + 0.7 * track.radius[:, None] * np.cos(track.angle[:, None] + spokes)
        y = track.y[:, None] + 0.7 * track.radius[:, None] * np.sin(track.angle[:, None] + spokes)
        steps.append(np.sqrt(np.diff(x, axis=0) ** 2 + np.diff(y, axis=0) ** 2).mean())
    return float(np.mean(steps))


def _stretching_motion(track: Track, spokes: np.ndarray) -> np.ndarray:
    along = 0.7 * (track.radius * track.aspect)[:, None] * np.cos(spokes)
    across = 0.7 * track.radius[:, None] * np.sin(spokes)
    cosine, sine = np.cos(track.angle)[:, None], np.sin(track.angle)[:, None]
    x = track.x[:, None] + cosine * along - sine * across
    y = track.y[:, None] + sine * along + cosine * across
    return np.sqrt(np.diff(x, axis=0) ** 2 + np.diff(y, axis=0) ** 2).mean()


def add_sway(rng: np.random.Generator, tracks: list[Track], motion: float) -> None:
    """Let the actors sway, nearly sideways, as widely as needed to make their mean motion the one drawn.

    An action that moves little sways up to it, one that moves more by itself does not sway: so speed hints less at the
    class.
    """
    frames = len(tracks[0].x)
    cycles = rng.uniform(0.8, 1.2) * motion * (frames - 1) / (4 * _SWAY_AMPLITUDE)
    phase, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4)
    wave = np.sin(2 * np.pi * cycles * np.arange(frames) / (frames - 1) + phase)
    rest = [(track.x, track.y) for track in tracks]
    low, high = 0.0, 2.0 * _SWAY_AMPLITUDE
    for _ in range(14):
        amplitude = (low + high) / 2
        for track, (x, y) in zip(tracks, rest, strict=True):
            track.x, track.y = x + np.cos(tilt) * amplitude * wave, y + np.sin(tilt) * amplitude * wave
        low, high = (amplitude, high) if mean_motion(tracks) < motion else (low, amplitude)


def draw_motion(rng: np.random.Generator, cue: str, settings: SceneSettings) -> float:
    """Mean motion of a clip's actor in pixels a frame, drawn without knowledge of the class."""
    return float(rng.uniform(*(settings.plain_motion if cue == "plain" else settings.motion)))
