"""One clip in a ready network: what it sees, says, decides and costs, and how that moves with another policy.

For `notebooks/explore.ipynb`, which shows the figures drawn here; `vared/exploring_panel.py` puts them under controls.

Shapes: B clip, S candidate, T frame, K class.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vared.data.embedded import SceneSettings
from vared.data.embedded.scene import render_clip
from vared.data.embedded.writer import write_video
from vared.data.transforms import EvalTransform
from vared.data.video import count_frames, read_frames
from vared.figures.shown_run import ShownRun
from vared.flops import FlopReport, count_flops
from vared.gate import Policy
from vared.policies import dynamic_layers, one_hot_policy, policy
from vared.ready import DEFAULT, Card, load_ready


@dataclass(frozen=True)
class Subject:
    """A network and the clip, 3 x T x S x S, that it is shown; `title` says what the clip is."""

    card: Card
    model: nn.Module
    report: FlopReport
    title: str
    clip: Tensor

    def shown_run(self) -> ShownRun:
        """The same for figures of feature maps."""
        return ShownRun(self.model, self.clip[None], (self.title,), decide(self).policies, "explored")


@dataclass(frozen=True)
class Outcome:
    """What a network makes of a clip: class probabilities (K), policies (B = 1), GMACs of each part, and what the
    static network takes."""

    probabilities: Tensor
    policies: Mapping[str, Policy]
    gmacs: Mapping[str, float]
    static: float

    @property
    def share(self) -> float:
        """All GMACs over those of the static network."""
        return sum(self.gmacs.values()) / self.static


def subject(network: str = DEFAULT, clip: int | str | Path = 0) -> Subject:
    """The ready network `network` with a clip: the centre clip of the video at a path, or, for a number, of that
    validation clip of the embedded data set, which is drawn here.

    Raises ValueError for an unknown network, VideoError for a file that cannot be read.
    """
    model, card = load_ready(network)
    with tempfile.TemporaryDirectory() as folder:
        path, title = (Path(clip), Path(clip).name) if isinstance(clip, str | Path) else _generated(clip, Path(folder))
        frames = read_frames(path, card.sampling.evaluation(count_frames(path))[0].tolist())
    return Subject(card, model, count_flops(model, card.shape), title, EvalTransform(card.crop_size)(frames)[0])


def _generated(number: int, folder: Path) -> tuple[Path, str]:
    """A validation clip of the embedded data set as a file, and its name."""
    settings = SceneSettings()
    clip = render_clip(0, "val", number, settings)  # of seed 0, as in params.yaml
    path = folder / f"{number}.mp4"
    write_video(path, clip, settings.fps)
    return path, f"generated clip {number}: {clip.row['label']}"


def decide(one: Subject, forced: tuple[int, float] | None = None, threshold: float = 0.0) -> Outcome:
    """Run the network on the clip: with the policy (R, r) `forced` on every layer, or as the gates say, where only
    candidates above `threshold` are open. A static network takes neither."""
    with steered(one.model, forced, threshold), torch.inference_mode():
        probabilities = one.model(one.clip[None]).softmax(1)[0]
    policies = policy(one.model)
    costs = one.report.executed(policies)
    gmacs = {name: float(getattr(costs, name)[0]) for name in ("backbone", "cheap", "gate")}
    return Outcome(probabilities, policies, gmacs, one.report.static)


@contextmanager
def steered(model: nn.Module, forced: tuple[int, float] | None = None, threshold: float = 0.0) -> Iterator[None]:
    """Within the context every layer takes the policy `forced` (R, r), or its gates open the candidates whose weight is
    above `threshold`, not above 0; where none is, the smallest, by the gate's own rule.

    What stays open shares the weight of what is shut, so that maps stay as large as the normalisation behind the layer
    expects; `fixed_policy` puts the weight 1 on a candidate instead. Raises ValueError for a negative threshold.
    """
    if threshold < 0:
        raise ValueError(f"The openness threshold must be at least 0, not {threshold}.")

    def steer(layer: nn.Module):
        targets = (None, None) if forced is None else one_hot_policy(layer, *forced)

        def hook(gate: nn.Module, inputs: tuple, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            opened = (v > threshold if t is None else t > 0 for v, t in zip(weights, targets, strict=True))
            return tuple(_put_on(v, o) for v, o in zip(weights, opened, strict=True))

        return layer.gate.register_forward_hook(hook)

    handles = [steer(layer) for layer in dynamic_layers(model).values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _put_on(weights: Tensor, opened: Tensor) -> Tensor:
    """V (B x S) with all its weight on the candidates `opened`, in their proportions; on the last where none is."""
    opened = opened.expand_as(weights).clone()
    opened[~opened.any(1), -1] = True
    kept = weights * opened
    kept = torch.where((kept > 0).any(1, keepdim=True), kept, opened.to(kept))
    return kept * (weights.sum(1, keepdim=True) / kept.sum(1, keepdim=True))


def candidates(one: Subject) -> list[tuple[int, float]]:
    """Every policy (R, r) that can be forced, from the most to the least computed; none for a static network."""
    layers = dynamic_layers(one.model).values()
    factors = {factor for layer in layers for factor in layer.temporal_factors}
    ratios = {ratio for layer in layers for ratio in layer.channel_ratios}
    return sorted(((factor, ratio) for factor in factors for ratio in ratios), key=lambda c: (-c[1] / c[0], c[0]))
