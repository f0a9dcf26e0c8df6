"""`vared redundancy` and `vared analyse`, in a small project of their own."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from vared import ahead
from vared.analysis.run_redundancy import some_clips
from vared.cli import main
from vared.data.embedded import generate
from vared.experiments import build_network, data_set
from vared.figures import first_layer
from vared.runs import plan_run

PACKAGE = Path(__file__).resolve().parents[1] / "vared"
RUN = "static_8f_seed0"
NUMBERS = {
    "data": {"source": "embedded"}, "model": {"backbone": "r2plus1d_18", "width": 1 / 16, "crop_size": 16},
    "sampling": {"stride": {8: 4}, "scales": [1.0]}, "training": {}, "redundancy": {"clips": 4},
    "evaluation": {"batch_size": 5, "clips_per_video": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Six clips and the weights of one static run."""
    root = tmp_path_factory.mktemp("project")
    (root / "vared").symlink_to(PACKAGE)
    (root / "dvc.yaml").write_text("stages: {}\n")
    words = [RUN, "s2_8f_seed0", "single_frame_8f_seed0"]
    listed = {f"small-{word}": {"profile": "small", "run": word, "data": "data/small"} for word in words}
    alone = {f"alone-{RUN}": {"profile": "alone", "run": RUN, "data": "data/alone"}}
    parameters = {"profiles": {"small": NUMBERS, "alone": NUMBERS}, "run_lists": {"small": listed, "alone": alone}}
    (root / "params.yaml").write_text(yaml.safe_dump(parameters))
    generate(root / "data" / "small" / "clips", train_clips=1, val_clips=6, seed=0, workers=1)
    (root / "data" / "alone").symlink_to(root / "data" / "small")
    (root / "data" / "small" / "identity.json").write_text(json.dumps({"sha256": "0"}))
    network = build_network(plan_run(root, "small", RUN, NUMBERS), 12)
    for profile in ("small", "alone"):
        folder = root / "data" / "runs" / profile / RUN
        folder.mkdir(parents=True)
        save_file(network.state_dict(), folder / "phase1.safetensors")
    return root


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project)


def test_a_run_is_measured_once_and_published(project, monkeypatch):
    assert main(["redundancy", "alone", RUN]) == 0
    target = project / "data" / "redundancy" / "alone" / RUN
    assert sorted(path.name for path in target.iterdir()) == ["clips.parquet", "layers.csv"]
    clips = pd.read_parquet(target / "clips.parquet")
    assert clips["clip"].unique().tolist() == some_clips(6, 4).tolist()
    (target / "layers.csv").unlink()
    monkeypatch.setattr("vared.analysis.run_redundancy.measure_run", None)  # a second time nothing is measured
    assert main(["redundancy", "alone", RUN]) == 0 and (target / "layers.csv").exists()

    assert main(["analyse", "alone"]) == 0
    redundancy = pd.read_csv(project / "results" / "alone" / "redundancy.csv")
    assert set(redundancy["run"]) == {RUN} and redundancy["clips"].eq(4).all()
    assert set(pd.read_csv(project / "results" / "alone" / "correlations.csv")["measured"]) >= {"temporal CC"}


def test_without_a_run_all_static_ones_that_see_the_video_are_measured(project, monkeypatch):
    asked = []
    monkeypatch.setattr(ahead, "run_side_by_side", lambda commands, jobs, root: asked.append((commands, jobs)) or [])
    assert main(["redundancy", "small", "--jobs", "3"]) == 0
    ((commands, jobs),) = asked
    assert list(commands) == [RUN] and commands[RUN][-3:] == ["redundancy", "small", RUN] and jobs == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["redundancy", "small", "s2_8f_seed0"], "s2_8f_seed0 is dynamic"),
        (["redundancy", "small", "static_8f_seed4"], "vared train small static_8f_seed4"),
        (["redundancy", "other"], "no profile 'other'"),
        (["analyse", "small"], "Not measured yet: static_8f_seed0, s2_8f_seed0"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_named(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_first_maps_are_those_of_the_trained_network_on_the_clip_named(project):
    shown = first_layer.read_maps(project, "small", RUN, 3)
    plan = plan_run(project, "small", RUN, NUMBERS)
    pixels = data_set(project, plan, "val")[3]["clip"]
    network = build_network(plan, 12)
    with torch.no_grad():
        expected = network.stem[0].spatial(pixels.unsqueeze(0))[0, :9, :3]
    torch.testing.assert_close(shown.maps, expected)
    assert shown.frames.shape == (3, 3, 16, 16) and 0 <= shown.frames.min() and shown.frames.max() <= 1
