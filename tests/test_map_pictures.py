"""Drawn figures: as many panels as there are maps, and the marked ones are those that are generated."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.method_helpers import randomise_cheap, tiny_r2plus1d
from vared.checkpoints import save_weights
from vared.data.embedded import CLASSES
from vared.figures import idea_picture, layer_pictures, map_pictures, shown_layer, shown_run
from vared.figures.shown_run import ShownRun
from vared.policies import dynamic_layers, fixed_policy, forced_policy, policy
from vared.reports import reporting

FIRST = "stages.0.0.conv1.spatial"


@pytest.fixture(scope="module")
def run() -> ShownRun:
    """Four clips, each moving more than the last. Layer 1 generates channels for clip 2, layer 3 frames for clip 1."""
    torch.manual_seed(0)
    model = randomise_cheap(tiny_r2plus1d())
    still = torch.randn(4, 3, 1, 16, 16)
    clips = still + 0.3 * torch.arange(4).view(4, 1, 1, 1, 1) * torch.randn(4, 3, 8, 16, 16)
    one, both = torch.tensor([[0.6, 0.4]]), torch.tensor([0.5, 0.4])
    weights = {name: (one[:, : len(layer.temporal_factors)], one) for name, layer in dynamic_layers(model).items()}
    names = list(weights)
    weights[names[0]] = (one, torch.stack([both, both, torch.tensor([0.0, 0.8]), both]))
    weights[names[2]] = (torch.stack([both, torch.tensor([0.0, 0.9]), both, both]), one)
    with forced_policy(model, weights), torch.no_grad():
        model(clips)
        policies = policy(model)
    return ShownRun(model, clips, tuple(f"val/{c}/{c}.mp4" for c in "abcd"), policies, "validation")


def drawn(figure, kind: str) -> list[tuple[float, ...]]:
    """Left, right, lower and upper edges of the images of that kind, in inches from the upper left corner."""
    return [image.get_extent() for image in figure.axes[0].images if image.get_gid() == kind]


def marked(figure) -> list[bool]:
    """Whether each map, in the order of drawing, has a red frame round it."""
    patches = [patch for patch in figure.axes[0].patches if patch.get_gid() == "marked"]
    centres = {(round(p.get_x() + p.get_width() / 2, 4), round(p.get_y() + p.get_height() / 2, 4)) for p in patches}
    found = [(round((a + b) / 2, 4), round((c + d) / 2, 4)) in centres for a, b, c, d in drawn(figure, "map")]
    assert sum(found) == len(patches)
    return found


def test_series_hold_what_the_network_gives_under_each_policy(run):
    series = map_pictures.rectified_series(run, FIRST, "temporal", 2)
    block = run.network.stages[0][0].conv1
    seen = []
    handle = block.relu.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    scale = run.policies[FIRST].temporal.sum(1) * run.policies[FIRST].channel.sum(1)
    with torch.no_grad():
        for temporal in (1, 2):
            block.spatial.weight.mul_(scale[0])  # the gates' weights of clip 0, on one candidate
            with fixed_policy(run.network, temporal=temporal):
                run.network(run.clips[:1])
            block.spatial.weight.div_(scale[0])
    handle.remove()
    torch.testing.assert_close(series[0].computed, seen[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(series[0].mixed, seen[1][0], rtol=1e-4, atol=1e-5)
    assert series[0].indices == [1, 3, 5, 7] and series[0].sources == [0, 2, 4, 6]
    torch.testing.assert_close(series[0].computed[:, ::2], series[0].mixed[:, ::2], rtol=1e-4, atol=1e-5)


def test_tables_and_likeness_of_a_series(run):
    one = map_pictures.rectified_series(run, FIRST, "channel", 0.5)[3]
    table = one.table()
    assert len(table) == one.computed.shape[0] * 8 and (table["clip"] == 3).all()
    assert table.groupby("channel")["generated"].first().tolist() == [c >= 9 for c in range(18)]
    assert one.likeness() == pytest.approx(table.loc[table["generated"], "CC"].mean())
    row = table.query("channel == 12 and frame == 5").iloc[0]
    expected = np.corrcoef(one.mixed[12, 5].flatten().numpy(), one.computed[12, 5].flatten().numpy())[0, 1]
    assert row["CC"] == pytest.approx(expected, abs=1e-5)
    assert table.loc[~table["generated"], "CC"].dropna().to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("pixels", [True, False])
def test_figure_b_2_marks_the_generated_frames(run, pixels):
    series = map_pictures.rectified_series(run, FIRST, "temporal", 2)[:2]
    figure = map_pictures.draw_frame_series(series, ["a", "b"], channels=3, pixels=pixels)
    assert len(drawn(figure, "picture")) == pixels * 2 * 8
    assert marked(figure) == ([False] * 8 + [False, True] * 4) * 3 * 2
    maps = [image.get_array() for image in figure.axes[0].images if image.get_gid() == "map"]
    channels = map_pictures.strongest_channels(series[0], 3)
    np.testing.assert_allclose(maps[16], series[0].computed[channels[1], 0])
    np.testing.assert_allclose(maps[25], series[0].mixed[channels[1], 1])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert f"{series[0].correlations()[channels[0], 3]:.2f}".replace("-", "−") in texts and "t = 7" in texts


@pytest.mark.parametrize("pixels", [True, False])
def test_figure_b_3_marks_the_generated_channels(run, pixels):
    series = map_pictures.rectified_series(run, FIRST, "channel", 0.5)[1:3]
    figure = map_pictures.draw_channel_series(series, ["a", "b"], frame=4, kept=3, made=5, pixels=pixels)
    assert len(drawn(figure, "picture")) == pixels * 2
    assert marked(figure) == ([False] * 8 + [False] * 3 + [True] * 5) * 2
    few = map_pictures.draw_channel_series(series, ["a", "b"], frame=0, kept=30, made=30, pixels=pixels)
    assert len(drawn(few, "map")) == 2 * 2 * 18


def test_a_layer_at_work_is_the_first_whose_gate_generates(run):
    frames, channels = (shown_layer.execution(run, dimension) for dimension in ("temporal", "channel"))
    assert (frames.name, frames.clip, frames.candidate) == (list(run.policies)[2], 1, 2)
    assert (channels.name, channels.clip, channels.candidate) == (FIRST, 2, 0.5)
    assert frames.chosen and channels.chosen and frames.weights == pytest.approx([0, 0.9])
    layer = run.network.get_submodule(FIRST)
    dense = torch.nn.functional.conv3d(channels.input[None], layer.weight, padding=layer.padding)[0]
    torch.testing.assert_close(channels.output[:9], dense[:9], rtol=1e-4, atol=1e-5)
    table = shown_layer.map_table([frames, channels])
    assert table.query("panel == 'a'")["source"].tolist() == [0, 0, 2, 2, 4, 4, 6, 6]
    assert table.query("panel == 'b'")["generated"].tolist() == [c >= 9 for c in range(18)]


def test_figure_3_1_shows_input_computed_and_output_maps(run):
    panels = [shown_layer.execution(run, dimension) for dimension in ("temporal", "channel")]
    figure = layer_pictures.draw_dynamic_convolution(*panels)
    # (a) 8 input frames, 4 computed, 8 of the output; (b) 8 channels, then 4 pairs drawn as computed, kept, generated.
    assert marked(figure) == [False] * 12 + [False, True] * 4 + [False] * 8 + [False, False, True] * 4
    arrows = [patch.get_gid() for patch in figure.axes[0].patches if patch.get_gid() in ("cheap", "computed")]
    assert arrows.count("cheap") == 4 + 1 + 4
    texts = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "so R = 2" in texts and "so r = 1/2" in texts and "first 9 of 18 filters" in texts
    faded = [image.get_alpha() < 1 for image in figure.axes[0].images[:8]]
    assert faded == [False, True] * 4  # a 1 x 3 x 3 kernel does not read the frames that are skipped


def test_examples_are_a_calm_clip_that_saves_frames_and_a_lively_one_that_saves_channels(run):
    clips = idea_picture.clip_table(run)
    assert clips["motion"].is_monotonic_increasing and clips["motion"][0] == 0
    with_time = sum(len(p.temporal_factors) > 1 for p in run.policies.values())
    assert with_time < len(run.policies) == 16
    assert clips["temporal"].tolist() == pytest.approx([1, 1 - 0.5 / 16, 1, 1], abs=1e-6)
    assert clips["channel"].tolist() == pytest.approx([1, 1, 1 - 0.5 / 16, 1], abs=1e-6)
    many = pd.DataFrame(
        {"motion": range(8), "temporal": [1, 0.5, 0, 1, 1, 1, 0.5, 1], "channel": [1, 1, 1, 1, 1, 0, 0.9, 0.6]}
    )
    assert idea_picture.choose_clips(many) == (1, 7)  # clips 2 and 5 would save more, but are of middling motion
    assert idea_picture.choose_clips(many.assign(temporal=1, channel=1)) == (0, 7)


def test_figure_1_1_shows_the_policies_of_all_layers(run):
    examples = [idea_picture.example(run, 1, "temporal"), idea_picture.example(run, 2, "channel")]
    assert [one.layer for one in examples] == [list(run.policies)[2], FIRST] and not any(one.forced for one in examples)
    figure = idea_picture.draw_idea(examples, ["a", "b"], pixels=True)
    assert len(drawn(figure, "picture")) == 16 and marked(figure) == [False, True] * 8
    cells = [patch.get_gid() for patch in figure.axes[0].patches if str(patch.get_gid()).startswith("cell")]
    frames = sum(layer.frames_out for layer in dynamic_layers(run.network).values())
    assert len(cells) == frames + 2 * 16
    widths = [p.get_width() for p in figure.axes[0].patches if p.get_gid() == "cell generated"]
    assert sum(width > 0 for width in widths) == 4 + 1  # four of eight frames in one layer; half the channels in one
    forced = idea_picture.example(run, 0, "temporal")
    assert forced.forced and forced.layer == FIRST
    texts = [text.get_text() for text in idea_picture.draw_idea([forced], ["a"], pixels=False).axes[0].texts]
    assert any("forced" in text for text in texts)


def test_equal_figures_are_equal_bytes(run):
    series = map_pictures.rectified_series(run, FIRST, "channel", 0.5)[:1]
    figures = [map_pictures.draw_channel_series(series, ["a"], frame=4, pixels=True) for _ in range(2)]
    first, second = (reporting.png(figure, dpi=50) for figure in figures)
    assert first == second and first.startswith(b"\x89PNG")


def test_a_clone_without_weights_shows_an_untrained_network_on_rendered_clips(tmp_path):
    root = Path(__file__).resolve().parents[1]
    numbers = yaml.safe_load((root / "params.yaml").read_text())["profiles"]["smoke"]
    run = shown_run.run_to_show(tmp_path, "smoke", numbers, "s2_8f_seed0")
    assert run.source == "rendered" and run.clips.shape == (12, 3, 8, 24, 24) and len(set(run.names)) == 12
    assert run.motion().min() > 0 and 0 <= run.pixels().min() < run.pixels().max() <= 1
    assert all((p.stride == 1).all() for p in run.policies.values()) and not run.network.training
    panel = shown_layer.execution(run, "channel")
    assert not panel.chosen and panel.candidate == 0.5


def test_videos_that_may_not_be_shown_are_replaced_by_rendered_clips(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[1]
    numbers = yaml.safe_load((root / "params.yaml").read_text())["profiles"]["smoke"]
    untrained = shown_run.run_to_show(tmp_path, "smoke", numbers, "s2_8f_seed0")
    weights = shown_run.weights_of(tmp_path, "smoke", "s2_8f_seed0")
    with torch.no_grad():
        for parameter in untrained.network.parameters():
            parameter += 0.1  # as if trained
    save_weights(untrained.network, weights)
    (tmp_path / "data" / "smoke" / "clips").mkdir(parents=True)
    (tmp_path / "vared").symlink_to(root / "vared")
    (tmp_path / "data" / "smoke" / "identity.json").write_text('{"sha256": "0"}')
    videos = SimpleNamespace(classes=CLASSES)
    monkeypatch.setattr(shown_run, "load_videos", lambda root, plan: {"val": videos})
    real = numbers | {"data": {"source": "jhmdb", "split": 1}}
    run = shown_run.run_to_show(tmp_path, "smoke", real, "s2_8f_seed0")
    assert run.source == "stand-in" and "may not be shown" in run.note and torch.equal(run.clips, untrained.clips)
    assert torch.equal(run.network.head.weight, untrained.network.head.weight)
