"""Small networks and clips that train in a second."""

import hashlib
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

import vared

CLIP = (3, 4, 8, 8)


class Clips(Dataset):
    """`count` clips whose class is a brightness pattern over time, plus noise. Fails at fetch number `fail_at`."""

    def __init__(self, count: int = 16, classes: int = 4, *, views: int | None = None, fail_at: int | None = None):
        generator = torch.Generator().manual_seed(count)
        self.labels = torch.arange(count) % classes
        signal = torch.randn(classes, 3, 4, 1, 1, generator=generator)
        shape = (count, *([views] if views else []), *CLIP)
        self.clips = signal[self.labels].view(count, *([1] if views else []), 3, 4, 1, 1) + 0.5 * torch.randn(
            shape, generator=generator
        )
        self.fail_at, self.fetched, self.epochs = fail_at, [], []

    def __len__(self) -> int:
        return len(self.clips)

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __getitem__(self, index: int) -> dict:
        if len(self.fetched) == self.fail_at:
            raise KeyboardInterrupt
        self.fetched.append(index)
        return {"clip": self.clips[index], "label": int(self.labels[index]), "index": index}


def static_network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, padding=1, bias=False), nn.BatchNorm3d(6), nn.ReLU(),
        nn.Conv3d(6, 8, 3, padding=1, bias=False), nn.BatchNorm3d(8), nn.ReLU(),
        nn.AdaptiveAvgPool3d((4, 1, 1)), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32, 4),
    )  # fmt: skip


def dynamic_network(dropout: float = 0.0, **config) -> nn.Module:
    network = static_network(dropout)
    torch.manual_seed(2)
    return vared.convert(network, vared.DynamicConfig(**config), example=CLIP, where=lambda name, conv: True)


def short_recipe(**changes) -> vared.Recipe:
    values = {
        "epochs": 2, "warmup_epochs": 1, "finetune_epochs": 1, "batch_size": 8, "learning_rate": 0.1,
        "warmup_learning_rate": 0.01, "finetune_learning_rate": 0.05, "reference_batch": None,
        "recalibration_clips": 16,
    }  # fmt: skip
    return vared.Recipe(**values | changes)


def digest(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
