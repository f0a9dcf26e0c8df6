"""A throw-away project in which a profile runs with tiny numbers: its params.yaml, official files and results.

The profile keeps its name, data sets, runs, kinds of settings; only what costs time shrinks (`tiny`).
"""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from vared.data.preparation import prepare
from vared.data.sets import set_names
from vared.rehearsal.sets import write_all

# What stays as it is and is only read: a link serves.
LINKED = ("vared", "notebooks", "dvc.yaml")
COPIED = ("data/paper", "data/splits", "results/static_costs.csv", "results/benchmarks/speed.csv")


def make_project(root: Path, target: Path, profile: str, *, shrink: bool = True) -> Path:
    """Make the project of `root` anew in the empty folder `target`, with tiny data of `profile`, and its sets linked.

    With `shrink` its numbers become those of `tiny`, and linking the sets is left to the walk.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        (target / name).symlink_to((root / name).resolve())
    for name in COPIED:
        source, copied = root / name, target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            copied.mkdir()
            for path in source.iterdir():
                if path.is_file() and path.name != "identity.json":
                    shutil.copyfile(path, copied / path.name)
        elif source.exists():
            shutil.copyfile(source, copied)
    parameters = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    write_all(target / "data" / "raw", root / "data" / "splits")
    if shrink:
        parameters["profiles"][profile] = tiny(parameters["profiles"][profile])
    (target / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False), encoding="utf-8")
    data = parameters["profiles"][profile]["data"]
    for name in set_names(data) if not shrink else ():
        prepare(target, profile, data, name)
    return target


def tiny(numbers: Mapping[str, object]) -> dict[str, object]:
    """The numbers of a profile at which a run takes seconds: narrow networks, small crops, one epoch a phase.

    Learning rates, weight decay, strides, kinds of crops and all that costs nothing stay those of the profile.
    """
    small = copy.deepcopy(dict(numbers))
    model, training = small["model"], small["training"]
    model |= {"width": 0.0625, "crop_size": 32}
    for settings in model.get("by_backbone", {}).values():
        settings["crop_size"] = 32
    for settings in (small["sampling"], *small["sampling"].get("by_backbone", {}).values()):
        if "short_side" in settings:
            settings["short_side"] = 40
    training |= _short(training) | {"recalibration_clips": 4}
    for section in ("by_data", "by_backbone"):
        training[section] = {key: entry | _short(entry) for key, entry in training.get(section, {}).items()}
    for settings in training["baselines"].values():
        settings.setdefault("settings", {})
    training["baselines"]["pruned"]["settings"]["rounds"] = 1
    small["evaluation"] |= {"clips_per_video": 2, "permutations": 1, "batch_size": 4}
    small["evaluation"]["by_data"] = {key: {"clips_per_video": 1} for key in small["evaluation"].get("by_data", {})}
    small["cost_curve"] |= {"thresholds": [0, 0.2], "training_clips": 4}
    images = small["segmentation"]
    images["model"] |= {"width": 0.0625, "crop_size": 32}
    images["training"] |= _short(images["training"]) | {"recalibration_clips": 4}
    images["evaluation"] |= {"permutations": 1}
    heads = small["localization"]
    heads |= {"crop_size": 64, "hidden": 8, "views": 1, "key_frames_per_video": 2, "batch_size": 4, "anchors": 1}
    heads["training"] |= {"batch_size": 4, "epochs": 1, "recalibration_clips": 4}
    return small


def _short(recipe: Mapping[str, object]) -> dict[str, object]:
    """One epoch a phase without warm-up, of what `recipe` sets; small batches scale the rates down as they would."""
    lengths = {"epochs": 1, "finetune_epochs": 1, "warmup_epochs": 0, "finetune_warmup_epochs": 0, "batch_size": 4}
    return {name: value for name, value in lengths.items() if name in recipe}
