"""Independent pieces of one layer side by side, one thread each.

Operations on a few frames are too short to be split among cores: waiting for each other at the end of every one would
cost more than it gains, and each core would keep only a part of the frames in its cache.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


def side_by_side(work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
    """Calls `work` on every piece, on as many threads as torch uses; raises what a call raises."""
    threads = torch.get_num_threads()
    if threads == 1 or len(pieces) < 2:
        for piece in pieces:
            work(piece)
        return
    remaining, inference = iter(pieces), torch.is_inference_mode_enabled()

    def take() -> None:
        with torch.inference_mode(inference), torch.no_grad():  # both belong to a thread
            for piece in remaining:  # threads that are done take over what is left
                work(piece)

    for done in [_pool(threads).submit(take) for _ in range(threads)]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "vared", initializer=torch.set_num_threads, initargs=(1,))
