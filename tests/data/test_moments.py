"""Moments in Time: files in exactly the official format, with tiny videos."""

import os
import time

import pytest

from tests.data.video_files import index_of, write_video
from vared.data.moments import CLASSES, load_moments, read_categories
from vared.data.records import ListError
from vared.data.video import read_frames

NAMES = ["clapping", "praying", "adult+female+singing", *(f"class{i:03d}" for i in range(CLASSES - 3))]
VIDEOS = {
    "training": ["praying/yt-5of6ffo6-Bw_205.mp4", "clapping/v.1,2 (b).mp4", "adult+female+singing/flickr_8.mp4"],
    "validation": ["clapping/getty-id635808620_4.mp4"],
}


def write(root, name, *lines):
    (root / name).write_bytes("\r\n".join([*lines, ""]).encode())


@pytest.fixture
def root(tmp_path):
    for folder, videos in VIDEOS.items():
        for video in videos:
            (tmp_path / folder / video).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / video).touch()
        rows = [f"{video},{video.partition('/')[0]},3,0" for video in videos]
        write(tmp_path, f"{folder}Set.csv", *rows)
    write(tmp_path, "moments_categories.txt", *(f"{name},{number}" for number, name in enumerate(NAMES)))
    return tmp_path


def test_labels_are_the_ids_of_the_categories_and_rows_are_parsed_from_the_right(root):
    videos = load_moments(root, "train")
    assert [(record.name, videos.classes[record.label]) for record in videos.records] == [
        ("training/praying/yt-5of6ffo6-Bw_205.mp4", "praying"),
        ("training/clapping/v.1,2 (b).mp4", "clapping"),
        ("training/adult+female+singing/flickr_8.mp4", "adult+female+singing"),
    ]
    assert [record.label for record in videos.records] == [1, 0, 2] and videos.classes == tuple(NAMES)
    assert all(record.path.is_file() for record in videos.records)
    assert len(load_moments(root, "val")) == 1


def test_rows_may_lack_the_votes_and_videos_may_be_missing(root):
    (root / "validation").rename(root / "val")
    write(root, "validationSet.csv", "clapping/getty-id635808620_4.mp4,clapping", "praying/gone.mp4,praying,1,2")
    videos = load_moments(root, "val")
    assert [record.name for record in videos.records] == ["val/clapping/getty-id635808620_4.mp4"]
    assert videos.missing == ("val/praying/gone.mp4",) and "1 listed but missing" in videos.report()


def test_all_bad_lines_are_reported_at_once_with_the_file(root):
    bad = {
        2: ("clapping/a.mp4", "is not `class/file.mp4,class`"),
        4: ("clapping/a.mp4,applauding,1,0", "'applauding' is not in"),
        5: ("clapping/a.mp4,praying,1,0", "is no file of the class 'praying'"),
        6: ("a.mp4,clapping,1,0", "is not `class/file.mp4,class`"),
        7: ("clapping/../praying/a.mp4,clapping,1,0", "is no file of the class"),
        8: ("clapping/a.mp4,clapping,yes,0", "'yes' is not in"),
    }
    rows = {1: "praying/x.mp4,praying,1,0", 3: ""} | {number: row for number, (row, _) in bad.items()}
    write(root, "trainingSet.csv", *(rows[number] for number in sorted(rows)))
    with pytest.raises(ListError) as caught:
        load_moments(root, "train")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"6 lines of {root / 'trainingSet.csv'} are wrong:" and len(lines) == 7
    for line, (number, (_, words)) in zip(lines[1:], sorted(bad.items()), strict=True):
        assert line.startswith(f"  line {number}: ") and words in line, line


def test_a_repeated_video_is_taken_once_and_said(root):
    row = "clapping/getty-id635808620_4.mp4,clapping,1,0"
    write(root, "validationSet.csv", row, row)
    with pytest.warns(UserWarning, match="line 2: clapping/getty"):
        assert len(load_moments(root, "val")) == 1


def test_categories_must_be_those_of_the_thesis(root):
    path = root / "moments_categories.txt"
    write(root, path.name, *(f"{name},{number}" for number, name in enumerate(NAMES[:305])))
    with pytest.raises(ListError, match="305 classes .* must hold 339 .* later release"):
        load_moments(root, "train")
    write(root, path.name, *(f"{name},{number + 1}" for number, name in enumerate(NAMES)))
    with pytest.raises(ListError, match="ids up to 339, but must hold 339 with ids from 0"):
        read_categories(path)
    write(root, path.name, "clapping,0", "praying", "dropping,0", "clapping,3", "burying,four")
    with pytest.raises(ListError) as caught:
        read_categories(path)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "line 2", "line 3", "line 4", "line 5",
    ]  # fmt: skip


def test_what_is_absent_is_named(root, tmp_path_factory):
    with pytest.raises(ListError, match="trainingSet.csv.*moments.csail.mit.edu"):
        load_moments(tmp_path_factory.mktemp("empty"), "train")
    with pytest.raises(ValueError, match="'train' and 'val', not 'test'"):
        load_moments(root, "test")
    (root / "training").rename(root / "elsewhere")
    with pytest.raises(ListError, match="no folder training/"):
        load_moments(root, "train")
    write(root, "validationSet.csv", "praying/gone.mp4,praying,1,2")
    with pytest.raises(ListError, match="None of the 1 videos"):
        load_moments(root, "val")
    write(root, "validationSet.csv", "")
    with pytest.raises(ListError, match="validationSet.csv is empty"):
        load_moments(root, "val")


def test_its_videos_decode(root):
    write_video(root / "training" / VIDEOS["training"][1], 12)
    record = load_moments(root, "train").records[1]
    frames = read_frames(record.path, [0, 11])
    assert frames.shape == (2, 48, 64, 3) and [index_of(frame) for frame in frames] == [0, 11]


@pytest.mark.hazard("lists", "100,000 good rows", "read in < 10 s")
def test_a_long_list_is_read_quickly(root):
    rows = [f"{NAMES[i % 300]}/v{i}.mp4,{NAMES[i % 300]},3,0" for i in range(100_000)]
    write(root, "trainingSet.csv", "praying/yt-5of6ffo6-Bw_205.mp4,praying,3,0", *rows)
    start = time.perf_counter()
    assert len(load_moments(root, "train").missing) == 100_000
    assert time.perf_counter() - start < 5 * max(1.0, os.getloadavg()[0] / os.cpu_count())
