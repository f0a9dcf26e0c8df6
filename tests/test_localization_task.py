"""The localisation task on cases computed by hand: what a head's numbers mean, its loss, and what counts as correct."""

import math

import pytest
import torch

from vared.tasks.localization import Localization, overlaps

TASK = Localization(anchors=((0.2, 0.2), (0.5, 0.8)), num_classes=3)
CELLS = (2, 4)  # H, W


def output(batch=1):
    """All zeros: every box in the middle of its cell, of its anchor's size, objectness 1/2, classes alike."""
    return torch.zeros(batch, 2 * (3 + 5), *CELLS)


def channel(anchor, number):
    """Channel of an anchor's number: 0..2 classes, 3 t_x, 4 t_y, 5 t_w, 6 t_h, 7 t_o."""
    return anchor * 8 + number


def label(*rows):
    return torch.tensor([rows], dtype=torch.float32)


def test_a_box_lies_in_its_cell_and_has_the_size_of_its_anchor():
    values = output()
    values[0, channel(1, 3), 1, 2] = math.log(3)  # sigmoid 3/4
    values[0, channel(1, 5), 1, 2] = math.log(0.5)
    found = TASK.decode(values)
    assert found.boxes.shape == (1, 16, 4) and found.classes.shape == (1, 16, 3)
    position = 1 * 8 + 1 * 4 + 2  # anchor, row, column
    x, y, w, h = (2 + 0.75) / 4, 1.5 / 2, 0.25, 0.8
    expected = torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    torch.testing.assert_close(found.boxes[0, position], expected)
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([0.125 - 0.1, 0.25 - 0.1, 0.125 + 0.1, 0.25 + 0.1]))
    assert (found.objectness == 0.5).all() and found.scores[0, 0] == pytest.approx(0.5 / 3)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="2 anchors of 3 classes need 16 channels, but the output has 15"):
        TASK.decode(torch.zeros(1, 15, 2, 2))


def test_the_loss_of_one_object_by_hand():
    # Centre (0.4, 0.3) is column 1 of 4, row 0 of 2; size (0.3, 0.4) is more like the second anchor:
    # overlap of sizes 0.04 / 0.12 with the first, 0.12 / 0.4 with the second -> the first (1/3 against 0.3).
    x, y, w, h = 0.4, 0.3, 0.3, 0.4
    truth = label((2, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    offsets = 0.5 - (x * 4 - 1), 0.5 - (y * 2 - 0), math.log(w / 0.2), math.log(h / 0.2)
    coordinates = sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in offsets) / 2
    # Own box: centre (0.375, 0.25), size 0.2 x 0.2, all within the object.
    own = 0.2 * 0.2 / (w * h)
    others = overlaps(TASK.decode(output()).boxes, truth)[0, :, 0]
    assert others[1] == pytest.approx(own) and others.max() < 0.6  # so all others are punished
    objectness = (5 * (0.5 - own) ** 2 + 15 * 0.5**2) / 2
    classes = (1 - 1 / 3) ** 2 * math.log(3)
    assert TASK.loss(output(), truth).item() == pytest.approx(coordinates + objectness + classes, rel=1e-5)


def test_unused_rows_and_the_size_of_the_batch_do_not_change_the_loss():
    torch.manual_seed(0)
    values = torch.randn(1, 16, *CELLS)
    row, empty = (1, 0.1, 0.2, 0.6, 0.9), (-1, -1, -1, -1, -1)
    alone = TASK.loss(values, label(row))
    torch.testing.assert_close(TASK.loss(values, label(row, empty)), alone)
    torch.testing.assert_close(TASK.loss(values.repeat(3, 1, 1, 1), label(row).repeat(3, 1, 1)), alone)


def test_a_box_that_covers_the_object_well_may_claim_it_though_another_answers():
    values = output()
    values[0, channel(1, 7)] = 10.0  # the second anchor of all cells is sure
    truth = label((0, 0.375 - 0.25, 0.25 - 0.4, 0.375 + 0.25, 0.25 + 0.4))  # exactly its box in column 1, row 0
    sure_elsewhere = values.clone()
    sure_elsewhere[0, channel(1, 7), 0, 1] = 0.0
    assert TASK.loss(values, truth) < TASK.loss(sure_elsewhere, truth)
    # Column 2 overlaps it by half of its width: IoU 1/3, so its claim costs.
    humble = values.clone()
    humble[0, channel(1, 7), 0, 2] = -10.0
    assert TASK.loss(humble, truth) < TASK.loss(values, truth)


def test_clips_without_an_object_only_ask_for_no_objectness():
    values = output().requires_grad_()
    TASK.loss(values, label((-1, -1, -1, -1, -1))).backward()
    used = torch.zeros(16, dtype=torch.bool)
    used[[channel(0, 7), channel(1, 7)]] = True
    assert (values.grad[0, used] > 0).all() and (values.grad[0, ~used] == 0).all()


def test_training_on_one_clip_finds_the_actor():
    torch.manual_seed(0)
    values, truth = torch.zeros(1, 16, *CELLS, requires_grad=True), label((1, 0.1, 0.2, 0.45, 0.9))
    optimizer = torch.optim.SGD([values], lr=0.5, momentum=0.9)
    assert not TASK.correct(values, truth)
    for _ in range(200):
        optimizer.zero_grad()
        TASK.loss(values, truth).backward()
        optimizer.step()
    found = TASK.decode(values)
    best = found.scores.argmax(1)
    assert TASK.correct(values, truth) and overlaps(found.boxes, truth)[0, best, 0] > 0.95


def test_correct_needs_place_and_class_of_the_best_box():
    values = output(3)
    values[:, channel(1, 7), 0, 1] = 5.0  # the best box: centre (0.375, 0.25), size 0.5 x 0.8
    values[:, channel(1, 2), 0, 1] = 5.0  # of class 2
    box = (0.125, -0.15, 0.625, 0.65)
    shifted = (0.125 + 0.2, -0.15, 0.625 + 0.2, 0.65)  # IoU 3/7
    labels = torch.cat((label((2, *box)), label((1, *box)), label((2, *shifted))))
    assert TASK.correct(values, labels).tolist() == [True, False, False]


def test_an_untrained_head_does_not_overflow():
    values = torch.full((1, 16, *CELLS), 1000.0)
    assert TASK.loss(values, label((0, 0.1, 0.1, 0.2, 0.2))).isfinite()
