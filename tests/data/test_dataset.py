import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.video_files import brightness, write_video
from vared.data.dataset import ClipDataset
from vared.data.frame_cache import FrameCache
from vared.data.kinetics import load_kinetics
from vared.data.records import VideoList, VideoRecord
from vared.data.sampling import ClipSampling
from vared.data.transforms import MEAN, STD, EvalTransform, TrainTransform
from vared.data.video import VideoError

FRAMES = 24


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Six videos of two classes, read through the Kinetics loader."""
    root = tmp_path_factory.mktemp("set")
    for number in range(6):
        write_video(root / "train" / f"class {number % 2}" / f"video{number}_000000_000010.mp4", FRAMES)
    (root / "classes.txt").write_text("class 0\nclass 1\n")
    return load_kinetics(root, "train")


def training_set(videos, **options):
    options = {"seed": 5, "training": True} | options
    return ClipDataset(videos, ClipSampling(8), TrainTransform(20), **options)


def evaluation_set(videos, clips=1, crops=1, **options):
    sampling, transform = ClipSampling(8, clips=clips), EvalTransform(20, crops)
    return ClipDataset(videos, sampling, transform, seed=5, training=False, **options)


def frame_numbers(clip_CTHW):
    """Which frames a clip holds, from the brightness of its lower right quarter."""
    value = clip_CTHW[0, :, 10:, 10:].mean((1, 2)) * STD[0] * 255 + MEAN[0] * 255
    return [round((v - 20) / 5) for v in value.tolist()]


def items(dataset, workers=0, order=None):
    loader = DataLoader(
        dataset, batch_size=2, num_workers=workers, sampler=order, generator=torch.Generator().manual_seed(0)
    )
    batches = list(loader)
    return {int(i): clip for batch in batches for i, clip in zip(batch["index"], batch["clip"], strict=True)}


def test_a_training_item(videos):
    item = training_set(videos)[3]
    assert (item["clip"].shape, item["clip"].dtype) == ((3, 8, 20, 20), torch.float32)
    assert (item["label"], item["index"]) == (videos.records[3].label, 3)
    assert np.diff(frame_numbers(item["clip"])).tolist() == [1] * 7


@pytest.mark.hazard("checkpoints", "order and augmentation", "from seed, epoch and sample id alone, any workers")
def test_items_depend_on_seed_epoch_and_index_alone(videos):
    dataset = training_set(videos)
    alone = items(dataset)
    again = items(dataset, workers=2, order=[5, 3, 1, 0, 2, 4])
    assert all(torch.equal(alone[index], again[index]) for index in range(6))
    dataset.set_epoch(1)
    later = items(dataset)
    other_seed = items(training_set(videos, seed=6))
    assert not any(torch.equal(alone[index], later[index]) for index in range(6))
    assert not any(torch.equal(alone[index], other_seed[index]) for index in range(6))
    dataset.set_epoch(0)
    assert torch.equal(dataset[2]["clip"], alone[2])


def test_workers_that_live_on_see_the_new_epoch(videos):
    dataset = training_set(videos)
    loader = DataLoader(
        dataset, batch_size=6, num_workers=1, persistent_workers=True, generator=torch.Generator().manual_seed(0)
    )
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        clips = next(iter(loader))["clip"]
        assert torch.equal(clips, torch.stack([dataset[index]["clip"] for index in range(6)]))


def test_the_global_random_states_are_left_alone(videos):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    _ = training_set(videos)[0]
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_clip_1_is_the_centre_in_time_and_space(videos):
    item = evaluation_set(videos)[0]
    assert item["clip"].shape == (3, 8, 20, 20)
    assert frame_numbers(item["clip"]) == list(range(8, 16))


def test_multi_view_items_hold_every_clip_with_every_crop(videos):
    views = evaluation_set(videos, clips=3, crops=3)[0]["clip"]
    assert views.shape == (9, 3, 8, 20, 20)
    assert [frame_numbers(view)[0] for view in views] == [0, 0, 0, 8, 8, 8, 16, 16, 16]
    corner = [view[0, 0, 0, 0].item() for view in views[:3]]  # white only in the left crop
    assert corner[0] > corner[2] + 1
    assert torch.equal(views[4], evaluation_set(videos)[0]["clip"])


def test_the_frame_cache_changes_nothing(videos, tmp_path):
    cache = FrameCache.build(videos, tmp_path)
    for make in (training_set, evaluation_set):
        plain, cached = items(make(videos)), items(make(videos, frame_cache=cache), workers=1)
        assert all(torch.equal(plain[index], cached[index]) for index in range(6))


def test_single_frame_control(videos):
    centre = frame_numbers(evaluation_set(videos, repeat_single_frame=True)[0]["clip"])
    assert centre == [12] * 8
    dataset = training_set(videos, repeat_single_frame=True)
    drawn = set()
    for epoch in range(12):
        dataset.set_epoch(epoch)
        numbers = frame_numbers(dataset[0]["clip"])
        assert len(set(numbers)) == 1
        drawn.add(numbers[0])
    assert len(drawn) > 5


def test_shuffled_frames_control(videos):
    dataset = evaluation_set(videos, clips=2, shuffle_frames=True)
    orders = [frame_numbers(dataset[index]["clip"][0]) for index in range(6)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert orders[2] == frame_numbers(dataset[2]["clip"][0])


@pytest.fixture(scope="module")
def with_bad(videos, bad_files):
    """200 entries, two of them unreadable: exactly 1 %."""
    records = [VideoRecord(r.path, r.label, f"{i}") for i in range(34) for r in videos.records][:198]
    bad = [bad_files["damaged in the middle"][0], bad_files["web page"][0]]
    records[50:50] = [VideoRecord(path, 1, path.name) for path in bad]
    return VideoList(tuple(records), videos.classes)


def test_training_replaces_few_unreadable_videos_and_lists_them(with_bad):
    dataset = training_set(with_bad)
    assert [(r.index, r.name) for r in dataset.replaced] == [(50, "damaged.mp4"), (51, "page.mp4")]
    assert all(replacement.reason for replacement in dataset.replaced)
    by_name = {record.name: record for record in with_bad.records}
    for replacement in dataset.replaced:
        item = dataset[replacement.index]
        assert (item["index"], item["label"]) == (replacement.index, by_name[replacement.replacement].label)
    assert training_set(with_bad).replaced == dataset.replaced


def test_more_unreadable_videos_are_an_error_naming_them(with_bad):
    with pytest.raises(VideoError, match="2 of 200.*at most 0.9%") as caught:
        training_set(with_bad, max_bad_fraction=0.009)
    assert all(name in str(caught.value) for name in ("damaged.mp4", "page.mp4"))


def test_evaluation_never_replaces(with_bad, tmp_path):
    for options in ({"max_bad_fraction": 0.5}, {"frame_cache": FrameCache.build(with_bad, tmp_path)}):
        with pytest.raises(VideoError, match="evaluation replaces none") as caught:
            evaluation_set(with_bad, **options)
        assert all(name in str(caught.value) for name in ("damaged.mp4", "page.mp4"))


def test_a_short_video_repeats_its_last_frame(good_files):
    record = VideoRecord(good_files["three frames"][0], 0, "three")
    clip = evaluation_set(VideoList((record,), ("only",)))[0]["clip"]
    assert frame_numbers(clip) == [0, 1, 2, 2, 2, 2, 2, 2]


def test_positions_behave_like_those_of_a_list(videos):
    dataset = evaluation_set(videos)
    assert dataset[-1]["index"] == 5
    with pytest.raises(IndexError):
        dataset[6]
    with pytest.raises(ValueError, match="at least one video"):
        evaluation_set(VideoList((), ("only",)))


def test_brightness_codes_the_frame_number():
    assert brightness(23) < 255 * 0.6  # far enough below the white corner to tell them apart
