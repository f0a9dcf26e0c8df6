"""Embedded action data set: short videos generated on the machine, with known motion, clutter, masks and boxes.

Twelve classes, safe under horizontal flip: ten told apart by the order of time (five pairs), two by fine texture.
"""

from .settings import APPEARANCE_CLASSES, BACKWARDS, CLASSES, CUES, MOTION_CLASSES, PAIRS, SceneSettings
from .writer import generate

__all__ = ["APPEARANCE_CLASSES", "BACKWARDS", "CLASSES", "CUES", "MOTION_CLASSES", "PAIRS", "SceneSettings", "generate"]
