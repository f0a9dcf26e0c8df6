"""The contract of `convert`: parameters and keys stay, gates and cheap operations are added, errors name the layer."""

import copy
import re
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import vared
from tests.method_helpers import (
    dynamic_layers,
    plain_image_network,
    randomise_cheap,
    randomise_gates,
    relative_difference,
    tiny_r2plus1d,
)
from vared.conversion import no_decay_names

CLIP = (5, 8, 6, 6)


def network(channels=6) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(5, channels, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(channels), nn.ReLU(),
        nn.Conv3d(channels, 4, (3, 1, 1), padding=(1, 0, 0)), nn.BatchNorm3d(4),
    )  # fmt: skip


def anything(name, conv) -> bool:
    return True


def test_every_key_stays_and_only_gates_and_cheap_operations_are_added():
    static = tiny_r2plus1d(search_space=0)
    keys = list(static.state_dict())
    parameters = dict(static.named_parameters())
    optimiser = torch.optim.SGD(static.parameters(), lr=0.1)
    model = vared.convert(static, vared.DynamicConfig(search_space=3), example=(3, 8, 16, 16))
    assert model is static
    added = [k for k in model.state_dict() if k not in keys]
    assert set(keys) <= set(model.state_dict())
    pattern = (
        r"stages\.\d\.\d\.conv[12]\.spatial\."
        r"(gate\.(reduce|norm|expand)|cheap_channel\.\d|cheap_temporal\.\d\.\d)\.\w+"
    )
    assert added and all(re.fullmatch(pattern, key) for key in added)
    assert all(dict(model.named_parameters())[n] is p for n, p in parameters.items())
    assert {id(p) for group in optimiser.param_groups for p in group["params"]} == {id(p) for p in parameters.values()}


def test_a_dense_checkpoint_loads_and_gives_the_dense_network():
    dense = tiny_r2plus1d(search_space=0, seed=1)
    model = tiny_r2plus1d(search_space=2, seed=2)
    result = model.load_state_dict(dense.state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert all(".gate." in k or ".cheap_" in k for k in result.missing_keys)
    x = torch.randn(2, 3, 8, 16, 16)
    with vared.fixed_policy(model):
        assert relative_difference(model(x), dense(x)) < 1e-5


def test_conversion_touches_no_weight_statistic_or_mode():
    model = network().train()
    model[1].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model]
    vared.convert(model, example=torch.randn(CLIP))
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert [m.training for m in model] == modes
    assert model[0].training and model[0].gate.training


def test_a_second_conversion_changes_nothing():
    model = tiny_r2plus1d()
    modules, state = dict(model.named_modules()), copy.deepcopy(model.state_dict())
    vared.convert(model, vared.DynamicConfig(search_space=3), example=(3, 8, 16, 16))
    assert dict(model.named_modules()) == modules
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_default_choice_is_what_sees_more_than_a_pixel_but_not_the_images():
    model = nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), network(6)[0].__class__(8, 6, (1, 3, 3)))
    model.append(nn.BatchNorm3d(6)).append(nn.Conv3d(6, 4, 1)).append(nn.BatchNorm3d(4))
    vared.convert(model, example=(3, 8, 9, 9))
    assert list(dynamic_layers(model)) == ["2"]


def test_where_chooses():
    model = vared.convert(network(), example=CLIP, where=lambda name, conv: name == "3")
    assert list(dynamic_layers(model)) == ["3"]


def test_one_dimension_only():
    temporal = vared.convert(network(), vared.DynamicConfig(channel=False), example=CLIP)[0]
    assert temporal.temporal_factors == (1, 2) and temporal.channel_ratios == (1.0,)
    channel = vared.convert(network(), vared.DynamicConfig(temporal=False), example=CLIP)[0]
    assert channel.temporal_factors == (1,) and channel.channel_ratios == (1.0, 0.5)


def test_layers_with_nothing_to_decide_stay_plain():
    model = nn.Sequential(nn.Conv3d(5, 1, 3, padding=1), nn.BatchNorm3d(1), network(6)[0].__class__(1, 6, 1))
    model.append(nn.BatchNorm3d(6))
    vared.convert(model, example=(5, 1, 6, 6), where=anything)
    assert list(dynamic_layers(model)) == ["2"] and type(model[0]) is nn.Conv3d
    with pytest.raises(ValueError, match="none of the 1 selected layers has anything to decide"):
        vared.convert(nn.Sequential(nn.Conv3d(5, 1, 3, padding=1), nn.BatchNorm3d(1)), example=(5, 1, 6, 6))


def test_no_match_names_what_there_is():
    with pytest.raises(ValueError, match=r"none of the 2 convolutions: \['0', '3'\]"):
        vared.convert(network(), example=CLIP, where=lambda name, conv: False)


def test_a_convolution_under_two_names_is_refused():
    conv = nn.Conv3d(5, 5, 3, padding=1)
    with pytest.raises(ValueError, match="layer '0' is used under 2 names, '0' and '2'"):
        vared.convert(nn.Sequential(conv, nn.BatchNorm3d(5), conv), example=CLIP)


def test_a_convolution_that_runs_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(5, 5, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x))

    with pytest.raises(ValueError, match="layer 'conv' runs more than once in a forward pass, 2 times"):
        vared.convert(Twice(), example=CLIP, where=anything)


@pytest.mark.parametrize("example", [(4, 8, 6, 6), (2, 5, 8, 6, 6), (8, 6, 6)])
def test_an_example_that_does_not_fit_is_named_and_changes_nothing(example):
    model = network()
    with pytest.raises(ValueError, match=re.escape(str(example))):
        vared.convert(model, example=example)
    assert not dynamic_layers(model) and not any(m._forward_hooks for m in model.modules())


def test_an_unreached_layer_is_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = network(), nn.Conv3d(5, 5, 3)

        def forward(self, x):
            return self.used(x)

    model = Idle()
    with pytest.raises(ValueError, match=r"'idle' was not reached by the example \(5, 8, 6, 6\)"):
        vared.convert(model, example=CLIP, where=anything)
    assert not dynamic_layers(model)
    vared.convert(model, example=CLIP)  # the default passes it over
    assert list(dynamic_layers(model)) == ["used.0"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", ["scripted", "traced"])
def test_scripted_and_traced_modules_are_refused_by_name(compiled):
    part = network()
    part = torch.jit.script(part) if compiled == "scripted" else torch.jit.trace(part.eval(), torch.randn(1, *CLIP))
    with pytest.raises(ValueError, match=r"the module '1' is scripted or traced \(\w+\)\. Convert the network it was"):
        vared.convert(nn.Sequential(nn.Identity(), part), example=CLIP)
    with pytest.raises(ValueError, match="the model is scripted or traced"):
        vared.convert(part, example=CLIP)


def test_quantised_convolutions_are_refused_by_name():
    quantised = nn.Sequential(nn.Identity(), torch.ao.nn.quantized.Conv3d(5, 6, 3))
    with pytest.raises(ValueError, match=r"the module '1' is quantised \(torch\.ao\.nn\.quantized.*before quantising"):
        vared.convert(quantised, example=CLIP)
    training = nn.Sequential(torch.ao.nn.qat.Conv3d(5, 6, 3, qconfig=torch.ao.quantization.get_default_qat_qconfig()))
    with pytest.raises(ValueError, match=r"the module '0' is quantised \(torch\.ao\.nn\.qat"):
        vared.convert(training, example=CLIP)


def test_another_padding_than_zeros_is_refused_when_it_is_asked_for():
    model = network().append(nn.Conv3d(4, 4, 3, padding=1, padding_mode="replicate"))
    with pytest.raises(ValueError, match="layer '5' pads with padding_mode='replicate'; only zero padding"):
        vared.convert(model, example=CLIP, where=anything)
    assert not dynamic_layers(model), "an error leaves the network as it was"


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_weight_that_is_computed_is_refused():
    model = network()
    nn.utils.weight_norm(model[0])
    with pytest.raises(ValueError, match="layer '0' has a weight that is computed from others"):
        vared.convert(model, example=CLIP)


@pytest.mark.parametrize("wrong", [(2, 5, 8, 6, 6), (8, 6, 6)])
def test_an_example_with_a_batch_is_refused(wrong):
    with pytest.raises(ValueError, match=r"An example is C x T x H x W, not " + re.escape(str(wrong))):
        vared.convert(network(), example=wrong)
    with pytest.raises(ValueError, match=r"An example is C x H x W, not \(2, 3\)"):
        vared.convert(plain_image_network(), example=(2, 3))


class Same(nn.Conv3d):
    """Computes as nn.Conv3d does, with a constructor of its own, as in torchvision's video networks."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1, bias=False)


class Scaled(nn.Conv3d):
    """Computes something else."""

    def forward(self, x):
        return 2.0 * super().forward(x)


def test_subclasses_convert_unless_they_compute_something_else():
    model = nn.Sequential(Same(5), nn.BatchNorm3d(5), Scaled(5, 5, 3, padding=1), nn.BatchNorm3d(5)).eval()
    x = torch.randn(2, *CLIP)
    expected = model(x)
    vared.convert(model, example=CLIP)
    assert list(dynamic_layers(model)) == ["0"]
    with vared.fixed_policy(model):
        assert relative_difference(model(x), expected) < 1e-6
    vared.revert(model)
    assert type(model[0]) is Same and torch.equal(model(x), expected)
    with pytest.raises(ValueError, match="`where` selects none of the 0 convolutions"):
        vared.convert(nn.Sequential(Scaled(5, 5, 3)), example=CLIP, where=anything)


def test_revert_keeps_what_was_learned_and_how_layers_were_set():
    model = tiny_r2plus1d(search_space=3).to(memory_format=torch.channels_last_3d)
    parameters, x = dict(model.named_parameters()), torch.randn(2, 3, 8, 16, 16)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.train()
    model.stages[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    clone = copy.deepcopy(model)
    assert vared.revert(model) is model and not dynamic_layers(model)
    assert all(parameters[name] is parameter for name, parameter in model.named_parameters())
    assert all(modes[name] == module.training for name, module in model.named_modules())
    with vared.fixed_policy(clone.eval()):
        assert relative_difference(model.eval()(x), clone(x)) < 1e-5
    modules = dict(model.named_modules())
    assert dict(vared.revert(model).named_modules()) == modules
    vared.convert(model, example=(3, 8, 16, 16))
    assert len(dynamic_layers(model)) == 16


def test_revert_needs_a_place_to_put_the_convolution():
    layer = vared.convert(network(), example=CLIP)[0]
    with pytest.raises(ValueError, match="the model itself is a dynamic layer"):
        vared.revert(layer)


class TwoPathways(nn.Module):
    """Takes a list of clips, and changes the list, as SlowFast does."""

    def __init__(self):
        super().__init__()
        self.slow, self.fast = network(), network()

    def forward(self, clips):
        clips[0] = self.slow(clips[0]).mean((2, 3, 4))
        clips[1] = self.fast(clips[1]).mean((2, 3, 4))
        return torch.cat(clips, dim=1)


@pytest.mark.parametrize("form", ["shapes", "tensors"])
def test_a_network_that_takes_a_list(form):
    shapes = [(5, 2, 6, 6), (5, 8, 6, 6)]
    example = shapes if form == "shapes" else [torch.randn(shape) for shape in shapes]
    kept = list(example)
    model = vared.convert(TwoPathways(), example=example)
    assert {name: layer.frames_in for name, layer in dynamic_layers(model).items()} == {"slow.0": 2, "fast.0": 8}
    report = vared.count_flops(model, example)
    assert all(ours is theirs for ours, theirs in zip(example, kept, strict=True)), "the list is not ours to change"
    alone = [vared.count_flops(network(), shape).static for shape in shapes]
    assert report.static == pytest.approx(sum(alone), rel=1e-12)
    batch = vared.count_flops(model, [torch.randn(3, *shape) for shape in shapes])
    assert batch.costs.total.shape == (3,) and batch.static == pytest.approx(report.static, rel=1e-12)
    with pytest.raises(ValueError, match=r"example \(\(5, 2, 6, 6\),\) does not fit"):
        vared.convert(TwoPathways(), example=shapes[:1])


def test_a_bare_convolution_is_refused():
    with pytest.raises(ValueError, match="wrap it in nn.Sequential, or use from_conv"):
        vared.convert(nn.Conv3d(5, 6, 3), example=CLIP)


def test_a_missing_normalisation_is_a_warning_and_a_present_one_is_not():
    with pytest.warns(UserWarning, match=r"\['0'\]"):
        vared.convert(nn.Sequential(nn.Conv3d(5, 6, 3, padding=1), nn.ReLU()), example=CLIP, where=anything)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vared.convert(network(), example=CLIP)
        tiny_r2plus1d(search_space=3)


def test_a_network_can_be_copied_after_a_forward_pass():
    model, x = tiny_r2plus1d().train(), torch.randn(4, 3, 8, 16, 16)
    model(x).sum().backward()
    clone = copy.deepcopy(model).eval()
    assert torch.equal(clone(x), model.eval()(x))
    with pytest.raises(RuntimeError, match="no policy yet"):
        vared.policy(copy.deepcopy(model))


def test_weights_survive_a_file(tmp_path):
    model, x = randomise_cheap(randomise_gates(tiny_r2plus1d(search_space=3))), torch.randn(4, 3, 8, 16, 16)
    model.train()(x)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = tiny_r2plus1d(search_space=3, seed=9)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(x), model.eval()(x))
    before, after = vared.policy(model), vared.policy(other)
    assert all(torch.equal(before[n].temporal, after[n].temporal) for n in before)


def test_gates_and_affine_operations_are_spared_weight_decay_and_nothing_else():
    for cheap, endings in (("depthwise", ()), ("affine", (".scale", ".shift"))):
        model = tiny_r2plus1d(cheap=cheap)
        expected = {n for n, _ in model.named_parameters() if ".gate." in n or n.endswith(endings or "\0")}
        assert no_decay_names(model) == expected and len(expected) >= 16 * 5
    assert no_decay_names(tiny_r2plus1d(search_space=0)) == set()


def test_conversion_on_the_meta_device_makes_no_memory():
    with torch.device("meta"):
        model = vared.convert(network(), example=CLIP)
    assert {p.device.type for p in model.parameters()} == {"meta"}


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("cheap", ["depthwise", "affine", "copy"])
def test_a_dynamic_network_moves_to_either_memory_format(cheap, memory_format):
    model = tiny_r2plus1d(cheap=cheap).to(memory_format=memory_format)
    assert model(torch.randn(2, 3, 8, 16, 16).to(memory_format=memory_format)).shape == (2, 5)


def test_the_summary_shows_layers_candidates_and_added_parameters():
    model = tiny_r2plus1d(frames=8, search_space=3)
    text = vared.summary(model)
    total = sum(p.numel() for p in model.parameters())
    static = sum(p.numel() for p in tiny_r2plus1d(search_space=0).parameters())
    assert text.startswith(f"16 dynamic layers; {total:,} parameters, {total - static:,} of them")
    assert re.search(r"stages\.3\.1\.conv2\.spatial\s+1x3x3\s+144\s+1\s+1\s+144/72/36", text), text
    assert "0 dynamic layers" in vared.summary(tiny_r2plus1d(search_space=0))


def test_two_dimensional_networks_convert():
    model = vared.convert(plain_image_network(), example=(5, 9, 9))
    assert list(dynamic_layers(model)) == ["0", "3"]
    with pytest.raises(ValueError, match=r"\(5, 4, 9, 9\)"):
        vared.convert(plain_image_network(), example=(5, 4, 9, 9))


def test_settings_of_another_type_are_refused():
    with pytest.raises(TypeError, match="must be a DynamicConfig"):
        vared.convert(tiny_r2plus1d(search_space=0), {"search_space": 3}, example=(3, 8, 16, 16))
