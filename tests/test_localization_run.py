"""A localisation run from videos and a trained backbone to the table and the pictures of what it found."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from tests.data.video_files import encode
from vared.backbones import create_model
from vared.checkpoints import load_weights, save_weights
from vared.data.boxed_clips import BoxedClips, KeyFrameSampling
from vared.data.boxes import VideoBoxes
from vared.data.embedded import SceneSettings, generate
from vared.data.frame_cache import FrameCache
from vared.data.records import VideoList, VideoRecord
from vared.experiments import build_network
from vared.localization import verbs
from vared.localization.experiment import boxed_clips, evaluate, floor, localize_run, truth_table
from vared.localization.network import FrozenMaps, build_localizer, choose_anchors, frozen_maps
from vared.recipes import Recipe
from vared.reports import localization_reporting
from vared.runs import RunPlan, parse_run
from vared.tasks.detections import metrics
from vared.tasks.localization import Localization
from vared.tasks.localization_head import Localizer, YowoHead
from vared.training import fit

SETTINGS = {
    "crop_size": 64, "frozen": True, "views": 2, "scales": [0.8, 1.0], "key_frame": "centre",
    "key_frames_per_video": 2, "anchors": 3, "hidden": 32, "confidence": 0.005, "overlap": 0.4, "batch_size": 12,
    "training": {
        "batch_size": 12, "reference_batch": None, "epochs": 2, "warmup_epochs": 0.5, "learning_rate": 0.02,
        "warmup_learning_rate": 0.0, "gradient_norm": 10.0, "finetune_epochs": 0, "recalibration_clips": 72,
        "channels_last": False,
    },
}  # fmt: skip
NUMBERS = {
    "data": {"source": "embedded"}, "model": {"backbone": "x3d_m", "width": 0.25, "crop_size": 32},
    "sampling": {"stride": {4: 4}, "scales": [1.0]}, "training": {}, "evaluation": {}, "localization": SETTINGS,
}  # fmt: skip


def plan_of(word, **changes):
    numbers = NUMBERS | {"localization": SETTINGS | changes}
    return RunPlan("small", parse_run(word), numbers, "data", "code", "code")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """36 + 12 clips, a static and a dynamic backbone that were shown some but not trained: for numbers that add up."""
    root = tmp_path_factory.mktemp("project")
    scene = SceneSettings(clutter_count=(0, 0), camera_amplitude=0.0, noise=(0.0, 0.0), frames=24)
    generate(root / "data" / "small" / "clips", train_clips=36, val_clips=12, seed=0, workers=1, settings=scene)
    for word in ("static_4f_seed0", "s2_4f_seed0"):
        plan = plan_of(word)
        network = build_network(plan, 12).train()
        clips = boxed_clips(root, plan, "train")
        with torch.no_grad():
            for _ in range(2):
                network(torch.stack([clips[i]["clip"] for i in range(12)]))
        for name in ("phase1", "weights"):
            save_weights(network, root / "data" / "runs" / "small" / word / f"{name}.safetensors")
    return root


def weights_of(root, word):
    return root / "data" / "runs" / "small" / word


@pytest.fixture(scope="module")
def results(project):
    """Metrics of a static and a dynamic run."""
    records = {}
    for word in ("static_4f_seed0", "s2_4f_seed0"):
        folder = project / "data" / "localizations" / "small" / word
        folder.mkdir(parents=True)
        localize_run(project, plan_of(word), weights_of(project, word), folder)
        records[word] = json.loads((folder / "metrics.json").read_text())
    return records


class Mosaic(nn.Module):
    """Stands for a trained backbone: the map of a cell is a picture of it, 4 x 4 points large."""

    def features(self, clips):
        points = functional.avg_pool3d(clips, (1, 8, 8))
        return functional.pixel_unshuffle(points.transpose(1, 2), 4).transpose(1, 2)


def test_a_trained_head_beats_the_floor_of_the_data(tmp_path):
    """A bright or a dim actor crosses the frame: where and which it is, learned from maps, against one fixed box."""
    records, boxes = [], {}
    for label, (brightness, row) in enumerate((b, r) for b in (255, 110) for r in (2, 14, 26)):
        images = np.zeros((24, 48, 64, 3), np.uint8)
        for frame, image in enumerate(images):
            image[row : row + 18, 2 * frame : 2 * frame + 16] = brightness
        path = encode(tmp_path / f"{label}.mp4", list(images))
        records.append(VideoRecord(path, label // 3, path.name))
        left = 2 * np.arange(24)
        corners = np.stack((left, np.full(24, row), left + 16, np.full(24, row + 18)), 1) / [64, 48, 64, 48]
        boxes[path.name] = VideoBoxes(np.arange(24), corners)
    videos = VideoList(tuple(records), ("bright", "dim"))
    cache, sampling = FrameCache.build(videos, tmp_path / "cache"), KeyFrameSampling(2, 1, per_video=6)
    train_set, val_set = (
        BoxedClips(videos, boxes, cache, sampling, crop_size=64, training=part) for part in (True, False)
    )
    anchors = choose_anchors(np.concatenate([found.corners for found in train_set.boxes]), 1)
    task, localizer = Localization(anchors, 2), Localizer(Mosaic(), YowoHead(48, 2, anchors=1, hidden=32))
    localizer.takes_clips = True
    (maps,) = frozen_maps([localizer], train_set, 30, 6)
    recipe = Recipe(
        epochs=40, warmup_epochs=1, finetune_epochs=0, batch_size=12, learning_rate=0.1, reference_batch=None,
        warmup_learning_rate=0.0, gradient_norm=10.0, recalibration_clips=60, channels_last=False,
    )  # fmt: skip
    fit(localizer.head, maps, recipe, directory=tmp_path / "run", task=task, progress=False)
    table, costs, static = evaluate(localizer, val_set, task, SETTINGS)
    truths = truth_table(val_set)
    ours, lowest = metrics(table, truths), metrics(floor(train_set, truths), truths)
    assert len(truths) == 36 and (costs["gflops_total"] == static).all()
    assert ours["frame_map"] > lowest["frame_map"] + 40 and ours["first_recall"] > lowest["first_recall"] + 40
    assert ours["classification_accuracy"] > 80 > lowest["classification_accuracy"] == 50


def test_every_variant_of_a_run_is_there_beside_the_floor(results):
    for record, names in zip(results.values(), (("static", "static_equal_epochs"), ("dynamic",)), strict=True):
        assert set(record["variants"]) == {"floor", *names}
        assert all(0 <= record["variants"][name]["recall"] <= 100 for name in record["variants"])


def test_costs_are_those_of_backbone_and_head(results):
    static, dynamic = (results[word]["variants"] for word in ("static_4f_seed0", "s2_4f_seed0"))
    assert static["static"]["gflops_avg"] == static["static"]["gflops_static"] == static["static"]["gflops_total"]
    assert dynamic["dynamic"]["gflops_static"] == pytest.approx(static["static"]["gflops_static"])
    assert dynamic["dynamic"]["gflops_avg"] <= dynamic["dynamic"]["gflops_static"] < dynamic["dynamic"]["gflops_total"]


def test_the_same_run_gives_the_same_numbers(project, results, tmp_path):
    localize_run(project, plan_of("s2_4f_seed0"), weights_of(project, "s2_4f_seed0"), tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == results["s2_4f_seed0"]


def test_tables_have_a_row_for_every_key_frame(project, results):
    folder = project / "data" / "localizations" / "small" / "static_4f_seed0"
    frames = pd.read_parquet(folder / "frames.parquet")
    assert frames["variant"].value_counts().to_dict() == {"static": 24, "static_equal_epochs": 24}
    truths = truth_table(boxed_clips(project, plan_of("static_4f_seed0"), "val"))
    pd.testing.assert_frame_equal(frames.iloc[:24][truths.columns], truths)
    share = 100 * frames[frames["variant"] == "static"]["localized"].mean()
    assert share == pytest.approx(results["static_4f_seed0"]["variants"]["static"]["recall"])
    found = pd.read_parquet(folder / "detections.parquet")
    assert set(found["variant"]) == set(frames["variant"]) and found["score"].between(0, 1).all()


def test_maps_of_a_frozen_backbone_are_those_of_evaluation(project):
    """Gates and normalisation see stored statistics; the backbone is left as it was."""
    plan = plan_of("s2_4f_seed0")
    localizer = build_localizer(plan, 12, weights_of(project, "s2_4f_seed0") / "weights.safetensors", SETTINGS).train()
    before = {name: value.clone() for name, value in localizer.state_dict().items()}
    clips = boxed_clips(project, plan, "train")
    (maps,) = frozen_maps([localizer], clips, 2, 12)
    assert isinstance(maps, FrozenMaps) and len(maps) == 72 and localizer.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in localizer.state_dict().items())
    clips.set_epoch(1)
    localizer.eval()
    with torch.no_grad():
        torch.testing.assert_close(localizer(clips[5]["clip"][None]), localizer.head(maps[36 + 5]["clip"][None]))


def test_an_unfrozen_backbone_learns_in_both_phases_with_its_gates(project, tmp_path):
    training = SETTINGS["training"] | {"epochs": 1, "warmup_epochs": 0, "finetune_epochs": 1, "recalibration_clips": 0}
    plan = plan_of("s2_4f_seed0", frozen=False, training=training)
    weights = weights_of(project, "s2_4f_seed0")
    localize_run(project, plan, weights, tmp_path)
    history = pd.read_csv(tmp_path / "dynamic" / "history.csv")
    assert history["phase"].tolist() == [1, 2] and (history["efficiency_loss"] >= 0).all()
    localizer = build_localizer(plan, 12, weights / "weights.safetensors", plan.numbers["localization"])
    before = {name: value.clone() for name, value in localizer.named_parameters()}
    load_weights(localizer, tmp_path / "dynamic" / "weights.safetensors")
    moved = {name for name, value in localizer.named_parameters() if not torch.equal(value, before[name])}
    assert any(".gate." in name for name in moved) and any(name.startswith("head.") for name in moved)


def test_phase_2_with_a_frozen_backbone_is_refused(project, tmp_path):
    plan = plan_of("s2_4f_seed0", training=SETTINGS["training"] | {"finetune_epochs": 1})
    with pytest.raises(ValueError, match="phase 2 trains gates"):
        localize_run(project, plan, weights_of(project, "s2_4f_seed0"), tmp_path)


def test_runs_that_cannot_localise_are_refused(project, tmp_path):
    with pytest.raises(ValueError, match="not single_frame_4f_seed0"):
        localize_run(project, plan_of("single_frame_4f_seed0"), tmp_path, tmp_path)
    plan = plan_of("static_4f_seed0")
    plan = replace(plan, numbers=plan.numbers | {"model": NUMBERS["model"] | {"backbone": "r2plus1d_18"}})
    network = create_model("r2plus1d_18", num_classes=12, num_frames=4, crop_size=32, width=0.25)
    save_weights(network, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="such as i3d and x3d_m, but static_4f_seed0 is r2plus1d_18"):
        build_localizer(plan, 12, tmp_path / "weights.safetensors", SETTINGS)


def test_anchors_are_typical_sizes_smallest_first():
    sizes = np.repeat([[0.5, 0.8], [0.2, 0.2], [0.1, 0.3]], 20, axis=0) + np.linspace(0, 0.01, 60)[:, None]
    corners = np.concatenate((np.zeros((60, 2)), sizes), 1)
    found = np.array(choose_anchors(corners, 3))
    np.testing.assert_allclose(found, [[0.108, 0.308], [0.205, 0.205], [0.502, 0.802]], atol=0.003)
    with pytest.raises(ValueError, match="3 anchors need as many boxes of different size, but there are 1"):
        choose_anchors(corners[:1].repeat(9, 0), 3)


def test_the_head_gives_anchors_times_classes_and_five():
    head = YowoHead(6, num_classes=21, anchors=5, hidden=8)
    assert head(torch.zeros(2, 6, 7, 7)).shape == (2, 5 * 26, 7, 7)


PAPER = pd.DataFrame([
    {"dataset": "J-HMDB-21", "model": "I3D-InceptionV2", "search_space": np.nan, "dynamic": False, "gflops": 43.9,
     "frame_map_iou50_percent": 44.8, "recall_iou50_percent": 67.3, "classification_accuracy_percent": 87.2},
    {"dataset": "J-HMDB-21", "model": "I3D-InceptionV2", "search_space": 2.0, "dynamic": True, "gflops": 21.3,
     "frame_map_iou50_percent": 47.2, "recall_iou50_percent": 65.6, "classification_accuracy_percent": 91.1},
])  # fmt: skip
COSTS = pd.DataFrame([{"network": "i3d", "dataset": "J-HMDB-21", "gmacs": 43.857}])


def test_table_4_9_keeps_thesis_and_ours_apart_and_says_not_run(project, results, tmp_path):
    verbs.write_table([], tmp_path)
    empty = pd.read_csv(tmp_path / "localization.csv")
    assert empty.empty and list(empty.columns) == list(verbs.COLUMNS)
    values = localization_reporting.values(PAPER, empty, COSTS)
    assert values["ours"].isna().all() and values["thesis"].dropna().tolist()[:2] == [43.9, 44.8]
    text = localization_reporting.value_text(values)
    assert text.count("not run") == 6 * 4 and "43.86" in text
    folder = project / "data" / "localizations" / "small"
    verbs.write_table([folder / word / "metrics.json" for word in results], tmp_path)
    ours = pd.read_csv(tmp_path / "localization.csv").assign(backbone="i3d")
    values = localization_reporting.values(PAPER, ours, COSTS).set_index(["network", "measure"])
    assert values.loc[("dynamic", "recall"), "thesis"] == 65.6
    recall = results["s2_4f_seed0"]["variants"]["dynamic"]["recall"]
    assert values.loc[("dynamic", "recall"), "ours"] == pytest.approx(recall)
    assert "not run" not in localization_reporting.value_text(values.reset_index())


def test_the_verb_publishes_what_was_computed_once(project, results, tmp_path, monkeypatch):
    plan = plan_of("s2_4f_seed0")
    for name in verbs.LOCALIZATION_FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match="Train it: vared train small s2_4f_seed0"):
        verbs.publish(tmp_path, plan)
    source = project / "data" / "localizations" / "small" / "s2_4f_seed0"
    shutil.copytree(weights_of(project, "s2_4f_seed0"), weights_of(tmp_path, "s2_4f_seed0"))
    calls = []

    def computed(root, plan, weights, folder):
        calls.append(weights)
        shutil.copytree(source, folder, dirs_exist_ok=True)

    monkeypatch.setattr("vared.localization.experiment.localize_run", computed)
    for _ in range(2):
        verbs.publish(tmp_path, plan)
    target = tmp_path / "data" / "localizations" / "small" / "s2_4f_seed0"
    assert calls == [weights_of(tmp_path, "s2_4f_seed0")]
    assert {path.name for path in target.iterdir()} == set(verbs.OUTPUTS)


def test_a_detection_is_drawn_where_it_is(project, results):
    from matplotlib.figure import Figure

    folder = project / "data" / "localizations" / "small" / "s2_4f_seed0"
    shown = localization_reporting.shown_clips(pd.read_parquet(folder / "frames.parquet"))
    assert shown["label"].tolist() == list(range(12))
    axes, truth = Figure().subplots(), shown.iloc[0]
    localization_reporting.draw_detection(axes, np.zeros((48, 64, 3), np.uint8), truth, None, "title")
    (patch,) = axes.patches
    expected = (truth["x1"] * 64, truth["y1"] * 48, (truth["x2"] - truth["x1"]) * 64, (truth["y2"] - truth["y1"]) * 48)
    assert (*patch.get_xy(), patch.get_width(), patch.get_height()) == pytest.approx(expected)
