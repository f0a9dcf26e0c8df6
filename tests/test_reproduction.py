"""Profiles and throwaway copies."""

import os
import subprocess

import pytest
import yaml

from vared.reproduction import activate, throwaway_copy

TEXT = """# comment
active: {embedded: results}  # the default
lists:
  embedded: &embedded_runs {a: 1}
  smoke: &smoke_runs {b: 2}
benchmark_lists:
  embedded: &embedded_benchmarks {c: 3}
  smoke: &smoke_benchmarks {}
ready_lists:
  embedded: &embedded_ready {d: 4}
  smoke: &smoke_ready {}
further_lists:
  embedded: &embedded_sets {f: 6}
  smoke: &smoke_sets {e: 5}

runs: {<<: [*embedded_runs]}  # all
further_sets: {<<: [*embedded_sets]}
benchmark_runs: {<<: [*embedded_benchmarks]}
ready: {<<: [*embedded_ready]}
"""


@pytest.fixture
def parameters(tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path / "params.yaml"


def test_activating_a_profile_adds_it_and_keeps_the_comments(parameters):
    assert activate(parameters, "smoke")
    content = yaml.safe_load(parameters.read_text())
    assert content["active"] == {"embedded": "results", "smoke": "results/smoke"}
    assert content["runs"] == {"a": 1, "b": 2} and content["benchmark_runs"] == {"c": 3}
    assert content["ready"] == {"d": 4}
    assert content["further_sets"] == {"f": 6, "e": 5}
    assert [line for line in parameters.read_text().splitlines() if "#" in line][1].endswith("# the default")
    assert not activate(parameters, "smoke")


def test_a_profile_can_be_the_only_one(parameters):
    activate(parameters, "smoke", only=True)
    content = yaml.safe_load(parameters.read_text())
    assert content["active"] == {"smoke": "results/smoke"} and content["runs"] == {"b": 2}
    assert content["benchmark_runs"] == {} == content["ready"] and content["further_sets"] == {"e": 5}


@pytest.mark.parametrize("line", ["active: {", "\nruns: {<<", "further_sets: {<<", "benchmark_runs: {<<", "ready: {<<"])
def test_parameters_without_one_of_the_lines_are_refused_unchanged(parameters, line):
    parameters.write_text(TEXT.replace(line, line.replace(": ", ":  ")))
    before = parameters.read_text()
    with pytest.raises(ValueError, match="must have the lines"):
        activate(parameters, "smoke")
    assert parameters.read_text() == before


@pytest.mark.parametrize("git", [True, False])
def test_the_copy_is_the_working_tree_without_lock_and_generated_files(tmp_path, git):
    root = tmp_path / "project"
    content = {
        "dvc.yaml": "stages: {}", "dvc.lock": "schema: '2.0'",
        ".gitignore": "/build/\n/scratch/\n/.venv/\n/data/runs/\n",
        "vared/new.py": "untracked", ".dvc/config": "", "data/paper/a.csv": "1", "scratch/x": "1", "data/runs/r/w": "1",
        ".venv/bin/python": "", "tracked.txt": "edited",
    }  # fmt: skip
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if git:
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        subprocess.run(["git", "add", "tracked.txt"], cwd=root, check=True)
    target = root / "build" / "smoke"
    (target / "left").mkdir(parents=True)
    throwaway_copy(root, target, os.environ)
    copied = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    expected = {"dvc.yaml", ".gitignore", "vared/new.py", ".dvc/config", "data/paper/a.csv", "tracked.txt"}
    written_by_dvc = {".dvc/config.local", ".dvc/tmp/btime"}  # the second not always
    assert copied - written_by_dvc == expected
    assert "no_scm = true" in (target / ".dvc" / "config.local").read_text()
