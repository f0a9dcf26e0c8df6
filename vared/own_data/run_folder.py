"""A folder that holds one training on your own data: settings, the clips it used, weights, results.

settings.json    network, clips, recipe, classes; what a second call must agree with to go on
clips.csv        every clip with its class, part, path and content key, so that none that trained is ever evaluated
phase1.safetensors, weights.safetensors, history.csv; state/ to resume from; frames/ the decoded frames
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from vared.backbones import create_model, default_config
from vared.batches import TrainingBatches
from vared.checkpoints import load_weights
from vared.data.dataset import ClipDataset
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord
from vared.data.sampling import ClipSampling
from vared.data.transforms import EvalTransform, TrainTransform
from vared.own_data.checking import Checked
from vared.own_data.settings import Settings
from vared.recipes import Recipe
from vared.scratch import is_finished, write_text

CACHE_BYTES = 16e9  # decoded frames of a part are kept on disk up to this size; beyond it every epoch decodes


@dataclass(frozen=True)
class OwnRun:
    """One training on your own data, whether it is finished or not."""

    folder: Path
    settings: Settings
    recipe: Recipe
    classes: tuple[str, ...]
    clips: pd.DataFrame
    facts: dict[str, object]

    def build_network(self) -> nn.Module:
        """The network with fresh weights, which depend on the seed alone."""
        torch.manual_seed(self.recipe.seed)
        s = self.settings
        dynamic = default_config(s.network, search_space=s.search_space) if s.search_space else None
        return create_model(
            s.network, num_classes=len(self.classes), num_frames=s.frames, crop_size=s.crop_size, width=s.width,
            dynamic=dynamic,
        )  # fmt: skip

    def trained_network(self, name: str = "weights.safetensors") -> nn.Module:
        """The network with the weights of the run, on the GPU where there is one."""
        return load_weights(self.build_network(), self.folder / name).to(device())

    def part(self, part: str) -> VideoList:
        """The clips of a part as they were when the training began."""
        rows = self.clips[self.clips["part"] == part].itertuples()
        labels = {name: label for label, name in enumerate(self.classes)}
        return VideoList(tuple(VideoRecord(Path(r.path), labels[r.label], r.name) for r in rows), self.classes)

    def data_set(
        self, videos: VideoList, *, training: bool = False, views: bool = False, workers: int = 0
    ) -> ClipDataset:  # fmt: skip
        """Clips of `videos`: augmented ones for training, else the centre clip or all views (3 clips, 3 crops each)."""
        s = self.settings
        sampling = ClipSampling(s.frames, s.stride, clips=3 if views else 1)
        transform = TrainTransform(s.crop_size) if training else EvalTransform(s.crop_size, crops=3 if views else 1)
        cache = None
        if self._cached_bytes(videos) <= CACHE_BYTES:
            frames = self.folder / "frames"
            cache = FrameCache.build(videos, frames, short_side=s.short_side, workers=workers)
        return ClipDataset(
            videos, sampling, transform, seed=self.recipe.seed, training=training, frame_cache=cache, workers=workers
        )

    def training_clips(self) -> list[Tensor]:
        """Augmented training clips in batches, on which batch normalisation is measured."""
        clips = self.data_set(self.part("train"), training=True)
        batches = TrainingBatches(clips, self.recipe.batch_size, self.recipe.seed)
        return batches.some_clips(self.recipe.recalibration_clips, self.recipe.epochs + self.recipe.finetune_epochs)

    def _cached_bytes(self, videos: VideoList) -> float:
        frames = self.clips.set_index("name")["frames"].reindex([r.name for r in videos.records]).fillna(0).sum()
        return 3 * 16 / 9 * self.settings.short_side**2 * float(frames)


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def start_run(folder: Path, checked: Checked, settings: Settings, recipe: Recipe) -> OwnRun:
    """The run in `folder`, begun now or earlier with the same settings and clips.

    Raises ValueError that says what differs from an earlier beginning.
    """
    entries = [entry for entry in checked.entries if entry.name in checked.probes]
    rows = [
        (e.name, e.label, e.part, checked.probes[e.name].frames, checked.probes[e.name].key, str(e.path.resolve()))
        for e in entries
    ]
    clips = pd.DataFrame(rows, columns=["name", "label", "part", "frames", "key", "path"])
    facts = {
        "data": str(checked.layout.data.resolve()), "split": checked.split_by, "layout": checked.layout.kind,
        "left_out": [problem.name for problem in checked.errors()],
    }  # fmt: skip
    classes = checked.layout.classes
    run = OwnRun(folder, settings, recipe, classes, clips, facts)
    if (folder / "settings.json").exists():
        _require_same(read_run(folder), run)
        return read_run(folder)
    record = {"settings": asdict(settings), "recipe": asdict(recipe), "classes": classes, "facts": facts}
    write_text(folder / "clips.csv", clips.to_csv(index=False))
    write_text(folder / "settings.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return run


def read_run(folder: Path) -> OwnRun:
    """The run in `folder`. Raises FileNotFoundError when none was begun there."""
    folder = Path(folder)
    if not (folder / "settings.json").exists():
        raise FileNotFoundError(f"{folder} holds no training. Begin one: vared train --data DATA --folder {folder}")
    record = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    clips = pd.read_csv(folder / "clips.csv", dtype={"name": str, "label": str, "key": str}, keep_default_na=False)
    return OwnRun(
        folder, Settings(**record["settings"]), Recipe(**record["recipe"]), tuple(record["classes"]), clips,
        record["facts"],
    )  # fmt: skip


def read_trained(folder: Path) -> OwnRun:
    """The finished run in `folder`. Raises FileNotFoundError when it is not finished."""
    run = read_run(folder)
    if not is_finished(folder):
        raise FileNotFoundError(f"The training in {folder} is not finished. Call vared train again; it goes on there.")
    return run


def _require_same(before: OwnRun, now: OwnRun) -> None:
    different: list[str] = []
    for what in ("settings", "recipe"):
        old, new = asdict(getattr(before, what)), asdict(getattr(now, what))
        different += [f"{name} was {old[name]}, now {new[name]}" for name in old if old[name] != new[name]]
    different += _clips_that_differ(before.clips, now.clips)
    if different:
        raise ValueError(
            f"{before.folder} holds a training with other settings or clips: {'; '.join(different)}. Call it as before "
            "to go on, or give another --folder."
        )


def _clips_that_differ(before: pd.DataFrame, now: pd.DataFrame) -> Sequence[str]:
    old, new = (set(t[["name", "label", "part", "key"]].itertuples(index=False, name=None)) for t in (before, now))
    return [f"{len(old - new)} clips changed or gone, {len(new - old)} new"] if old != new else []
