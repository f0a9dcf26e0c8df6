"""Settings for a small data set of your own: all numbers of a training, and how they follow from the number of clips.

The rates and the weights are those of the `embedded` and `jhmdb` profiles in params.yaml, which are about as large.
"""

from dataclasses import dataclass

from vared.recipes import Recipe

# Updates in which the networks of the small profiles learn; a set of few clips gets more epochs, up to a limit at which
# it is only learned by heart.
UPDATES, FINETUNE_UPDATES = 840, 500
EPOCHS, FINETUNE_EPOCHS = (8, 60), (5, 30)  # least and most
BATCH = 16


@dataclass(frozen=True)
class Settings:
    """What a run of your own is: network and clips. `share` asks for that share of the plain network's operations.

    `search_space` None is the plain network. `width` multiplies all channel counts: from nothing, few clips train a
    narrow network better than the full one.
    """

    network: str = "r2plus1d_18"
    search_space: int | None = 2
    width: float = 0.25
    frames: int = 8
    stride: int = 4
    crop_size: int = 64
    share: float | None = None

    def __post_init__(self):
        if self.share is not None and self.search_space is None:
            raise ValueError("A plain network always costs the same: --share and --static exclude each other.")

    @property
    def short_side(self) -> int:
        """Pixels to which frames are reduced once, when they are decoded: room for crops of several sizes."""
        return round(self.crop_size * 4 / 3)


def suitable_recipe(clips: int, seed: int = 0, **chosen) -> Recipe:
    """A recipe for so many training clips; `chosen` are fields of Recipe that take the place of what would follow.

    Batches hold a quarter of the clips at most, and 16; epochs are as many as give the updates above, within limits;
    the rate is 0.1 at a batch of 16 and falls with smaller ones.
    Raises ValueError for what cannot train, such as a batch of one clip.
    """
    batch = chosen.pop("batch_size", None) or min(BATCH, max(2, 1 << max(1, (clips // 4).bit_length() - 1)))
    if batch < 2 or batch > clips:
        raise ValueError(f"A batch needs at least 2 clips and at most the {clips} there are to train on, not {batch}.")
    updates = max(1, clips // batch)
    numbers = {
        "batch_size": batch, "reference_batch": None, "seed": seed, "learning_rate": 0.1 * batch / BATCH,
        "finetune_learning_rate": 0.05 * batch / BATCH, "warmup_learning_rate": 0.0, "gradient_norm": 2.0,
        "gate_rate_factor": 0.02, "finetune_gate_rate_factor": 0.7, "recalibration_clips": min(512, clips),
        "epochs": _within(EPOCHS, UPDATES / updates),
        "finetune_epochs": _within(FINETUNE_EPOCHS, FINETUNE_UPDATES / updates),
    }  # fmt: skip
    numbers |= {name: value for name, value in chosen.items() if value is not None}
    for phase in ("", "finetune_"):
        numbers[f"{phase}warmup_epochs"] = min(1.0, numbers[f"{phase}epochs"] / 2)
    return Recipe(**numbers)


def _within(limits: tuple[int, int], epochs: float) -> int:
    return max(limits[0], min(limits[1], round(epochs)))
