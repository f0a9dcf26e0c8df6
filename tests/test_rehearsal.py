"""The profile of thesis scale: official formats, its check, and one run from the files to an evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vared import pipeline, runs
from vared.cli import main, profile_numbers, profile_runs
from vared.data.official_check import check_profile, profile_sets
from vared.data.preparation import prepare
from vared.data.sets import load_set
from vared.rehearsal.project import make_project, tiny
from vared.rehearsal.walk import runs_of_every_set

ROOT = Path(__file__).resolve().parents[1]
PAPER = yaml.safe_load((ROOT / "params.yaml").read_text())["profiles"]["paper"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(ROOT, tmp_path_factory.mktemp("rehearsal") / "project", "paper")


def test_every_set_is_complete_in_the_rehearsal_and_linked_without_copies(project):
    numbers = profile_numbers(project, "paper")
    found = check_profile(project, numbers)
    assert [entry.name for entry in found] == ["Mini-Kinetics-200", "kinetics400", "moments", "jhmdb", "ade20k"]
    assert not any(entry.problems for entry in found), [str(entry) for entry in found]
    for name, classes, videos in (("default", 200, 6), ("kinetics400", 400, 8), ("moments", 339, 8), ("jhmdb", 21, 8)):
        prepare(project, "paper", numbers["data"], name)
        train = load_set(project, "paper", numbers["data"], name)["train"]
        assert (len(train.classes), len(train)) == (classes, videos)
    clips = project / "data" / "paper" / "clips"
    assert not any(path.is_file() for path in clips.rglob("*.mp4")) and any(p.is_symlink() for p in clips.glob("*/*"))
    identity = json.loads((project / "data" / "paper" / "identity.json").read_text())
    assert identity["train"] == {"videos": 6, "missing": 1}


def test_what_is_missing_is_said_all_at_once(tmp_path, monkeypatch, capsys):
    numbers = {"data": PAPER["data"], "segmentation": PAPER["segmentation"]}
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profiles": {"paper": numbers}}))
    monkeypatch.chdir(tmp_path)
    assert main(["check", "paper"]) == 2
    said = capsys.readouterr().out
    for name in ("mini_train_videofolder.txt", "trainingSet.csv", "puppet_mask", "annotations/validation", "val.csv"):
        assert name in said
    assert main(["check", "paper", "moments"]) == 2 and "puppet_mask" not in capsys.readouterr().out
    assert main(["check", "paper", "nothing"]) == 2 and "only Mini-Kinetics-200" in capsys.readouterr().err


def test_a_run_goes_from_official_files_to_its_evaluation(project):
    numbers = profile_numbers(project, "paper")
    prepare(project, "paper", numbers["data"])
    plan = runs.plan_run(project, "paper", "s2_8f_seed0", numbers)
    pipeline.publish_training(project, plan)
    pipeline.publish_evaluation(project, plan)
    record = json.loads((project / "data" / "evaluations" / "paper" / "s2_8f_seed0" / "metrics.json").read_text())
    assert record["variants"]["dynamic"]["clips"] == 3 and len(record["classes"]) == 200


def test_the_rehearsal_keeps_what_costs_nothing():
    small = tiny(PAPER)
    assert small["training"]["weight_decay"] == PAPER["training"]["weight_decay"] and PAPER["model"]["width"] == 1
    assert {**profile_sets(small)}.keys() == profile_sets(PAPER).keys()
    words = runs_of_every_set(ROOT, "paper")
    assert {runs.parse_run(word).data for word in words} == {"", "kinetics400", "moments"}


def test_recipes_are_those_of_the_thesis():
    def recipe(word):
        return runs.recipe_numbers(PAPER["training"], runs.parse_run(word))

    assert recipe("s2_8f_seed0")["learning_rate"] == 0.18 and recipe("i3d-s2_16f_seed0")["learning_rate"] == 1.8
    moments = recipe("moments-x3d_m-s2_16f_seed0")
    assert (moments["epochs"], moments["warmup_epochs"], moments["weight_decay"]) == (60, 8, 5e-5)
    assert recipe("kinetics400-x3d_m-s2_long_16f_seed0")["epochs"] == 256


@pytest.mark.parametrize(("script", "number"), [("run", None), ("all_runs", 2)])
def test_slurm_scripts_run_their_command_line(tmp_path, script, number):
    """A fake srun says what it was to start."""
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/bash\necho "srun $*"\n')
    fake.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(ROOT),
                   "SLURM_JOB_ID": "77", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4"}  # fmt: skip
    words = profile_runs(ROOT, "paper")
    arguments = ["paper"] if number else ["paper", words[0]]
    environment |= {"SLURM_ARRAY_TASK_ID": str(number)} if number else {}
    command = ["bash", str(ROOT / "slurm" / f"{script}.sbatch"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("srun ")]
    word = words[(number or 1) - 1]
    assert "--nnodes 2 --nproc-per-node 4" in lines[0] and lines[0].endswith(f"-m vared train paper {word}")
    assert lines[1].endswith(f"python -m vared evaluate paper {word}") and "--ntasks 1" in lines[1]
