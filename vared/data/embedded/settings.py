"""What a generated action data set contains: classes, cues, file formats and the knobs of its character."""

from __future__ import annotations

from dataclasses import dataclass

# The two members of a pair can be told apart by the order of the frames only, never by one frame.
PAIRS = (("rise", "fall"), ("approach", "recede"), ("merge", "split"), ("appear", "vanish"), ("spin", "swing"))
# more of the same kind, which a set may ask for
FURTHER_PAIRS = (("launch", "brake"), ("brighten", "darken"), ("stretch", "shrink"))
ALL_PAIRS = PAIRS + FURTHER_PAIRS
MOTION_CLASSES = tuple(name for pair in PAIRS for name in pair)
APPEARANCE_CLASSES = ("striped", "dotted")
CLASSES = tuple(sorted(MOTION_CLASSES + APPEARANCE_CLASSES))  # those of the default set
ALL_CLASSES = tuple(sorted((*(name for pair in ALL_PAIRS for name in pair), *APPEARANCE_CLASSES)))
# class played backwards -> class; spin and swing are each their own reverse
BACKWARDS = {
    "fall": "rise", "recede": "approach", "split": "merge", "vanish": "appear", "brake": "launch",
    "darken": "brighten", "shrink": "stretch",
}  # fmt: skip
CUES = ("plain", "brief", "alternating", "fine")


@dataclass(frozen=True)
class SceneSettings:
    """Sizes in pixels, motion in pixels a frame, colour contrast and noise in 0..1; pairs are ranges drawn uniformly.

    Every range is drawn without knowledge of the class. To make the set harder: smaller `actor_radius`, more
    `clutter_count`, `clutter_contrast` and `noise`, larger `camera_amplitude`, a smaller share of plain clips, more
    guises of one action (`actor_count`, `actor_patterns`, `extent_factor`). Defaults are the default set's.
    """

    classes: tuple[str, ...] = CLASSES  # both members of every pair named; kept sorted, as the labels are
    width: int = 64
    height: int = 48
    frames: int = 40
    fps: int = 20
    cue_shares: tuple[float, float, float, float] = (0.64, 0.12, 0.12, 0.12)  # in the order of CUES
    actor_radius: tuple[float, float] = (7.0, 9.5)
    fine_radius: tuple[float, float] = (5.0, 7.0)  # actors of "fine" clips
    action_extent: float = 1.0  # scales travel, growth and rotation of every action
    extent_factor: tuple[float, float] = (1.0, 1.0)  # factor on it, drawn for each clip
    actor_count: tuple[int, int] = (1, 1)  # 1 to 3 objects that do the same together; merge and split have two always
    actor_patterns: tuple[str, ...] = ("halves",)  # of objects whose class is not their pattern
    motion: tuple[float, float] = (0.3, 0.6)  # least mean displacement of an actor's material points
    plain_motion: tuple[float, float] = (0.2, 0.45)  # the same for "plain" clips, which evolve slowly
    blink_frames: int = 4  # an "alternating" actor is shown and hidden for this many frames in turn
    bystander_share: float = 0.15  # of clips in which objects that look like the actor stand still beside it
    clutter_count: tuple[int, int] = (0, 6)
    clutter_contrast: tuple[float, float] = (0.1, 0.35)
    camera_amplitude: float = 3.0  # of the most violent shake; a clip draws its own from 0 to this
    noise: tuple[float, float] = (0.0, 0.03)
    bitrate: tuple[int, int] = (50, 100)  # constant H.264 bit rate, kbit/s; drawn, so that file size tells nothing

    def __post_init__(self) -> None:
        if self.frames < 24 or min(self.width, self.height) < 32:
            raise ValueError(
                f"An embedded clip needs at least 24 frames of 32x32 pixels to hold its action, "
                f"but {self.frames} frames of {self.width}x{self.height} were asked for."
            )
        if len(self.cue_shares) != len(CUES) or abs(sum(self.cue_shares) - 1) > 1e-6:
            raise ValueError(f"cue_shares needs one share for each of {CUES}, summing to 1, not {self.cue_shares}.")
        self._check_classes()
        if not 1 <= self.actor_count[0] <= self.actor_count[1] <= 3:
            raise ValueError(f"actor_count must be a range within 1 to 3 objects, not {self.actor_count}.")

    def _check_classes(self) -> None:
        unknown = sorted(set(self.classes) - set(ALL_CLASSES))
        if unknown or len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(
                f"classes must be two or more different ones of {', '.join(ALL_CLASSES)}, "
                f"not {', '.join(self.classes)}."
            )
        alone = [pair for pair in ALL_PAIRS if len(set(pair) & set(self.classes)) == 1]
        if alone:
            raise ValueError(f"One frame would tell a class without its partner; name both or none of {alone}.")
        if set(self.actor_patterns) - {"halves"} and set(self.classes) & set(APPEARANCE_CLASSES):
            raise ValueError(
                f"actor_patterns {self.actor_patterns} would give actors of every class the looks that tell "
                f"{' and '.join(APPEARANCE_CLASSES)} apart; leave these classes out."
            )
        object.__setattr__(self, "classes", tuple(sorted(self.classes)))


@dataclass(frozen=True)
class ClipFormat:
    """Frame size (pixels), length (frames) and chroma format of one file."""

    width: int
    height: int
    frames: int
    pixel_format: str = "yuv420p"


def clip_format(settings: SceneSettings, block: int) -> ClipFormat:
    """Format of every clip of a block; a block holds each class once, so odd formats are balanced over labels."""
    width, height, frames = settings.width, settings.height, settings.frames
    if block % 40 == 7:  # portrait
        return ClipFormat(height, width, frames)
    if block % 40 == 19:  # short
        return ClipFormat(width, height, max(24, frames * 7 // 10))
    if block % 40 == 31:  # odd size, which 4:2:0 cannot hold
        return ClipFormat(width + 1, height + 1, frames, "yuv444p")
    return ClipFormat(width, height, frames)
