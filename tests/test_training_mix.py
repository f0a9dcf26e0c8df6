"""Both mixes as one step of automatic differentiation, against the plain mixes and finite differences."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

import vared
from tests.method_helpers import CHEAP, Geometry, geometries, random_weights, relative_difference
from vared import training_mix
from vared.layers import DynamicConfig
from vared.reconstruction import mix_channels, mix_frames
from vared.training_mix import mix

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def plain_mix(layer, full, channel, temporal):
    return mix_frames(layer, mix_channels(layer, full, channel), temporal, full.shape[2])


def inputs_of(layer, clips, frames, seed=0, layout=torch.contiguous_format, side=5):
    """F, V_c, V_t in fp64 with shut candidates among the open ones, and the cheap parameters."""
    generator = torch.Generator().manual_seed(seed)
    full = torch.randn(clips, layer.out_channels, frames, side, side, generator=generator, dtype=torch.float64)
    counts = len(layer.kept_channels), len(layer.temporal_factors)
    v_c, v_t = (random_weights(clips, count, seed + i).double() for i, count in enumerate(counts))
    cheap = [p for name, p in layer.named_parameters() if name.startswith("cheap_")]
    return [full.to(memory_format=layout).requires_grad_(), v_c.requires_grad_(), v_t.requires_grad_(), *cheap]


def output_and_gradients(function, layer, inputs):
    output = function(layer, *inputs[:3])
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(9), dtype=output.dtype)
    return output, *torch.autograd.grad(output, inputs, weights.to(memory_format=torch.contiguous_format))


@given(
    geometry=geometries(), clips=st.integers(1, 4), layout=st.sampled_from(LAYOUTS), seed=st.integers(0, 99),
    part=st.sampled_from([1, 5000, 20000, 2**30]),
)  # fmt: skip
def test_output_and_gradients_are_those_of_the_plain_mixes(geometry, clips, layout, seed, part):
    assume(geometry.frames_out >= 1 and len(geometry.factors()) + len(geometry.kept()) > 2)
    layer = geometry.layer(seed)
    inputs = inputs_of(layer, clips, geometry.frames_out, seed, layout)
    expected = output_and_gradients(plain_mix, layer, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_mix, "PART_BYTES", part)
        actual = output_and_gradients(mix, layer, inputs)
    assert actual[0].stride() == inputs[0].stride()
    for one, other in zip(actual, expected, strict=True):
        assert relative_difference(one, other) < 1e-10


@pytest.mark.parametrize("part", [1, 2**30])
@pytest.mark.parametrize("settings", [{}, {"temporal": False}, {"channel": False}])
@pytest.mark.parametrize("cheap", CHEAP)
def test_gradients_against_finite_differences(cheap, settings, part, monkeypatch):
    monkeypatch.setattr(training_mix, "PART_BYTES", part)
    layer = Geometry(out_channels=5, frames=5, config=DynamicConfig(search_space=3, cheap=cheap, **settings)).layer()
    inputs = inputs_of(layer, 2, 5, layout=torch.channels_last_3d, side=3)
    names = [name for name, _ in layer.named_parameters() if name.startswith("cheap_")]

    def output(full, v_c, v_t, *parameters):
        layer.forward = lambda _: mix(layer, full, v_c, v_t)
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (full,))

    assert torch.autograd.gradcheck(output, inputs, fast_mode=True)


def test_parts_cover_every_clip_and_frame_once_and_begin_where_all_candidates_keep_a_frame(monkeypatch):
    layer = Geometry(out_channels=4, frames=11, config=DynamicConfig(search_space=3)).layer()
    full, v_c, v_t = (value.detach() for value in inputs_of(layer, 5, 11)[:3])
    parameters = [p for name, p in layer.named_parameters() if name.startswith("cheap_")]
    for part_bytes, expected in ((1, 5 * 3), (full[0].nbytes * 2, 3), (full.nbytes, 1)):
        monkeypatch.setattr(training_mix, "PART_BYTES", part_bytes)
        mixes = training_mix._Mixes(full, v_c, v_t, (layer.kept_channels, layer.temporal_factors, 1), parameters)
        parts, seen = list(mixes.parts()), torch.zeros(5, 11)
        for clips, _, frames in parts:
            assert frames.start % 4 == 0
            seen[clips, frames] += 1
        assert len(parts) == expected and (seen == 1).all()


def test_large_maps_leave_nothing_for_the_backward_pass_but_themselves(monkeypatch):
    layer = Geometry(out_channels=6, frames=8, config=DynamicConfig(search_space=3)).layer()
    inputs = inputs_of(layer, 4, 8, side=8)
    small = sum(value.nbytes for value in inputs[1:])
    for part, maps in ((1, 1), (2**30, 2)):  # small maps are kept mixed as well
        monkeypatch.setattr(training_mix, "PART_BYTES", part)
        output = mix(layer, *inputs[:3])
        kept = sum(value.nbytes for value in output.grad_fn.saved_tensors if value is not None)
        assert maps * inputs[0].nbytes <= kept <= maps * inputs[0].nbytes + small


def test_the_weight_of_a_single_candidate_counts():
    layer = Geometry(frames=1, config=DynamicConfig(cheap="copy")).layer()
    full = torch.randn(1, 6, 1, 2, 2, dtype=torch.float64)
    v_c, v_t = torch.tensor([[1.0, 0]]), torch.tensor([[0.25]], requires_grad=True)
    output = mix(layer, full, v_c, v_t)
    assert torch.equal(output, 0.25 * full)
    output.sum().backward()
    torch.testing.assert_close(v_t.grad.double(), full.sum().reshape(1, 1))


def test_a_gradient_of_a_gradient_is_refused():
    layer = Geometry().layer()
    full, v_c, v_t, *_ = inputs_of(layer, 2, 8)
    (gradient,) = torch.autograd.grad(mix(layer, full, v_c, v_t).square().sum(), full, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("cheap", CHEAP)
def test_mixed_precision_gives_what_the_plain_mixes_give(cheap):
    layer = Geometry(out_channels=8, config=DynamicConfig(search_space=3, cheap=cheap)).layer(dtype=torch.float32)
    full, v_c, v_t, *cheap_parameters = inputs_of(layer, 3, 8)
    inputs = [full.detach().bfloat16().requires_grad_(), *(v.detach().float().requires_grad_() for v in (v_c, v_t))]
    results = []
    for function in (mix, plain_mix):
        with torch.autocast("cpu", torch.bfloat16):
            output = function(layer, *inputs)
        results.append((output, *torch.autograd.grad(output.float().square().sum(), [*inputs, *cheap_parameters])))
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype and relative_difference(one, other) < 0.03
    assert results[0][0].dtype == torch.bfloat16 and results[0][2].dtype == torch.float32


@pytest.mark.parametrize("cheap", CHEAP)
def test_an_empty_batch_gives_an_empty_output(cheap):
    layer = Geometry(config=DynamicConfig(search_space=3, cheap=cheap)).layer()
    for function in (mix, plain_mix):
        inputs = [value[:0].detach().requires_grad_() for value in inputs_of(layer, 2, 8)[:3]]
        output = function(layer, *inputs)
        assert output.shape == (0, 6, 8, 5, 5)
        output.sum().backward()
        assert [value.grad.shape for value in inputs] == [value.shape for value in inputs]


def test_a_two_dimensional_layer_learns_the_same_with_the_plain_mixes(monkeypatch):
    torch.manual_seed(0)
    config = DynamicConfig(search_space=3, gate_norm="layer")
    layer = vared.DynamicConv2d.from_conv(nn.Conv2d(3, 7, 3, stride=2, padding=1).double(), config, (3, 8, 8)).double()
    image, gradients = torch.randn(4, 3, 8, 8, dtype=torch.float64), []
    for function in (mix, plain_mix):
        monkeypatch.setattr("vared.layers.mix", function)
        layer.zero_grad()
        layer.train()(image).square().sum().backward()
        gradients.append({name: p.grad for name, p in layer.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys() and None not in gradients[0].values()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-5, atol=1e-5)  # gates are in fp32
