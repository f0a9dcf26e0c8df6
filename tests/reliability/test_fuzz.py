"""Inputs that nobody wrote by hand: whatever comes, there is a result or an error that says what is wrong."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import vared
from tests.data.video_files import encode, write_video
from tests.method_helpers import dynamic_layers, relative_difference
from tests.reliability.sixteen import noise
from vared.data.kinetics import load_kinetics
from vared.data.records import ListError
from vared.data.sampling import ClipSampling
from vared.data.video import VideoError, count_frames, read_frames
from vared.own_data.layout import read_layout

CASES = settings(max_examples=200, suppress_health_check=list(HealthCheck))
PIECES = ["path", "label", "split", ",", ";", "\t", '"', "\n", "\r\n", "\0", "1.mp4", "run", "../", "ü", " "]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one video of each class."""
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("1.mp4", "run/2.mp4"):
        write_video(folder / name, 3)
    return folder


@pytest.mark.hazard("fuzz", "lists of any content", "200 + 200 + 200 cases, rows or named errors")
def test_any_text_is_a_list_or_has_named_problems(folder, record_property):
    tried = 0

    @CASES
    @given(header=st.sampled_from(["", "path,label\n", "path;label;split\n"]), text=texts)
    def layouts(header, text):
        nonlocal tried
        tried += 1
        (folder / "list.csv").write_bytes((header + text).encode("utf-8", "surrogatepass"))
        layout = read_layout(folder / "list.csv")
        assert layout.entries or layout.problems
        assert all(str(problem) and problem.reason for problem in layout.problems)

    @CASES
    @given(content=st.binary(max_size=80))
    def bytes_of_any_kind(content):
        nonlocal tried
        tried += 1
        (folder / "list.csv").write_bytes(content)
        assert read_layout(folder / "list.csv").problems

    @CASES
    @given(header=st.sampled_from(["", "label,youtube_id,time_start,time_end,split\n"]), text=texts)
    def kinetics(header, text):
        nonlocal tried
        tried += 1
        (folder / "train.csv").write_text(header + text, encoding="utf-8", errors="replace")
        try:
            assert len(load_kinetics(folder, "train"))
        except ListError as error:
            assert str(folder) in str(error)

    layouts(), bytes_of_any_kind(), kinetics()
    record_property("tried", tried), record_property("survived", tried)


@cache
def originals() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as name:
        forms = (("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.webm", "libvpx-vp9"))
        paths = [encode(Path(name) / file, noise(0)[:6], codec=codec) for file, codec in forms]
        return tuple(path.read_bytes() for path in paths)


@pytest.mark.hazard("fuzz", "videos with changed, lost and added bytes", "200 cases, frames or an error that names it")
def test_any_bytes_are_frames_or_a_named_error(tmp_path, record_property):
    tried, read, unnamed = 0, 0, 0

    @CASES
    @given(which=st.integers(0, 2), seed=st.integers(0, 10**6), changes=st.integers(0, 40), share=st.floats(0, 1.2))
    def opened(which, seed, changes, share):
        nonlocal tried, read, unnamed
        tried += 1
        random, data = np.random.default_rng(seed), bytearray(originals()[which])
        for place in random.integers(0, len(data), changes):
            data[place] = random.integers(256)
        data = data[: int(share * len(data))] + random.bytes(max(0, int((share - 1) * len(data))))
        path = tmp_path / "video.mp4"
        path.write_bytes(data)
        try:
            frames = read_frames(path)
            assert frames.dtype == np.uint8 and frames.ndim == 4 and len(frames) == count_frames(path)
            read += 1
        except VideoError as error:
            assert str(path) in str(error)
        except UnicodeDecodeError:  # see test_videos.py
            unnamed += 1

    opened()
    record_property("tried", tried), record_property("survived", tried - unnamed)
    assert 0 < read < tried and unnamed < 0.02 * tried


@pytest.mark.hazard("fuzz", "clips from videos of any length", "200 cases, T indices of the video, 0 frames refused")
def test_any_length_gives_a_clip(record_property):
    tried = 0

    @CASES
    @given(frames=st.integers(0, 50), length=st.integers(1, 33), stride=st.integers(1, 9), clips=st.integers(1, 5))
    def sampled(frames, length, stride, clips):
        nonlocal tried
        tried += 1
        sampling = ClipSampling(length, stride, clips=clips)
        if frames == 0:
            with pytest.raises(ValueError):
                sampling.evaluation(0)
            return
        for indices in (*sampling.evaluation(frames), sampling.training(frames, np.random.default_rng(0))):
            assert len(indices) == length and 0 <= min(indices) and max(indices) < frames

    sampled()
    record_property("tried", tried), record_property("survived", tried)


@st.composite
def networks(draw) -> tuple[nn.Module, tuple[int, ...]]:
    """A small network of plain and residual parts, of images or clips, and the shape of its example."""
    three, channels, layers = draw(st.booleans()), draw(st.sampled_from([3, 4, 6])), []
    conv, norm = (nn.Conv3d, nn.BatchNorm3d) if three else (nn.Conv2d, nn.BatchNorm2d)
    torch.manual_seed(draw(st.integers(0, 1000)))
    for _ in range(draw(st.integers(1, 4))):
        wider, size = draw(st.sampled_from([4, 6, 8, 12])), draw(st.sampled_from([1, 3, (1, 3, 3) if three else 5]))
        padding = tuple(k // 2 for k in size) if isinstance(size, tuple) else size // 2
        groups = draw(st.sampled_from([1, 2])) if channels % 2 == 0 else 1
        stride, bias = draw(st.sampled_from([1, 2])), draw(st.booleans())
        layers += [conv(channels, wider, size, stride, padding, groups=groups, bias=bias)]
        layers += draw(st.sampled_from([[], [norm(wider)], [nn.ReLU()], [norm(wider), nn.ReLU()]]))
        channels = wider
    pool = nn.AdaptiveAvgPool3d(1) if three else nn.AdaptiveAvgPool2d(1)
    first = layers[0].in_channels
    shape = (first, draw(st.integers(2, 9)), 12, 12) if three else (first, 12, 12)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(channels, 5)).eval(), shape


@pytest.mark.hazard("fuzz", "`convert` on random networks", "60: keys kept, full policy the same, revert exact")
def test_any_small_network_converts_and_comes_back(record_property):
    tried = 0

    @settings(max_examples=60)
    @given(made=networks())
    def converted(made):
        nonlocal tried
        tried += 1
        model, shape = made
        keys, x = list(model.state_dict()), torch.randn(3, *shape)
        with torch.no_grad():
            expected = model(x)
            vared.convert(model, example=shape, where=lambda name, conv: True)
            assert set(keys) <= set(model.state_dict()) and dynamic_layers(model)
            assert model(x).shape == expected.shape and model(x).isfinite().all()
            with vared.fixed_policy(model):
                assert relative_difference(model(x), expected) < 1e-4
            assert list(vared.revert(model).state_dict()) == keys and torch.equal(model(x), expected)

    converted()
    record_property("tried", tried), record_property("survived", tried)
