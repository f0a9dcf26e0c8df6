"""The methods that the thesis compares with, as runs of the pipeline: which layers, which target, which cost."""

import pytest
import torch

from tests.training_helpers import CLIP, Clips, short_recipe
from vared.backbones import create_model
from vared.baselines import runs
from vared.baselines.cgnet import gated_layers
from vared.checkpoints import load_weights
from vared.evaluation import evaluate
from vared.flops import count_flops
from vared.policies import dynamic_layers

NETWORK = {"num_classes": 4, "num_frames": CLIP[1], "crop_size": CLIP[2], "width": 1 / 8}


def plain():
    torch.manual_seed(0)
    return create_model("r2plus1d_18", **NETWORK)


def test_the_gated_layers_are_those_that_are_dynamic_in_ours():
    ours = create_model("r2plus1d_18", dynamic=True, **NETWORK)
    assert list(gated_layers(runs.gate_channels(plain(), "r2plus1d_18"))) == list(dynamic_layers(ours))


def test_the_share_of_the_network_becomes_that_of_its_gated_layers():
    network = runs.gate_channels(plain(), "r2plus1d_18")
    report = count_flops(network, CLIP)
    gated = sum(report.static_layers[name] for name in gated_layers(network))
    share = runs._layer_share(network, CLIP, 0.86)
    assert report.static - (1 - share) * gated == pytest.approx(0.86 * report.static)


@pytest.mark.parametrize(("method", "settings"), [
    ("pruned", {"share": 0.72, "rounds": 2}), ("cgnet", {"share": 0.86, "weight": 1e-2}), ("arnet", {}),
])  # fmt: skip
def test_a_method_trains_and_its_cost_is_counted(method, settings, tmp_path):
    network = runs.build_arnet(4, 1 / 16) if method == "arnet" else plain()
    if method == "cgnet":
        runs.gate_channels(network, "r2plus1d_18")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    changes = {"channels_last": False, "gradient_norm": 2.0} if method == "arnet" else {}
    recipe = short_recipe(epochs=1, warmup_epochs=0, finetune_epochs=2, **changes)
    runs.train(method, network, Clips(), recipe, crop_size=CLIP[2], settings=settings, directory=tmp_path)
    assert {"phase1.safetensors", "weights.safetensors", "history.csv"} <= {path.name for path in tmp_path.iterdir()}
    assert any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    load_weights(network, tmp_path / "weights.safetensors")
    found = evaluate(network, Clips(), batch_size=8, clip_gmacs=runs.clip_gmacs(method, network, CLIP))
    share = found.metrics["gflops_total_mean"] / runs.most_gmacs(method, network, CLIP)
    assert 0.715 < share <= 0.72 if method == "pruned" else 0 < share < 1
