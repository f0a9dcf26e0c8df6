"""Files that are whole or absent, whatever happens while they are written."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch import nn

from vared import checkpoints
from vared.checkpoints import load_state, load_weights, save_state, save_weights, write_atomically


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv3d(2, width, 3), nn.BatchNorm3d(width), nn.Flatten())


def test_weights_survive_the_round_trip_in_any_layout(tmp_path):
    source = network().to(memory_format=torch.channels_last_3d)
    source[1].running_mean.uniform_()
    save_weights(source, tmp_path / "w.safetensors")
    target = load_weights(network(), tmp_path / "w.safetensors")
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name])


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_weights(nn.Sequential(nn.Conv3d(2, 4, 3), nn.Identity(), nn.Linear(1, 1)), tmp_path / "w.safetensors")
    with pytest.raises(ValueError) as error:
        load_weights(network(), tmp_path / "w.safetensors")
    for part in ("missing: 1.weight", "2 unexpected: 2.bias, 2.weight", "0.weight (file (4, 2, 3, 3, 3), network (3,"):
        assert part in str(error.value)


def test_a_damaged_file_is_named(tmp_path):
    save_weights(network(), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-10])
    with pytest.raises(ValueError, match="w.safetensors is no complete safetensors file"):
        load_weights(network(), tmp_path / "w.safetensors")


def test_a_failing_write_leaves_the_file_of_before_and_nothing_else(tmp_path):
    target = tmp_path / "numbers.csv"
    write_atomically(target, lambda path: path.write_text("old"))

    def half(path):
        path.write_text("ne")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, half)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("numbers.csv", "old")]


def test_a_save_that_fails_halfway_keeps_the_previous_state(tmp_path, monkeypatch):
    model = network()
    save_state(tmp_path, 1, {"epoch": 1}, model, {"lr": 0.1})

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, 2, {"epoch": 2}, model, {"lr": 0.2})
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001"]
    assert load_state(tmp_path).state == {"epoch": 1}


@pytest.mark.hazard("checkpoints", "damaged state", "the one before is taken, and it is said")
@pytest.mark.parametrize("damaged", ["model.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("how", ["cut", "gone", "noise"])
def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path, caplog, damaged, how):
    for updates in (8, 9, 10):
        save_state(tmp_path, updates, {"epoch": updates}, network(), {"momentum": torch.ones(5)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000009", "0000000010"]
    assert load_state(tmp_path).updates == 10
    broken = tmp_path / "0000000010" / damaged
    content = broken.read_bytes()
    broken.unlink()
    if how != "gone":
        broken.write_bytes(content[: len(content) // 2] if how == "cut" else b"noise" * 40)
    assert load_state(tmp_path).updates == 9
    assert "falling back" in caplog.text


def test_an_empty_folder_has_no_state(tmp_path):
    assert load_state(tmp_path / "nothing") is None


def keep_saving(folder, written) -> None:
    model, updates = nn.Linear(300, 300), 0
    while True:
        updates += 1
        save_state(folder, updates, {"updates": updates}, model, {"momentum": torch.ones(300, 300)})
        written.value = updates


@pytest.mark.hazard("checkpoints", "SIGKILL while saving", "50 kills, 0 unreadable")
@pytest.mark.slow
def test_kills_at_random_moments_leave_a_readable_newest_state(tmp_path, record_property):
    record_property("tried", 50)
    processes = multiprocessing.get_context("fork")
    for attempt, delay in enumerate(torch.rand(50, generator=torch.Generator().manual_seed(3)).tolist()):
        folder, written = tmp_path / str(attempt), processes.Value("q", 0, lock=False)
        child = processes.Process(target=keep_saving, args=(folder, written), daemon=True)
        child.start()
        while written.value == 0:
            time.sleep(0.001)
        time.sleep(0.1 * delay)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        state = load_state(folder)
        assert state.updates >= written.value > 0
        assert state.state == {"updates": state.updates}
