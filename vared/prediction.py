"""What a network makes of a video of any length: labels and cost of clips that slide over it, and their mean.

    prediction = vared.predict("video.mp4")         # by a ready network, see vared.list_ready()
    prediction.top(3)                               # [("rise", 0.83), ...], mean over the clips
    prediction.clips                                # a row a clip: frames, seconds, label, GMACs, share of the static
    predictor = vared.Predictor(model, card)        # for many videos, or for a network of one's own

Shapes: N clip of the video, B clip of a batch, K class.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vared.data.frame_stream import Window, sliding_windows, stream_frames
from vared.data.transforms import EvalTransform
from vared.evaluation import PARTS, policy_table
from vared.flops import count_flops
from vared.policies import policy
from vared.ready import DEFAULT, Card, load_ready
from vared.trial_run import evaluating


@dataclass(frozen=True)
class Prediction:
    """What a network makes of one video.

    clips: a row a clip: clip (from 0), first_frame, last_frame, start_seconds, end_seconds (NaN without time stamps),
    label, probability, gmacs_{backbone,gate,cheap,total}, and share: gmacs_total over `static_gmacs`, those of the
    network when it saves nothing. probabilities: N x K. policies: see `policy_table`; no rows for a static network.
    """

    path: Path
    card: Card
    clips: pd.DataFrame
    probabilities: Tensor
    policies: pd.DataFrame
    static_gmacs: float
    frames: int

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes, mean over the clips, with their probabilities."""
        return most_probable(self.probabilities.mean(0), self.card.classes, count)

    @property
    def gmacs(self) -> float:
        """GMACs of a clip, gates and cheap operations counted, mean over the clips."""
        return float(self.clips["gmacs_total"].mean())

    @property
    def share(self) -> float:
        """Those over the GMACs of the static network."""
        return float(self.clips["share"].mean())

    def record(self) -> dict[str, object]:
        """All of it but the policies, as JSON can hold it."""
        rows = self.clips.astype(object).where(self.clips.notna(), None).to_dict("records")
        for row, probabilities in zip(rows, self.probabilities.tolist(), strict=True):
            row["probabilities"] = dict(zip(self.card.classes, [round(p, 6) for p in probabilities], strict=True))
        mean = {"top": [[name, round(p, 6)] for name, p in self.top()], "gmacs": self.gmacs, "share": self.share}
        return {"frames": self.frames, "static_gmacs": self.static_gmacs, "mean": mean, "clips": rows}


class Predictor:
    """A network that is shown videos. Where it stands (CPU, GPU) it stays; every call leaves its mode as it was.

    step: frames from the start of a clip to that of the next; None for half of what a clip spans. batch_size: clips.
    Raises ValueError for a step or batch below 1.
    """

    def __init__(self, model: nn.Module, card: Card, *, step: int | None = None, batch_size: int = 16):
        span = (card.num_frames - 1) * card.stride + 1
        self.model, self.card, self.batch_size = model, card, batch_size
        self.step = max(1, span // 2) if step is None else step
        for name, value in (("step", self.step), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        self.report = count_flops(model, card.shape)
        self._transform = EvalTransform(card.crop_size)

    def __call__(self, path: str | Path, *, watch: Callable[[Iterable], Iterable] = iter) -> Prediction:
        """Decode `path` once and predict; `watch` may wrap the iterator over its frames, as a progress bar does.

        Raises VideoError, which names the file, for one that cannot be read to its end.
        """
        windows, batches = [], []
        stream = watch(stream_frames(path))
        frames = ((seconds, self._transform(image[None])[0]) for seconds, image in stream)
        with evaluating(self.model), torch.inference_mode():
            for batch in _batches(sliding_windows(frames, self.card.sampling, self.step), self.batch_size):
                batches.append(self._run(torch.stack([window.clip for window in batch])))
                windows += [(w.first, w.last, w.start, w.end) for w in batch]
        probabilities, costs, policies = zip(*batches, strict=True)
        table = self._table(windows, torch.cat(probabilities), pd.concat(costs, ignore_index=True))
        decided = policy_table(list(policies))
        return Prediction(
            Path(path), self.card, table, torch.cat(probabilities), decided, self.report.static, windows[-1][1] + 1
        )

    def _run(self, clips: Tensor) -> tuple[Tensor, pd.DataFrame, dict]:
        """Probabilities (B x K), GMACs (a row a clip) and policies of clips B x 3 x T x S x S."""
        device = next(self.model.parameters()).device
        logits = self.model(clips.to(device, memory_format=torch.channels_last_3d))
        decided = policy(self.model)
        executed = self.report.executed(decided)
        costs = {f"gmacs_{part}": getattr(executed, part).cpu().expand(len(clips)).numpy() for part in PARTS}
        return logits.float().softmax(1).cpu(), pd.DataFrame(costs), decided

    def _table(self, windows: list[tuple], probabilities: Tensor, costs: pd.DataFrame) -> pd.DataFrame:
        names = ["first_frame", "last_frame", "start_seconds", "end_seconds"]
        table = pd.DataFrame(windows, columns=names).round({"start_seconds": 3, "end_seconds": 3})
        table.insert(0, "clip", range(len(table)))
        best = probabilities.max(1)
        table["label"] = np.array(self.card.classes, dtype=object)[best.indices.numpy()]
        table["probability"] = best.values.numpy().astype(float).round(6)
        return table.join(costs.round(9)).assign(share=(costs["gmacs_total"] / self.report.static).round(6))


def predict(
    video: str | Path, network: str = DEFAULT, *, step: int | None = None, batch_size: int = 16
) -> Prediction:  # fmt: skip
    """What the ready network `network` makes of the file `video`. For many videos, make one `Predictor`.

    Raises VideoError for a file that cannot be read, ValueError for an unknown network or a step below 1.
    """
    return Predictor(*load_ready(network), step=step, batch_size=batch_size)(video)


def most_probable(probabilities: Tensor, classes: tuple[str, ...], count: int) -> list[tuple[str, float]]:
    """The `count` classes with the largest probabilities (K), largest first."""
    best = probabilities.topk(min(count, len(classes)))
    return [(classes[index], value) for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def _batches(windows: Iterator[Window], size: int) -> Iterator[list[Window]]:
    while batch := list(islice(windows, size)):
        yield batch
