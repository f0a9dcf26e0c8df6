"""Localisation: what the head's numbers mean, its loss, and the detections it makes (thesis section 4.3, YOWO).

A cell of the map answers for the objects whose centre lies in it, with A boxes of different size. Where the thesis is
silent, numbers are those of YOWO: a box that differs by (t_x, t_y, t_w, t_h, t_o) from anchor (a_w, a_h) of the cell in
column i, row j of a map W cells wide and H high has

    centre ((i + sigmoid(t_x)) / W, (j + sigmoid(t_y)) / H), size (a_w exp(t_w), a_h exp(t_h)), objectness sigmoid(t_o)

Shapes: B clip, A anchor, K class, H W cell, P = A H W predicted boxes, N boxes of a label. Boxes are x1, y1, x2, y2 as
fractions of the frame; labels B x N x 5 hold class and box, with class -1 in rows that are not used.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import vared.torchvision_operators  # noqa: F401  lets torchvision import beside a CPU-only torch

# isort: split
from torchvision.ops import box_convert, box_iou

OBJECT_WEIGHT = 5.0  # of the objectness of boxes that answer for an object; of all others 1
UNPUNISHED_IOU = 0.6  # boxes that answer for nothing may overlap an object as much and claim to be one
FOCUS = 2.0  # exponent of the focal loss over classes
LARGEST_GROWTH = 4.0  # exp(t) is cut there: an untrained head must not overflow
CORRECT_IOU = 0.5


@dataclass(frozen=True)
class Predictions:
    """boxes B x P x 4, objectness B x P in 0..1, class scores B x P x K before softmax, raw (t_x .. t_h) B x P x 4."""

    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    raw: Tensor

    @property
    def scores(self) -> Tensor:
        """Objectness times the probability of the likeliest class, B x P."""
        return self.objectness * self.classes.softmax(-1).amax(-1)


@dataclass(frozen=True)
class Localization:
    """The task for `vared.training.fit`: loss and correctness of head outputs B x A (K + 5) x H x W.

    `anchors` are widths and heights as fractions of the frame, A x 2. Of an anchor's K + 5 numbers the first K are
    class scores, then come t_x, t_y, t_w, t_h, t_o.
    """

    anchors: tuple[tuple[float, float], ...]
    num_classes: int

    def decode(self, output: Tensor) -> Predictions:
        """What the head's `output` predicts. Raises ValueError for another number of channels."""
        batch, channels, height, width = output.shape
        if channels != len(self.anchors) * (self.num_classes + 5):
            raise ValueError(
                f"{len(self.anchors)} anchors of {self.num_classes} classes need "
                f"{len(self.anchors) * (self.num_classes + 5)} channels, but the output has {channels}."
            )
        values = output.float().view(batch, len(self.anchors), -1, height, width).permute(0, 1, 3, 4, 2)
        classes, raw, objectness = values.split((self.num_classes, 4, 1), -1)
        cells = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), -1).to(output)
        centre = (raw[..., :2].sigmoid() + cells) / torch.tensor([width, height]).to(output)
        anchors = torch.tensor(self.anchors).to(output).view(-1, 1, 1, 2)
        size = anchors * raw[..., 2:].clamp(max=LARGEST_GROWTH).exp()
        boxes = box_convert(torch.cat((centre, size), -1).flatten(1, 3), "cxcywh", "xyxy")
        return Predictions(boxes, objectness.sigmoid().flatten(1), classes.flatten(1, 3), raw.flatten(1, 3))

    def loss(self, output: Tensor, label: Tensor) -> Tensor:
        """Smooth L1 of boxes, squared error of objectness, focal loss of classes: sums over a clip, mean over clips.

        An object is answered for by one box: of the cell that holds its centre, that whose anchor is most like it in
        size. The objectness of this box should be its overlap with the object, that of others 0.
        """
        found = self.decode(output)
        clip, boxes, kind = _objects(label)
        cell, anchor = self._responsible(boxes, output.shape[-2:])
        position = _position(cell, anchor, output.shape[-2:])
        overlap = overlaps(found.boxes.detach(), label).amax(-1)
        objectness, weight = torch.zeros_like(overlap), (overlap <= UNPUNISHED_IOU).to(overlap)
        objectness[clip, position] = box_iou(found.boxes[clip, position].detach(), boxes).diagonal()
        weight[clip, position] = OBJECT_WEIGHT
        squared = (weight * (found.objectness - objectness) ** 2).sum() / 2
        target = self._offsets(boxes, cell, anchor, output.shape[-2:])
        raw = found.raw[clip, position]
        offsets = torch.cat((raw[:, :2].sigmoid(), raw[:, 2:]), 1)
        coordinates = F.smooth_l1_loss(offsets, target, reduction="sum") / 2
        entropy = F.cross_entropy(found.classes[clip, position], kind, reduction="none")
        focal = ((1 - (-entropy).exp()) ** FOCUS * entropy).sum()
        return (squared + coordinates + focal) / len(output)

    def correct(self, output: Tensor, label: Tensor) -> Tensor:
        """mu of equation (3.6): whether the box of the highest score is on an object and has its class, B, bool."""
        with torch.no_grad():
            found = self.decode(output)
            best = found.scores.argmax(1)
            clips = torch.arange(len(output), device=output.device)
            kind = found.classes[clips, best].argmax(1)
            iou = overlaps(found.boxes[clips, best][:, None], label)[:, 0]  # B x N
            return ((iou >= CORRECT_IOU) & (label[..., 0] == kind[:, None])).any(1)

    def _responsible(self, boxes: Tensor, cells: torch.Size) -> tuple[Tensor, Tensor]:
        """The cell (column, row: M x 2) and the anchor (M) that answer for each box."""
        size = torch.tensor([cells[1], cells[0]]).to(boxes)
        centre_size = box_convert(boxes, "xyxy", "cxcywh")
        cell = (centre_size[:, :2] * size).floor().clamp(min=torch.zeros_like(size), max=size - 1)
        anchors = torch.tensor(self.anchors).to(boxes)
        both = torch.minimum(centre_size[:, None, 2:], anchors).prod(-1)
        union = centre_size[:, 2:].prod(-1)[:, None] + anchors.prod(-1) - both
        return cell, (both / union).argmax(1)

    def _offsets(self, boxes: Tensor, cell: Tensor, anchor: Tensor, cells: torch.Size) -> Tensor:
        """What sigmoid(t_x), sigmoid(t_y), t_w, t_h should be, M x 4."""
        centre_size = box_convert(boxes, "xyxy", "cxcywh")
        within = centre_size[:, :2] * torch.tensor([cells[1], cells[0]]).to(boxes) - cell
        growth = (centre_size[:, 2:] / torch.tensor(self.anchors).to(boxes)[anchor]).clamp(min=1e-6).log()
        return torch.cat((within, growth), 1)


def overlaps(boxes: Tensor, label: Tensor) -> Tensor:
    """IoU of boxes B x P x 4 with those of a label, B x P x N; 0 with rows that are not used."""
    boxes, truths, used = boxes[:, :, None], label[:, None, :, 1:], label[:, None, :, 0] >= 0
    sides = torch.minimum(boxes[..., 2:], truths[..., 2:]) - torch.maximum(boxes[..., :2], truths[..., :2])
    both = sides.clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (truths[..., 2:] - truths[..., :2]).prod(-1)
    return used * both / (areas - both).clamp(min=1e-9)


def _objects(label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of all objects of the batch: the clip, the box (M x 4), the class."""
    clip, row = torch.nonzero(label[..., 0] >= 0, as_tuple=True)
    return clip, label[clip, row, 1:], label[clip, row, 0].long()


def _position(cell: Tensor, anchor: Tensor, cells: torch.Size) -> Tensor:
    """Where in the P predicted boxes that of a cell and anchor is, M."""
    return (anchor * cells[0] + cell[:, 1].long()) * cells[1] + cell[:, 0].long()
