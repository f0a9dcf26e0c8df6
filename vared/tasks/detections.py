"""From predicted boxes to detections, and how good those are: frame-mAP, recall, classification accuracy (section 4.5).

Tables of detections have a row a detection: clip, class, score, x1, y1, x2, y2; tables of truths the same but score.
Any unit of length will do. Measures are percentages.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vared.tasks.localization import CORRECT_IOU, Predictions

CORNERS = ["x1", "y1", "x2", "y2"]


def detections(found: Predictions, *, first: int = 0, confidence: float = 0.005, overlap: float = 0.4) -> pd.DataFrame:
    """Boxes with an objectness of at least `confidence` that no better one covers by more than `overlap` (IoU).

    Each has its likeliest class; its score is objectness times the probability of this class. Clips count from `first`.
    """
    objectness, boxes, classes = found.objectness.cpu(), found.boxes.cpu(), found.classes.softmax(-1).cpu()
    tables = []
    for clip in range(len(boxes)):
        positions = torch.nonzero(objectness[clip] >= confidence)[:, 0]
        kept = positions[suppress(boxes[clip, positions], objectness[clip, positions], overlap)]
        probability, kind = classes[clip, kept].max(1)
        table = pd.DataFrame(boxes[clip, kept].numpy(), columns=CORNERS)
        table.insert(0, "clip", first + clip)
        table.insert(1, "class", kind.numpy())
        table.insert(2, "score", (objectness[clip, kept] * probability).numpy())
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def suppress(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Non-maximum suppression: positions of the boxes (P x 4) to keep, best first.

    Box after box in the order of scores is kept unless its IoU with one kept before is above `overlap`, as in
    torchvision's `nms`, which lacks its compiled part beside a CPU-only torch.
    """
    order = scores.argsort(descending=True, stable=True)
    kept, far = [], iou(boxes[order].numpy(), boxes[order].numpy()) <= overlap
    left = np.ones(len(order), bool)
    for position in range(len(order)):
        if left[position]:
            kept.append(position)
            left &= far[position]
    return order[kept]


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `first` (M x 4) with every one of `second` (N x 4), M x N."""
    return paired_iou(first[:, None], second[None])


def paired_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The same of boxes (..., 4) at the same place; empty boxes overlap nothing."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    both = sides.clip(min=0).prod(-1)
    areas = ((box[..., 2:] - box[..., :2]).clip(min=0).prod(-1) for box in (first, second))
    return both / np.maximum(sum(areas) - both, 1e-12)


def metrics(found: pd.DataFrame, truths: pd.DataFrame) -> dict[str, float]:
    """frame_map, recall, classification_accuracy, all at IoU 0.5; first_recall: recall of each clip's best detection.

    Recall is the share of truths on which a detection of any class lies, however low its score; of those the class of
    the one that overlaps most must be right for the classification accuracy (YOWO's rule; 0 where nothing is found).
    """
    best = found.sort_values("score", ascending=False, kind="stable").drop_duplicates("clip")
    hit = localized(found, truths)
    return {
        "frame_map": frame_map(found, truths),
        "recall": 100.0 * hit["localized"].mean(),
        "classification_accuracy": 100.0 * hit.loc[hit["localized"], "right"].mean() if hit["localized"].any() else 0.0,
        "first_recall": 100.0 * localized(best, truths)["localized"].mean(),
    }


def localized(found: pd.DataFrame, truths: pd.DataFrame) -> pd.DataFrame:
    """For every truth, in order: iou of the detection that overlaps it most, localized (0.5 or more), right (class)."""
    pairs = truths.reset_index(names="truth").merge(found, on="clip", suffixes=("", "_found"))
    pairs["iou"] = paired_iou(pairs[CORNERS].to_numpy(), pairs[[f"{name}_found" for name in CORNERS]].to_numpy())
    pairs["right"] = pairs["class"] == pairs["class_found"]
    best = pairs.sort_values("iou", ascending=False, kind="stable").drop_duplicates("truth").set_index("truth")
    best = best[["iou", "right"]].reindex(truths.index)
    overlap = best["iou"].fillna(0.0)
    return pd.DataFrame({"iou": overlap, "localized": overlap >= CORRECT_IOU, "right": best["right"].eq(True)})


def frame_map(found: pd.DataFrame, truths: pd.DataFrame, threshold: float = CORRECT_IOU) -> float:
    """Mean over the classes that occur in `truths` of the average precision over all frames.

    Detections of a class, best first, take the truth of their frame and class that they overlap most, by at least
    `threshold`, of those not yet taken; all others are false.
    """
    values = []
    for kind, wanted in truths.groupby("class"):
        mine = found[found["class"] == kind].sort_values("score", ascending=False, kind="stable")
        values.append(average_precision(_true_positives(mine, wanted, threshold), len(wanted)))
    return 100.0 * float(np.mean(values))


def _true_positives(found: pd.DataFrame, truths: pd.DataFrame, threshold: float) -> np.ndarray:
    boxes = {clip: rows[CORNERS].to_numpy() for clip, rows in truths.groupby("clip")}
    free = {clip: np.ones(len(rows), bool) for clip, rows in boxes.items()}
    hits = np.zeros(len(found), bool)
    for row, (clip, box) in enumerate(zip(found["clip"], found[CORNERS].to_numpy(), strict=True)):
        if clip in boxes:
            overlap = np.where(free[clip], iou(box[None], boxes[clip])[0], -1.0)
            hits[row] = overlap.max() >= threshold
            free[clip][overlap.argmax()] &= not hits[row]
    return hits


def average_precision(hits: np.ndarray, truths: int) -> float:
    """Area under the curve of precision over recall, whose precision is made to fall: of `hits` (bool, best first).

    Every step of recall counts with the best precision at that recall or a higher one ("all points", as in PASCAL VOC
    since 2010 and in YOWO's evaluation; COCO samples the same curve at 101 points).
    """
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[hits].sum() / truths)
