"""What a run of the pipeline trains: its data sets, its network, and two phases of training.

Everything is a function of the run's plan (vared/runs.py) and the files of the data set.
"""

import json
import platform
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from vared.backbones import create_model, default_config
from vared.data.dataset import ClipDataset
from vared.data.frame_cache import FrameCache
from vared.data.jhmdb import load_jhmdb
from vared.data.kinetics import load_kinetics
from vared.data.records import VideoList
from vared.data.sampling import ClipSampling
from vared.data.transforms import EvalTransform, TrainTransform
from vared.run_words import BASELINES
from vared.runs import RunPlan
from vared.scratch import write_text
from vared.training import Recipe, fit
from vared.warm_start import start_from


def load_videos(root: Path, plan: RunPlan) -> dict[str, VideoList]:
    """The videos of the profile's data set: {"train": ..., "val": ...}."""
    folder = root / "data" / plan.profile
    clips = folder / "further" / plan.run.data / "clips" if plan.run.data else folder / "clips"
    if plan.numbers["data"]["source"] == "jhmdb":
        split = plan.numbers["data"]["split"]
        return {"train": load_jhmdb(clips, "train", split), "val": load_jhmdb(clips, "test", split)}
    return {part: load_kinetics(clips, part) for part in ("train", "val")}


def data_set(root: Path, plan: RunPlan, part: str, *, training: bool = False, views: bool = False) -> ClipDataset:
    """Clips of `part` ("train" or "val"): augmented ones for training, else the centre clip or all `views`."""
    videos = load_videos(root, plan)[part]
    model, sampling, evaluation = (plan.numbers[name] for name in ("model", "sampling", "evaluation"))
    clips = ClipSampling(plan.run.frames, _stride(plan), clips=evaluation["clips_per_video"] if views else 1)
    if training:
        transform = TrainTransform(model["crop_size"], tuple(sampling["scales"]))
    else:
        transform = EvalTransform(model["crop_size"], crops=3 if views else 1)
    return ClipDataset(
        videos, clips, transform, seed=plan.run.seed, training=training,
        frame_cache=FrameCache.build(videos, root / "scratch" / "frames", short_side=sampling.get("short_side")),
        repeat_single_frame=plan.run.single_frame,
    )  # fmt: skip


def _stride(plan: RunPlan) -> int:
    strides = plan.numbers["sampling"]["stride"]
    if plan.run.frames not in strides:
        raise ValueError(
            f"params.yaml, profiles.{plan.profile}.sampling.stride has no entry for {plan.run.frames} frames, "
            f"which {plan.run.word} needs."
        )
    return strides[plan.run.frames]


def build_network(plan: RunPlan, num_classes: int) -> nn.Module:
    """The run's network with fresh weights, which depend on its seed alone."""
    torch.manual_seed(plan.run.seed)
    run, numbers, dynamic = plan.run, plan.numbers["model"], None
    if run.network == "arnet":
        return _baselines().build_arnet(num_classes, numbers["width"])
    if run.search_space is not None:
        dimensions = {name: run.dimensions in (name, "both") for name in ("temporal", "channel")}
        changes = numbers.get("dynamic", {}) | dimensions
        dynamic = default_config(numbers["backbone"], search_space=run.search_space, **changes)
    network = create_model(
        numbers["backbone"], num_classes=num_classes, num_frames=run.frames, crop_size=numbers["crop_size"],
        width=numbers["width"], dynamic=dynamic,
    )  # fmt: skip
    return _baselines().gate_channels(network, numbers["backbone"]) if run.network == "cgnet" else network


def train(root: Path, plan: RunPlan, folder: Path, start: Path | None = None) -> None:
    """Train the run into `folder`: weights, history.csv, training.json, and a state from which a killed run goes on.

    `start` are the weights of `plan.start`, where the plan has one.
    """
    torch.set_num_threads(1)
    clips = data_set(root, plan, "train", training=True)
    recipe = Recipe(seed=plan.run.seed, **plan.numbers["training"])
    network = build_network(plan, len(clips.videos.classes))
    if start is not None:
        start_from(network, start)
    if plan.run.network in BASELINES:
        size, settings = plan.numbers["model"]["crop_size"], plan.numbers["baseline"]
        _baselines().train(
            plan.run.network, network, clips, recipe, crop_size=size, settings=settings, directory=folder
        )
    else:
        fit(network, clips, recipe, directory=folder)
    record = {
        "profile": plan.profile, "run": plan.run.word, "fingerprint": plan.training_fingerprint,
        "start": plan.start.run.word if plan.start else None,
        "recipe": asdict(recipe), "videos": clips.videos.report(), "replaced": [asdict(bad) for bad in clips.replaced],
        "hardware": hardware(),
    }  # fmt: skip
    write_text(folder / "training.json", json.dumps(record, indent=1, sort_keys=True) + "\n")


def _baselines() -> ModuleType:
    """Imported when a run needs it: it loads libraries that the other runs do without."""
    return import_module("vared.baselines.runs")


def hardware() -> str:
    """What the numbers were made on, in a few words: they repeat to the last bit only there."""
    return f"{_processor()}, {torch.get_num_threads()} thread per run, torch {torch.__version__}, {platform.system()}"


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU {names[0] if names else platform.machine()}"
