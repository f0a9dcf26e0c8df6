"""`vared export` in a project with one trained run."""

import json
from types import SimpleNamespace

import pytest
import torch
import yaml

import vared
from tests.method_helpers import randomise_cheap, relative_difference
from vared import experiments, runs
from vared.checkpoints import save_weights
from vared.cli import load_parameters, main
from vared.export import onnx_session

MODEL = {"backbone": "r2plus1d_18", "crop_size": 16, "width": 1 / 32}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in (*runs.TRAINING_FILES, *runs.EVALUATION_FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dvc.yaml").touch()
    sections = {"data": {"source": "kinetics"}, "model": MODEL, "sampling": {}, "training": {}, "evaluation": {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profiles": {"small": sections}}))
    (tmp_path / "data" / "small").mkdir(parents=True)
    (tmp_path / "data" / "small" / "identity.json").write_text(json.dumps({"sha256": "abc"}))
    videos = {"train": SimpleNamespace(classes=("jump", "run", "sit"))}
    monkeypatch.setattr(experiments, "load_videos", lambda root, plan: videos)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(root, word: str) -> torch.nn.Module:
    plan = runs.plan_run(root, "small", word, load_parameters(root)["profiles"]["small"])
    network = randomise_cheap(experiments.build_network(plan, 3), spread=0.1)
    with torch.no_grad():
        network.head.bias.normal_()
    save_weights(network, root / "data" / "runs" / "small" / word / "weights.safetensors")
    return network.eval()


@pytest.mark.slow
def test_the_trained_weights_are_written_with_the_policy_asked_for(project, capsys):
    network = trained(project, "s2_4f_seed0")
    assert main("export small s2_4f_seed0 out/model.onnx --temporal 2 --channel 0.5".split()) == 0
    assert "out/model.onnx" in capsys.readouterr().out
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad(), vared.fixed_policy(network, 2, 0.5):
        expected = network(clips)
    found = onnx_session(project / "out" / "model.onnx", 1).run(None, {"clips": clips.numpy()})[0]
    assert relative_difference(torch.from_numpy(found), expected) < 1e-5


def test_a_run_that_is_not_trained_and_a_missing_policy_are_named(project, capsys):
    assert main("export small s2_4f_seed0 model.onnx --temporal 2".split()) == 2
    assert "Train it: vared train small s2_4f_seed0" in capsys.readouterr().err
    trained(project, "s2_4f_seed0")
    assert main("export small s2_4f_seed0 model.onnx".split()) == 2
    assert "give the policy" in capsys.readouterr().err
    assert not (project / "model.onnx").exists()
