"""Predictions as lines, CSV, JSON, annotated videos and pictures."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from vared.checkpoints import write_atomically
from vared.prediction import Prediction
from vared.ready import Card
from vared.scratch import write_text


def lines(prediction: Prediction) -> str:
    """What a reader wants to know: the mean over the clips, then a line a clip."""
    clips = prediction.clips
    top = ", ".join(f"{name} {probability:.2f}" for name, probability in prediction.top(3))
    count = f"{prediction.frames} frame{'s' * (prediction.frames > 1)}, {len(clips)} clip{'s' * (len(clips) > 1)}"
    text = [f"{_name(prediction.path)} ({count}): {top}; {_cost(prediction.gmacs, prediction.share)}"]
    if len(clips) > 1:
        for row in clips.itertuples():
            cost = _cost(row.gmacs_total, row.share)
            text.append(f"  {_place(row):>16}  {row.label} {row.probability:.2f}; {cost}")
    return "\n".join(text)


def mean_line(predictions: Sequence[Prediction]) -> str:
    """GMACs and share of a clip, mean over all clips of all videos."""
    clips = pd.concat([prediction.clips for prediction in predictions])
    cost = _cost(clips["gmacs_total"].mean(), clips["share"].mean())
    return f"mean over {len(clips)} clips of {len(predictions)} videos: {cost}"


def _cost(gmacs: float, share: float) -> str:
    return f"{gmacs:#.4g} GMACs a clip, {100 * share:.0f} % of the static network"


def _place(row) -> str:
    if pd.isna(row.start_seconds):
        return f"frames {row.first_frame}-{row.last_frame}"
    return f"{row.start_seconds:.1f}-{row.end_seconds:.1f} s"


def write_csv(path: Path, card: Card, found: Sequence[Prediction], failed: Mapping[Path, str]) -> None:
    """A row a clip: video, network, the columns of `Prediction.clips`, error; a row with the error for what failed."""
    tables = [prediction.clips.assign(video=_name(prediction.path)) for prediction in found]
    if failed:
        tables.append(pd.DataFrame({"video": [_name(video) for video in failed], "error": list(failed.values())}))
    table = pd.concat(tables, ignore_index=True).assign(network=card.name)
    table = table.reindex(columns=["video", "network", *_COLUMNS, "error"])
    whole = {name: "Int64" for name in ("clip", "first_frame", "last_frame")}
    write_text(path, table.astype(whole).to_csv(index=False))


_COLUMNS = (
    "clip", "first_frame", "last_frame", "start_seconds", "end_seconds", "label", "probability", "gmacs_backbone",
    "gmacs_gate", "gmacs_cheap", "gmacs_total", "share",
)  # fmt: skip


def write_json(path: Path, card: Card, found: Sequence[Prediction], failed: Mapping[Path, str]) -> None:
    """The same with the probabilities of all classes and means over the clips of a video."""
    content = {
        "network": card.name,
        "classes": card.classes,
        "videos": [{"video": _name(prediction.path)} | prediction.record() for prediction in found],
        "failed": [{"video": _name(video), "error": error} for video, error in failed.items()],
    }
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_annotate(prediction: Prediction, target: Path) -> None:
    """The video again as H.264 with label and cost curve."""
    from vared.annotated_video import write_annotated

    write_annotated(prediction, target)


def write_pictures(prediction: Prediction, target: Path) -> None:
    """A PNG of the labels, the cost and every layer's policy over the video."""
    from vared.figures.policy_picture import draw_prediction
    from vared.reports.reporting import png

    image = png(draw_prediction(prediction))
    write_atomically(target, lambda temporary: temporary.write_bytes(image))


def _name(path: Path) -> str:
    """The path as text; bytes that are no UTF-8 are replaced, so that it can be written anywhere."""
    return os.fsencode(path).decode(errors="replace")
