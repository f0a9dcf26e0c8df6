"""A trained run with some of its validation clips, for figures that look inside the network.

Shapes: N clip, T frame, S S pixels.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vared.checkpoints import load_weights
from vared.data.embedded import CLASSES, SceneSettings
from vared.data.embedded.scene import render_clip
from vared.data.embedded.writer import write_video
from vared.data.sampling import ClipSampling
from vared.data.transforms import MEAN, STD, EvalTransform
from vared.data.video import count_frames, read_frames
from vared.experiments import build_network, data_set, load_videos
from vared.gate import Policy
from vared.policies import policy
from vared.runs import RunPlan, parse_run, plan_run

_RENDERED = 12  # clips that stand in for a data set that is not there: one of each class


@dataclass(frozen=True)
class ShownRun:
    """A network in evaluation mode, clips N x 3 x T x S x S with their names, and what its gates decide for them.

    `source` is "validation"; "stand-in" for rendered clips in place of videos that may not be shown, with the trained
    network; "rendered" for the same clips with an untrained network, where videos or weights are missing.
    """

    network: nn.Module
    clips: Tensor
    names: tuple[str, ...]
    policies: Mapping[str, Policy]
    source: str

    @property
    def note(self) -> str:
        """What to say below a figure of clips that are not of the data set."""
        if self.source == "validation":
            return ""
        return (
            " The clips are rendered ones, of no class that the network has learned: videos of this data set may not "
            "be shown, nor maps in which they could be recognised."
        )

    def motion(self) -> Tensor:
        """Mean absolute difference between one frame and the next, in shares of the range of a pixel, N."""
        return (self.pixels()[:, :, 1:] - self.pixels()[:, :, :-1]).abs().mean((1, 2, 3, 4))

    def pixels(self) -> Tensor:
        """The clips in their own colours, N x 3 x T x S x S in 0..1."""
        mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
        return (self.clips * std + mean).clamp(0, 1)


def trained_run(root: Path, plan: RunPlan, count: int) -> ShownRun:
    """The run with its published weights and `count` clips, evenly spaced over its validation set.

    Raises FileNotFoundError when the run is not trained.
    """
    weights = weights_of(root, plan.profile, plan.run.word)
    if not weights.exists():
        raise FileNotFoundError(f"{weights} does not exist. Train it: vared train {plan.profile} {plan.run.word}")
    videos = data_set(root, plan, "val")
    chosen = np.linspace(0, len(videos) - 1, min(count, len(videos))).round().astype(int).tolist()
    network = load_weights(build_network(plan, len(videos.videos.classes)), weights)
    clips = torch.stack([videos[index]["clip"] for index in chosen])
    return _decided(network, clips, tuple(videos.videos.records[index].name for index in chosen), "validation")


def run_to_show(root: Path, profile: str, numbers: Mapping[str, object], word: str, count: int = 48) -> ShownRun:
    """`trained_run` of `word`, `numbers` being those of the profile. Where the videos are real ones, which are not ours
    to publish, rendered clips take their place. In a clone without videos or weights an untrained network, whose gates
    are all open, is shown on these."""
    if not (root / "data" / profile / "clips").exists() or not weights_of(root, profile, word).exists():
        plan = RunPlan(profile, parse_run(word), numbers, "", "", "")
        return _decided(build_network(plan, len(CLASSES)), *_rendered_clips(plan), "rendered")
    plan = plan_run(root, profile, word, numbers)
    if numbers["data"]["source"] == "embedded":
        return trained_run(root, plan, count)
    network = build_network(plan, len(load_videos(root, plan)["val"].classes))
    return _decided(load_weights(network, weights_of(root, profile, word)), *_rendered_clips(plan), "stand-in")


def _rendered_clips(plan: RunPlan) -> tuple[Tensor, tuple[str, ...]]:
    """One clip of each class of the generated set, N x 3 x T x S x S, and their names."""
    sampling = ClipSampling(plan.run.frames, plan.numbers["sampling"]["stride"][plan.run.frames])
    clips, settings = {}, SceneSettings()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(_RENDERED):
            rendered, video = render_clip(0, "val", index, settings), Path(folder) / f"{index}.mp4"
            write_video(video, rendered, settings.fps)
            frames = read_frames(video, sampling.evaluation(count_frames(video))[0].tolist())
            name = f"{rendered.row['label']}/{index}"
            clips[name] = EvalTransform(plan.numbers["model"]["crop_size"])(frames)[0]
    return torch.stack(list(clips.values())), tuple(clips)


def weights_of(root: Path, profile: str, word: str) -> Path:
    """Where the pipeline publishes the weights of a run."""
    return root / "data" / "runs" / profile / word / "weights.safetensors"


def _decided(network: nn.Module, clips: Tensor, names: tuple[str, ...], source: str) -> ShownRun:
    with torch.no_grad():
        network.eval()(clips)
    return ShownRun(network, clips, names, policy(network), source)
