"""PSPNet, its loss and metrics, and the same training, conversion and controls as in recognition."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import vared
import vared.torchvision_operators  # noqa: F401  timm imports torchvision

# isort: split
import timm

from tests.training_helpers import short_recipe
from vared.checkpoints import load_weights
from vared.data.labelled_images import IGNORED, SegmentationDataset
from vared.policies import dynamic_layers, forced_policy
from vared.segmentation.comparison import COUNTS, class_iou, differences, total
from vared.segmentation.evaluation import evaluate, mean_policy, random_policy
from vared.segmentation.plans import parse_run, plan_runs
from vared.tasks import pspnet, segmentation

SIZE = 24
build = partial(pspnet.build, num_classes=3, crop_size=SIZE, width=1 / 16)
CHANNELS = vared.DynamicConfig(temporal=False)


def opened(model, generator):
    """Random patterns of open candidates, another for every image and layer, V between 0.2 and 1 where open."""
    weights = {}
    for name, layer in dynamic_layers(model).items():
        values = torch.rand(4, len(layer.kept_channels), generator=generator) * 0.8 + 0.2
        values[torch.arange(4), torch.randint(values.shape[1], (4,), generator=generator)] = 0
        weights[name] = (torch.ones(4, 1), values)
    return weights


def test_the_trunk_computes_what_timm_computes_at_output_stride_8():
    network = pspnet.PSPNet(3)
    reference = timm.create_model("resnet18", output_stride=8, num_classes=1)
    reference.load_state_dict({**reference.state_dict(), **network.trunk.state_dict()})
    x = torch.randn(1, 3, 40, 56)
    network.eval(), reference.eval()
    with torch.inference_mode():
        expected = reference.forward_features(x)
        for part in network.trunk.values():
            x = part(x)
    assert x.shape == (1, 512, 5, 7) and torch.allclose(x, expected, atol=1e-5)


def test_costs_in_full_size():
    with torch.device("meta"):
        model = pspnet.build(num_classes=150, crop_size=473, dynamic=CHANNELS)
    report = vared.count_flops(model, (3, 473, 473))
    assert report.static == pytest.approx(59.52, abs=0.01) and len(report.layers) == 17
    blocks = {name: macs for name, macs in report.dynamic_layers.items() if name != "head.conv"}
    assert sum(blocks.values()) == pytest.approx(41.1, abs=0.05)
    assert report.dynamic_layers["head.conv"] == pytest.approx(17.0, abs=0.05)
    with vared.fixed_policy(model, channel=0.5):
        assert vared.count_flops(model, (3, 473, 473)).costs.backbone.item() == pytest.approx(30.47, abs=0.01)


def test_conversion_keeps_the_plain_network_and_its_parameter_names():
    plain = build().state_dict()
    model = build(dynamic=CHANNELS)
    assert plain.keys() == {name for name in model.state_dict() if ".gate." not in name and ".cheap_" not in name}
    assert all(layer.temporal_factors == (1,) for layer in dynamic_layers(model).values())
    vared.revert(model)
    assert model.state_dict().keys() == plain.keys()


def test_dense_training_and_sparse_inference_are_the_same_function():
    model = build(dynamic=CHANNELS).double()
    x, generator = torch.randn(4, 3, SIZE, SIZE, dtype=torch.float64), torch.Generator().manual_seed(3)
    for part in model.modules():  # both with the running statistics and without dropout
        part.train(isinstance(part, (vared.DynamicConv2d, pspnet.PSPNet)))
    with torch.no_grad(), forced_policy(model, opened(model, generator)):
        dense = model(x)[0]
        sparse = model.eval()(x)
    assert torch.allclose(dense, sparse, atol=1e-9) and not torch.allclose(sparse[0], sparse[1], atol=1e-3)


def test_the_auxiliary_head_is_for_training_alone():
    model, x = build(dynamic=CHANNELS), torch.randn(2, 3, SIZE, SIZE)
    logits, auxiliary = model.train()(x)
    assert logits.shape == auxiliary.shape == (2, 3, SIZE, SIZE)
    before = model.eval()(x)
    for parameter in model.auxiliary_head.parameters():
        parameter.data.fill_(torch.nan)
    assert torch.equal(model(x), before)
    assert not any("auxiliary" in name for name in vared.count_flops(model, x[0]).static_layers)


def test_the_loss_weighs_the_auxiliary_head_and_leaves_out_ignored_pixels():
    logits, auxiliary = torch.randn(2, 2, 3, 4, 4)
    labels = torch.randint(3, (2, 4, 4))
    labels[0, :2] = IGNORED
    known = labels != IGNORED
    alone = [F.cross_entropy(x.permute(0, 2, 3, 1)[known], labels[known]) for x in (logits, auxiliary)]
    assert torch.isclose(segmentation.loss((logits, auxiliary), labels), alone[0] + 0.4 * alone[1])
    assert segmentation.loss(logits, torch.full_like(labels, IGNORED)) == 0


def as_logits(prediction):
    return F.one_hot(prediction, 3).permute(0, 3, 1, 2).float()


def test_an_image_is_right_when_its_classes_are_recognised_on_average():
    labels = torch.tensor([[[0, 0, 0, 0, 1, 1]], [[0, 0, 0, 0, 1, 1]], [[2, 2, 2, IGNORED, 0, 0]], [[IGNORED] * 6]])
    prediction = torch.tensor([[[0, 0, 0, 0, 0, 0]], [[0, 0, 0, 0, 0, 1]], [[2, 1, 1, 1, 1, 0]], [[0] * 6]])
    # means 1/2 (background everywhere), 3/4, (1/3 + 1/2) / 2, nothing to be right about
    assert segmentation.correct(as_logits(prediction), labels).tolist() == [False, True, False, False]


def test_metrics_by_hand():
    labels = torch.tensor([[[0, 0, 1, 1]], [[0, IGNORED, IGNORED, 1]]])
    prediction = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 1, 0]]])
    # pixels: 4 of 6 right; IoU of class 0: 2 of 4, of class 1: 2 of 4; class 2 is nowhere and does not enter the mean
    measured = segmentation.metrics(3)
    measured.update(prediction[:1], labels[:1])
    measured.update(prediction[1:], labels[1:])
    assert {name: value.item() for name, value in measured.compute().items()} == pytest.approx(
        {"pixel_accuracy": 4 / 6, "mean_iou": 1 / 2}
    )
    hits, labelled, predicted = segmentation.class_counts(prediction, labels, 3)
    assert hits.tolist() == [[1, 2, 0], [1, 0, 0]] and labelled.tolist() == [[2, 2, 0], [1, 1, 0]]
    assert predicted.tolist() == [[1, 3, 0], [2, 0, 0]]
    iou = class_iou(*(counts.sum(0).numpy() for counts in (hits, labelled, predicted)))
    assert iou[:2].tolist() == [50.0, 50.0] and np.isnan(iou[2])


class Squares:
    """Dark images with a bright (class 1) or a striped (class 2) square; two sizes of image."""

    classes = ("background", "bright", "striped")

    def __init__(self, count: int, seed: int):
        self.names = tuple(f"{i // 2}:{i % 2}" for i in range(count))
        generator, self.items = np.random.default_rng(seed), []
        for i in range(count):
            image = generator.integers(0, 60, (SIZE, SIZE + 4 * (i % 8 == 7), 3), np.uint8)
            labels, (top, left) = np.zeros(image.shape[:2], np.uint8), generator.integers(0, 12, 2)
            image[top : top + 12, left : left + 12] = 220
            if i % 2:
                image[top : top + 12 : 4, left : left + 12] = image[top + 1 : top + 12 : 4, left : left + 12] = 0
            labels[top : top + 12, left : left + 12] = 1 + i % 2
            self.items.append((image, labels))

    def read(self, index: int):
        return self.items[index]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small dynamic PSPNet after both phases of `fit`, its training and its validation images."""
    torch.manual_seed(0)
    model, directory = build(width=1 / 8, dynamic=CHANNELS), tmp_path_factory.mktemp("run")
    settings = {
        "epochs": 10,
        "finetune_epochs": 2,
        "learning_rate": 0.2,
        "gate_rate_factor": 0.02,
        "gradient_norm": 2.0,
    }
    images = SegmentationDataset(Squares(7 * 16, 1))
    images.images.items = [item for item in images.images.items if item[0].shape[1] == SIZE]
    images.images.names = images.images.names[: len(images.images.items)]
    recipe = short_recipe(**settings, channels_last=False)
    result = vared.fit(model, images, recipe, directory=directory, task=segmentation, progress=False)
    fresh = build(width=1 / 8, dynamic=CHANNELS)
    return load_weights(fresh, result.weights), images, SegmentationDataset(Squares(32, 2)), result


def test_training_beats_the_commonest_class(trained):
    model, _, images, result = trained
    found = evaluate(model, images, num_classes=3, batch_size=5)
    background = np.concatenate([labels.ravel() for _, labels in images.images.items]) == 0
    assert found.metrics["pixel_accuracy"] > 100 * background.mean() + 5
    assert found.metrics["mean_iou"] > 100 / 3 + 15  # background everywhere reaches less than a third
    assert result.history["efficiency_loss"].iloc[-1] > 0 and result.history["mean_mu"].iloc[-1] > 0.5


def test_evaluation_is_the_same_in_any_batches_and_counts_every_size(trained):
    model, _, images, _ = trained
    together, alone = (evaluate(model, images, num_classes=3, batch_size=size) for size in (5, 1))
    assert together.metrics == pytest.approx(alone.metrics)
    for column in together.clips:
        same = [np.stack(found.clips[column]) for found in (together, alone)]
        assert np.allclose(*same)
    for index in (6, 7):  # one of either size
        report = vared.count_flops(model, images[index]["clip"])
        row = together.clips.iloc[index]
        assert row["gflops_total"] == pytest.approx(report.costs.total.item())
        assert row["gflops_static"] == pytest.approx(report.static)
    assert together.clips["gflops_static"].nunique() == 2
    iou = class_iou(*(total(together.clips, what) for what in COUNTS))
    assert np.nanmean(iou) == pytest.approx(together.metrics["mean_iou"], abs=1e-3)
    with pytest.raises(ValueError, match="no image to evaluate"):
        evaluate(model, SegmentationDataset(Squares(0, 0)), num_classes=3)


def test_controls_take_one_policy_and_those_of_other_images(trained):
    model, training, images, _ = trained
    settings = {"num_classes": 3, "batch_size": 8}
    final = evaluate(model, images, **settings)
    dealt = random_policy(model, images, final.policies, permutations=2, seed=0, **settings)
    assert len(dealt.clips) == len(images) and set(dealt.clips) == set(final.clips)
    batch = torch.stack([training[i]["clip"] for i in range(8)])
    mean = mean_policy(model, images, final.policies, [batch], **settings)
    policies = mean.policies.groupby("layer")["ratio"].nunique()
    assert (policies == 1).all() and len(policies) == 17


def test_differences_are_paired_by_clip():
    """Of 40 clips with two images each, b misses class 1 in every other clip."""
    rows = {"name": [f"{i // 2}:{i % 2}" for i in range(80)], "labelled": [np.array([80.0, 20.0])] * 80}
    a = pd.DataFrame(rows | {"hits": rows["labelled"], "predicted": rows["labelled"]})
    missed = [i // 2 % 2 == 1 for i in range(80)]
    hits, predicted = (
        [np.array(x) if out else np.array([80.0, 20.0]) for out in missed] for x in ([80.0, 0], [100.0, 0])
    )
    b = pd.DataFrame(rows | {"hits": hits, "predicted": predicted})
    found = differences(a, b)
    assert found["pixel_accuracy"].mean == pytest.approx(10.0)
    assert found["mean_iou"].mean == pytest.approx((100 - 8000 / 90 + 50) / 2)
    width = found["pixel_accuracy"].high - found["pixel_accuracy"].low
    assert width == pytest.approx(2 * 1.96 * 20 * 0.5 / 40**0.5, rel=0.1)  # 40 clips, not 80 images
    assert set(differences(a, a)["mean_iou"]) == {0.0}
    with pytest.raises(ValueError, match="same images"):
        differences(a, b.iloc[::-1])


def test_words_and_sections_are_checked(tmp_path):
    assert parse_run("pspnet-s3_seed12").search_space == 3 and parse_run("pspnet-static_seed0").search_space is None
    for word in ("s2_seed0", "pspnet-s1_seed0", "pspnet-s2_8f_seed0", "pspnet-static_seed01"):
        with pytest.raises(ValueError, match=f"'{word}' is no segmentation run.*pspnet-s2_seed0"):
            parse_run(word)
    assert plan_runs(tmp_path, "p", {}) == plan_runs(tmp_path, "p", {"segmentation": None}) == []
    section = dict.fromkeys(("runs", "model", "training", "evaluation"))
    with pytest.raises(ValueError, match="profiles.p.segmentation: the section 'data' is missing"):
        plan_runs(tmp_path, "p", {"segmentation": section})
    with pytest.raises(ValueError, match="data.source is 'cityscapes'; known are embedded and ade20k"):
        plan_runs(tmp_path, "p", {"segmentation": section | {"data": {"source": "cityscapes"}}})
    with pytest.raises(FileNotFoundError, match="vared data p"):
        plan_runs(tmp_path, "p", {"segmentation": section | {"data": {"source": "embedded"}}})
    with pytest.raises(FileNotFoundError, match="ADEChallengeData2016"):
        plan_runs(tmp_path, "p", {"segmentation": section | {"data": {"source": "ade20k", "folder": "data/raw/x"}}})
