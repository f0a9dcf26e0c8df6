"""Specialised networks as ONNX files: the same logits in onnxruntime, and no file that is not complete."""

import onnx
import pytest
import torch
from torch import nn

import vared
from tests.method_helpers import calibrate, plain_image_network, randomise_cheap, relative_difference, tiny_r2plus1d
from tests.network_helpers import converted, open_branches
from vared import export
from vared.backbones import i3d, r2plus1d, x3d
from vared.export import export_onnx, onnx_session
from vared.gate import SoftModulationGate

CLIP = (3, 4, 24, 24)


def shallow(network) -> nn.Module:
    """A narrow dynamic network, its statistics set, with few blocks: one of each kind.

    The exporter's time grows with the number of layers, and those left out repeat the ones that stay.
    """
    model = network.build(num_classes=5, width=1 / 16)
    if network is x3d:
        for stage in model.blocks[1:-1]:
            stage.res_blocks = stage.res_blocks[:1]
        del model.blocks[3:5]
        model.blocks[-1].pool.pre_conv = nn.Conv3d(8, model.blocks[-1].pool.pre_norm.num_features, 1, bias=False)
    elif network is i3d:
        model.stages = nn.ModuleList([model.stages[0][:2]])
        model.head = nn.Linear(model.stages[0][-1].out_channels, 5)
    else:
        model.stages = nn.ModuleList(stage[:1] for stage in model.stages[:2])
        model.head = nn.Linear(model.stages[-1][0].norm2.num_features, 5)
    model = randomise_cheap(converted(network, open_branches(model), CLIP), spread=0.1)
    return calibrate(model, torch.randn(8, *CLIP)).eval()


def run(path, clips: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(onnx_session(path, threads=1).run(["logits"], {"clips": clips.numpy()})[0])


@pytest.mark.slow
@pytest.mark.parametrize("network", [r2plus1d, i3d, x3d])
@pytest.mark.parametrize("policy", [(1, 1.0), (2, 0.5)])
def test_onnxruntime_gives_the_logits_of_the_policy_for_any_number_of_clips(network, policy, tmp_path):
    model = shallow(network)
    path = export_onnx(model, tmp_path / "new" / "network.onnx", CLIP, temporal=policy[0], channel=policy[1])
    for count in (1, 5):
        clips = torch.randn(count, *CLIP)
        with torch.no_grad(), vared.fixed_policy(model, *policy):
            expected = model(clips)
        assert relative_difference(run(path, clips), expected) < 1e-5
    with pytest.raises(Exception, match="invalid dimensions for input: clips"):
        run(path, torch.randn(1, 3, 8, 24, 24))
    assert [file.name for file in path.parent.iterdir()] == ["network.onnx"], "weights lie in the file, nothing beside"


def test_a_static_network_of_images_exports_and_keeps_its_mode(tmp_path):
    model = plain_image_network().train()
    statistics = model[1].running_mean.clone()
    path = export_onnx(model, tmp_path / "static.onnx", torch.randn(5, 9, 9))
    assert model.training and torch.equal(model[1].running_mean, statistics)
    images = torch.randn(4, 5, 9, 9)
    assert relative_difference(run(path, images), model.eval()(images).detach()) < 1e-5


def test_one_half_of_the_policy_leaves_the_other_at_one(tmp_path):
    model = vared.convert(plain_image_network(), example=(5, 9, 9)).eval()
    path = export_onnx(model, tmp_path / "half.onnx", (5, 9, 9), channel=0.5)
    images = torch.randn(2, 5, 9, 9)
    with torch.no_grad(), vared.fixed_policy(model, channel=0.5):
        assert relative_difference(run(path, images), model(images)) < 1e-5


def test_a_network_that_still_decides_is_refused(tmp_path):
    path = tmp_path / "network.onnx"
    with pytest.raises(ValueError, match="give the policy"):
        export_onnx(tiny_r2plus1d(), path, (3, 8, 16, 16))
    with pytest.raises(ValueError, match="temporal=8"):
        export_onnx(tiny_r2plus1d(), path, (3, 8, 16, 16), temporal=8)
    with pytest.raises(ValueError, match="no dynamic layer that could take temporal=2"):
        export_onnx(plain_image_network(), path, (5, 9, 9), temporal=2)
    stray = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ModuleDict({"left": SoftModulationGate(4, 8, 2, 2)}))
    with pytest.raises(ValueError, match="gates 1.left are not part of a dynamic layer"):
        export_onnx(stray, path, (3, 8, 4, 4))
    assert not list(tmp_path.iterdir())


def test_weights_that_no_file_can_hold_are_named(tmp_path):
    with pytest.raises(ValueError, match="'0.weight' has float64"):
        export_onnx(plain_image_network().double(), tmp_path / "double.onnx", (5, 9, 9))
    with torch.device("meta"):
        empty = plain_image_network()
    with pytest.raises(ValueError, match="'0.weight' has no data"):
        export_onnx(empty, tmp_path / "empty.onnx", (5, 9, 9))


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "specialize", lambda model, temporal, channel: vared.specialize(model, 1, 1.0))
    model = vared.convert(plain_image_network(), example=(5, 9, 9)).eval()
    path = tmp_path / "kept.onnx"
    path.write_bytes(b"the file of before")
    with pytest.raises(ValueError, match="onnxruntime and torch differ"):
        export_onnx(model, path, (5, 9, 9), channel=0.5)
    assert path.read_bytes() == b"the file of before" and list(tmp_path.iterdir()) == [path]


def test_the_file_is_a_valid_model_with_named_ends_and_a_free_batch(tmp_path):
    path = export_onnx(plain_image_network(), tmp_path / "static.onnx", (5, 9, 9))
    graph = onnx.load(path).graph
    ends = [(end.name, [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]) for end in graph.input]
    assert ends == [("clips", ["batch", 5, 9, 9])] and [end.name for end in graph.output] == ["logits"]
