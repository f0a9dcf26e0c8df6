"""Non-maximum suppression and the three measures of table 4.9, by hand and against a public implementation."""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from vared.tasks.detections import average_precision, detections, frame_map, metrics, suppress
from vared.tasks.localization import Localization


def boxes(*rows):
    """Detections from rows clip, class, score, x1, y1, x2, y2."""
    return pd.DataFrame(rows, columns=["clip", "class", "score", "x1", "y1", "x2", "y2"])


def truths(*rows):
    return pd.DataFrame(rows, columns=["clip", "class", "x1", "y1", "x2", "y2"])


def test_the_better_of_two_overlapping_boxes_suppresses_the_other():
    given = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5.0], [20, 0, 30, 10], [0, 4, 10, 10]]).float()
    scores = torch.tensor([0.9, 0.8, 0.3, 0.95])  # the last covers 60 % of the first, 10 of 100 of the second
    assert suppress(given, scores, 0.4).tolist() == [3, 1, 2]
    assert suppress(given, scores, 0.7).tolist() == [3, 0, 1, 2]
    assert suppress(given[:0], scores[:0], 0.4).tolist() == []


def test_a_suppressed_box_suppresses_nothing():
    chain = torch.tensor([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]]).float()  # neighbours overlap by 7/13
    assert suppress(chain, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


def test_suppression_is_torchvisions():
    ops = pytest.importorskip("torchvision.ops", exc_type=RuntimeError)
    torch.manual_seed(0)
    corner = torch.rand(200, 2)
    given, scores = torch.cat((corner, corner + torch.rand(200, 2)), 1), torch.rand(200)
    try:
        expected = ops.nms(given, scores, 0.4)
    except RuntimeError:
        pytest.skip("torchvision has no compiled operators beside this build of torch")
    assert suppress(given, scores, 0.4).tolist() == expected.tolist()


def test_detections_carry_their_likeliest_class_and_count_clips():
    task = Localization(((0.5, 0.5),), 2)
    output = torch.full((2, 7, 1, 1), -10.0)
    output[:, :2] = torch.tensor([0.0, np.log(3)]).view(1, 2, 1, 1)  # classes 1/4, 3/4
    output[:, 2:6] = 0.0
    output[1, 6] = 0.0  # objectness 1/2 in the second clip, next to nothing in the first
    table = detections(task.decode(output), first=5, confidence=0.005)
    assert table["clip"].tolist() == [6] and table["class"].tolist() == [1]
    assert table["score"][0] == pytest.approx(0.375)
    assert table.loc[0, ["x1", "y1", "x2", "y2"]].tolist() == pytest.approx([0.25, 0.25, 0.75, 0.75])


def test_average_precision_by_hand():
    # precision 1, 1/2, 2/3, 2/4, 3/5 at the hits 1, 3, 5: made to fall 1, 2/3, 3/5; four truths, one never found
    hits = np.array([True, False, True, False, True])
    assert average_precision(hits, 4) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    # a later precision that is higher counts for the earlier recall too
    assert average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)
    assert average_precision(np.array([], bool), 3) == 0.0


def test_measures_by_hand():
    wanted = truths((0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10), (2, 1, 0, 0, 10, 10), (3, 1, 0, 0, 10, 10))
    found = boxes(
        (0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 1, 0, 10, 10),  # the second is on a truth that is taken: false
        (1, 1, 0.7, 0, 0, 10, 10),                             # place right, class wrong
        (2, 1, 0.6, 0, 0, 10, 4),                              # IoU 0.4: wrong place
        (2, 1, 0.2, 0, 0, 10, 5),                              # IoU 0.5 is enough, but not its clip's best
    )  # fmt: skip
    values = metrics(found, wanted)
    # class 0: hit, miss of two truths: 1/2; class 1: 0.7 and 0.6 miss, 0.2 hits: 1/3 of 1/2
    assert values["frame_map"] == pytest.approx(100 * (1 / 2 + 1 / 6) / 2)
    assert values["recall"] == 75.0 and values["first_recall"] == 50.0
    assert values["classification_accuracy"] == pytest.approx(100 * 2 / 3)


def test_nothing_found_and_everything_found():
    wanted = truths((0, 0, 0, 0, 1, 1), (1, 2, 0, 0, 1, 1))
    assert set(metrics(boxes().astype(float), wanted).values()) == {0.0}
    assert set(metrics(wanted.assign(score=1.0), wanted).values()) == {100.0}


def test_two_actors_of_a_frame_are_each_found_once():
    wanted = truths((0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 30, 10))
    assert frame_map(boxes((0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 1, 0, 11, 10)), wanted) == 50.0
    assert frame_map(boxes((0, 0, 0.9, 0, 0, 10, 10), (0, 0, 0.8, 21, 0, 31, 10)), wanted) == 100.0


CLASSES, PER_CLASS = 4, 25


def random_case(seed):
    """100 actors of four classes in 40 frames, 25 of each, and three times as many detections, most near actors."""
    generator = np.random.default_rng(seed)
    corner, size = generator.uniform(0, 80, (100, 2)), generator.uniform(15, 40, (100, 2))
    wanted = pd.DataFrame(np.concatenate((corner, corner + size), 1), columns=["x1", "y1", "x2", "y2"])
    wanted.insert(0, "clip", generator.integers(40, size=100))
    wanted.insert(1, "class", np.repeat(range(CLASSES), PER_CLASS))
    found = wanted.loc[generator.integers(100, size=300)].reset_index(drop=True)
    noise = generator.normal(0, 4, (300, 2))
    found[["x1", "y1"]] += noise + generator.normal(0, 2, (300, 2))
    found[["x2", "y2"]] += noise + generator.normal(0, 2, (300, 2))
    strangers = generator.random(300) < 0.3
    found.loc[strangers, "clip"] = generator.integers(40, size=int(strangers.sum()))
    found.loc[generator.random(300) < 0.2, "class"] = generator.integers(CLASSES)
    found.insert(2, "score", generator.permutation(300) / 300)
    return found, wanted


@pytest.mark.parametrize("seed", range(5))
def test_frame_map_is_that_of_a_public_implementation(seed, monkeypatch):
    import vared.torchvision_operators  # noqa: F401

    # isort: split
    from torchmetrics.detection import _mean_ap as public

    # It is written in torch throughout; of pycocotools it wants the masks only, which boxes do without.
    monkeypatch.setattr(public, "_PYCOCOTOOLS_AVAILABLE", True)
    if "pycocotools" not in sys.modules:
        monkeypatch.setitem(sys.modules, "pycocotools", ModuleType("pycocotools"))
        monkeypatch.setitem(sys.modules, "pycocotools.mask", ModuleType("pycocotools.mask"))
    found, wanted = random_case(seed)
    # It samples precision at given recalls. With one in each of the 25 steps that gives the whole area.
    steps = [(step + 0.5) / PER_CLASS for step in range(PER_CLASS)]
    measure = public.MeanAveragePrecision(iou_thresholds=[0.5], rec_thresholds=steps)
    for clip in range(40):
        rows = [table[table["clip"] == clip] for table in (found, wanted)]
        first, second = (
            {
                "boxes": torch.tensor(table[["x1", "y1", "x2", "y2"]].to_numpy()).float(),
                "labels": torch.tensor(table["class"].to_numpy()),
            }
            for table in rows
        )
        measure.update([first | {"scores": torch.tensor(rows[0]["score"].to_numpy()).float()}], [second])
    expected = 100 * measure.compute()["map_50"].item()
    assert 5 < expected < 95 and frame_map(found, wanted) == pytest.approx(expected, abs=1e-4)
