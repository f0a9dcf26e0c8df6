"""Starting long clips from short ones."""

import pytest
import torch

import vared
from vared.checkpoints import save_weights
from vared.warm_start import start_from


def network(frames, search_space=2):
    torch.manual_seed(frames)
    dynamic = search_space and vared.DynamicConfig(search_space=search_space)
    return vared.create_model(
        "r2plus1d_18", num_classes=3, num_frames=frames, crop_size=16, width=1 / 16, dynamic=dynamic or None
    )


def test_convolutions_come_from_the_other_network_and_gates_start_anew(tmp_path):
    source, fresh = network(8), network(16).state_dict()
    save_weights(source, tmp_path / "w.safetensors")
    target = start_from(network(16), tmp_path / "w.safetensors").state_dict()
    taken = source.state_dict()
    # Layers with one output frame in the short network have a temporal dimension only in the long one.
    new = [name for name in target if name not in taken]
    assert new and all(".cheap_temporal." in name for name in new)
    for name, tensor in target.items():
        assert torch.equal(tensor, fresh[name] if ".gate." in name or name in new else taken[name]), name


def test_fewer_frames_leave_what_has_no_place_out(tmp_path):
    save_weights(network(16), tmp_path / "w.safetensors")
    start_from(network(8), tmp_path / "w.safetensors")


def test_a_static_network_fits_any_number_of_frames(tmp_path):
    source = network(8, search_space=None)
    save_weights(source, tmp_path / "w.safetensors")
    clip = torch.rand(1, 3, 16, 16, 16)
    target = start_from(network(16, search_space=None), tmp_path / "w.safetensors")
    assert torch.equal(target.eval()(clip), source.eval()(clip))


def test_another_network_is_refused(tmp_path):
    save_weights(network(8, search_space=None), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="do not fit this network"):
        start_from(network(16), tmp_path / "w.safetensors")


def test_layers_that_have_nothing_left_to_decide_lose_their_gate(tmp_path):
    torch.manual_seed(0)
    sizes = {"num_classes": 3, "crop_size": 16, "width": 1 / 16, "dynamic": vared.DynamicConfig(channel=False)}
    save_weights(vared.create_model("r2plus1d_18", num_frames=16, **sizes), tmp_path / "w.safetensors")
    target = start_from(vared.create_model("r2plus1d_18", num_frames=8, **sizes), tmp_path / "w.safetensors")
    target.eval()(torch.rand(1, 3, 8, 16, 16))
