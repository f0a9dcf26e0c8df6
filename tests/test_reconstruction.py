"""The cheap operations and the two mixes one at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.method_helpers import CHEAP, Geometry
from vared.layers import DynamicConfig
from vared.reconstruction import CHEAP_MACS, CHEAP_OPERATION, interleave, mix_channels, mix_frames, repeat_channels


@pytest.mark.parametrize("cheap", CHEAP)
def test_a_fresh_cheap_operation_changes_nothing(cheap):
    x = torch.randn(2, 5, 3, 4, 4)
    assert torch.equal(CHEAP_OPERATION[cheap](5)(x), x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_depthwise_is_a_one_frame_convolution_in_either_memory_format(memory_format):
    operation = CHEAP_OPERATION["depthwise"](5)
    torch.nn.init.normal_(operation.weight)
    x = torch.randn(2, 5, 6, 4, 3).to(memory_format=memory_format)[:, :, ::2]
    expected = torch.nn.functional.conv3d(x, operation.weight, padding=(0, 1, 1), groups=5)
    torch.testing.assert_close(operation(x), expected, rtol=1e-5, atol=1e-5)


def test_a_single_frame_of_a_single_clip_stays_channels_last():
    """Otherwise its convolution converts it there and back, at three times the time."""
    x = torch.randn(2, 5, 6, 4, 3).to(memory_format=torch.channels_last_3d)
    y = CHEAP_OPERATION["depthwise"](5)(x[:1, :, 4:5])
    assert y.stride(1) == 1 and y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("cheap", CHEAP)
def test_an_empty_batch_stays_empty(cheap):
    assert CHEAP_OPERATION[cheap](5)(torch.empty(0, 5, 6, 4, 3)).shape == (0, 5, 6, 4, 3)


@pytest.mark.parametrize("cheap", CHEAP)
def test_cheap_operations_are_linear_and_look_at_one_frame_only(cheap):
    operation = CHEAP_OPERATION[cheap](3).double()
    for parameter in operation.parameters():
        torch.nn.init.normal_(parameter)
    x, y = torch.randn(2, 1, 3, 4, 5, 5, dtype=torch.float64)
    zero = operation(torch.zeros_like(x))  # an affine shift is no part of the linear map
    torch.testing.assert_close(operation(2 * x - y) - zero, 2 * (operation(x) - zero) - (operation(y) - zero))
    changed = x.clone()
    changed[:, :, 2] += 1
    assert torch.equal(operation(changed)[:, :, [0, 1, 3]], operation(x)[:, :, [0, 1, 3]])


def test_multiply_accumulates_of_a_generated_element():
    assert CHEAP_MACS == {"depthwise": 9, "affine": 1, "copy": 0}
    assert sum(p.numel() for p in CHEAP_OPERATION["depthwise"](7).parameters()) == 7 * 9
    assert sum(p.numel() for p in CHEAP_OPERATION["affine"](7).parameters()) == 7 * 2
    assert sum(p.numel() for p in CHEAP_OPERATION["copy"](7).parameters()) == 0


@given(kept=st.integers(1, 6), missing=st.integers(1, 17))
def test_a_missing_channel_repeats_its_own_modulo(kept, missing):
    maps = torch.arange(float(kept)).reshape(1, kept, 1, 1, 1)
    repeated = repeat_channels(maps, missing).flatten().tolist()
    assert repeated == [float(c % kept) for c in range(kept, kept + missing)]


@given(count=st.integers(1, 5), frames=st.integers(1, 11), fast=st.booleans())
def test_interleaving_restores_what_was_taken_apart(count, frames, fast):
    x = torch.randn(2, 3, frames, 2, 2)
    x = x.to(memory_format=torch.channels_last_3d) if fast else x
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, -frames % count))
    assert torch.equal(interleave([padded[:, :, i::count] for i in range(count)], frames), x)


def test_a_weighted_channel_mix_by_hand():
    """Four channels 1, 2, 3, 4 of one pixel; V_c = (0.5, 0.25): channel 2 holds 0.5 * 3 + 0.25 * 1."""
    layer = Geometry(out_channels=4, config=DynamicConfig(cheap="copy")).layer()
    full = torch.tensor([1.0, 2, 3, 4]).reshape(1, 4, 1, 1, 1)
    weights = torch.tensor([[0.5, 0.25]])
    assert mix_channels(layer, full, weights).flatten().tolist() == [0.75, 1.5, 1.75, 2.5]
    shut = torch.tensor([[0.0, 0.25]])
    assert mix_channels(layer, full[:, :2], shut, (1,)).flatten().tolist() == [0.25, 0.5, 0.25, 0.5]


def test_a_weighted_frame_mix_by_hand():
    """Five frames 1..5; V_t = (0.5, 0.25, 1): frame 3 holds 0.5 * 4 + 0.25 * 3 + 1 * 1."""
    layer = Geometry(frames=5, config=DynamicConfig(search_space=3, cheap="copy")).layer()
    full = torch.tensor([1.0, 2, 3, 4, 5]).reshape(1, 1, 5, 1, 1)
    weights = torch.tensor([[0.5, 0.25, 1.0]])
    expected = [1.75, 0.5 * 2 + 0.25 + 1, 0.5 * 3 + 0.25 * 3 + 1, 0.5 * 4 + 0.25 * 3 + 1, 1.75 * 5]
    assert mix_frames(layer, full, weights, 5).flatten().tolist() == expected
    last = torch.tensor([[0.0, 0.0, 1.0]])
    assert mix_frames(layer, full[:, :, ::4], last, 5, (2,)).flatten().tolist() == [1, 1, 1, 1, 5]
