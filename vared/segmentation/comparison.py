"""IoU from counted pixels, and what one network has above another on the same images. Without torch.

Shapes: K class. Tables have a row an image (vared/segmentation/evaluation.py).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

COUNTS = ("hits", "labelled", "predicted")  # columns of K numbers: pixels recognised, labelled and predicted
RESAMPLES = 2_000


class Difference(NamedTuple):
    """Mean of a - b with its 95 % interval, in points of percent."""

    mean: float
    low: float
    high: float


def class_iou(hits: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Intersection over union of every class (... x K pixels each) in percent, NaN for one that is nowhere."""
    union = labelled + predicted - hits
    return 100.0 * np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)


def total(images: pd.DataFrame, what: str) -> np.ndarray:
    """Pixels of every class (K) over all images; `what` is one of COUNTS."""
    return np.stack(images[what]).sum(0)


def differences(a: pd.DataFrame, b: pd.DataFrame, *, seed: int = 0) -> dict[str, Difference]:
    """`pixel_accuracy` and `mean_iou` of `a` minus those of `b` on the same images, in points, with 95 % intervals.

    Tables of one variant each (images.parquet). The intervals are a percentile bootstrap over clips: images whose name
    is the same up to a colon are drawn together. Raises ValueError when the images differ.
    """
    if a["name"].tolist() != b["name"].tolist():
        raise ValueError("A paired difference needs the same images on both sides.")
    clips, of_image = np.unique(a["name"].str.partition(":")[0], return_inverse=True)
    sums = [[_by_clip(np.stack(table[what]), of_image, len(clips)) for what in COUNTS] for table in (a, b)]
    draws = np.random.default_rng(seed).multinomial(len(clips), np.full(len(clips), 1 / len(clips)), RESAMPLES)
    found = {}
    for name, measure in (("pixel_accuracy", _pixel_accuracy), ("mean_iou", _mean_iou)):
        # The first row is the images as they are, the others what was drawn.
        weights = np.concatenate([np.ones((1, len(clips))), draws])
        ours, theirs = (measure(*(weights @ counts for counts in side)) for side in sums)
        difference = ours - theirs
        found[name] = Difference(difference[0], *np.percentile(difference[1:], [2.5, 97.5]))
    return found


def _by_clip(counts: np.ndarray, of_image: np.ndarray, clips: int) -> np.ndarray:
    sums = np.zeros((clips, counts.shape[1]))
    np.add.at(sums, of_image, counts)
    return sums


def _pixel_accuracy(hits, labelled, predicted) -> np.ndarray:
    return 100.0 * hits.sum(-1) / labelled.sum(-1)


def _mean_iou(*counts: np.ndarray) -> np.ndarray:
    return np.nanmean(class_iou(*counts), axis=-1)
