"""The network of a case with clips and policies to time it on. Equal for equal cases, also in another process.

Shapes: B clip, C channel, T frame, H W pixel.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vared.backbones import create_model, default_config
from vared.benchmarks.cases import Case, read_parameters, weights_of
from vared.benchmarks.mixes import OWN, Weights, dealt, draw
from vared.conversion import revert
from vared.flops import ClipCosts, DynamicLayerCost, FlopReport, count_flops
from vared.policies import dynamic_layers, policy

_CALIBRATION_CLIPS = 4


@dataclass(frozen=True)
class Subject:
    """A dynamic network in evaluation mode, clips B x 3 x T x H x W on its device and in its precision, the policies
    that they get, and the network's costs on shapes alone."""

    model: nn.Module
    clips: Tensor
    weights: Weights
    report: FlopReport

    def cast(self, dtype: str) -> "Subject":
        """The same in another precision; gates stay in fp32."""
        kind = getattr(torch, dtype)
        return replace(self, model=copy.deepcopy(self.model).to(kind), clips=self.clips.to(kind))


def build_subject(case: Case, root: Path) -> Subject:
    """The network, clips and policies of `case`, in fp32; trained ones of `case.run`, or seeded ones.

    Raises ValueError for a device that is not there or a mix that the network cannot reach.
    """
    check_device(case.device)
    model, clips = _trained(case, root) if case.run else (fresh_network(case, case.search_space), fresh_clips(case))
    report = count_flops(copy.deepcopy(model).to("meta"), tuple(clips.shape[1:]))
    weights = _own_weights(model, clips) if case.mix == OWN else draw(case.mix, report, case.batch, case.seed)
    if not case.run:
        with dealt(model, weights):
            _calibrate(model, case, weights)
    return Subject(model.to(case.device).eval(), clips.to(case.device), weights, report)


def save_subject(subject: Subject, file: Path) -> None:
    """Write what `load_subject` needs to build `subject` again without measuring anything."""
    content = {"state": subject.model.state_dict(), "clips": subject.clips, "weights": subject.weights}
    torch.save(content | {"report": subject.report}, file)


def load_subject(case: Case, root: Path, file: Path) -> Subject:
    """The subject of `case` in `file`, which `save_subject` has written."""
    with torch.serialization.safe_globals([FlopReport, ClipCosts, DynamicLayerCost]):
        content = torch.load(file, weights_only=True)
    model = _trained(case, root)[0] if case.run else fresh_network(case, case.search_space)
    model = model.to(content["clips"].dtype)
    model.load_state_dict(content["state"])
    return Subject(model.to(case.device).eval(), content["clips"], content["weights"], content["report"])


def fresh_network(case: Case, search_space: int | None) -> nn.Module:
    """The untrained network of `case` with that search space (None: the plain one), its weights drawn by the seed.

    Normalisations and cheap operations are moved from their start, where whole branches are multiplied by 0 and maps
    are only copied: on such a network two different functions could agree.
    """
    torch.manual_seed(case.seed)
    dynamic = None if search_space is None else default_config(case.network, search_space=search_space)
    model = create_model(
        case.network, num_classes=case.classes, num_frames=case.frames, crop_size=case.crop_size, width=case.width,
        dynamic=dynamic,
    )  # fmt: skip
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
        for layer in dynamic_layers(model).values():
            for parameter in (*layer.cheap_channel.parameters(), *layer.cheap_temporal.parameters()):
                parameter += 0.05 * torch.randn_like(parameter)
    return model


def fresh_clips(case: Case, count: int | None = None) -> Tensor:
    """Normally distributed clips, the batch of the case or `count` of them: B x 3 x T x H x W."""
    generator = torch.Generator().manual_seed(case.seed)
    shape = (count or case.batch, 3, case.frames, case.crop_size, case.crop_size)
    return torch.randn(shape, generator=generator)


def plain_network(model: nn.Module) -> nn.Module:
    """Copy of `model` without its dynamic layers: the same weights, plain convolutions."""
    return revert(copy.deepcopy(model))


def check_device(device: str) -> None:
    """Raises ValueError when there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("This machine has no GPU that torch can use: leave out --device cuda.")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the context torch computes with `count` threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _calibrate(model: nn.Module, case: Case, weights: Weights) -> None:
    """Measure the statistics of normalisation, so that activations keep their scale. `weights` are being dealt."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the first and only batch counts fully
    rows = [number % case.batch for number in range(_CALIBRATION_CLIPS)]
    some = {name: (temporal[rows], channel[rows]) for name, (temporal, channel) in weights.items()}
    with dealt(model.train(), some), torch.no_grad():
        model(fresh_clips(case, _CALIBRATION_CLIPS))


def _trained(case: Case, root: Path) -> tuple[nn.Module, Tensor]:
    """The trained network of a run, and a batch of its validation clips drawn by the seed."""
    from vared.checkpoints import load_weights
    from vared.experiments import build_network, data_set
    from vared.runs import plan_run

    profile, _, word = case.run.partition("/")
    plan = plan_run(root, profile, word, read_parameters(root)["profiles"][profile])
    clips = data_set(root, plan, "val")
    network = build_network(plan, len(clips.videos.classes))
    load_weights(network, weights_of(root, case.run) / "weights.safetensors")
    if case.batch > len(clips):
        raise ValueError(f"Benchmark {case.name}: {profile} has {len(clips)} validation clips, fewer than the batch.")
    picked = np.random.default_rng(case.seed).choice(len(clips), case.batch, replace=False)
    return network.eval(), torch.stack([clips[int(number)]["clip"] for number in picked])


def _own_weights(model: nn.Module, clips: Tensor) -> Weights:
    with torch.inference_mode():
        model(clips)
    # Dealt to every version: where a gate is near its threshold, rounding would let versions decide otherwise.
    return {name: (decided.temporal.clone(), decided.channel.clone()) for name, decided in policy(model).items()}
