"""Stand-in for ADE20K: frames of the generated clips with the masks of their actors, which the generator knows exactly.

Classes are what one frame can tell: background, and an object whose two colours are halves, stripes or dots, equally
many images of each. Left out
are clips in which a frame cannot tell the actor from things beside it: those with motionless look-alikes, and those of
the cue "fine", where half of the clutter looks like the actor. Everything else of a clip, such as its action, is not
asked for.

Masks are read in the layout of J-HMDB: <root>/puppet_mask/<class>/<clip>/puppet_mask.mat, `part_mask` H x W x T.

Shapes: T frame, H W pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from vared.data.frame_cache import FrameCache
from vared.data.kinetics import load_kinetics
from vared.data.labelled_images import AnnotationError
from vared.data.records import VideoRecord

CLASSES = ("background", "halves", "striped", "dotted")


@dataclass(frozen=True)
class MaskedFrames:
    """Frames in memory with their labels; `names` are clip:frame."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    frames: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image H x W x 3 and labels H x W, both uint8."""
        return self.frames[index], self.labels[index]


def load_masked_frames(root: str | Path, part: str, cache: Path, *, images_per_class: int) -> MaskedFrames:
    """`images_per_class` images of each kind of object from the clips of `part` ("train" or "val").

    Clips whose patterns are rare give several frames each, spread over those in which the actor shows; `names` tell
    which images are of one clip. `cache` is a folder for decoded videos. Raises AnnotationError that names the mask
    when it is missing, damaged or of another size or length than its video, and ListError or VideoError for the clips.
    """
    root, videos = Path(root), load_kinetics(root, part)
    table = pd.read_csv(root / "clips.csv").set_index("clip")
    clear = set(table[(table["bystanders"] == 0) & (table["cue"] != "fine")].index)
    frames, found = FrameCache.build(videos, cache), []
    for label, name in enumerate(CLASSES[1:], start=1):
        kept = [record for record in videos.records if record.path.stem in clear and class_of(record) == label]
        if not kept:
            raise ValueError(f"{root}: no clip of part {part!r} shows an object of class {name!r}.")
        of_clip = -(-images_per_class // len(kept))
        of_class = (image for record in kept for image in _frames_of(root, record, frames, of_clip))
        found += islice(of_class, images_per_class)
    return MaskedFrames(CLASSES, *zip(*found, strict=True))


def _frames_of(root: Path, record: VideoRecord, cache: FrameCache, count: int) -> Iterator[tuple]:
    """(name, frame, labels) of `count` frames of a clip in which its actor shows."""
    path = root / "puppet_mask" / record.path.parent.name / record.path.stem / "puppet_mask.mat"
    masks = read_mask(path)
    if len(masks) != cache.frame_count(record):
        raise AnnotationError(f"{path} has {len(masks)} frames, but {record.path} {cache.frame_count(record)}.")
    shown = np.flatnonzero(masks.any((1, 2)))
    chosen = shown[(np.arange(count) * 2 + 1) * len(shown) // (2 * count)] if len(shown) else shown
    for number, frame in zip(chosen, cache.read(record, chosen) if len(shown) else (), strict=True):
        if frame.shape[:2] != masks.shape[1:]:
            sizes = f"{masks.shape[1:]} pixels (H, W), but {record.path} of {frame.shape[:2]}"
            raise AnnotationError(f"{path} is of {sizes}.")
        yield f"{record.path.stem}:{number}", frame, masks[number] * np.uint8(class_of(record))


def read_mask(path: Path) -> np.ndarray:
    """T x H x W, 1 where the actor is seen and 0 elsewhere, uint8. Raises AnnotationError that names the file."""
    if not path.is_file():
        raise AnnotationError(f"{path} does not exist: there is no mask for this clip.")
    try:
        mask = scipy.io.loadmat(path)["part_mask"]
    except Exception as error:  # loadmat raises what its parser happens to trip over
        raise AnnotationError(f"{path} is no MATLAB file with a part_mask: {error}") from error
    if mask.ndim != 3 or mask.max(initial=0) > 1:
        raise AnnotationError(f"{path}: part_mask must be H x W x T of 0 and 1, not {mask.shape} up to {mask.max()}.")
    return mask.transpose(2, 0, 1)


def class_of(record: VideoRecord) -> int:
    """Label of the clip's actor: its pattern where the class is named after it, else halves."""
    action = record.path.parent.name
    return CLASSES.index(action) if action in CLASSES else CLASSES.index("halves")
