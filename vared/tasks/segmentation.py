"""Semantic segmentation: pixel cross entropy with an auxiliary head, and what counts as right (thesis section 4.3).

The thesis names pixel accuracy and mean IoU nowhere and prints no number; they are the measures of ADE20K's scene
parsing benchmark. Metrics are torchmetrics', summed over the whole set before anything is divided.

Shapes: B image, K class, H W pixel. Labels are B x H x W, IGNORED where nothing is known.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

import vared.torchvision_operators  # noqa: F401  torchmetrics imports torchvision

# isort: split
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from vared.data.labelled_images import IGNORED

AUXILIARY_WEIGHT = 0.4  # of PSPNet's paper; the thesis does not say


def loss(output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Accuracy loss L_a: cross entropy averaged over labelled pixels, plus 0.4 times that of the auxiliary head.

    `output` is logits B x K x H x W, or a pair of them as a network in training gives. 0 without a labelled pixel.
    """
    if isinstance(output, tuple):
        return loss(output[0], labels) + AUXILIARY_WEIGHT * loss(output[1], labels)
    total = F.cross_entropy(output, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def correct(output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """mu of equation (3.6), which the thesis defines for recognition only: whether each image is right, B, bool.

    An image is right when more than half of it is, every class that it holds counting alike: the mean over these
    classes of the share of their pixels that is recognised exceeds 1/2. Counted in pixels, an image that is mostly
    background would be right whatever became of the rest; so counted, one class everywhere is never enough, unless
    the image holds no other. Without a labelled pixel it is not right.
    """
    logits = (output[0] if isinstance(output, tuple) else output).detach()
    hits, pixels, _ = class_counts(logits.argmax(1), labels, logits.shape[1])
    recall = (hits / pixels.clamp(min=1)).sum(1) / (pixels > 0).sum(1).clamp(min=1)
    return recall > 0.5


def class_counts(prediction: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of every image and class, each B x K float64: pixels recognised, labelled and predicted; IGNORED ones left out.

    Intersection is the first, union the sum of the others less the first.
    """
    valid = labels != IGNORED

    def count(classes: Tensor, where: Tensor) -> Tensor:
        flat = torch.where(where, classes, num_classes).flatten(1)
        counts = torch.zeros(len(labels), num_classes + 1, dtype=torch.float64, device=labels.device)
        return counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))[:, :num_classes]

    return count(labels, valid & (prediction == labels)), count(labels, valid), count(prediction, valid)


def metrics(num_classes: int) -> MetricCollection:
    """`pixel_accuracy` and `mean_iou`, shares of 1; update them with predictions and labels B x H x W.

    A class that is neither in the labels nor predicted anywhere does not enter the mean.
    """
    return MetricCollection({
        "pixel_accuracy": MulticlassAccuracy(num_classes, average="micro", ignore_index=IGNORED),
        "mean_iou": MulticlassJaccardIndex(num_classes, average="macro", ignore_index=IGNORED),
    })  # fmt: skip
