"""`vared benchmark` from the command line to the record, on a network of seconds; times are not judged."""

import json
import shutil
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from vared.benchmarks import measurement, memory, versions
from vared.benchmarks.cases import Case, read_parameters
from vared.benchmarks.subjects import build_subject
from vared.checkpoints import save_weights
from vared.cli import main
from vared.experiments import build_network
from vared.policies import dynamic_layers
from vared.runs import plan_run

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"network": "r2plus1d_18", "frames": 4, "crop_size": 16, "width": 1 / 16, "classes": 5, "batch": 2}
CASE = Case(name="test", **SIZES, threads=1, repeats=2, trials=1, compile=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder without results. Memory is not measured, and nothing traced: other tests do that."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "in_child", lambda function, *arguments: {"peak_bytes": 1})
    eager = {name: build for name, build in versions.static_builders("cpu", False).items() if "traced" not in name}
    monkeypatch.setattr(measurement, "static_builders", lambda device, compile: eager)
    return tmp_path


def with_accelerated(monkeypatch, accelerate) -> None:
    """Let `accelerate` be what makes the accelerated version."""
    both = {versions.PLAIN: versions.dynamic_builders(False)[versions.PLAIN], versions.ACCELERATED: accelerate}
    monkeypatch.setattr(measurement, "dynamic_builders", lambda compile: both)


def test_the_smoke_case_is_measured_and_written(project, monkeypatch, capsys):
    monkeypatch.setattr(memory, "in_child", lambda function, *arguments: function(*arguments))
    assert main(["benchmark", "--case", "smoke", "--repeats", "2"]) == 0
    (path,) = (project / "results" / "benchmarks" / "measurements").iterdir()
    record = json.loads(path.read_text())
    assert path.name == "smoke.json" and record["command"] == "vared benchmark --case smoke --repeats 2"
    gmacs, rows = record["gmacs"], record["versions"]
    static, dynamic = rows[record["static"]], rows[versions.PLAIN]
    assert all(len(row["seconds"]) == 2 for row in rows.values())
    assert all(rows[name]["peak_bytes"] > 0 for name in (record["static"], *versions.dynamic_builders(False)))
    assert len(record["trials"]) == 4 and len(rows) >= 3
    assert static["median"] == min(row["median"] for name, row in rows.items() if name != versions.PLAIN)
    ideal, saved = 1 - gmacs["backbone"] / gmacs["static"], 1 - dynamic["median"] / static["median"]
    assert dynamic["ideal"] == pytest.approx(ideal) and dynamic["saved"]["time"] == pytest.approx(saved)
    assert dynamic["realised"] == pytest.approx(saved / ideal)
    assert gmacs["total"] == pytest.approx(gmacs["backbone"] + gmacs["gate"] + gmacs["cheap"])
    assert dynamic["ideal_total"] == pytest.approx(1 - gmacs["total"] / gmacs["static"]) and gmacs["cheap"] > 0
    assert "smoke.json" in capsys.readouterr().out


def test_a_version_that_computes_something_else_is_refused(project, monkeypatch):
    def wrong(model: nn.Module) -> nn.Module:
        model = versions.dynamic_builders(False)[versions.PLAIN](model)
        nn.init.zeros_(model.head.bias)
        with torch.no_grad():
            next(iter(dynamic_layers(model).values())).weight *= 1.01
        return model

    with_accelerated(monkeypatch, wrong)
    with pytest.raises(ValueError, match="'dynamic, accelerated' differs from the plain dynamic network"):
        measurement.measure(CASE, project)


def test_a_version_without_its_gates_is_refused(project, monkeypatch):
    def without_gates(model: nn.Module) -> nn.Module:
        model = versions.dynamic_builders(False)[versions.PLAIN](model)
        for layer in dynamic_layers(model).values():  # dense, whatever is dealt
            counts = len(layer.temporal_factors), len(layer.kept_channels)
            layer.forced = tuple(torch.eye(count)[[0]] for count in counts)
        return model

    monkeypatch.setitem(measurement.TOLERANCE, "float32", float("inf"))
    with_accelerated(monkeypatch, without_gates)
    with pytest.raises(ValueError, match="did not run its gate"):
        measurement.measure(CASE, project)


def test_a_static_version_that_fails_or_differs_is_recorded_and_left_out(project, monkeypatch):
    builders = dict(measurement.static_builders("cpu", False))

    def failing(model, clips):
        raise NotImplementedError("no such kernel\nand a long story")

    builders |= {"failing": failing, "wrong": lambda model, clips: lambda: model(clips) + 1}
    monkeypatch.setattr(measurement, "static_builders", lambda device, compile: builders)
    rows = {row["version"]: row for row in measurement.measure(CASE, project)["trials"]}
    assert rows["failing"]["error"] == "NotImplementedError: no such kernel"
    assert "differs from the plain network" in rows["wrong"]["error"] and "seconds" not in rows["wrong"]


def test_a_trained_network_is_timed_under_its_own_policies(project, monkeypatch):
    (project / "data" / "smoke").mkdir(parents=True)
    (project / "data" / "smoke" / "identity.json").write_text('{"sha256": "0"}')
    shutil.copytree(ROOT / "vared", project / "vared", ignore=shutil.ignore_patterns("__pycache__"))
    plan = plan_run(project, "smoke", "s2_8f_seed0", read_parameters(project)["profiles"]["smoke"])
    network = build_network(plan, 3)
    for layer in dynamic_layers(network).values():
        nn.init.normal_(layer.gate.expand.weight, std=3.0)
    save_weights(network, project / "data" / "runs" / "smoke" / "s2_8f_seed0" / "weights.safetensors")
    clips = [{"clip": torch.randn(3, 8, 24, 24)} for _ in range(5)]

    class Clips(list):
        videos = types.SimpleNamespace(classes=("a", "b", "c"))

    monkeypatch.setattr("vared.experiments.data_set", lambda *words: Clips(clips))
    words = ["benchmark", "--run", "smoke/s2_8f_seed0", "--repeats", "2", "--trials", "1", "--threads", "1"]
    assert main([*words, "--batch", "4"]) == 0
    record = json.loads((project / "results/benchmarks/measurements/smoke-s2_8f_seed0.json").read_text())
    assert record["case"]["mix"] == "own" and record["case"]["width"] == 0.0625
    assert record["gmacs"]["backbone"] < record["gmacs"]["static"]
    network.eval()
    subject = build_subject(Case(**record["case"]), project)
    with torch.no_grad():
        network(subject.clips)
    for name, layer in dynamic_layers(network).items():
        assert torch.equal(subject.weights[name][0], layer.last_policy.temporal)
    assert main([*words, "--batch", "6"]) == 2  # there are 5 clips
