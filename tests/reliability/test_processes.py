"""Several processes: whatever happens to one, none waits for ever, and what was saved stays whole."""

import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.training_helpers import Clips, digest, dynamic_network, short_recipe
from vared import fit, stopping
from vared.checkpoints import load_state

FORK = multiprocessing.get_context("fork")
HANG_SECONDS = 30


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def two_ranks(work, folder: Path) -> list[FORK.Process]:
    """`work(rank)` in two processes that find each other as under torchrun; exceptions go to `folder`/error-RANK."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        from accelerate.state import AcceleratorState, GradientState, PartialState

        for state in (AcceleratorState, GradientState, PartialState):  # what earlier tests left in this process
            state._shared_state.clear()
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()}
        try:
            work(rank)
        except Exception as error:
            (folder / f"error-{rank}").write_text(repr(error))
            os._exit(1)
        except SystemExit as stop:
            os._exit(stop.code)
        os._exit(0)

    children = [FORK.Process(target=run, args=(rank,), daemon=True) for rank in range(2)]
    for child in children:
        child.start()
    return children


def ended(children: list[FORK.Process]) -> list[int | None]:
    """Exit statuses; None for one that still hangs after the limit, which is then killed."""
    end = time.monotonic() + HANG_SECONDS
    for child in children:
        child.join(max(0.0, end - time.monotonic()))
    statuses = [child.exitcode for child in children]
    for child in children:
        child.kill()
    return statuses


def wait_for(note: Path) -> None:
    end = time.monotonic() + HANG_SECONDS
    while not note.exists():
        assert time.monotonic() < end, f"{note.name} was never written"
        time.sleep(0.01)


def train(folder: Path, clips: Clips, **settings) -> str:
    network = dynamic_network(gate_norm="layer")
    recipe = short_recipe(epochs=4, precision="no")
    return digest(fit(network, clips, recipe, directory=folder, progress=False, **settings).weights)


class Waits(Clips):
    """Says by a file that the second epoch has begun, and takes its time from then on."""

    def __init__(self, count: int, note: Path):
        super().__init__(count)
        self.note = note

    def __getitem__(self, index: int) -> dict:
        if self.epochs and self.epochs[-1] == 1:
            self.note.touch()
            time.sleep(0.02)
        return super().__getitem__(index)


@pytest.mark.hazard("processes", "SIGTERM to two ranks", "state within 10 s, exit 143, resume as uninterrupted")
def test_two_ranks_asked_to_stop_leave_a_state_and_go_on_exactly(tmp_path):
    def work(folder: Path, clips: Clips) -> None:
        with stopping.on_sigterm(), stopping.saving_first():
            train(folder, clips, checkpoint_seconds=stopping.Interval(600))

    assert ended(two_ranks(lambda rank: work(tmp_path / "whole", Clips(48)), tmp_path)) == [0, 0]
    children = two_ranks(lambda rank: work(tmp_path / "stopped", Waits(48, tmp_path / "note")), tmp_path)
    wait_for(tmp_path / "note")
    asked = time.monotonic()
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
    assert ended(children) == [143, 143] and time.monotonic() - asked < stopping.GRACE_SECONDS
    assert 6 < load_state(tmp_path / "stopped" / "state").updates < 12  # within the second epoch
    assert ended(two_ranks(lambda rank: work(tmp_path / "stopped", Clips(48)), tmp_path)) == [0, 0]
    weights = [tmp_path / name / "weights.safetensors" for name in ("whole", "stopped")]
    assert digest(weights[0]) == digest(weights[1])


@pytest.mark.hazard("processes", "loss of one rank not finite", "no rank hangs 30 s, state intact")
def test_no_rank_waits_for_one_whose_loss_is_not_finite(tmp_path):
    def work(rank: int) -> None:
        clips = Clips(16)
        if rank == 0:  # from the second epoch on
            set_epoch = clips.set_epoch
            clips.set_epoch = lambda epoch: (set_epoch(epoch), epoch == 1 and clips.clips.fill_(float("nan")))
        train(tmp_path / "run", clips)

    statuses = ended(two_ranks(work, tmp_path))
    assert None not in statuses and 0 not in statuses
    assert "The loss is nan" in (tmp_path / "error-0").read_text()
    state = load_state(tmp_path / "run" / "state")
    assert state.updates == 2 and all(tensor.isfinite().all() for tensor in state.weights.values())


@pytest.mark.hazard("processes", "a rank killed", "the other ends within 30 s, state intact")
def test_no_rank_waits_for_one_that_was_killed(tmp_path):
    def work(rank: int) -> None:
        train(tmp_path / "run", Waits(48, tmp_path / f"note-{rank}"))

    children = two_ranks(work, tmp_path)
    wait_for(tmp_path / "note-1")
    os.kill(children[1].pid, signal.SIGKILL)
    statuses = ended(children)
    assert statuses[1] == -signal.SIGKILL and statuses[0] not in (None, 0)
    assert load_state(tmp_path / "run" / "state").updates == 6


class Dies(Clips):
    """Ends the process that asks for clip 5."""

    def __getitem__(self, index: int) -> dict:
        if index == 5:
            os._exit(1)
        return super().__getitem__(index)


@pytest.mark.hazard("processes", "a worker of the loader dies", "the training fails within 30 s, state intact")
def test_a_dead_worker_ends_the_training_in_time(tmp_path):
    clips, start = Dies(16), time.monotonic()
    with pytest.raises(RuntimeError, match="DataLoader worker .* exited unexpectedly"):
        train(tmp_path, clips, workers=1)
    assert time.monotonic() - start < HANG_SECONDS and load_state(tmp_path / "state") is None


@pytest.mark.hazard("processes", "the same clips over any number of workers", "order and pixels equal for 0, 1 and 3")
def test_the_number_of_workers_changes_nothing(tmp_path):
    made = [train(tmp_path / str(workers), Clips(24), workers=workers) for workers in (0, 1, 3)]
    assert len(set(made)) == 1
