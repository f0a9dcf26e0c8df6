"""Generated action data sets: short videos made on the machine, with known motion, clutter, masks and boxes.

The default, the embedded data set, has twelve classes, safe under horizontal flip: ten told apart by the order of time
(five pairs), two by fine texture. Sets of another character are the same generator with other `SceneSettings`.
"""

from .settings import (
    ALL_CLASSES,
    ALL_PAIRS,
    APPEARANCE_CLASSES,
    BACKWARDS,
    CLASSES,
    CUES,
    MOTION_CLASSES,
    PAIRS,
    SceneSettings,
)
from .writer import generate

__all__ = [
    "ALL_CLASSES", "ALL_PAIRS", "APPEARANCE_CLASSES", "BACKWARDS", "CLASSES", "CUES", "MOTION_CLASSES", "PAIRS",
    "SceneSettings", "generate",
]  # fmt: skip
