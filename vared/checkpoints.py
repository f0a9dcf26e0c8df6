"""Weights as safetensors, and training states that survive a kill at any moment.

A file or folder appears under its name only when all of it is on disk: written beside the target, flushed, renamed.
A state folder `<update>/` holds model.safetensors, optimizer.pt and state.json; the previous one is kept.
"""

import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vared import failures, stopping

logger = logging.getLogger(__name__)
KEPT_STATES = 2


def write_atomically(path: Path | str, write: Callable[[Path], None], needed: int | None = None) -> None:
    """Call `write` with a temporary name beside `path`, flush what it wrote (a file or a folder), rename it to `path`.

    When `write` raises, `path` is as before and nothing else is left. Raises DiskFull where there is no room, with the
    bytes `needed` if they are known.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        for part in [*temporary.glob("*"), temporary]:
            _flush(part)
        os.replace(temporary, path)
    except BaseException as error:
        _remove(temporary)
        if failures.no_room(error):
            raise failures.DiskFull.of(path, needed) from error
        raise
    _flush(path.parent)


def save_weights(model: nn.Module, path: Path | str) -> None:
    """Write parameters and buffers of `model` to a safetensors file, whole or not at all."""
    write_atomically(path, lambda temporary: save_file(_plain(model), temporary), _bytes(model.state_dict()))


def load_weights(model: nn.Module, path: Path | str) -> nn.Module:
    """Load a safetensors file into `model` and return it.

    Raises ValueError that lists missing, unexpected and wrongly shaped names, or says that the file is damaged.
    """
    apply_weights(model, read_weights(Path(path)), str(path))
    return model


def apply_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Copy `weights` into `model`; raises ValueError naming `source` and every name that does not fit."""
    expected = model.state_dict()
    complaints = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} (file {tuple(weights[name].shape)}, network {tuple(tensor.shape)})"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }
    if any(complaints.values()):
        found = "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in complaints.items() if names)
        raise ValueError(f"The weights in {source} do not fit this network ({found}). Create the network they are of.")
    model.load_state_dict(weights)


@dataclass(frozen=True)
class TrainingState:
    """One saved state, read completely: number of updates, position and history, weights, optimiser."""

    updates: int
    state: dict
    weights: dict[str, Tensor]
    optimizer: dict


def save_state(folder: Path | str, updates: int, state: dict, model: nn.Module, optimizer: dict) -> None:
    """Save a training state under `folder` and remove all but the newest two. `state` must be JSON.

    Raises DiskFull where there is no room, and Terminated, with the state saved, when the process was asked to stop.
    """
    folder = Path(folder)

    def write(temporary: Path) -> None:
        temporary.mkdir()
        save_file(_plain(model), temporary / "model.safetensors")
        with open(temporary / "optimizer.pt", "wb") as file:  # given a name, torch hides why a write failed
            torch.save(optimizer, file)
        (temporary / "state.json").write_text(json.dumps(state))

    # Ten digits keep the order of names the order of updates. What a killed save left behind goes first.
    target = folder / f"{updates:010d}"
    for leftover in [target, *folder.glob(".*.partial")]:
        _remove(leftover)
    write_atomically(target, write, _bytes(model.state_dict()) + _bytes(optimizer))
    for old in _state_folders(folder)[KEPT_STATES:]:
        _remove(old)
    stopping.leave_if_asked()


def load_state(folder: Path | str) -> TrainingState | None:
    """The newest readable state under `folder`, or None; a damaged one is passed over with a warning."""
    for path in _state_folders(Path(folder)):
        try:
            return TrainingState(
                updates=int(path.name),
                state=json.loads((path / "state.json").read_text()),
                weights=read_weights(path / "model.safetensors"),
                optimizer=torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu"),
            )
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            logger.warning("The training state %s cannot be read (%s); falling back to the one before.", path, error)
    return None


def resume(folder: Path | str, identity: dict, model: nn.Module) -> TrainingState | None:
    """The newest state under `folder`, after putting its weights into `model`; None when there is none.

    Raises ValueError when it is the state of another run: one whose `identity` (JSON) differs.
    """
    saved = load_state(folder)
    if saved is None:
        return None
    different = [key for key in identity if saved.state["identity"].get(key) != identity[key]]
    if different:
        raise ValueError(
            f"{folder} holds the unfinished run of another {' and '.join(different)}. "
            f"Train in another directory, or delete this one to start anew."
        )
    apply_weights(model, saved.weights, str(folder))
    logger.info("Resuming %s after %d updates.", folder, saved.updates)
    return saved


def _state_folders(folder: Path) -> list[Path]:
    """Saved states, newest first."""
    return sorted((path for path in folder.glob("[0-9]*") if path.is_dir()), reverse=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name; raises ValueError when it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no complete safetensors file ({error}). Write it again.") from error


def _plain(model: nn.Module) -> dict[str, Tensor]:
    # safetensors refuses strided tensors, such as channels-last weights.
    return {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}


def _bytes(part: object) -> int:
    """Bytes of all tensors within nested dictionaries and lists."""
    if isinstance(part, Tensor):
        return part.nbytes
    parts = part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else ()
    return sum(map(_bytes, parts))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
