"""Every version of a network computes the same function."""

import pytest
import torch
from torch import nn

import vared
from vared.benchmarks import versions
from vared.benchmarks.cases import Case
from vared.benchmarks.subjects import build_subject, fresh_network, plain_network


def case(**changes) -> Case:
    sizes = {"network": "r2plus1d_18", "frames": 4, "crop_size": 16, "width": 1 / 16, "classes": 5, "batch": 2}
    return Case(name="test", **{**sizes, "threads": 1, **changes})


@pytest.mark.parametrize("network", ["r2plus1d_18", "i3d", "x3d_m"])
def test_eager_static_versions_agree_and_folding_removes_every_norm(network):
    model = fresh_network(case(network=network), None).eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    built = {name: build for name, build in versions.static_builders("cpu", False).items() if "traced" not in name}
    assert len(built) == 4
    with torch.no_grad():
        expected = model(clips)
        for name, build in built.items():
            assert versions.difference(build(model, clips)(), expected)[1] < 1e-4, name
    folded, _ = versions._preparation(True, False)(model, clips)
    norms = [sum(isinstance(m, nn.BatchNorm3d) for m in network.modules()) for network in (model, folded)]
    assert norms[0] > 30 and norms[1] == 0


def test_the_traced_version_agrees_and_leaves_the_network_alone():
    model, clips = fresh_network(case(), None).eval(), torch.randn(2, 3, 4, 16, 16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        expected = model(clips)
        run = versions.static_builders("cpu", False)["channels-last, traced and optimised"](model, clips)
        assert versions.difference(run(), expected)[1] < 1e-4
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_compiled_versions_agree_and_freezing_is_not_taken_from_the_other():
    from torch._dynamo.utils import counters

    model = nn.Sequential(nn.Conv3d(3, 8, 3, bias=False), nn.BatchNorm3d(8), nn.ReLU()).eval()
    nn.init.uniform_(model[1].running_var, 0.5, 2.0)
    clips, prepare = torch.randn(2, 3, 4, 8, 8), versions._preparation(False, False)
    with torch.inference_mode():
        expected = model(clips)
        for freezing in (False, True):  # of the same class and shapes: only the code object tells them apart
            counters.clear()
            build = versions._compiled(prepare, freezing=freezing)
            assert versions.difference(build(model, clips)(), expected)[1] < 1e-5
            packed = counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"]
            assert bool(packed) == freezing, dict(counters["inductor"])


def test_gpu_versions_are_compiled_ones():
    names = set(versions.static_builders("cuda", True)) ^ set(versions.static_builders("cpu", True))
    assert names and all("CUDA graphs" in name or "frozen" in name for name in names)


def test_a_dynamic_version_is_a_copy_in_channels_last():
    subject = build_subject(case(), None)
    model = versions.dynamic_builders(False)[versions.PLAIN](subject.model)
    assert model is not subject.model
    assert model.stages[0][0].conv1.spatial.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_subject_is_the_same_again_and_its_static_twin_shares_the_weights():
    first, second = (build_subject(case(mix="ratio-0.7"), None) for _ in range(2))
    assert torch.equal(first.clips, second.clips)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    twin = plain_network(first.model)
    with torch.no_grad(), vared.fixed_policy(first.model):
        torch.testing.assert_close(twin(first.clips), first.model(first.clips), rtol=1e-4, atol=1e-4)
    assert set(twin.state_dict()) < set(first.model.state_dict())
    half = first.cast("bfloat16")
    assert half.clips.dtype == half.model.head.weight.dtype == torch.bfloat16
    assert first.clips.dtype == first.model.head.weight.dtype == torch.float32
