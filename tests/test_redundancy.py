"""Redundancy of feature maps: against direct computations on all maps, and against what can be said by hand."""

import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import vared
from tests.foreign_networks import build_foreign
from vared.analysis.redundancy import measure_redundancy
from vared.analysis.similarity import MEASURES, pair_measures


def directly(slabs: np.ndarray) -> list[float]:
    """MEASURES of one clip's slabs, N x D, pair by pair; constant slabs are exactly constant."""
    slabs = slabs.astype(np.float64)
    varying = [slab for slab in slabs if slab.min() != slab.max()]
    pairs = [(i, j) for i in range(len(varying)) for j in range(i)]
    cc = np.array([np.corrcoef(varying[i], varying[j])[0, 1] for i, j in pairs])
    rmse = np.array([np.sqrt(np.mean((varying[i] - varying[j]) ** 2)) for i, j in pairs])
    redundant = (cc > 0.85) & (rmse > 0.001)
    partners = {i for pair, found in zip(pairs, redundant, strict=True) if found for i in pair}
    means = [cc.mean(), np.abs(cc).mean(), rmse.mean(), redundant.mean(), ((cc > 0.85) & (rmse < 0.001)).mean()]
    return [*means, len(partners) / len(varying), 1 - len(varying) / len(slabs)]


def of(*slabs) -> dict[str, float]:
    return dict(zip(MEASURES, pair_measures(torch.tensor([slabs], dtype=torch.float32))[0].tolist(), strict=True))


def small_network(inplace: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, padding=1, bias=False), nn.BatchNorm3d(6), nn.ReLU(inplace=inplace),
        nn.Conv3d(6, 5, (1, 3, 3), stride=(1, 2, 2)), nn.ReLU(inplace=inplace), nn.BatchNorm3d(5),
        nn.AdaptiveAvgPool3d(1), nn.Conv3d(5, 4, 1), nn.Flatten(),
    )  # fmt: skip


def clips(count: int = 7, frames: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    still = torch.randn(count, 3, 1, 8, 8, generator=generator)
    return still + 0.4 * torch.randn(count, 3, frames, 8, 8, generator=generator)


def tables(found) -> tuple[np.ndarray, np.ndarray]:
    return found.layers[list(MEASURES)].to_numpy(), found.clips[list(MEASURES)].to_numpy()


def test_three_slabs_by_hand():
    found = of([1, 2, 3], [2, 4, 6], [3, 2, 1])
    assert found["CC"] == pytest.approx((1 - 1 - 1) / 3) and found["CC_abs"] == pytest.approx(1)
    assert found["RMSE"] == pytest.approx(((14 / 3) ** 0.5 + (8 / 3) ** 0.5 + (30 / 3) ** 0.5) / 3)
    assert found["RP"] == pytest.approx(1 / 3) and found["RP_maps"] == pytest.approx(2 / 3)
    assert found["RP_below"] == found["constant"] == 0


def test_identical_slabs_correlate_fully_and_are_not_redundant_as_printed():
    found = of(*[[0.3, -1.2, 5.0, 2.0]] * 4)
    assert found["CC"] == pytest.approx(1, abs=1e-12) and found["RMSE"] == pytest.approx(0, abs=1e-6)
    assert (found["RP"], found["RP_below"], found["RP_maps"]) == (0, 1, 0)


def test_maps_that_differ_by_less_than_the_threshold_are_not_redundant_as_printed():
    wave = np.array([0.3, -1.2, 5.0, 2.0])
    near, far = of(wave, wave + 9e-4), of(wave, wave + 11e-4)
    assert (near["RP"], near["RP_below"], near["RP_maps"]) == (0, 1, 0)
    assert (far["RP"], far["RP_below"], far["RP_maps"]) == (1, 0, 1)
    assert of(wave, 0.8 * wave + np.array([2.4, 0, 0, 0]))["RP"] == 0  # correlation 0.84


def test_independent_noise_does_not_correlate():
    slabs = torch.randn(1, 30, 20_000, generator=torch.Generator().manual_seed(3))
    found = dict(zip(MEASURES, pair_measures(slabs)[0].tolist(), strict=True))
    assert found["CC"] == pytest.approx(0, abs=0.002) and found["RMSE"] == pytest.approx(2**0.5, abs=0.01)
    assert found["CC_abs"] == pytest.approx((2 / np.pi / 20_000) ** 0.5, rel=0.1) and found["RP"] == 0


def test_constant_slabs_are_left_out_and_counted():
    varying = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    found, without = of(*varying, [0.1] * 3, [0.0] * 3), of(*varying)
    assert found.pop("constant") == 0.5 and without.pop("constant") == 0
    assert found == pytest.approx(without)
    rounded = of(*varying, [1.0, 1.0 + 2**-23, 1.0])  # differs from a constant in the last bit only
    assert rounded["constant"] == pytest.approx(1 / 3) and rounded["CC"] == pytest.approx(1)
    alone = of(varying[0], [5.0] * 3)
    assert alone["constant"] == 0.5 and all(np.isnan(alone[name]) for name in MEASURES[:-1])


def test_a_large_mean_costs_no_precision():
    generator = torch.Generator().manual_seed(0)
    slabs = 3e4 + torch.randn(2, 6, 500, generator=generator) * (0.5 + torch.rand(2, 6, 1, generator=generator))
    expected = [directly(clip) for clip in slabs.numpy()]
    np.testing.assert_allclose(pair_measures(slabs).numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("tensor", ["convolution", "normalised", "rectified"])
def test_streaming_equals_the_direct_computation_on_all_maps(tensor):
    network, x = small_network().eval(), clips()
    plain = small_network(inplace=False).eval()
    outputs = [x]
    with torch.no_grad():
        for module in plain:
            outputs.append(module(outputs[-1]))
    maps = {"0": outputs[1] if tensor == "convolution" else outputs[2], "3": outputs[4]}
    maps = {name: output.clamp(min=0) if tensor == "rectified" else output for name, output in maps.items()}
    direct = pd.DataFrame(
        [
            {"layer": layer, "dimension": dimension, "clip": clip}
            | dict(zip(MEASURES, directly(slabs.flatten(1).numpy()), strict=True))
            for layer, output in maps.items()
            for clip, one in enumerate(output)
            for dimension, slabs in (("temporal", one.transpose(0, 1)), ("channel", one))
        ]
    )
    found = measure_redundancy(network, x.split(3), tensor=tensor)
    measures = list(MEASURES)
    by_layer = direct.groupby(["layer", "dimension"])[measures].mean()
    pd.testing.assert_frame_equal(
        found.layers.set_index(["layer", "dimension"])[measures].sort_index(), by_layer, rtol=1e-6
    )
    by_clip = direct.groupby(["clip", "dimension"])[measures].mean()
    pd.testing.assert_frame_equal(
        found.clips.set_index(["clip", "dimension"])[measures].sort_index(), by_clip, rtol=1e-6
    )


def test_a_dead_layer_of_one_clip_is_no_value_of_that_clip():
    network, x = nn.Sequential(nn.Conv3d(3, 6, 3, bias=False), nn.Conv3d(6, 5, 1, bias=False)), clips(3)
    alive = measure_redundancy(network, [x[1:]])
    x[0] = 0
    found = measure_redundancy(network, [x])
    np.testing.assert_allclose(found.layers["constant"], 1 / 3)
    np.testing.assert_allclose(tables(found)[0][:, :-1], tables(alive)[0][:, :-1], rtol=1e-5)
    assert found.clips["CC"].isna().tolist() == [True, True, False, False, False, False]
    network[1].weight.data.zero_()  # now the second layer is dead for every clip
    first = measure_redundancy(network, [x], layers=["0"])
    np.testing.assert_allclose(*(tables(f)[1][2:, :-1] for f in (first, measure_redundancy(network, [x]))))


def test_the_split_into_batches_changes_nothing(monkeypatch):
    network, x = small_network(), clips()
    whole = measure_redundancy(network, [x])
    monkeypatch.setattr("vared.analysis.redundancy._LARGEST", 500)  # less than one map
    for size in (1, 2, 7):
        split = measure_redundancy(network, x.split(size))
        assert split.clips["clip"].tolist() == [i for i in range(7) for _ in range(2)]
        for a, b in zip(tables(whole), tables(split), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_no_map_outlives_its_forward_pass():
    network = small_network()
    made, alive = [], []

    def note(module, inputs, output):
        alive.append(sum(reference() is not None for reference in made))
        made.append(weakref.ref(output))

    network[0].register_forward_hook(note)
    measure_redundancy(network, clips(12).split(1))
    assert len(made) == 12 and max(alive) == 0


def test_the_summary_averages_over_clips_and_shows_their_range():
    found = measure_redundancy(small_network(), clips().split(4))
    temporal, channel = found.summary().to_dict("records")
    assert (temporal["dimension"], channel["dimension"]) == ("temporal", "channel")
    cc = found.clips.query("dimension == 'temporal'")["CC"]
    assert temporal["CC"] == cc.mean() and temporal["clips"] == 7
    assert (temporal["CC_0%"], temporal["CC_50%"], temporal["CC_100%"]) == (cc.min(), cc.median(), cc.max())
    # every clip is one picture with some noise, its channels are random filters
    assert temporal["CC"] > 0.5 > channel["CC"]


def test_a_still_clip_is_more_redundant_in_time():
    moving = clips(4)
    still = moving[:, :, :1].expand_as(moving)
    network = nn.Sequential(nn.Conv3d(3, 6, (1, 3, 3)))
    both = measure_redundancy(network, [torch.cat([still, moving])]).clips.query("dimension == 'temporal'")
    assert both["CC"].tolist()[:4] == pytest.approx([1] * 4) and max(both["CC"].tolist()[4:]) < 0.99


# squeeze-excite (30 and 18) and the convolution behind the pooling see one value a channel, which has no correlation
@pytest.mark.parametrize("name, convolutions", [("x3d_xs", 116 - 31), ("mobilenetv3_small_100", 53 - 18 - 1)])
def test_networks_of_other_libraries(name, convolutions):
    network = build_foreign(name)
    images = name.startswith("mobilenet")
    shape = (2, 3, 64, 64) if images else (2, 3, 4, 32, 32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = measure_redundancy(network, [torch.randn(shape)])
    assert found.layers["layer"].nunique() == convolutions
    assert set(found.layers["dimension"]) == ({"channel"} if images else {"temporal", "channel"})
    assert found.layers["CC"].between(-1, 1).all() and found.layers["RP"].between(0, 1).all()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_images_folded_into_the_batch_are_frames_of_clips():
    convolution = nn.Conv2d(3, 4, 3)

    class FrameByFrame(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = convolution

        def forward(self, x):
            return self.conv(x.transpose(1, 2).flatten(0, 1))

    solid = nn.Conv3d(3, 4, (1, 3, 3))
    solid.weight.data, solid.bias.data = convolution.weight.data[:, :, None], convolution.bias.data
    folded, whole = (measure_redundancy(network, [clips(3)]) for network in (FrameByFrame(), nn.Sequential(solid)))
    np.testing.assert_allclose(tables(folded)[1], tables(whole)[1], rtol=1e-5, atol=1e-6)


def test_a_dynamic_network_and_some_layers_of_it():
    torch.manual_seed(0)
    settings = {"num_classes": 3, "num_frames": 4, "crop_size": 16, "width": 1 / 16}
    network = vared.create_model("r2plus1d_18", dynamic=True, **settings)
    network.train()
    names = ["stages.0.0.conv1.spatial", "stages.3.1.conv2.spatial"]
    found = measure_redundancy(network, [torch.randn(2, 3, 4, 16, 16)], layers=names)
    assert found.layers["layer"].unique().tolist() == names[:1], "the last one sees one frame of one pixel"
    assert network.training


def test_bad_input_is_named():
    network = small_network()
    with pytest.raises(ValueError, match="'7.conv': no nn.Conv2d"):
        measure_redundancy(network, [clips()], layers=["0", "7.conv"])
    with pytest.raises(ValueError, match="no batches"):
        measure_redundancy(network, [])
    with pytest.raises(ValueError, match="no convolution"):
        measure_redundancy(nn.Linear(2, 2), [clips()])
    with pytest.raises(ValueError, match="'after'"):
        measure_redundancy(network, [clips()], tensor="after")
    bad = clips(1)
    bad[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="Layer '0': its output holds values that are not finite"):
        measure_redundancy(network, [bad])
