"""Clips with boxes: key frames, and boxes that stay on the actor through cut, resize and flip."""

import numpy as np
import pytest
import torch

from tests.data.video_files import encode
from vared.data.boxed_clips import NOTHING, BoxedClips, KeyFrameSampling, jitter, moved_boxes
from vared.data.boxes import VideoBoxes
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord

FRAMES, HEIGHT, WIDTH = 20, 48, 64


def corner(frame):
    """Where the white actor of 16 x 12 pixels is: it moves right and down."""
    return 2 * frame, 8 + frame


@pytest.fixture(scope="module")
def actors(tmp_path_factory):
    """Two videos with one actor each, seen from frame 4 on, their boxes and a frame cache."""
    root, records, boxes = tmp_path_factory.mktemp("actors"), [], {}
    pictures = []
    for frame in range(FRAMES):
        image, (x, y) = np.zeros((HEIGHT, WIDTH, 3), np.uint8), corner(frame)
        image[y : y + 12, x : x + 16] = 255
        pictures.append(image)
    for label in range(2):
        path = encode(root / f"{label}.mp4", pictures)
        records.append(VideoRecord(path, label, path.name))
        seen = np.arange(4, FRAMES)
        rows = [(*corner(frame), corner(frame)[0] + 16, corner(frame)[1] + 12) for frame in seen]
        boxes[path.name] = VideoBoxes(seen, np.array(rows) / [WIDTH, HEIGHT, WIDTH, HEIGHT])
    videos = VideoList(tuple(records), ("still", "moving"))
    return videos, boxes, FrameCache.build(videos, root / "cache")


def clips(actors, size=96, **options):
    videos, boxes, cache = actors
    keys = {name: options.pop(name) for name in ("key", "per_video") if name in options}
    return BoxedClips(videos, boxes, cache, KeyFrameSampling(4, 2, **keys), crop_size=size, **options)


@pytest.mark.parametrize(("key", "expected"), [("centre", [6, 8, 10, 12]), ("last", [4, 6, 8, 10])])
def test_the_key_frame_has_its_place_in_the_clip(key, expected):
    sampling = KeyFrameSampling(4, 2, key)
    assert sampling.indices(10, 100).tolist() == expected
    assert sampling.indices(0, 100).min() == 0 and sampling.indices(19, 20).max() == 19
    with pytest.raises(ValueError, match="not 'first'"):
        KeyFrameSampling(4, 2, "first")


def test_evaluation_spreads_key_frames_over_those_with_a_box(actors):
    assert [frame for position, frame in clips(actors).shown if position == 0] == [12]
    assert [frame for position, frame in clips(actors, per_video=4).shown if position == 1] == [6, 10, 14, 18]
    assert len(clips(actors, per_video=50)) == 2 * 16


def light(clip, label):
    """Mean brightness of the key frame within the box and around it, of a clip whose actor is white."""
    image, (_, height, width) = clip[:, 2].mean(0), clip[:, 2].shape
    x1, y1, x2, y2 = (label[1:] * torch.tensor([width, height, width, height])).round().int().tolist()
    inside = torch.zeros_like(image, dtype=torch.bool)
    inside[y1:y2, x1:x2] = True
    return image[inside].mean().item(), image[~inside].mean().item()


def test_the_box_of_an_evaluation_item_is_on_the_actor_of_its_key_frame(actors):
    item = clips(actors)[1]
    assert item["clip"].shape == (3, 4, 96, 96) and item["label"].shape == (1, 5)
    x, y = corner(12)
    expected = [1, x / WIDTH, y / HEIGHT, (x + 16) / WIDTH, (y + 12) / HEIGHT]
    assert item["label"][0].tolist() == pytest.approx(expected)
    inside, outside = light(item["clip"], item["label"][0])
    assert inside > 1.8 and outside < -1.6  # white is 2.4 after normalisation, black -2.0


def test_boxes_follow_cut_and_flip(actors):
    dataset, whole = clips(actors, training=True, scales=(0.6, 1.0)), 0
    for epoch in range(30):
        dataset.set_epoch(epoch)
        item = dataset[0]
        if item["label"][0, 0] == NOTHING:
            continue  # its centre was cut off
        whole += 1
        inside, outside = light(item["clip"], item["label"][0])
        assert inside > 1.5 and outside < -1.4
    assert whole > 20


def test_training_items_are_a_function_of_seed_epoch_and_index(actors):
    first, second = clips(actors, training=True, seed=3), clips(actors, training=True, seed=3)
    first.set_epoch(2), second.set_epoch(2)
    _ = second[0]
    assert torch.equal(first[1]["clip"], second[1]["clip"]) and torch.equal(first[1]["label"], second[1]["label"])
    second.set_epoch(3)
    assert not torch.equal(first[1]["clip"], second[1]["clip"])


def test_boxes_are_cut_at_the_window_and_mirrored_by_hand():
    corners = np.array([[0.0, 0.0, 0.5, 0.5], [0.6, 0.6, 1.0, 1.0]])
    window = (0, 10, 50, 50)  # of a frame 100 high, 100 wide: columns 10 to 59, rows 0 to 49
    np.testing.assert_allclose(moved_boxes(corners, window, (100, 100), False), [[0, 0, 0.8, 1]])
    np.testing.assert_allclose(moved_boxes(corners, window, (100, 100), True), [[0.2, 0, 1, 1]])
    assert len(moved_boxes(corners[1:], window, (100, 100), False)) == 0


def test_a_cut_lies_within_the_frame():
    generator = np.random.default_rng(0)
    cuts = np.array([jitter(48, 64, (0.5, 1.0), generator) for _ in range(500)])
    top, left, height, width = cuts.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 48).all() and (left + width <= 64).all()
    assert height.min() >= 24 and width.min() >= 32 and height.max() >= 47
