"""Ready networks from trained runs of the pipeline: their weights and cards, and the page about them.

The stage `ready@NAME` writes a network's two files, `model_card` the page; params.yaml, ready_lists, names the runs.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from vared.checkpoints import write_atomically
from vared.experiments import build_network
from vared.policies import dynamic_layers
from vared.ready import Card, list_ready, read_card, sha256
from vared.reports.reporting import markdown
from vared.runs import RunPlan
from vared.scratch import write_text

# The state of the network after both phases, by kind of run: static networks have then had as many epochs.
_VARIANTS = {"static": "static_equal_epochs", "dynamic": "dynamic"}
_METRICS = ("clips", "clip1_top1", "gflops_backbone_mean", "gflops_total_mean")

_PAGE = """# Ready networks

**They know {count} generated classes and nothing else**: {classes}.

The clips they were trained on are drawn by `vared/data/embedded/`: moving shapes before a photograph, 64 x 48 pixels.
Shown any other video they still answer with one of these words, and the answer means nothing. They are there so that
`vared predict`, `notebooks/explore.ipynb` and `torch.hub.load` work at once, and to see how cost follows the input.

{networks}

MMACs are millions of multiply-accumulates of one centre clip, gates and cheap operations counted, mean over the
validation clips; clip-1 is top-1 of the same clips. One seed each: the spread over seeds is in
[table 4.1](../../results/tables/table_4_1.md). The static network was trained for as many epochs as the dynamic one.

```python
model, card = vared.load_ready("{default}")
model, card = torch.hub.load(".", "vared_ready", "{default}", source="local")
```

{files}

- Data: embedded; trained on {data}
- Recipe: section A.2 of the thesis, with the numbers of `params.yaml`, profile `embedded`
- Hardware: {hardware}
- Made by: `dvc repro model_card`; the licence is that of the code
"""


def write_ready(root: Path, plan: RunPlan, name: str, folder: Path) -> Card:
    """Put the published weights of a run into `folder` as NAME.safetensors, and its card as NAME.json.

    Raises ValueError for a run that is neither static nor dynamic, FileNotFoundError for one that is not trained and
    evaluated.
    """
    if plan.run.network not in _VARIANTS:
        raise ValueError(f"{plan.run.word} cannot be made ready: only static and dynamic networks are.")
    place = Path(plan.profile) / plan.run.word
    weights, record = (root / "data" / part / place for part in ("runs", "evaluations"))
    weights, trained, record = weights / "weights.safetensors", weights / "training.json", record / "metrics.json"
    for path in (weights, trained, record):
        if not path.exists():
            command = f"dvc repro evaluate@{plan.profile}-{plan.run.word}"
            raise FileNotFoundError(f"{path} does not exist. Make it: {command}")
    card = _card(plan, name, weights, json.loads(trained.read_text()), json.loads(record.read_text()))
    write_atomically(folder / f"{name}.safetensors", lambda temporary: shutil.copyfile(weights, temporary))
    write_text(folder / f"{name}.json", card.text())
    return card


def _card(plan: RunPlan, name: str, weights: Path, trained: dict, evaluated: dict) -> Card:
    layers, model = dynamic_layers(build_network(plan, len(evaluated["classes"]))), plan.numbers["model"]
    metrics = evaluated["variants"][_VARIANTS[plan.run.network]]
    provenance = {
        "profile": plan.profile, "run": plan.run.word, "training_fingerprint": trained["fingerprint"],
        "evaluation_fingerprint": evaluated["fingerprint"], "trained_on": trained["videos"],
        "evaluated_on": evaluated["videos"], "hardware": trained["hardware"],
    }  # fmt: skip
    return Card(
        name=name, network=model["backbone"], classes=tuple(evaluated["classes"]), num_frames=plan.run.frames,
        stride=plan.numbers["sampling"]["stride"][plan.run.frames], crop_size=model["crop_size"], width=model["width"],
        dynamic=asdict(next(iter(layers.values())).config) if layers else None, sha256=sha256(weights),
        metrics={key: metrics[key] for key in _METRICS} | {"gflops_static": evaluated["gflops_static"]},
        provenance=provenance,
    )  # fmt: skip


def write_model_card(names: Sequence[str], path: Path) -> None:
    """Write the page about the ready networks `names`. Raises ValueError when the package holds others, or none."""
    if not names or sorted(names) != list_ready():
        raise ValueError(f"params.yaml lists the ready networks {sorted(names)}, but the package holds {list_ready()}.")
    cards = [read_card(name) for name in names]
    write_text(path, _PAGE.format(
        count=len(cards[0].classes), classes=", ".join(cards[0].classes), default=cards[0].name,
        networks=markdown(pd.DataFrame([_network_row(card) for card in cards])),
        files=markdown(pd.DataFrame([_file_row(card) for card in cards])),
        data=f"{cards[0].provenance['trained_on']}; evaluated on {cards[0].provenance['evaluated_on']}",
        hardware="; ".join(sorted({str(card.provenance["hardware"]) for card in cards})),
    ))  # fmt: skip


def _network_row(card: Card) -> dict[str, str]:
    metrics = card.metrics
    share = 100 * metrics["gflops_total_mean"] / metrics["gflops_static"]
    kind = f"dynamic, S = {card.dynamic['search_space']}" if card.dynamic else "static"
    return {
        "name": f"`{card.name}`", "network": f"{card.network}, width {card.width:g}, {kind}",
        "input": f"{card.num_frames} frames, {card.stride} apart, {card.crop_size} x {card.crop_size} pixels",
        "clip-1 (%)": f"{metrics['clip1_top1']:.1f}", "MMACs a clip": f"{1000 * metrics['gflops_total_mean']:.1f}",
        "of the static network (%)": f"{share:.0f}",
    }  # fmt: skip


def _file_row(card: Card) -> dict[str, str]:
    return {
        "file": f"`{card.name}.safetensors`", "run": f"{card.provenance['profile']}, {card.provenance['run']}",
        "training fingerprint": str(card.provenance["training_fingerprint"]), "sha256": f"`{card.sha256}`",
    }  # fmt: skip
