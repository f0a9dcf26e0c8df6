"""The pipeline on bad days: two at once, nothing but a folder to write to, results that were touched."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.own_data.odd_videos import write_odd_set
from tests.training_helpers import digest
from vared import cli, scratch
from vared.own_data import training

ROOT = Path(__file__).resolve().parents[2]
FORK = multiprocessing.get_context("fork")
SMALL = "--width 0.0625 --crop 16 --frames 4 --epochs 1 --finetune-epochs 1 --batch 4 --workers 0"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A small set of one's own."""
    return write_odd_set(tmp_path_factory.mktemp("set") / "videos", clips=5)


@pytest.mark.hazard("pipeline", "two trainings of one run at once", "1 training, 2 successes")
def test_a_second_call_waits_and_takes_what_the_first_has_made(tmp_path, videos, monkeypatch):
    original = training.fit

    def counted(*arguments, **settings):
        with open(tmp_path / "trained", "a") as stream:
            stream.write("x")
        return original(*arguments, **settings)

    monkeypatch.setattr(training, "fit", counted)
    words = ["train", "--data", str(videos), "--folder", str(tmp_path / "run"), *SMALL.split()]
    children = [FORK.Process(target=lambda: sys.exit(cli.main(words)), daemon=True) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0] and (tmp_path / "trained").read_text() == "x"


@pytest.mark.hazard("pipeline", "no git, home that cannot be written", "check and train end with 0")
def test_neither_git_nor_a_home_is_needed(tmp_path, videos):
    nowhere = {name: "/proc/none" for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")}
    path = tmp_path / "bin"  # an interpreter and nothing else, so that git is not found
    path.mkdir()
    (path / "python").symlink_to(sys.executable)
    environment = os.environ | nowhere | {"PATH": str(path), "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    words = ["train", "--data", str(videos), "--folder", str(tmp_path / "run"), *SMALL.split()]
    done = subprocess.run(
        [sys.executable, "-m", "vared", *words], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.hazard("pipeline", "a failure while results are published", "old files whole, no partial file")
@pytest.mark.parametrize("fails", ["copyfile", "replace"])
def test_publishing_that_fails_leaves_the_files_of_before(tmp_path, monkeypatch, fails):
    for folder, text in (("made", "new"), ("published", "old")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(text)
    original = scratch.shutil.copyfile

    def half(source, target):
        original(source, target)
        raise OSError(28, "No space left on device")

    places = {"copyfile": (scratch.shutil, "copyfile", half), "replace": (scratch.os, "replace", full)}
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No room for .*a.csv: it needs 3 bytes"):
        patch.setattr(*places[fails])
        scratch.publish(tmp_path / "made", ["a.csv"], tmp_path / "published")
    left = {path.name: path.read_text() for path in (tmp_path / "published").iterdir()}
    assert left == {"a.csv": "old"}


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.hazard("pipeline", "a training that failed called again", "goes on, ends as if it never had")
def test_a_training_that_failed_is_unfinished_and_goes_on(tmp_path, videos, monkeypatch):
    words = ["train", "--data", str(videos), *SMALL.split(), "--folder"]
    assert cli.main([*words, str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("vared.training._Run.recalibrate", full)  # at the end of phase 1
        assert cli.main([*words, str(tmp_path / "run")]) == 4
    assert not scratch.is_finished(tmp_path / "run") and not (tmp_path / "run" / "weights.safetensors").exists()
    assert cli.main([*words, str(tmp_path / "run")]) == 0
    assert digest(tmp_path / "run" / "weights.safetensors") == digest(tmp_path / "whole" / "weights.safetensors")
