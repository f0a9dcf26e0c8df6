"""One training step and one evaluation step of every full-size network of a profile, at its crop size and recipe.

Each network is built as its run builds it and gets clips through the run's own loader, from tiny official files. It has
a process of its own, so that the peak of its memory is its own. Times are of a CPU and say nothing about a GPU; bytes
kept for the backward pass and bytes of parameters are the same there.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, default_collate

from vared import experiments, runs
from vared.baselines.runs import clip_gmacs, most_gmacs
from vared.benchmarks.memory import in_child
from vared.cli import profile_numbers
from vared.evaluation import evaluate
from vared.flops import count_flops
from vared.losses import EfficiencyLoss
from vared.policies import policy
from vared.recipes import Recipe
from vared.rehearsal.project import make_project
from vared.scratch import write_text
from vared.tasks import recognition

BATCH = 2  # clips or images; the smallest with which batch normalisation can learn
# One run of each network. The clip lengths are those of its tables.
RUNS = (
    "s2_8f_seed0", "s2_16f_seed0", "s2_32f_seed0", "i3d-s2_16f_seed0", "x3d_m-s2_16f_seed0",
    "r2plus1d_18_tpn-s2_16f_seed0", "r2plus1d_18_corrnet-s2_16f_seed0", "tsn_resnet50-s2_16f_seed0",
    "tsn_resnet50-arnet_16f_seed0", "pspnet-s2_seed0", "jhmdb-i3d-s2_16f_seed0", "jhmdb-x3d_m-s2_16f_seed0",
)  # fmt: skip


@dataclass
class Step:
    """What a network needed: GMACs of a clip, counts, seconds of a step of BATCH clips, bytes."""

    run: str
    network: str
    frames: int
    crop_size: int
    classes: int
    gmacs: float
    parameters: int
    trained_parameters: int
    norms: int
    loss: float
    training_seconds: float
    evaluation_seconds: float
    kept_bytes_a_clip: float
    peak_bytes: int


@dataclass
class Subject:
    """A network with its training and validation items, its loss, and what evaluates it."""

    network: nn.Module
    train: Dataset
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    evaluate: Callable[[], object]
    classes: int
    crop_size: int
    clip: tuple[int, ...]
    learning_rate: float
    gmacs: float | None = None  # where counting on shapes does not give it


def record_steps(root: Path, profile: str, target: Path, only: Sequence[str] | None = None) -> None:
    """Take the steps of all RUNS that `profile` has, or of `only`, and write `target`.csv and .md.

    Rows of networks that are not taken again stay. Raises ValueError for a word that is none of RUNS.
    """
    if unknown := sorted(set(only or ()) - set(RUNS)):
        raise ValueError(f"No full-size step is defined for {', '.join(unknown)}, only for {', '.join(RUNS)}.")
    path = target.with_suffix(".csv")
    rows = {row["run"]: row for row in pd.read_csv(path).to_dict("records")} if path.exists() and only else {}
    with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
        project = make_project(root, Path(folder) / "project", profile, shrink=False)
        for word in only or RUNS:
            rows[word] = asdict(in_child(take_step, project, profile, word))
            print({name: value for name, value in rows[word].items() if name != "run"}, word, flush=True)
            table = pd.DataFrame([rows[name] for name in RUNS if name in rows])
            write_text(path, table.to_csv(index=False))
    from vared.rehearsal.record import write_steps

    write_steps(target, table)


def take_step(root: Path, profile: str, word: str) -> Step:
    """The steps of run `word` in the project at `root`, whose data sets are in place."""
    torch.set_num_threads(1)
    subject = build(root, profile, word)
    network, before = subject.network, _resident()
    items = [subject.train[index] for index in range(BATCH)]
    batch = default_collate([{"clip": item["clip"], "label": item["label"]} for item in items])
    optimizer = torch.optim.SGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=subject.learning_rate, momentum=0.9, nesterov=True,
    )  # fmt: skip
    kept = KeptBytes(network)
    started = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack):
        loss = subject.loss(network, batch["clip"], batch["label"])
    loss.backward()
    optimizer.step()
    trained = time.perf_counter()
    if not torch.isfinite(loss) or not all(torch.isfinite(p).all() for p in network.parameters()):
        raise FloatingPointError(f"{word}: the loss or a weight is not finite after one step.")
    optimizer.zero_grad()
    subject.evaluate()
    evaluated = time.perf_counter()
    gmacs = subject.gmacs if subject.gmacs else count_flops(network, subject.clip).static
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    learned = [parameter.numel() for parameter in network.parameters() if parameter.requires_grad]
    return Step(
        word, type(network).__name__, subject.clip[1] if len(subject.clip) == 4 else 1, subject.crop_size,
        subject.classes, round(gmacs, 4), sum(p.numel() for p in network.parameters()), sum(learned), norms,
        round(loss.item(), 4), round(trained - started, 2), round(evaluated - trained, 2),
        round(kept.total() / BATCH), _resident() - before,
    )  # fmt: skip


class KeptBytes:
    """Counts what autograd keeps for the backward pass, each piece of memory once and parameters not at all."""

    def __init__(self, network: nn.Module):
        self.known = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        self.sizes: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        """Note the memory behind a kept tensor; it stays alive, so that no other takes its place."""
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in self.known:
            self.sizes[memory.data_ptr()] = memory.nbytes()
        return tensor

    @staticmethod
    def unpack(tensor: Tensor) -> Tensor:
        """The tensor as it was."""
        return tensor

    def total(self) -> int:
        """Bytes."""
        return sum(self.sizes.values())


def build(root: Path, profile: str, word: str) -> Subject:
    """Network, data and losses of a run word: of recognition, segmentation (pspnet-...) or localisation (jhmdb-...)."""
    from vared.rehearsal import other_tasks

    if word.startswith("pspnet-"):
        return other_tasks.segmentation(root, profile, word)
    if word.startswith("jhmdb-"):
        return other_tasks.localization(root, profile, word)
    plan = runs.plan_run(root, profile, word, profile_numbers(root, profile))
    train = experiments.data_set(root, plan, "train", training=True)
    val = Subset(experiments.data_set(root, plan, "val"), range(BATCH))
    classes, recipe = len(train.videos.classes), Recipe(seed=plan.run.seed, **plan.numbers["training"])
    network, clip = experiments.build_network(plan, classes), tuple(train[0]["clip"].shape)
    rate = recipe.phase(2).learning_rate * BATCH / recipe.batch_size
    task, cost, most = recognition, None, None
    if plan.run.network == "arnet":
        task, most = other_tasks.arnet_task(network, clip[-1]), most_gmacs("arnet", network, clip)
        cost = clip_gmacs("arnet", network, clip)
    loss = efficient_loss(network, clip, task, recipe.efficiency_weight)
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last_3d)
    return Subject(
        network, train, loss, lambda: evaluate(network, val, batch_size=BATCH, clip_gmacs=cost), classes, clip[-1],
        clip, rate, most,
    )  # fmt: skip


def efficient_loss(network: nn.Module, clip: tuple[int, ...], task, weight: float):
    """The loss of phase 2, L_a + weight * L_e, as `vared.training` computes it for a batch."""
    layers = count_flops(network, clip).dynamic_layers
    efficiency = EfficiencyLoss(layers) if layers else None

    def loss(model: nn.Module, clips: Tensor, labels: Tensor) -> Tensor:
        logits = model.train()(clips)
        found = task.loss(logits, labels)
        return found + weight * efficiency(policy(model), task.correct(logits, labels)) if efficiency else found

    return loss


def _resident() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
