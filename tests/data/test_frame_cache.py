import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest

from tests.data.video_files import write_video
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord
from vared.data.video import VideoError, read_frames


def listed(paths):
    return VideoList(tuple(VideoRecord(path, 0, path.name) for path in paths), ("only",))


@pytest.fixture(scope="module")
def videos(good_files):
    return listed([good_files[name][0] for name in ("h264", "portrait", "odd size", "one frame", "rotated 90")])


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_the_cache_is_reading_the_file(videos, tmp_path, workers):
    cache = FrameCache.build(videos, tmp_path, workers=workers)
    for record in videos.records:
        count = cache.frame_count(record)
        indices = [count - 1, 0, count // 2, 0]
        frames = cache.read(record, indices)
        np.testing.assert_array_equal(frames, read_frames(record.path, indices))
        frames[:] = 0  # a copy, so that nobody can change the cache
        np.testing.assert_array_equal(cache.read(record, range(count)), read_frames(record.path))


def test_frames_are_reduced_to_the_short_side(videos, tmp_path):
    cache = FrameCache.build(videos, tmp_path, short_side=24)
    sizes = [cache.read(record, [0]).shape[1:3] for record in videos.records]
    assert sizes == [(24, 32), (32, 24), (24, 32), (24, 32), (32, 24)]
    whole, small = read_frames(videos.records[0].path), cache.read(videos.records[0], range(24))
    assert np.abs(whole.mean((1, 2)) - small.mean((1, 2))).max() < 1


def test_a_cache_is_found_again_by_content(videos, tmp_path):
    first = FrameCache.build(videos, tmp_path)
    stamp = (first.folder / "frames.bin").stat().st_mtime_ns
    for record in videos.records:
        os.utime(record.path)
    assert FrameCache.build(videos, tmp_path).folder == first.folder
    assert (first.folder / "frames.bin").stat().st_mtime_ns == stamp
    assert FrameCache.build(videos, tmp_path, short_side=20).folder != first.folder
    assert FrameCache.build(videos.subset([0, 1]), tmp_path).folder != first.folder


def test_changed_content_makes_a_new_cache(good_files, tmp_path):
    path = shutil.copy(good_files["three frames"][0], tmp_path / "x.mkv")
    first = FrameCache.build(listed([path]), tmp_path / "cache")
    write_video(path, 5)
    second = FrameCache.build(listed([path]), tmp_path / "cache")
    assert first.folder != second.folder
    assert second.frame_count(listed([path]).records[0]) == 5


def test_unreadable_videos_and_wrong_requests_raise(videos, bad_files, tmp_path):
    path = bad_files["damaged in the middle"][0]
    mixed = listed([path, videos.records[0].path])
    cache = FrameCache.build(mixed, tmp_path)
    with pytest.raises(VideoError, match="damaged.mp4"):
        cache.frame_count(mixed.records[0])
    assert cache.frame_count(mixed.records[1]) == 24
    for indices in ([24], [-1]):
        with pytest.raises(VideoError, match="it has 24"):
            cache.read(mixed.records[1], indices)
    with pytest.raises(VideoError, match="another list"):
        cache.frame_count(videos.records[2])


def test_a_pickled_cache_carries_no_frames(videos, tmp_path):
    cache = FrameCache.build(videos, tmp_path)
    before = cache.read(videos.records[0], [3])
    data = pickle.dumps(cache)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data).read(videos.records[0], [3]), before)


def test_an_interrupted_build_leaves_nothing_that_looks_complete(videos, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        FrameCache.build(videos, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    monkeypatch.undo()
    folder = FrameCache.build(videos, tmp_path).folder
    shutil.rmtree(folder)
    leftover = folder.with_name(folder.name + ".partial")  # of a killed process
    leftover.mkdir()
    (leftover / "frames.bin").write_bytes(b"half")
    assert FrameCache.build(videos, tmp_path).read(videos.records[0], [0]).shape == (1, 48, 64, 3)
    assert not leftover.exists()


def _build(videos, directory, barrier, results):
    barrier.wait()
    cache = FrameCache.build(videos, directory)
    results.put((str(cache.folder), (cache.folder / "frames.bin").stat().st_ino))


def test_two_processes_build_one_cache(videos, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_build, args=(videos, tmp_path, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    built = {results.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join(30)
    assert len(built) == 1
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(json.loads((folder / "index.json").read_text())["videos"]) == len(videos)
