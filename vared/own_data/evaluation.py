"""`vared evaluate --data`: a network trained on your own data, on clips that it was not trained on, and its card."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from vared.controls import mean_policy, random_policy
from vared.cost_curve import DYNAMIC, MEAN, RANDOM, on_device
from vared.data.floors import video_floors
from vared.data.records import VideoList, VideoRecord, shorten
from vared.evaluation import evaluate
from vared.experiments import hardware
from vared.flops import count_flops
from vared.own_data.card import write_card
from vared.own_data.checking import Checked, describe
from vared.own_data.layout import WARNING
from vared.own_data.run_folder import OwnRun
from vared.own_data.splitting import VAL_SHARE
from vared.policies import dynamic_layers
from vared.scratch import write_text

BATCH = 32  # clips
PERMUTATIONS = 5  # of the random policy
FLOOR_BYTES = 1e9  # a video that takes more than this decoded is not read for the floors


def clips_to_judge(run: OwnRun, checked: Checked, part: str) -> VideoList:
    """The clips of `checked` to evaluate: those of `part`, none of which the network was trained on.

    Where the data give no parts themselves, every clip is one that the training has not seen. Raises ValueError for
    classes that the network does not know, and when no clip is left.
    """
    trained = set(run.clips.loc[run.clips["part"] == "train", "key"])
    unseen = [e for e in checked.entries if e.name in checked.probes and checked.probes[e.name].key not in trained]
    given = {entry.name: entry.part for entry in checked.layout.entries}  # before a test part stands in for val
    chosen = [e for e in unseen if not any(given.values()) or part in (e.part, given[e.name])]
    labels = {name: label for label, name in enumerate(run.classes)}
    if unknown := sorted({entry.label for entry in chosen} - labels.keys()):
        raise ValueError(
            f"The network in {run.folder} knows the classes {shorten(run.classes)}, not {shorten(unknown)}."
        )
    if not chosen:
        raise ValueError(f"{checked.layout.data} has no clip of {part!r} that {run.folder} was not trained on.")
    records = tuple(VideoRecord(entry.path, labels[entry.label], entry.name) for entry in chosen)
    return VideoList(records, run.classes, (), checked.layout.kind)


def evaluate_run(
    run: OwnRun, checked: Checked, *, part: str = "val", leave_out: bool = False, workers: int = 0
) -> Path:
    """Evaluate the run and write metrics.json, evaluation.csv (a row a clip) and card.md into its folder.

    Raises ValueError for unreadable clips unless `leave_out`, and as `clips_to_judge`.
    """
    unreadable = [p for p in checked.problems if p.severity != WARNING and p.name not in checked.probes and p.name]
    if unreadable and not leave_out:
        raise ValueError(f"Not every clip can be read; leave them out with --leave-out:\n{describe(unreadable)}")
    videos = clips_to_judge(run, checked, part)
    centre, views = (run.data_set(videos, views=several, workers=workers) for several in (False, True))
    network = run.trained_network()
    report = count_flops(network, tuple(centre[0]["clip"].shape))
    found = evaluate(network, centre, views=views, batch_size=BATCH)
    name = DYNAMIC if dynamic_layers(network) else "static"
    rows = {name: found.metrics}
    if name == DYNAMIC:
        if run.recipe.finetune_epochs:
            early = run.trained_network("phase1.safetensors")
            rows["dynamic, before efficiency fine-tuning"] = evaluate(early, centre, batch_size=BATCH).metrics
        rows |= _controls(run, network, centre, found.policies)
    record = {
        "part": part, "clips": len(videos), "gflops_static": report.static, "networks": rows,
        "floors": _floors(run, videos, checked), "left_out": [p.name for p in unreadable], "hardware": hardware(),
        "judged_data": str(checked.layout.data.resolve()),
        "val_share": VAL_SHARE,
    }  # fmt: skip
    table = found.clips.assign(
        name=[record.name for record in videos.records], label=[run.classes[k] for k in found.clips["label"]],
        prediction=[run.classes[k] for k in found.clips["prediction"]],
    ).drop(columns="clip")  # fmt: skip
    write_text(run.folder / "evaluation.csv", table.to_csv(index=False))
    write_text(run.folder / "metrics.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return write_card(run, record, table)


def _controls(run: OwnRun, network, centre, policies: pd.DataFrame) -> dict[str, dict]:
    """The mean policy, where the training clips are still there to recalibrate on, and the random policy."""
    rows = {}
    if run.part("train").records and all(record.path.is_file() for record in run.part("train").records):
        clips = on_device(network, run.training_clips())
        rows[MEAN] = mean_policy(network, centre, policies, clips, batch_size=BATCH).metrics
    dealt = random_policy(network, centre, policies, permutations=PERMUTATIONS, batch_size=BATCH)
    rows[RANDOM] = dealt.drop(columns=["permutation", "correct"]).mean().to_dict()
    return rows


def _floors(run: OwnRun, videos: VideoList, checked: Checked) -> dict[str, object]:
    """Accuracy without watching, in percent by name: chance, metadata, the middle frame. Or the reason why not."""
    labels = np.array([record.label for record in videos.records])
    train = np.array([record.label for record in run.part("train").records])
    most = np.bincount(train, minlength=len(run.classes)).argmax()
    floors: dict[str, object] = {"most frequent training class": 100 * float((labels == most).mean())}
    sizes = [probe.frames * probe.width * probe.height * 3 for probe in checked.probes.values()]
    if max(sizes) > FLOOR_BYTES:
        return floors | {"not computed": "videos too large to be read whole"}
    try:
        table = video_floors({"train": run.part("train"), "val": videos})
    except (ValueError, OSError) as error:
        return floors | {"not computed": str(error)}
    return floors | {row.floor: 100 * row.accuracy for row in table.itertuples()}
