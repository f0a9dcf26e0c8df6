import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vared.data.transforms import MEAN, STD, EvalTransform, TrainTransform, crop_places, random_crop

sizes = st.integers(8, 90)


def ramp(frames=4, height=48, width=64):
    """Red rises to the right, green downwards, blue with time; all far from saturation."""
    t, y, x = np.mgrid[:frames, :height, :width]
    return np.stack([x * 2, y * 2, t * 10], axis=-1).astype(np.uint8)


def pixels(clip_CTHW):
    return clip_CTHW * torch.tensor(STD).view(3, 1, 1, 1) * 255 + torch.tensor(MEAN).view(3, 1, 1, 1) * 255


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(1, 40), st.integers(1, 5), st.integers(0, 1000))
def test_any_frame_size_gives_the_right_shape(height, width, size, length, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), dtype=np.uint8)
    clip = TrainTransform(size)(frames, np.random.default_rng(seed))
    views = EvalTransform(size, crops=3)(frames)
    assert (clip.shape, clip.dtype) == ((3, length, size, size), torch.float32)
    assert views.shape == (3, 3, length, size, size)
    for tensor in (pixels(clip), *map(pixels, views)):
        assert tensor.min() > -0.1
        assert tensor.max() < 255.1


def test_training_is_one_draw_for_all_frames_and_repeatable():
    still = np.repeat(ramp(1), 6, axis=0)
    clip = TrainTransform(40)(still, np.random.default_rng(3))
    assert torch.equal(clip, clip[:, :1].expand_as(clip))
    assert torch.equal(clip, TrainTransform(40)(still, np.random.default_rng(3)))
    others = [TrainTransform(40)(still, np.random.default_rng(seed)) for seed in range(8)]
    assert len({other.numpy().tobytes() for other in others}) > 5


def test_half_of_the_clips_are_flipped():
    generator = np.random.default_rng(0)
    slopes = [pixels(TrainTransform(24)(ramp(), generator))[0].diff(dim=-1).mean() for _ in range(400)]
    flipped = sum(slope < 0 for slope in slopes)
    assert 160 < flipped < 240
    unflipped = [TrainTransform(24, flip=0.0)(ramp(), generator)[0].diff(dim=-1).mean() > 0 for _ in range(50)]
    assert all(unflipped)


def test_crops_are_the_tsn_scales_at_fixed_places():
    generator = np.random.default_rng(0)
    crops = {random_crop(48, 64, (1.0, 0.875, 0.75, 0.66), generator) for _ in range(5000)}
    shapes = {crop[2:] for crop in crops}
    sides = (48, 42, 36, 32)
    assert shapes == {(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1}
    places = {crop[:2] for crop in crops if crop[2:] == (32, 32)}
    assert len(places) == 13
    assert {(0, 0), (0, 32), (16, 0), (16, 32), (8, 16)} <= places  # corners and centre
    assert all(top + height <= 48 and left + width <= 64 for top, left, height, width in crops)


def test_the_short_side_follows_the_usual_ratio():
    # 48 x 64 to 224: short side 256, 256 x 341, of which the crop takes columns 58 to 281
    clip = pixels(EvalTransform(224)(ramp(2))[0])
    assert clip[0, 0, 100, 0].item() == pytest.approx(2 * ((58 + 0.5) * 64 / 341 - 0.5), abs=0.05)
    assert clip[1, 0, 0, 100].item() == pytest.approx(2 * ((16 + 0.5) * 48 / 256 - 0.5), abs=0.05)
    assert clip[2, 1].mean().item() == pytest.approx(10, abs=0.01)


def test_three_crops_follow_the_longer_side():
    assert crop_places(48, 64, 40, 3) == [(4, 0), (4, 12), (4, 24)]
    assert crop_places(64, 48, 40, 3) == [(0, 4), (12, 4), (24, 4)]
    assert crop_places(64, 48, 40, 1) == [(12, 4)]
    left, centre, right = (pixels(view)[0].mean() for view in EvalTransform(40, 3)(ramp()))
    top, middle, bottom = (pixels(view)[1].mean() for view in EvalTransform(40, 3)(ramp(height=64, width=48)))
    assert left < centre < right
    assert top < middle < bottom


def test_strong_reduction_does_not_alias():
    stripes = np.zeros((1, 128, 128, 3), np.uint8)
    stripes[:, :, ::2] = 255
    clip = pixels(EvalTransform(16, short_side=16)(stripes)[0])
    assert (clip - 127.5).abs().max() < 12


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="1 crop"):
        EvalTransform(40, crops=2)
    with pytest.raises(ValueError, match="does not fit"):
        EvalTransform(40, short_side=32)
