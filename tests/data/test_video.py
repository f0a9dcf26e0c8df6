import csv
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.video_files import brightness, index_of
from vared.data.video import VideoError, count_frames, read_frames

GOOD = (
    "h264,index first,mpeg4 in avi,vp9,time stamp gaps,gaps in avi,odd size,odd size 4:4:4,portrait,one frame,"
    "three frames,ten bit,odd name,rotated 90,rotated 180,rotated 270"
).split(",")
BAD = (
    "absent,empty,web page,random bytes,sound only,index lost,cut; index first,cut avi,cut mkv,damaged in the middle"
).split(",")


def test_the_lists_of_names_are_complete(good_files, bad_files):
    assert set(GOOD) == set(good_files)
    assert {name.replace(";", ",") for name in BAD} == set(bad_files)


@pytest.mark.hazard("videos", "forms, sizes and rates of good files", "every frame, the last one too, in order")
@pytest.mark.parametrize("name", GOOD)
def test_every_frame_is_counted_and_read_in_order(good_files, name):
    path, frames, height, width = good_files[name]
    images = read_frames(path)
    assert count_frames(path) == frames
    assert images.shape == (frames, height, width, 3)
    assert images.dtype == np.uint8
    if "rotated" not in name:
        assert [index_of(image) for image in images] == list(range(frames))


@pytest.mark.parametrize("name", GOOD)
def test_chosen_frames_are_those_of_the_whole_video(good_files, name):
    path, frames, _, _ = good_files[name]
    wanted = [frames - 1, 0, frames // 2, 0]
    np.testing.assert_array_equal(read_frames(path, wanted), read_frames(path)[wanted])


@pytest.mark.hazard("videos", "rotated files", "upright, mean difference <= 2/255")
@pytest.mark.parametrize(("clockwise", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotation_is_applied(good_files, clockwise, corner):
    image = read_frames(good_files[f"rotated {clockwise}"][0], [0])[0].mean(axis=-1)
    places = [(row, column) for row in (0, -1) for column in (0, -1)]
    assert max(places, key=lambda place: image[place]) == corner
    upright = np.rot90(read_frames(good_files["h264"][0], [0])[0], -clockwise // 90)
    assert np.abs(image - upright.mean(axis=-1)).mean() <= 2


def test_colours_come_out_as_red_green_blue(good_files):
    image = read_frames(good_files["h264"][0], [3])[0]
    assert np.abs(image[30:, 40:].astype(int) - brightness(3)).max() <= 6


@pytest.mark.hazard("videos", "corrupt or truncated file", "named with its reason, never read in part")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_its_reason(bad_files, name):
    path, words = bad_files[name.replace(";", ",")]
    with pytest.raises(VideoError, match=words) as caught:
        count_frames(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == path
    with pytest.raises(VideoError, match=words):
        read_frames(path)


def test_a_frame_beyond_the_end_is_an_error_with_both_numbers(good_files):
    with pytest.raises(VideoError, match="frame index 24 was asked for, but it decodes to 24 frames"):
        read_frames(good_files["h264"][0], [0, 24])


@pytest.mark.parametrize("indices", [[], [-1], [3, -2]])
def test_impossible_indices_are_refused(good_files, indices):
    with pytest.raises(ValueError, match="0 or more"):
        read_frames(good_files["h264"][0], indices)


def test_the_error_survives_pickling(bad_files):
    with pytest.raises(VideoError) as caught:
        count_frames(bad_files["empty"][0])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.path, copy.reason) == (str(caught.value), caught.value.path, caught.value.reason)


def test_ffmpeg_prints_nothing(bad_files):
    code = (
        "import sys\nfrom vared.data.video import VideoError, count_frames\nfor path in sys.argv[1:]:\n"
        "    try: count_frames(path)\n    except VideoError: print('refused')\n"
    )
    paths = [str(bad_files[name][0]) for name in ("damaged in the middle", "random bytes", "cut, index first")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, env=environment)
    assert (done.stdout.split(), done.stderr) == (["refused"] * 3, "")


def odd_clips():
    folder = os.environ.get("VARED_ODD_CLIPS")
    return list(csv.DictReader(Path(folder, "expected.csv").open())) if folder else []


@pytest.mark.skipif(not odd_clips(), reason="VARED_ODD_CLIPS does not name a folder of odd clips with expected.csv")
@pytest.mark.parametrize("row", odd_clips(), ids=lambda row: row["file"])
def test_published_odd_clips(row):
    path = Path(os.environ["VARED_ODD_CLIPS"], row["file"])
    if any(word in row["loader_must"] for word in ("error", "damaged", "warning")):
        with pytest.raises(VideoError, match=r"Cannot read the video .*: "):
            count_frames(path)
        return
    frames = read_frames(path)
    size = int(row["stored_height"]), int(row["stored_width"])
    assert len(frames) == count_frames(path) == int(row["decodable_frames"])
    assert frames.shape[1:3] == (size[::-1] if row["file"] == "rotated_flag.mp4" else size)
    assert 5 < frames.mean() < 250
