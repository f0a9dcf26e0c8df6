"""Networks that come with their weights: complete, as their cards say, and as good as measured."""

import json
import shutil

import pytest
import torch

import vared
from tests.data.video_files import write_video
from vared import ready
from vared.checkpoints import save_weights
from vared.data.embedded import CLASSES
from vared.policies import dynamic_layers

NAMES = ["r2plus1d_18-embedded-s2", "r2plus1d_18-embedded-static"]


def test_the_package_ships_a_dynamic_and_a_static_network():
    assert vared.list_ready() == NAMES and ready.DEFAULT in NAMES
    for name in NAMES:
        model, card = vared.load_ready(name)
        assert card.classes == CLASSES and card.name == name and not model.training
        assert bool(dynamic_layers(model)) == name.endswith("s2") == (card.dynamic is not None)
        with torch.no_grad():
            assert model(torch.zeros(1, *card.shape)).shape == (1, len(CLASSES))
    sizes = [path.stat().st_size for path in ready.WEIGHTS.glob("*.safetensors")]
    assert len(sizes) == len(NAMES) and sum(sizes) < 5e6


def test_the_cost_on_the_card_is_within_what_the_network_can_cost():
    model, card = vared.load_ready("r2plus1d_18-embedded-s2")
    report = vared.count_flops(model, card.shape)
    assert card.metrics["gflops_static"] == pytest.approx(report.static)
    with vared.fixed_policy(model, 2, 0.5):
        least = float(vared.count_flops(model, torch.zeros(card.shape)).costs.backbone[0])
    assert least < card.metrics["gflops_backbone_mean"] < report.static


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_most_generated_clips_are_named_rightly(name, tmp_path):
    from vared.exploring import decide, subject

    right = 0
    for number in range(24):  # two of each class, drawn as the validation set is
        one = subject(name, number)
        right += one.card.classes[int(decide(one).probabilities.argmax())] == one.title.rpartition(": ")[2]
    assert right >= 14  # 77 % on the whole set; chance is 2 of 24


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="r2plus1d_18-embedded-s2, r2plus1d_18-embedded-static"):
        vared.load_ready("x3d_m")
    with pytest.raises(ValueError, match="known are"):
        vared.load_ready("../r2plus1d_18-embedded-s2")


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path, monkeypatch):
    for path in ready.WEIGHTS.glob("*s2.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(ready, "WEIGHTS", tmp_path)
    model, card = vared.load_ready()
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    save_weights(model, tmp_path / f"{card.name}.safetensors")
    with pytest.raises(ValueError, match="sha256 differs"):
        vared.load_ready()


def test_a_card_comes_back_from_its_text():
    card = ready.read_card(ready.DEFAULT)
    again = ready.Card(**json.loads(card.text()))
    assert again.text() == card.text() == (ready.WEIGHTS / f"{card.name}.json").read_text()


def test_the_page_about_them_has_the_numbers_of_the_cards(tmp_path):
    from vared.ready_making import write_model_card

    write_model_card(NAMES, tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    assert text == (ready.WEIGHTS / "README.md").read_text(), "run: vared model-card"
    for card in map(ready.read_card, NAMES):
        assert card.sha256 in text and f"{card.metrics['clip1_top1']:.1f}" in text
    assert "12 generated classes and nothing else" in text and ", ".join(CLASSES) in text
    with pytest.raises(ValueError, match="lists the ready networks"):
        write_model_card(NAMES[:1], tmp_path / "README.md")


def test_a_run_becomes_a_ready_network_with_its_own_bytes(tmp_path, monkeypatch):
    from vared import runs
    from vared.ready_making import write_ready

    numbers = {
        "model": {"backbone": "r2plus1d_18", "crop_size": 16, "width": 1 / 32}, "sampling": {"stride": {4: 3}},
        "training": {}, "evaluation": {}, "data": {},
    }  # fmt: skip
    plan = runs.RunPlan("small", runs.parse_run("s3_4f_seed0"), numbers, "", "", "")
    trained, evaluated = (tmp_path / "data" / part / "small" / "s3_4f_seed0" for part in ("runs", "evaluations"))
    with pytest.raises(FileNotFoundError, match="dvc repro evaluate@small-s3_4f_seed0"):
        write_ready(tmp_path, plan, "tiny", tmp_path)
    network = vared.create_model(
        "r2plus1d_18", num_classes=2, num_frames=4, crop_size=16, width=1 / 32,
        dynamic=vared.DynamicConfig(search_space=3),
    ).eval()  # fmt: skip
    save_weights(network, trained / "weights.safetensors")
    record = {"fingerprint": "abc", "videos": "5 videos", "hardware": "a computer"}
    (trained / "training.json").write_text(json.dumps(record))
    metrics = {"clips": 5, "clip1_top1": 60.0, "gflops_backbone_mean": 0.1, "gflops_total_mean": 0.2}
    evaluation = record | {"classes": ["a", "b"], "gflops_static": 0.3, "variants": {"dynamic": metrics}}
    evaluated.mkdir(parents=True)
    (evaluated / "metrics.json").write_text(json.dumps(evaluation))
    write_ready(tmp_path, plan, "tiny", tmp_path / "weights")
    assert (tmp_path / "weights/tiny.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes()
    monkeypatch.setattr(ready, "WEIGHTS", tmp_path / "weights")
    model, card = vared.load_ready("tiny")
    assert (card.classes, card.num_frames, card.stride, card.metrics["clip1_top1"]) == (("a", "b"), 4, 3, 60.0)
    clips = torch.randn(2, *card.shape)
    with torch.no_grad():
        assert torch.equal(model(clips), network(clips))
    video = write_video(tmp_path / "video.mp4")
    assert vared.predict(video, "tiny").frames == 24
    other = runs.RunPlan("small", runs.parse_run("cgnet_4f_seed0"), numbers, "", "", "")
    with pytest.raises(ValueError, match="only static and dynamic"):
        write_ready(tmp_path, other, "tiny", tmp_path)
