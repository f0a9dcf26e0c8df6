"""The embedded data set: determinism, layout, exact masks, balance, pairs that differ by the order of time only."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.io
import skimage.data
from scipy.stats import chi2_contingency, kruskal, ks_2samp

from vared.data import floors
from vared.data.embedded import (
    ALL_CLASSES,
    APPEARANCE_CLASSES,
    BACKWARDS,
    CLASSES,
    CUES,
    PAIRS,
    SceneSettings,
    generate,
    writer,
)
from vared.data.embedded.actions import act, progress
from vared.data.embedded.scene import clip_label, draw_places, render_clip
from vared.data.embedded.settings import ClipFormat
from vared.data.embedded.shapes import random_look, second_colour
from vared.data.embedded.textures import PHOTOS, photo_region
from vared.data.kinetics import load_kinetics
from vared.data.video import read_frames

SETTINGS = SceneSettings()
TRAIN, VAL, SEED = 120, 48, 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("set") / "data", train_clips=TRAIN, val_clips=VAL, seed=SEED, workers=1)


@pytest.fixture(scope="module")
def clips(root):
    return pd.read_csv(root / "clips.csv", keep_default_na=False)


def test_more_clips_and_other_worker_counts_change_no_clip(root, clips, tmp_path):
    fewer = generate(tmp_path / "data", train_clips=14, val_clips=5, seed=SEED, workers=2)
    rows = pd.read_csv(fewer / "clips.csv", keep_default_na=False)
    kept = clips[
        ((clips["split"] == "train") & (clips["index"] < 14)) | ((clips["split"] == "val") & (clips["index"] < 5))
    ]
    pd.testing.assert_frame_equal(rows, kept.reset_index(drop=True))
    for row in rows.itertuples():
        path = f"{row.split}/{row.label}/{row.clip}.mp4"
        assert (fewer / path).read_bytes() == (root / path).read_bytes()


def test_clips_differ_between_indices_splits_and_seeds(clips):
    assert clips["frames_sha256"].is_unique and clips["clip"].is_unique
    other = render_clip(SEED + 1, "train", 0, SETTINGS)
    assert other.row["frames_sha256"] not in set(clips["frames_sha256"])


def test_frames_are_the_same_on_every_machine():
    # every setting spelled out, so that tuning a default does not touch this; renew after a change of the renderer
    fixed = SceneSettings(
        width=48, height=40, frames=24, fps=20, cue_shares=(0.5, 0.17, 0.17, 0.16), actor_radius=(6.0, 9.5),
        fine_radius=(4.2, 6.0), action_extent=1.0, motion=(0.6, 1.6), plain_motion=(0.6, 1.1), blink_frames=4,
        bystander_share=0.5, clutter_count=(0, 12), clutter_contrast=(0.1, 0.6), camera_amplitude=4.0,
        noise=(0.0, 0.04), bitrate=(50, 100),
    )  # fmt: skip
    found = [str(render_clip(0, split, 5, fixed).row["frames_sha256"])[:16] for split in ("train", "val")]
    assert found == GOLDEN


GOLDEN = ["baddb46cc6658b66", "26b5f79b03d9b23d"]


def test_kinetics_loader_reads_the_set_back(root, clips):
    for split, count in (("train", TRAIN), ("val", VAL)):
        videos = load_kinetics(root, split)
        assert videos.classes == CLASSES and len(videos) == count
        rows = clips[clips["split"] == split]
        expected = dict(zip(rows["clip"], rows["label"], strict=True))
        assert {record.path.stem: videos.classes[record.label] for record in videos.records} == expected
        for record in videos.records[:3]:
            assert record.path.stem[11:].count("_") >= 2 and record.path.parent.name == expected[record.path.stem]


def test_boxes_are_half_open_boxes_of_the_masks(root, clips):
    boxes = pd.read_csv(root / "boxes.csv")
    listed = {(clip, frame): box for clip, frame, *box in boxes.itertuples(index=False)}
    assert len(listed) == len(boxes) and set(boxes["clip"]) <= set(clips["clip"])
    empty = 0
    for row in clips.itertuples():
        mask = scipy.io.loadmat(root / "puppet_mask" / row.label / row.clip / "puppet_mask.mat")["part_mask"]
        assert mask.dtype == np.uint8 and mask.shape == (row.height, row.width, row.frames) and mask.max() == 1
        for t in range(row.frames):
            y, x = np.nonzero(mask[..., t])
            if len(y) == 0:
                empty += 1
                assert (row.clip, t) not in listed
                continue
            assert listed[row.clip, t] == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert empty > 0  # hidden and vanished actors have no box


def test_each_block_holds_every_class_once_in_random_order():
    first, second = ([clip_label(0, "train", 12 * block + i) for i in range(12)] for block in (0, 1))
    assert sorted(first) == sorted(second) == sorted(CLASSES) and first != second


def test_every_class_is_equally_frequent(clips):
    assert (clips[clips["split"] == "train"]["label"].value_counts() == TRAIN // 12).all()
    assert (clips[clips["split"] == "val"]["label"].value_counts() == VAL // 12).all()


@pytest.mark.parametrize("label", BACKWARDS)
@pytest.mark.parametrize("cue", CUES)
def test_a_class_is_its_partner_played_backwards(label, cue):
    places = draw_places(np.random.default_rng(0), ClipFormat(64, 48, 40), 8.0)
    done = progress(np.random.default_rng(1), cue, 40)
    forward = act(np.random.default_rng(2), BACKWARDS[label], done, cue, places, 1.0)
    backward = act(np.random.default_rng(2), label, done, cue, places, 1.0)
    assert len(forward) == len(backward)
    moved = 0.0
    for a, b in zip(forward, backward, strict=True):
        for name in ("x", "y", "radius", "angle", "alpha", "glow", "aspect"):
            values = getattr(a, name)
            if values is None:
                assert getattr(b, name) is None
                continue
            np.testing.assert_array_equal(values, getattr(b, name)[::-1])
            moved = max(moved, float(np.ptp(values)))
    assert moved > 0.9


def test_actions_do_what_their_names_say():
    places = draw_places(np.random.default_rng(0), ClipFormat(64, 48, 40), 8.0)
    done = progress(np.random.default_rng(1), "plain", 40)
    tracks = {label: act(np.random.default_rng(2), label, done, "plain", places, 1.0) for label in ALL_CLASSES}
    assert tracks["rise"][0].y[-1] < tracks["rise"][0].y[0] - 10  # rows count downwards
    assert tracks["approach"][0].radius[-1] > 1.5 * tracks["approach"][0].radius[0]
    assert (tracks["appear"][0].alpha[0], tracks["appear"][0].alpha[-1]) == (0, 1)
    gap = [np.hypot(a.x - b.x, a.y - b.y) for a, b in (tracks["merge"], tracks["split"])]
    assert gap[0][-1] < gap[0][0] - 10 and gap[1][-1] > gap[1][0] + 10
    assert tracks["brighten"][0].glow[0] < -0.5 and tracks["brighten"][0].glow[-1] > 0.5
    assert tracks["stretch"][0].aspect[-1] > 2 * tracks["stretch"][0].aspect[0]
    launch, brake = (np.abs(np.diff(tracks[label][0].x)) for label in ("launch", "brake"))
    assert launch[20:].sum() > 2 * launch[:19].sum() and brake[:19].sum() > 2 * brake[20:].sum()
    spin, swing = (np.diff(tracks[label][0].angle) for label in ("spin", "swing"))
    assert (spin >= 0).all() or (spin <= 0).all()
    assert swing.min() < -0.01 and swing.max() > 0.01
    assert abs(np.abs(spin).sum() / np.abs(swing).sum() - 1) < 0.2  # as much rotation in all


def test_progress_played_backwards_is_as_likely():
    for cue in CUES:
        done = np.stack([progress(np.random.default_rng(i), cue, 40) for i in range(800)])
        for frame in (3, 12, 19, 27, 36):
            assert ks_2samp(done[:, frame], 1 - done[:, 39 - frame]).pvalue > 1e-3


def test_every_window_of_32_frames_holds_a_brief_action(clips):
    brief = clips[(clips["cue"] == "brief") & (clips["frames"] == 40)]
    assert len(brief) > 10
    assert (brief["action_start"] >= 8).all() and (brief["action_end"] <= 32).all()
    assert (brief["action_end"] - brief["action_start"]).max() <= 12


@pytest.mark.parametrize(
    "nuisance", ["camera_motion", "clutter", "noise", "actor_radius", "bitrate", "clutter_contrast"]
)
def test_nuisances_are_independent_of_the_class(clips, nuisance):
    groups = [group[nuisance] for _, group in clips.groupby("label")]
    assert kruskal(*groups).pvalue > 1e-3
    assert min(group.std() for group in groups) > 0.4 * clips[nuisance].std()  # varies inside every class


def test_cues_are_independent_of_the_class_and_actors_move_at_least_as_much_as_drawn(clips):
    assert set(clips["cue"]) == set(CUES)
    assert chi2_contingency(pd.crosstab(clips["label"], clips["cue"])).pvalue > 1e-3
    for plain, drawn in ((True, SETTINGS.plain_motion), (False, SETTINGS.motion)):
        moved = clips[(clips["cue"] == "plain") == plain]["motion"]
        assert (moved >= drawn[0] - 0.02).all()
        assert moved.median() < drawn[1] + 0.1


def test_splits_share_no_pixel_of_a_photograph():
    for name in PHOTOS:
        image = getattr(skimage.data, name)()
        train, val = photo_region(name, "train"), photo_region(name, "val")
        assert train.shape[1] + val.shape[1] == image.shape[1]
        levels = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        np.testing.assert_array_equal(np.round(np.concatenate((train, val), 1) * 255).astype(np.uint8), levels)


@pytest.mark.parametrize(
    "index, size", [(0, (40, 48, 64)), (90, (40, 64, 48)), (230, (28, 48, 64)), (380, (40, 49, 65))]
)
def test_files_decode_to_the_rendered_frames(tmp_path, index, size):
    clip = render_clip(0, "train", index, SETTINGS)
    label = clip.row["label"]
    for folder in ("train", "puppet_mask"):
        (tmp_path / folder / label).mkdir(parents=True)
    row, _ = writer.write_clip(tmp_path, 0, "train", index, SETTINGS)
    decoded = read_frames(tmp_path / "train" / label / f"{row['clip']}.mp4")
    assert decoded.shape == (*size, 3) == clip.frames.shape
    error = np.abs(decoded.astype(int) - clip.frames).mean()
    shifted = np.abs(decoded[1:].astype(int) - clip.frames[:-1]).mean()
    assert error < 10 and error < shifted


def test_appearance_classes_differ_in_pattern_at_equal_colour():
    y, x = np.mgrid[0:60, 0:60].astype(np.float32)
    for pattern in APPEARANCE_CLASSES:
        share = second_colour(random_look(np.random.default_rng(0), pattern, 5.0), x, y)
        assert abs(share.mean() - 0.5) < 0.06 and share.std() > 0.3


def test_a_failure_leaves_no_data_set(tmp_path, monkeypatch):
    written = []

    def fail_late(path, clip, fps):
        written.append(path)
        if len(written) == 3:
            raise OSError("disk full")

    monkeypatch.setattr(writer, "write_video", fail_late)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "data", train_clips=12, val_clips=12, seed=0, workers=1)
    assert len(written) == 3 and list(tmp_path.iterdir()) == []


def test_a_killed_generation_leaves_no_data_set(tmp_path):
    code = (
        "import sys; from vared.data.embedded import generate\n"
        "generate(sys.argv[1], train_clips=100000, val_clips=1, seed=0, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".data.*/train/*/*.mp4")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        assert list(tmp_path.glob(".data.*/train/*/*.mp4"))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "data").exists()


def test_generate_refuses_a_folder_with_files_and_empty_splits(root, tmp_path):
    with pytest.raises(FileExistsError, match="already holds files"):
        generate(root, train_clips=1, val_clips=1, seed=0)
    with pytest.raises(ValueError, match="0 val clips"):
        generate(tmp_path / "x", train_clips=1, val_clips=0, seed=0)
    for words, wrong in {
        "cue_shares": {"cue_shares": (1.0, 1.0, 0.0, 0.0)},
        "not rise, jump": {"classes": ("rise", "jump")},
        r"not rise\.$": {"classes": ("rise",)},
        r"none of \[\('merge', 'split'\)\]": {"classes": ("rise", "fall", "merge")},
        "tell striped and dotted apart": {"actor_patterns": ("halves", "dotted")},
        "within 1 to 3": {"actor_count": (1, 4)},
    }.items():
        with pytest.raises(ValueError, match=words):
            replace(SETTINGS, **wrong)


def test_floors_table_names_every_floor(root):
    table = floors.floors_table(root)
    assert len(table) == 3 and table["clips"].tolist() == [VAL, VAL * 10 // 12, VAL * 10 // 12]
    assert table["chance"].round(4).tolist() == [0.0833, 0.1, 0.5]
    assert (table["best"] >= table["accuracy"]).all()
    assert (table["passes"] == (table["accuracy"] <= table["bound"])).all()
    # Fairness of the full set stands on results/floors.csv (tests/test_map.py): 48 clips are too few to tell.
    balance = floors.balance_table(root)
    assert sorted(balance["label"]) == sorted(name for pair in (*PAIRS, APPEARANCE_CLASSES) for name in pair)


def test_metadata_floor_finds_a_leak_in_the_file_size(root, clips, tmp_path):
    leaky = shutil.copytree(root, tmp_path / "leaky")
    for row in clips.itertuples():
        with (leaky / row.split / row.label / f"{row.clip}.mp4").open("ab") as file:
            file.write(bytes(30_000 * CLASSES.index(row.label)))
    found = floors.metadata_floor(leaky).iloc[0]
    assert found["accuracy"] > 0.4 and not found["passes"]
