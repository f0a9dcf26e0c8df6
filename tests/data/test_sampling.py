import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vared.data.sampling import ClipSampling, centre_start, clip_indices, last_start, random_start, spaced_starts

videos = st.integers(1, 400)
samplings = st.builds(ClipSampling, st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))


@given(videos, samplings, st.integers(0, 2**32))
def test_training_indices_are_t_sorted_frames_of_the_video(frames, sampling, seed):
    indices = sampling.training(frames, np.random.default_rng(seed))
    assert indices.shape == (sampling.num_frames,)
    assert indices.min() >= 0
    assert indices.max() < frames
    steps = np.diff(indices)
    assert ((steps == sampling.stride) | (indices[1:] == frames - 1)).all()  # the stride, until the last frame repeats


@given(videos, samplings)
def test_evaluation_covers_the_video_evenly(frames, sampling):
    clips = sampling.evaluation(frames)
    span = (sampling.num_frames - 1) * sampling.stride + 1
    assert clips.shape == (sampling.clips, sampling.num_frames)
    assert clips.min() >= 0
    assert clips.max() < frames
    assert (np.diff(clips, axis=1) >= 0).all()
    starts = clips[:, 0]
    if sampling.clips > 1:
        assert (starts[0], starts[-1]) == (0, max(0, frames - span))
        assert np.ptp(np.diff(starts)) <= 1


@given(videos, samplings)
def test_the_centre_clip_is_centred(frames, sampling):
    start = centre_start(frames, sampling)
    span = (sampling.num_frames - 1) * sampling.stride + 1
    before, after = start, frames - (start + span)
    assert (start == 0 and after <= 0) or after - before in (0, 1)


def test_a_short_video_repeats_its_last_frame():
    sampling = ClipSampling(num_frames=6, stride=2)
    np.testing.assert_array_equal(sampling.evaluation(5), [[0, 2, 4, 4, 4, 4]])
    np.testing.assert_array_equal(sampling.training(1, np.random.default_rng(0)), [0] * 6)


def test_every_start_is_drawn_in_training():
    sampling = ClipSampling(num_frames=4, stride=3)
    generator = np.random.default_rng(0)
    starts = [random_start(15, sampling, generator) for _ in range(300)]
    counts = np.bincount(starts)
    assert len(counts) == last_start(15, sampling) + 1 == 6
    assert counts.min() > 25  # 50 expected, deviation 6.5


def test_known_starts():
    assert spaced_starts(32, ClipSampling(8, 2, clips=1)) == [8]  # span 15, last start 17
    assert spaced_starts(32, ClipSampling(8, 2, clips=3)) == [0, 9, 17]
    assert spaced_starts(8, ClipSampling(8, 1, clips=3)) == [0, 0, 0]
    np.testing.assert_array_equal(clip_indices(17, 32, ClipSampling(8, 2)), range(17, 32, 2))


@pytest.mark.parametrize("values", [(0, 1, 1), (8, 0, 1), (8, 1, 0)])
def test_counts_below_one_are_refused(values):
    with pytest.raises(ValueError, match="at least 1"):
        ClipSampling(*values)


def test_a_video_without_frames_is_refused():
    with pytest.raises(ValueError, match="0 frames"):
        last_start(0, ClipSampling(8))
