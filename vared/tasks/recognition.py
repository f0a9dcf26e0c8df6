"""Recognition: cross entropy, and the accuracies of the protocol (thesis sections 4.1 and 4.4).

clip-1 is top-1 from one centre clip. video-1 and video-5 are top-1 and top-5 after averaging over the views of a video.
The thesis does not say what is averaged: here the softmax probabilities.

Shapes: B clip or video, V view, K class.
"""

import torch.nn.functional as F
from torch import Tensor

import vared.torchvision_operators  # noqa: F401  torchmetrics imports torchvision

# isort: split
from torchmetrics.functional.classification import multiclass_accuracy


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Accuracy loss L_a: cross entropy of logits B x K and labels B, averaged over clips."""
    return F.cross_entropy(logits, labels)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """mu of equation (3.6): whether the top-1 class of each clip is right, B, bool, without gradient."""
    return logits.detach().argmax(1) == labels


def average_views(logits: Tensor) -> Tensor:
    """Mean over views of the class probabilities, B x V x K -> B x K."""
    return logits.float().softmax(-1).mean(1)


def clip_metrics(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """`clip1_top1` in percent from one view a clip, B x K."""
    return {"clip1_top1": _top(1, scores, labels)}


def video_metrics(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """`video1_top1` and `video5_top5` in percent from averaged views, B x K; with fewer than 5 classes top-5 is 100."""
    return {"video1_top1": _top(1, scores, labels), "video5_top5": _top(5, scores, labels)}


def _top(k: int, scores: Tensor, labels: Tensor) -> float:
    classes = scores.shape[1]
    share = multiclass_accuracy(scores, labels, num_classes=classes, top_k=min(k, classes), average="micro")
    # A share of N clips in single precision: back to the count it stands for.
    return 100.0 * round(share.item() * len(labels)) / len(labels)
