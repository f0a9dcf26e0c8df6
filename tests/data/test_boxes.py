"""Boxes from puppet masks and tables: right ones are read exactly, broken ones are named with file and line."""

import numpy as np
import pandas as pd
import pytest
import scipy.io

from vared.data.boxes import load_boxes, read_masks, read_table
from vared.data.embedded import generate
from vared.data.jhmdb import load_jhmdb
from vared.data.kinetics import load_kinetics
from vared.data.records import ListError, VideoList, VideoRecord
from vared.data.video import count_frames

WIDTH, HEIGHT, FRAMES = 32, 24, 6
CLASSES = ("jump", "wave")


@pytest.fixture
def videos(tmp_path):
    names = ("a (1)!_wave_x", "b_jump_y")
    records = (VideoRecord(tmp_path / f"{name}.avi", 1 - i, f"{name}.avi") for i, name in enumerate(names))
    return VideoList(tuple(records), CLASSES)


def shape_of(record):
    return FRAMES, HEIGHT, WIDTH


def write_mask(root, videos, position, mask, key="part_mask"):
    record = videos.records[position]
    path = root / "puppet_mask" / videos.classes[record.label] / record.path.stem / "puppet_mask.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {key: mask})
    return path


def actor(height=HEIGHT, width=WIDTH, frames=FRAMES):
    """H x W x T: a rectangle, rows 2 to 5, columns 4 to 9, and from frame 3 on nothing."""
    mask = np.zeros((height, width, frames), np.uint8)
    mask[2:6, 4:10, :3] = 1
    return mask


@pytest.fixture
def masks(tmp_path, videos):
    for position in range(2):
        write_mask(tmp_path, videos, position, actor())
    return tmp_path


def test_boxes_are_half_open_fractions_around_the_mask(masks, videos):
    found = read_masks(masks, videos, shape_of)
    assert set(found) == {record.name for record in videos.records}
    first = found[videos.records[0].name]
    assert first.frames.tolist() == [0, 1, 2]
    np.testing.assert_allclose(first.corners, np.tile([4 / 32, 2 / 24, 10 / 32, 6 / 24], (3, 1)))


def test_frames_reduced_in_size_fit_their_masks(masks, videos):
    found = read_masks(masks, videos, lambda record: (FRAMES, 11, 15))
    assert found[videos.records[1].name].corners[0, 2] == 10 / 32


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (actor(frames=5), r"puppet_mask\.mat has 5 frames, its video 6"),
        (actor(height=48, width=32), r"is 32x48 pixels, its video 32x24"),
        (actor()[:, :, 0], r"must be H x W x T, but has shape \(24, 32\)"),
        (np.zeros((HEIGHT, WIDTH, FRAMES), np.uint8), "is empty in every frame"),
    ],
)
def test_masks_that_do_not_fit_are_named(masks, videos, mask, reason):
    path = write_mask(masks, videos, 1, mask)
    with pytest.raises(ListError, match=reason) as error:
        read_masks(masks, videos, shape_of)
    assert str(path) in str(error.value) and "1 of 2 puppet masks" in str(error.value)


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "other key"])
def test_unreadable_masks_are_named(masks, videos, damage):
    path = write_mask(masks, videos, 0, actor(), key="mask" if damage == "other key" else "part_mask")
    if damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"no MATLAB file" * 100)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-900])
    reason = {"missing": "is missing", "other key": "part_mask must be"}.get(damage, "cannot be read")
    with pytest.raises(ListError, match=reason) as error:
        read_masks(masks, videos, shape_of)
    assert str(path) in str(error.value)


def test_without_masks_or_table_the_error_says_what_is_looked_for(tmp_path, videos):
    with pytest.raises(ListError, match=r"neither boxes\.csv nor puppet_mask/"):
        load_boxes(tmp_path, videos, shape_of)


def table(path, *rows, header="video,frame,class,x1,y1,x2,y2"):
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


GOOD = ("a (1)!_wave_x,2,wave,4,2,10,6", "b_jump_y,0,0,0,0,32,24", "of another split,99,nothing,5,5,0,0")


def test_a_table_gives_the_same_boxes(tmp_path, masks, videos):
    rows = [f"{record.path.stem},{frame},4,2,10,6" for record in videos.records for frame in (2, 0, 1)]
    path = table(tmp_path / "boxes.csv", *rows, header="clip,frame,x1,y1,x2,y2")
    found, expected = load_boxes(tmp_path, videos, shape_of), read_masks(masks, videos, shape_of)
    for name, boxes in expected.items():
        np.testing.assert_array_equal(found[name].frames, boxes.frames)
        np.testing.assert_allclose(found[name].corners, boxes.corners)
    path.write_text(path.read_text().replace(",0,4,2,10,6", ",3,4,2,10,6"))
    assert read_table(path, videos, shape_of, first=1)[videos.records[0].name].frames.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("b_jump_y,6,jump,0,0,5,5", "line 4: frame 6 of b_jump_y, which has 6"),
        ("b_jump_y,-1,jump,0,0,5,5", "line 4: frame -1"),
        ("b_jump_y,1.5,jump,0,0,5,5", "line 4: frame 1.5"),
        ("b_jump_y,1,jump,0,0,33,5", "line 4: box 0,0 to 33,5 is empty or not within the 32x24 pixels of b_jump_y"),
        ("b_jump_y,1,jump,-1,0,3,5", "line 4: box -1,0 to 3,5"),
        ("b_jump_y,1,jump,3,0,3,5", "line 4: box 3,0 to 3,5 is empty"),
        ("b_jump_y,1,2,0,0,5,5", "line 4: class '2' is none of the 2 classes"),
        ("b_jump_y,1,hop,0,0,5,5", "line 4: class 'hop' is none"),
        ("b_jump_y,1,wave,0,0,5,5", "line 4: class 'wave', but b_jump_y is 'jump'"),
        ("b_jump_y,1,jump,0,0,5,", "line 4 is not a frame and a box in numbers"),
        ("b_jump_y,1,jump,0,0,5,inf", "line 4 is not a frame"),
        ("b_jump_y,1,jump,0,0,5,5,9", "cannot be read .*line 4"),
    ],
)
def test_wrong_lines_of_a_table_are_named(tmp_path, videos, row, reason):
    path = table(tmp_path / "boxes.csv", *GOOD[:2], row, GOOD[2])
    with pytest.raises(ListError, match=reason) as error:
        load_boxes(tmp_path, videos, shape_of)
    assert str(path) in str(error.value)


def test_missing_columns_and_videos_are_named(tmp_path, videos):
    path = table(tmp_path / "boxes.csv", "b,0,0,0,1,1", header="video,frame,left,y1,x2,y2")
    with pytest.raises(ListError, match="line 1: the columns x1 are missing"):
        load_boxes(tmp_path, videos, shape_of)
    table(path, GOOD[0])
    with pytest.raises(ListError, match="no box for 1 of 2 videos: b_jump_y"):
        load_boxes(tmp_path, videos, shape_of)
    path.write_bytes(b"")
    with pytest.raises(ListError, match=r"boxes\.csv cannot be read"):
        load_boxes(tmp_path, videos, shape_of)


def test_masks_and_table_of_the_generated_set_agree(tmp_path):
    root = generate(tmp_path / "clips", train_clips=1, val_clips=12, seed=0, workers=1)
    videos = load_kinetics(root, "val")
    sizes = pd.read_csv(root / "clips.csv").set_index("clip")[["frames", "height", "width"]]

    def size(record):
        return tuple(int(number) for number in sizes.loc[record.path.stem])

    one, other = read_table(root / "boxes.csv", videos, size), read_masks(root, videos, size)
    for name, boxes in one.items():
        np.testing.assert_array_equal(boxes.frames, other[name].frames)
        np.testing.assert_allclose(boxes.corners, other[name].corners)


def test_boxes_of_real_masks_are_the_published_ones(jhmdb_root):
    published = jhmdb_root / "boxes_split1_test.csv"
    if not published.exists():
        pytest.skip(f"needs the boxes published with YOWO as {published}")
    videos = load_jhmdb(jhmdb_root, "test")
    videos = videos.subset(range(0, len(videos), 30))

    def size(record):
        return count_frames(record.path), 240, 320

    given, ours = read_table(published, videos, size, first=1), read_masks(jhmdb_root, videos, size)
    last = np.array([320, 240, 320, 240]) - 1
    for name, boxes in ours.items():
        np.testing.assert_array_equal(boxes.frames, given[name].frames)
        # Published ones are cut at the last pixel, half-open though they are.
        pixels = np.minimum((boxes.corners * (last + 1)).round(), last)
        np.testing.assert_allclose(given[name].corners * (last + 1), pixels, atol=1e-9)
