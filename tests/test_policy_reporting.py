"""Figures 4-1, 4-2, B-4, B-5, B-7, B-8 on made-up tables: which runs, which numbers, what is said of missing ones."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from tests.data.video_files import write_video
from vared.claims.tables import Results
from vared.figures import clip_pictures, policy_pictures
from vared.reports import policy_reporting, reporting

OWN = {"dimensions": "both", "training": "usual", "search_space": 2, "network": "dynamic", "variant": "dynamic"}
RUNS = [
    {"run": "s2_8f_seed0", "data": "embedded", "backbone": "r2plus1d_18", "frames": 8, "seed": 0},
    {"run": "k-s2_8f_seed0", "data": "embedded_kinetics", "backbone": "r2plus1d_18", "frames": 8, "seed": 0},
    {"run": "k-s2_8f_seed1", "data": "embedded_kinetics", "backbone": "r2plus1d_18", "frames": 8, "seed": 1},
    {"run": "k-s3_8f_seed0", "data": "embedded_kinetics", "backbone": "r2plus1d_18", "frames": 8, "seed": 0,
     "search_space": 3},
    {"run": "k-x3d_m-s2_8f_seed0", "data": "embedded_kinetics", "backbone": "x3d_m", "frames": 8, "seed": 0},
    {"run": "m-s2_8f_seed0", "data": "embedded_moments", "backbone": "r2plus1d_18", "frames": 8, "seed": 0},
    {"run": "m-s2_16f_seed0", "data": "embedded_moments", "backbone": "r2plus1d_18", "frames": 16, "seed": 0},
    {"run": "m-s2_32f_seed0", "data": "embedded_moments", "backbone": "r2plus1d_18", "frames": 32, "seed": 0},
]  # fmt: skip
LAYERS = {
    "r2plus1d_18": ["stages.0.0.conv1.spatial", "stages.0.0.conv2.spatial", "stages.1.0.conv1.spatial"],
    "x3d_m": ["blocks.1.res_blocks.0.branch2.conv_a", "blocks.1.res_blocks.0.branch2.conv_c"],
}
SUMMARY = {
    "profile": "small", "data": {"source": "embedded", "val_clips": 4}, "model": {
        "backbone": "r2plus1d_18", "width": 0.125, "crop_size": 32},
    "videos": "4 videos kept", "classes": 3, "seeds": [0, 1, 2], "hardware": ["CPU"], "headline": {},
    "further": {"embedded_kinetics": {
        "set": "embedded_kinetics", "videos": "9 videos kept", "classes": 2, "seeds": [0, 1],
        "data": {"source": "embedded", "val_clips": 9, "scene": {"frames": 60}},
        "models": [{"backbone": "r2plus1d_18", "width": 0.125, "crop_size": 32},
                   {"backbone": "x3d_m", "width": 0.5, "crop_size": 48}],
    }},
}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """Two classes; run k-s2_8f_seed1 computes 0.2 more than seed 0, and deeper layers 0.1 more each."""
    runs = pd.DataFrame([OWN | row for row in RUNS])
    policies = []
    for run in runs.itertuples():
        for action, more in (("fall", 0.0), ("rise", 0.04)):
            for position, layer in enumerate(LAYERS[run.backbone]):
                channel = 0.5 + 0.1 * position + 0.2 * run.seed + more * (position + 1)
                policies.append({"run": run.run, "action": action, "position": position, "layer": layer}
                                | {"temporal": 0.5, "channel": channel, "share": 0.5 * channel})  # fmt: skip
    extremes = [
        {"run": run, "action": action, "which": which, "clip": 0, "name": f"val/{action}/{which}.mp4", "percent": 50.0}
        for run in ("s2_8f_seed0", "m-s2_8f_seed0", "m-s2_16f_seed0") for action in ("fall", "rise")
        for which in ("most", "least")
    ]  # fmt: skip
    for name, table in {"runs": runs, "policy_by_class": policies, "extreme_clips": extremes}.items():
        pd.DataFrame(table).to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    return Results("small", tmp_path, tmp_path)


def test_the_runs_of_a_network_on_a_set_are_found_with_all_their_seeds(results):
    rows = policy_reporting.rows_of_run(results, "policy_by_class", "Kinetics-400", "r2plus1d_18")
    assert set(rows["run"]) == {"k-s2_8f_seed0", "k-s2_8f_seed1"}  # not S = 3, not another network, not another set
    assert policy_reporting.network_title(rows) == "R(2+1)D-18, 8 frames, seeds 0, 1"
    shares = policy_reporting.class_shares(rows)
    assert shares[shares["action"] == "fall"]["channel"].tolist() == pytest.approx([0.6, 0.7, 0.8])


def test_of_several_lengths_the_thesis_s_is_shown_or_the_shortest(results):
    place = ("extreme_clips", "Moments-In-Time", "r2plus1d_18")
    assert set(policy_reporting.rows_of_run(results, *place)["run"]) == {"m-s2_16f_seed0"}
    path = results.folder / "extreme_clips.csv"
    path.write_text("".join(line for line in path.open() if "16f" not in line))
    again = Results("small", results.folder, results.folder)
    assert set(policy_reporting.rows_of_run(again, *place)["run"]) == {"m-s2_8f_seed0"}


@pytest.mark.parametrize("network", ["r2plus1d_18", "x3d_m"])
def test_a_network_that_was_not_run_gives_no_rows_and_a_sentence_with_the_reason(results, network):
    for table in ("policy_by_class", "extreme_clips"):
        (results.folder / f"{table}.csv").write_text((results.folder / f"{table}.csv").read_text().split("\n")[0])
        assert policy_reporting.rows_of_run(results, table, "Kinetics-400", network).empty
    sentence = policy_reporting.missing_runs("smoke", "Kinetics-400", [network])
    assert policy_reporting.TITLES[network] in sentence and "embedded_kinetics" in sentence
    assert "`run_lists.smoke` in params.yaml holds none" in sentence
    assert policy_reporting.missing_runs("smoke", "Kinetics-400", []) == ""


def test_what_the_thesis_reads_off_the_figure_in_numbers(results):
    shares = policy_reporting.class_shares(
        policy_reporting.rows_of_run(results, "policy_by_class", "Kinetics-400", "r2plus1d_18")
    )
    table = policy_reporting.policy_table(shares).set_index("policy")
    assert table["rank correlation of share with depth"].tolist() == ["constant", "+1.00"]
    # classes differ by 0.04, 0.08, 0.12: standard deviation of two values is the difference over sqrt(2)
    assert table.loc["channel", "spread between classes (mean over layers)"] == f"{0.08 / 2**0.5:.4f}"
    assert not any("depthwise" in name for name in table.columns)
    x3d = policy_reporting.rows_of_run(results, "policy_by_class", "Kinetics-400", "x3d_m")
    table = policy_reporting.policy_table(policy_reporting.class_shares(x3d)).set_index("policy").loc["channel"]
    assert table["spread before the depthwise convolution"] == f"{0.04 / 2**0.5:.4f}"
    assert table["spread after the depthwise convolution"] == f"{0.08 / 2**0.5:.4f}"


def test_provenance_is_that_of_the_set_shown_with_every_network(results):
    rows = results.rows("policy_by_class", data="Kinetics-400", search_space=2)
    text = policy_reporting.data_provenance(SUMMARY, "figure_b_4", rows)
    assert "- Data: embedded_kinetics (val_clips 9); evaluated on 9 videos kept" in text and "scene" not in text
    assert "r2plus1d_18, width 0.125, crops of 32" in text and "x3d_m, width 0.5, crops of 48" in text
    assert "`k-x3d_m-s2_8f_seed0`" in text and "- Seeds: 0, 1;" in text and "figure_b_4@small" in text
    assert policy_reporting.data_provenance(SUMMARY, "figure_b_4", rows[:0]) == reporting.provenance(
        SUMMARY, "figure_b_4"
    )


def test_videos_are_looked_for_in_the_folder_of_their_set(results):
    further = results.rows("policy_by_class", data="Kinetics-400")
    own = results.rows("policy_by_class", data="embedded")
    folder = Path("data/small")
    assert policy_reporting.videos_of(Path(), "small", SUMMARY, own) == (folder / "clips", True)
    expected = folder / "further" / "embedded_kinetics" / "clips"
    assert policy_reporting.videos_of(Path(), "small", SUMMARY, further) == (expected, True)
    real = SUMMARY | {"data": {"source": "jhmdb"}}
    assert policy_reporting.videos_of(Path(), "small", real, own[:0]) == (folder / "clips", False)


def test_a_file_of_no_run_is_its_header_alone():
    empty = policy_reporting.one_run(pd.DataFrame())
    assert empty.to_csv(index=False) == "run,action,which,clip,name,percent\n"


def test_one_run_alone_is_listed_by_class(results):
    rows = results.rows("extreme_clips", data="Moments-In-Time")
    extremes = policy_reporting.one_run(rows)
    assert set(extremes["run"]) == {"m-s2_8f_seed0"} and list(extremes) == policy_reporting.EXTREMES
    table = policy_reporting.extreme_table(extremes)
    assert table["class"].tolist() == ["fall", "rise"] and table["% "].tolist() == ["50.0", "50.0"]
    assert table["least costly"].tolist() == ["val/fall/least.mp4", "val/rise/least.mp4"]


@pytest.mark.parametrize(("names", "labels"), [
    (LAYERS["r2plus1d_18"], ["0.conv1", "0.conv2", "1.conv1"]), (LAYERS["x3d_m"], ["conv_a", "conv_c"]),
    (["a.b", "c"], ["a.b", "c"]), (["a.b"], ["a.b"]),
])  # fmt: skip
def test_labels_leave_out_what_all_layers_share(names, labels):
    assert policy_pictures.layer_labels(names) == labels


def test_the_heat_map_has_a_row_of_panels_a_network_and_shows_the_shares(results):
    shares = {
        name: policy_reporting.class_shares(
            policy_reporting.rows_of_run(results, "policy_by_class", "Kinetics-400", name)
        )
        for name in ("x3d_m", "r2plus1d_18")
    }
    figure = policy_pictures.draw_shares(shares)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert len(panels) == 4 and "x3d_m" in panels[0].get_title() and "channels" in panels[3].get_title()
    drawn = panels[3].collections[0].get_array().reshape(3, 2)
    np.testing.assert_allclose(drawn[:, 0], [0.6, 0.7, 0.8])
    assert [text.get_text() for text in panels[2].get_yticklabels()] == ["0.conv1", "0.conv2", "1.conv1"]
    assert [text.get_text() for text in panels[2].get_xticklabels()] == ["fall", "rise"]
    assert all(axis.collections[0].norm.vmin == 0.5 for axis in panels)


def test_hundreds_of_classes_are_drawn_without_their_names():
    many = pd.DataFrame([
        {"position": p, "layer": f"a.{p}", "action": f"{c:03}", "temporal": 1.0, "channel": 0.5}
        for p in range(2) for c in range(60)
    ])  # fmt: skip
    figure = policy_pictures.draw_shares({"x": many})
    assert not figure.axes[0].get_xticklabels() and "60" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize(("classes", "shape"), [(2, (2, 2)), (13, (7, 4))])
def test_every_extreme_clip_is_drawn_with_its_percentage(tmp_path, classes, shape):
    write_video(tmp_path / "a.mp4", frames=9, height=12, width=16)
    rows = [
        {"action": f"c{k:02}", "which": which, "name": "a.mp4", "percent": 40.0 + k}
        for k in range(classes) for which in ("least", "most")
    ]  # fmt: skip
    figure = clip_pictures.draw_extremes(pd.DataFrame(rows), tmp_path)
    titles = [axis.get_title() for axis in figure.axes]
    assert len(titles) == shape[0] * shape[1]
    assert titles[:2] == ["c00: most cost, 40.0 %", "c00: least cost, 40.0 %"]
    assert sum(map(bool, titles)) == 2 * classes
    shown = 4 if classes == 2 else 3
    assert figure.axes[0].images[0].get_array().shape == (12, shown * 17 - 1, 3)


def test_upright_videos_are_drawn_as_high_as_the_others(tmp_path):
    write_video(tmp_path / "a.mp4", frames=9, height=16, width=12)
    write_video(tmp_path / "b.mp4", frames=9, height=12, width=16)
    rows = [
        {"action": "fall", "which": w, "name": n, "percent": 1.0} for w, n in (("most", "a.mp4"), ("least", "b.mp4"))
    ]
    figure = clip_pictures.draw_extremes(pd.DataFrame(rows), tmp_path)
    upright, usual = figure.axes
    assert upright.get_xlim() == usual.get_xlim() and upright.get_ylim() == usual.get_ylim() == (0, 1)
    assert [axis.images[0].get_extent()[3] for axis in (upright, usual)] == [1, 1]
    assert upright.images[0].get_extent()[1] < usual.images[0].get_extent()[1] == usual.get_xlim()[1]


def test_without_pictures_the_percentages_are_drawn_and_a_sentence_where_nothing_was_run(tmp_path):
    rows = [{"action": "fall", "which": w, "percent": p} for w, p in (("most", 70.0), ("least", 45.0))]
    axis = clip_pictures.draw_percentages(pd.DataFrame(rows)).axes[0]
    assert [(line.get_label(), *line.get_xdata()) for line in axis.lines] == [
        ("clip of most cost", 70.0), ("clip of least cost", 45.0),
    ]  # fmt: skip
    (tmp_path / "a.png").write_bytes(reporting.png(policy_pictures.draw_sentence("No `run` here. " * 20)))
    assert matplotlib.image.imread(tmp_path / "a.png").min() < 0.5
