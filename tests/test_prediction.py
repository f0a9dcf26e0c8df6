"""Clips that slide over a video, and what a network makes of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vared
from tests.data.video_files import encode, picture, write_video
from vared.data.frame_stream import sliding_windows, stream_frames
from vared.data.sampling import ClipSampling, clip_indices
from vared.data.transforms import EvalTransform
from vared.data.video import VideoError, read_frames

NAME, STATIC = "r2plus1d_18-embedded-s2", "r2plus1d_18-embedded-static"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """70 frames in which the picture brightens, as often as its brightness allows."""
    folder = tmp_path_factory.mktemp("video")
    return encode(folder / "video.mp4", [picture(index % 40) for index in range(70)])


@pytest.fixture(scope="module")
def network():
    return vared.load_ready(NAME)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 6), st.integers(1, 30))
def test_windows_cover_every_video_and_hold_the_frames_of_their_clips(frames, length, stride, step):
    sampling = ClipSampling(length, stride)
    stream = ((index / 10, torch.full((3, 1, 1, 1), float(index))) for index in range(frames))
    windows = list(sliding_windows(stream, sampling, step))
    span = (length - 1) * stride + 1
    assert windows[0].first == 0 and windows[-1].last == frames - 1
    assert [w.first for w in windows[:-1]] == list(range(0, step * (len(windows) - 1), step))
    for window in windows:
        assert window.last - window.first + 1 == min(span, frames)
        assert window.clip[0, :, 0, 0].tolist() == clip_indices(window.first, frames, sampling).tolist()
        assert (window.start, window.end) == (window.first / 10, window.last / 10)


def test_a_video_without_frames_has_no_window():
    assert not list(sliding_windows(iter(()), ClipSampling(4, 2), 1))


def test_the_stream_gives_the_frames_that_reading_gives(video):
    seconds, frames = zip(*stream_frames(video), strict=True)
    assert np.array_equal(np.stack(frames), read_frames(video))
    assert np.allclose(seconds, np.arange(70) / 25)


def test_every_clip_gets_what_the_network_makes_of_it_alone(video, network):
    model, card = network
    prediction = vared.Predictor(model, card, step=7, batch_size=4)(video)
    assert prediction.clips["first_frame"].tolist() == [0, 7, 14, 21, 28, 35, 41]
    assert prediction.frames == 70 and prediction.clips["last_frame"].tolist()[-1] == 69
    report = vared.count_flops(model, card.shape)
    for row in prediction.clips.itertuples():
        frames = read_frames(video, clip_indices(row.first_frame, 70, card.sampling))
        clip = EvalTransform(card.crop_size)(frames)
        with torch.no_grad():
            expected = model(clip).softmax(1)[0]
        costs = report.executed(vared.policy(model))
        torch.testing.assert_close(prediction.probabilities[row.clip], expected, rtol=1e-4, atol=1e-5)
        assert row.label == card.classes[int(expected.argmax())]
        assert row.gmacs_total == pytest.approx(float(costs.total[0]), abs=1e-9)
        assert row.share == pytest.approx(float(costs.total[0]) / report.static, abs=1e-6)
    parts = prediction.clips[["gmacs_backbone", "gmacs_gate", "gmacs_cheap"]].sum(axis=1)
    assert np.allclose(parts, prediction.clips["gmacs_total"], atol=1e-8)
    assert prediction.gmacs == pytest.approx(prediction.clips["gmacs_total"].mean())
    name, probability = prediction.top(1)[0]
    assert probability == pytest.approx(float(prediction.probabilities.mean(0).max()))
    assert name == card.classes[int(prediction.probabilities.mean(0).argmax())]


def test_batches_change_nothing_but_rounding(video, network):
    one, many = (vared.Predictor(*network, batch_size=size)(video) for size in (1, 50))
    torch.testing.assert_close(one.probabilities, many.probabilities, rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(one.policies, many.policies, rtol=1e-4, atol=1e-5)


def test_a_static_network_always_costs_the_same(video):
    prediction = vared.predict(video, STATIC)
    assert (prediction.clips["share"] == 1).all() and prediction.policies.empty
    assert prediction.clips["gmacs_total"].tolist() == pytest.approx([prediction.static_gmacs] * len(prediction.clips))


def test_one_frame_makes_one_clip_and_portrait_and_grey_videos_are_read(tmp_path, network):
    predictor = vared.Predictor(*network)
    one = predictor(write_video(tmp_path / "one.mp4", 1))
    assert one.frames == len(one.clips) == 1 and one.clips["first_frame"][0] == one.clips["last_frame"][0] == 0
    assert predictor(write_video(tmp_path / "portrait.mp4", 9, 48, 96)).frames == 9
    grey = [np.repeat(picture(index).mean(2, keepdims=True), 3, 2).astype(np.uint8) for index in range(9)]
    assert predictor(encode(tmp_path / "grey.mkv", grey, codec="ffv1", pixels="gray")).frames == 9


def test_frames_are_counted_while_they_are_decoded(video, network):
    seen = []

    def watch(frames):
        for frame in frames:
            seen.append(frame[0])
            yield frame

    vared.Predictor(*network)(video, watch=watch)
    assert len(seen) == 70


def test_bad_input_is_refused(video, network, tmp_path):
    with pytest.raises(ValueError, match="step must be at least 1, not 0"):
        vared.predict(video, step=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        vared.Predictor(*network, batch_size=0)
    with pytest.raises(VideoError, match="no such file"):
        vared.predict(tmp_path / "absent.mp4")
