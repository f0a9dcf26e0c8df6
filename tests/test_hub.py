"""Networks through torch.hub, from the files of this repository."""

from pathlib import Path

import pytest
import torch

import vared
from tests.method_helpers import dynamic_layers

ROOT = str(Path(__file__).resolve().parents[1])
SMALL = {"num_classes": 5, "num_frames": 4, "crop_size": 16, "width": 0.0625}


def test_the_entry_points_are_the_networks(monkeypatch):
    # These two know repositories on GitHub only: let the download end in this folder.
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *_, **__: ROOT)
    assert torch.hub.list("owner/vared", trust_repo=True) == sorted([*vared.list_models(), "vared_ready"])
    assert "vared.create_model" in torch.hub.help("owner/vared", "r2plus1d_18", trust_repo=True)


def test_a_network_from_the_hub_is_that_of_create_model():
    torch.manual_seed(0)
    model = torch.hub.load(ROOT, "r2plus1d_18", source="local", **SMALL)
    torch.manual_seed(0)
    expected = vared.create_model("r2plus1d_18", **SMALL)
    assert model.state_dict().keys() == expected.state_dict().keys() and not dynamic_layers(model)
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in model.state_dict().items())
    clips = torch.randn(2, 3, 4, 16, 16)
    assert torch.equal(model.eval()(clips), expected.eval()(clips))


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", vared.list_models())
def test_every_network_loads_with_its_own_dynamic_layers(name):
    sizes = {"num_classes": 5, "num_frames": 8, "crop_size": 64, "width": 0.25}
    with torch.device("meta"):
        model = torch.hub.load(ROOT, name, source="local", **sizes, dynamic=True)
        expected = vared.create_model(name, **sizes, dynamic=True)
    assert dynamic_layers(model) and dynamic_layers(model).keys() == dynamic_layers(expected).keys()


def test_the_settings_of_a_dynamic_network_pass_through_the_hub():
    model = torch.hub.load(ROOT, "r2plus1d_18", source="local", **SMALL, dynamic=vared.DynamicConfig(search_space=3))
    assert len(dynamic_layers(model)) == 16
    assert max(len(layer.kept_channels) for layer in dynamic_layers(model).values()) == 3


def test_wrong_arguments_are_refused_as_by_create_model():
    with pytest.raises(TypeError, match="frames"):
        torch.hub.load(ROOT, "r2plus1d_18", source="local", **SMALL, frames=8)
    with pytest.raises(ValueError, match="num_frames must be a whole number of at least 1, not 0"):
        torch.hub.load(ROOT, "r2plus1d_18", source="local", **{**SMALL, "num_frames": 0})
    with pytest.raises(RuntimeError, match="r2plus1d_50"):
        torch.hub.load(ROOT, "r2plus1d_50", source="local")


def test_layers_can_be_chosen_through_the_hub():
    sizes = {"num_classes": 5, "num_frames": 8, "crop_size": 64, "width": 0.25, "dynamic": True}
    with torch.device("meta"):
        model = torch.hub.load(
            ROOT, "r2plus1d_18", source="local", where=lambda name, conv: name.startswith("stages.1."), **sizes
        )
    assert dynamic_layers(model) and all(name.startswith("stages.1.") for name in dynamic_layers(model))


def test_a_network_with_weights_comes_through_the_hub():
    model, card = torch.hub.load(ROOT, "vared_ready", "r2plus1d_18-embedded-static", source="local")
    expected, _ = vared.load_ready("r2plus1d_18-embedded-static")
    assert card.name == "r2plus1d_18-embedded-static" and not model.training
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in model.state_dict().items())
