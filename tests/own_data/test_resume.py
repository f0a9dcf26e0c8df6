"""A training on own videos that is killed goes on where it stopped; a static one is judged by its test part."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.own_data.odd_videos import write_odd_set
from vared import cli
from vared.own_data.run_folder import read_trained

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--width 0.0625 --crop 16 --frames 4 --workers 0"  # a test has seconds


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with `videos` in class folders, and `parts.csv`, which deals them to train, val and test."""
    folder = tmp_path_factory.mktemp("own")
    videos = write_odd_set(folder / "videos")
    rows = []
    for label in sorted(path.name for path in videos.iterdir()):
        files = sorted(path.relative_to(folder).as_posix() for path in (videos / label).rglob("*") if path.is_file())
        parts = ["train"] * 5 + ["val"] + ["test"] * 2
        rows += [{"path": name, "label": label, "split": part} for name, part in zip(files, parts, strict=True)]
    pd.DataFrame(rows).to_csv(folder / "parts.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def inside(home, monkeypatch):
    monkeypatch.chdir(home)


def train_until_killed(arguments: list[str], sign: Path) -> None:
    """Run `vared` in a process of its own and kill it as soon as something stands in the folder `sign`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "vared", *arguments], env=environment, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and not (sign.is_dir() and any(sign.glob("[0-9]*"))):
            time.sleep(0.002)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL, "the training was over before it could be killed"


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "sign"), [("", "state"), ("--share 0.85", "phase2/state")], ids=["usual", "share"])
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(home, capsys, goal, sign):
    name = "share" if goal else "usual"
    settings = f"{SMALL} {goal} --epochs 2 --finetune-epochs 4".split()
    killed, whole = (["train", "--data", "videos", "--folder", f"runs/{name}_{end}", *settings] for end in (1, 2))
    train_until_killed(killed, home / "runs" / f"{name}_1" / sign)
    assert cli.main(["evaluate", "--data", "videos", "--folder", f"runs/{name}_1", "--workers", "0"]) == 2
    assert "not finished. Call vared train again" in capsys.readouterr().err
    assert cli.main(killed) == 0 and cli.main(whole) == 0
    first, second = (home / "runs" / f"{name}_{end}" for end in (1, 2))
    for file in ("phase1.safetensors", "weights.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (first, second)]
    pd.testing.assert_frame_equal(*histories)
    assert list(histories[0]["phase"]) == [1, 1, 2, 2, 2, 2]


@pytest.fixture(scope="module")
def static(home) -> Path:
    """The folder of a static network trained on parts.csv."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        command = f"train --data parts.csv --static {SMALL} --epochs 2 --finetune-epochs 0"
        assert cli.main(command.split()) == 0
    return home / "runs" / "parts"


def test_a_static_network_is_judged_by_the_test_part(home, static):
    assert cli.main("evaluate --data parts.csv --part test --workers 0".split()) == 0
    metrics = json.loads((static / "metrics.json").read_text())
    assert list(metrics["networks"]) == ["static"] and metrics["part"] == "test"
    (numbers,) = metrics["networks"].values()
    judged = pd.read_csv(static / "evaluation.csv")
    parts = pd.read_csv(home / "parts.csv").set_index("path")["split"]
    assert set(judged["name"]) == set(parts.index[parts == "test"]) and metrics["clips"] == len(judged) == 4
    assert numbers["clip1_top1"] == pytest.approx(100 * judged["correct"].mean())
    assert numbers["gflops_backbone_mean"] == pytest.approx(metrics["gflops_static"])
    card = (static / "card.md").read_text(encoding="utf-8")
    assert "part test of" in card and "(plain)" in card and "mean policy" not in card
    assert read_trained(static).settings.search_space is None


def test_the_same_network_is_judged_by_the_val_part_unless_told(home, static):
    assert cli.main("evaluate --data parts.csv --workers 0".split()) == 0
    assert json.loads((static / "metrics.json").read_text())["part"] == "val"
    assert len(pd.read_csv(static / "evaluation.csv")) == 2


def test_the_test_part_is_found_where_it_stands_in_for_val(home, static, capsys):
    rows = pd.read_csv(home / "parts.csv")
    rows[rows["split"] != "val"].to_csv(home / "two.csv", index=False)
    judge = "evaluate --data two.csv --folder runs/parts --workers 0".split()
    for part in ("test", "val"):
        assert cli.main([*judge, "--part", part]) == 0
        assert len(pd.read_csv(static / "evaluation.csv")) == 4
    rows[rows["split"] != "test"].to_csv(home / "none.csv", index=False)
    assert cli.main("evaluate --data none.csv --folder runs/parts --part test --workers 0".split()) == 2
    assert "has no clip of 'test'" in capsys.readouterr().err
