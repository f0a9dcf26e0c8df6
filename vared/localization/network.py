"""The localiser of a run: a head on the run's trained backbone, and the backbone's maps where it does not learn.

The thesis freezes the backbone, gates included (section 4.3). A frozen backbone stays in evaluation mode, so that what
it makes of a clip is always the same: each map is computed once, and the head learns from the maps.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vared.checkpoints import load_weights
from vared.data.boxed_clips import BoxedClips
from vared.experiments import build_network
from vared.policies import keeping_policies
from vared.runs import RunPlan
from vared.tasks.localization_head import Localizer, YowoHead
from vared.trial_run import evaluating


def build_localizer(plan: RunPlan, num_classes: int, weights: Path, settings: Mapping[str, object]) -> Localizer:
    """The backbone of the run with the weights of the file `weights`, under a fresh head that depends on its seed.

    Raises ValueError for a network whose last map is no thirty-second of the frame in height and width.
    """
    backbone = load_weights(build_network(plan, num_classes), weights)
    size = settings["crop_size"]
    shape = _map_shape(backbone, (3, plan.run.frames, size, size)) if hasattr(backbone, "features") else None
    if shape is None or shape[-2:] != (-(-size // 32), -(-size // 32)):
        raise ValueError(
            f"Localisation takes backbones whose map is 1/32 of the frame, such as i3d and x3d_m, "
            f"but {plan.run.word} is {plan.numbers['model']['backbone']}."
        )
    torch.manual_seed(plan.run.seed)
    return Localizer(backbone, YowoHead(shape[0], num_classes, settings["anchors"], settings["hidden"]))


def _map_shape(backbone: nn.Module, clip: tuple[int, ...]) -> tuple[int, ...]:
    """C x T' x H' x W' of the backbone's last map."""
    with keeping_policies(backbone), evaluating(backbone), torch.inference_mode():
        return tuple(backbone.features(torch.zeros(1, *clip)).shape[1:])


class FrozenMaps(Dataset):
    """What a head sees of training clips, computed before: items {"clip": C x H/32 x W/32, "label": N x 5}."""

    def __init__(self, maps: Tensor, labels: Tensor):
        self.maps, self.labels = maps, labels

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"clip": self.maps[index], "label": self.labels[index]}


def frozen_maps(
    localizers: Sequence[Localizer], clips: BoxedClips, views: int, batch_size: int
) -> list[FrozenMaps]:  # fmt: skip
    """For each of `localizers` the maps of `views` cuts of every clip, those of as many epochs; all see the same cuts.

    Memory: 4 C H W / 1024 bytes a map.
    """
    maps, labels = [[] for _ in localizers], []
    with torch.no_grad():
        for epoch in range(views):
            clips.set_epoch(epoch)
            for item in DataLoader(clips, batch_size):
                for localizer, found in zip(localizers, maps, strict=True):
                    with evaluating(localizer.backbone):
                        found.append(localizer.backbone.features(as_input(item["clip"], localizer)).mean(2).cpu())
                labels.append(item["label"])
    return [FrozenMaps(torch.cat(found), torch.cat(labels)) for found in maps]


def as_input(clips: Tensor, model: nn.Module) -> Tensor:
    """Clips on the device of `model`; the layout does not change the result, only the time."""
    return clips.to(next(model.parameters()).device, memory_format=torch.channels_last_3d)


def choose_anchors(corners: np.ndarray, count: int, seed: int = 0) -> tuple[tuple[float, float], ...]:
    """Widths and heights of `count` anchors: k-means over the sizes of boxes x1, y1, x2, y2 (N x 4), smallest first.

    Raises ValueError with fewer different sizes than anchors.
    """
    sizes = corners[:, 2:] - corners[:, :2]
    if (different := len(np.unique(sizes, axis=0))) < count:
        raise ValueError(f"{count} anchors need as many boxes of different size, but there are {different}.")
    centres, _ = kmeans2(sizes, count, minit="++", seed=np.random.default_rng(seed))
    return tuple((float(w), float(h)) for w, h in sorted(centres.tolist(), key=np.prod))
