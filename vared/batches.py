"""Training batches whose order is a pure function of seed and epoch, whatever the processes, workers or restarts."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class TrainingBatches:
    """Batches of `dataset` for one process of `processes`; `batch_size` counts the clips of all of them.

    An epoch visits the clips in a random order and leaves out what does not fill a batch, other clips in every epoch.
    Global batch k is the same clips however many processes share it. A dataset with `set_epoch(epoch)` is told the
    epoch, for its augmentation.

    Raises ValueError when the batch is larger than the dataset or cannot be shared evenly.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, seed: int, *, workers: int = 0, rank: int = 0, processes: int = 1
    ):
        if len(dataset) < batch_size:
            raise ValueError(f"A batch of {batch_size} needs as many clips, but the training set has {len(dataset)}.")
        if batch_size % processes:
            raise ValueError(f"A batch of {batch_size} cannot be shared evenly by {processes} processes.")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.workers, self.rank, self.processes = workers, rank, processes

    def __len__(self) -> int:
        return len(self.dataset) // self.batch_size

    def order(self, epoch: int) -> np.ndarray:
        """Clip indices of the epoch, updates x batch_size."""
        shuffled = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        return shuffled[: len(self) * self.batch_size].reshape(len(self), self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[dict]:
        """This process's share of every batch of the epoch from batch `first` on.

        Before a batch is fetched and used, torch's global generator is seeded for exactly this batch, so that
        dropout is the same after a restart.
        """
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        share = self.batch_size // self.processes
        order = self.order(epoch)[first:, self.rank * share : (self.rank + 1) * share]
        # Without its own generator a loader draws from the global one, and a resumed run would differ.
        generator = torch.Generator().manual_seed(self._step_seed(epoch, first))
        loader = iter(
            DataLoader(
                self.dataset, batch_sampler=order.tolist(), num_workers=self.workers, generator=generator,
                pin_memory=torch.cuda.is_available(),
            )
        )  # fmt: skip
        for batch in range(first, len(self)):
            torch.manual_seed(self._step_seed(epoch, batch))
            yield next(loader)

    def some_clips(self, count: int, epoch: int) -> list[Tensor]:
        """About `count` clips of the epoch, at least one batch of one process's size; the same in every process."""
        share = self.batch_size // self.processes
        whole = TrainingBatches(self.dataset, share, self.seed, workers=self.workers)
        batches = min(max(count // share, 1), len(whole))
        return [item["clip"] for item, _ in zip(whole.epoch(epoch), range(batches), strict=False)]

    def _step_seed(self, epoch: int, batch: int) -> int:
        return int(np.random.SeedSequence([self.seed, epoch, batch, self.rank]).generate_state(1)[0])
