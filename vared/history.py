"""What a training run logs: one row an epoch, as history.csv and as curves for `dvc plots`.

Cost is the nominal share r / R of the dynamic layers' computation, each layer weighted by its MACs (equation 3.6);
1 for a static network.
"""

import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from vared.checkpoints import write_atomically
from vared.gate import Policy

logger = logging.getLogger(__name__)


def nominal_cost(policies: Mapping[str, Policy], layer_macs: Mapping[str, float], clips: int) -> Tensor:
    """e(b) of equation (3.6): share of the dynamic layers' MACs spent on each clip, B; ones without dynamic layers."""
    if not policies:
        return torch.ones(clips)
    total = sum(layer_macs[name] for name in policies)
    return sum(policy.cost.double() * (layer_macs[name] / total) for name, policy in policies.items())


class EpochMeter:
    """Sums over the clips of one epoch. They stay on the device, and are plain numbers in a saved state."""

    SUMS = ("clips", "accuracy_loss", "efficiency_loss", "correct", "cost", "cost_squared", "rows", "all_zero_rows")

    def __init__(self, device: torch.device, saved: Mapping[str, list[float]] | None = None):
        start = saved or {"sums": [0.0] * len(self.SUMS), "range": [float("inf"), float("-inf")]}
        self.sums = torch.tensor(start["sums"], dtype=torch.float64, device=device)
        self.range = torch.tensor(start["range"], dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(
        self, accuracy_loss: Tensor, efficiency_loss: Tensor, correct: Tensor, cost: Tensor,
        policies: Mapping[str, Policy],
    ) -> None:  # fmt: skip
        """Add one batch: mean losses, `correct` and `cost` for each clip (B), and the policies they came from."""
        clips = len(correct)
        cost = cost.to(self.sums)
        shut = [flag for p in policies.values() for flag in (p.all_zero_temporal, p.all_zero_channel)]
        shut_rows = torch.stack([flag.sum() for flag in shut]).sum() if shut else 0
        sums = [clips, accuracy_loss * clips, efficiency_loss * clips, correct.sum(), cost.sum(), cost.square().sum()]
        sums += [clips * len(shut), shut_rows]
        self.sums += torch.stack([torch.as_tensor(value).to(self.sums) for value in sums])
        self.range = torch.stack([self.range[0].minimum(cost.min()), self.range[1].maximum(cost.max())])

    def saved(self) -> dict[str, list[float]]:
        """The sums as JSON can hold them; `EpochMeter(device, saved)` goes on from there."""
        return {"sums": self.sums.tolist(), "range": self.range.tolist()}

    def row(self, accelerator) -> dict[str, float]:
        """Means over the clips of all processes, and spread of the cost over clips (std 0 for one clip)."""
        sums = dict(zip(self.SUMS, accelerator.reduce(self.sums, "sum").tolist(), strict=True))
        ranges = accelerator.gather(self.range).view(-1, 2)
        clips = sums["clips"]
        mean_cost = sums["cost"] / clips
        return {
            "accuracy_loss": sums["accuracy_loss"] / clips,
            "efficiency_loss": sums["efficiency_loss"] / clips,
            "train_accuracy": 100.0 * sums["correct"] / clips,
            "mean_mu": sums["correct"] / clips,
            "mean_cost": mean_cost,
            "std_cost": max(sums["cost_squared"] / clips - mean_cost**2, 0.0) ** 0.5,
            "min_cost": ranges[:, 0].min().item(),
            "max_cost": ranges[:, 1].max().item(),
            "all_zero_share": sums["all_zero_rows"] / max(sums["rows"], 1),
        }


class History:
    """Rows of the epochs so far, written to `directory` after each: history.csv, and curves/ in dvclive's layout."""

    def __init__(self, directory: Path, rows: list[dict]):
        self.path, self.rows, self.curves = directory / "history.csv", list(rows), _open_curves(directory / "curves")
        # Replayed after a resume, so that no epoch is missing or twice.
        for row in rows:
            self._draw(row)

    def add(self, row: dict) -> None:
        """Append one epoch and write both forms."""
        self.rows.append(row)
        write_atomically(self.path, lambda temporary: pd.DataFrame(self.rows).to_csv(temporary, index=False))
        self._draw(row)

    def _draw(self, row: dict) -> None:
        if self.curves is None:
            return
        for name, value in row.items():
            self.curves.log_metric(name, value)
        self.curves.next_step()

    def close(self) -> None:
        """Finish the curves."""
        if self.curves is not None:
            self.curves.end()


def epoch_bar(items: Iterable, total: int, first: int, *, shown: bool, name: str) -> Iterable:
    """`items` with a progress bar on a terminal, as they are elsewhere; `first` of `total` are done already."""
    return tqdm(items, name, total, initial=first, leave=False, disable=not (shown and sys.stderr.isatty()))


def print_epoch(row: Mapping[str, float], epochs: int) -> None:
    """One line about a row of the history, on standard error."""
    tqdm.write(
        f"phase {row['phase']} epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, train accuracy "
        f"{row['train_accuracy']:.1f} %, cost {row['mean_cost']:.3f} ({row['min_cost']:.3f} to {row['max_cost']:.3f}), "
        f"{row['seconds']:.1f} s",
        file=sys.stderr,
    )


def _open_curves(folder: Path):
    # dvclive imports much of dvc; only the process that writes needs it.
    from dvclive import Live
    from scmrepo.exceptions import SCMError

    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
    except SCMError as error:  # a repository without a commit, for one; history.csv has the same numbers
        logger.warning("No curves in %s: dvclive cannot read the git repository (%s).", folder, error)
        return None
