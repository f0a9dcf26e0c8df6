"""Tidy tables from per-run evaluations."""

import json

import pandas as pd
import pytest

from vared.collecting import collect

CLASSES = ["fall", "rise"]


def evaluation(folder, word, variants, policies=()):
    """Write an evaluation of four clips: variant -> (correct, GMACs) per clip; policies: (clip, layer, R, r, share)."""
    path = folder / word
    path.mkdir(parents=True)
    rows, metrics = [], {}
    for variant, (correct, cost) in variants.items():
        for clip in range(4):
            rows.append({"variant": variant, "clip": clip, "label": clip % 2, "name": f"{clip}.mp4"} | {
                "correct": float(correct[clip]), "gflops_backbone": cost[clip]})  # fmt: skip
        metrics[variant] = {
            "clips": 4, "clip1_top1": 100 * sum(correct) / 4, "gflops_backbone_mean": sum(cost) / 4,
            "gflops_backbone_max": max(cost), "gflops_backbone_min": min(cost), "gflops_gate_mean": 0.1,
            "gflops_cheap_mean": 0.2, "gflops_total_mean": sum(cost) / 4 + 0.3,
        }  # fmt: skip
    pd.DataFrame(rows).to_parquet(path / "clips.parquet")
    columns = ["clip", "layer", "stride", "ratio", "share"]
    pd.DataFrame(list(policies), columns=columns).to_parquet(path / "policies.parquet")
    record = {
        "profile": "small", "data": {"source": "embedded"}, "videos": "4 videos",
        "model": {"backbone": "r2plus1d_18", "width": 0.125, "crop_size": 32},
        "classes": CLASSES, "hardware": "CPU", "gflops_static": 4.0, "dynamic_layers": {"a": 1.0, "b": 3.0},
        "variants": metrics,
    }  # fmt: skip
    (path / "metrics.json").write_text(json.dumps(record))


@pytest.fixture
def results(tmp_path):
    dense = [4.0] * 4
    evaluation(tmp_path / "e", "static_8f_seed0", {"static": ([1, 1, 0, 0], dense)})
    policies = [(clip, "a", 1, 1.0, 1.0) for clip in range(4)]
    policies += [(0, "b", 2, 1.0, 0.5), (1, "b", 1, 0.5, 0.5), (2, "b", 1, 1.0, 1.0), (3, "b", 2, 0.5, 0.25)]
    cost = [2.0, 2.0, 4.0, 1.0]
    variants = {"dynamic": ([1, 1, 1, 0], cost), "random_policy": ([0.2, 1, 0.4, 0], cost)}
    evaluation(tmp_path / "e", "s2_8f_seed0", variants, policies)
    collect(tmp_path / "e", ["static_8f_seed0", "s2_8f_seed0"], tmp_path / "results")
    return tmp_path / "results"


def test_a_row_for_each_run_and_variant(results):
    runs = pd.read_csv(results / "runs.csv")
    assert list(zip(runs["run"], runs["variant"], strict=True)) == [
        ("static_8f_seed0", "static"), ("s2_8f_seed0", "dynamic"), ("s2_8f_seed0", "random_policy"),
    ]  # fmt: skip
    dynamic = runs.iloc[1]
    assert dynamic[["gflops_avg", "gflops_max", "gflops_min", "gflops_static"]].tolist() == [2.25, 4, 1, 4]
    assert pd.isna(dynamic["video1_top1"]) and dynamic["search_space"] == 2 and pd.isna(runs["search_space"][0])


def test_differences_are_paired_over_the_same_clips(results):
    table = pd.read_csv(results / "comparisons.csv").set_index("second")
    assert table.loc["static", "difference"] == 25.0
    assert table.loc["random_policy", "difference"] == pytest.approx(35.0)
    assert set(table.index) == {"static", "random_policy"}
    assert (table["low"] <= table["difference"]).all() and (table["difference"] <= table["high"]).all()


def test_policies_are_averaged_by_action_and_layer(results):
    table = pd.read_csv(results / "policy_by_class.csv").set_index(["action", "layer"])
    assert table.loc[("fall", "b"), "temporal"] == 0.75 and table.loc[("fall", "b"), "channel"] == 1.0
    assert table.loc[("rise", "b"), "temporal"] == 0.75 and table.loc[("rise", "b"), "channel"] == 0.5
    assert table["position"].tolist() == [0, 1, 0, 1]


def test_the_percentage_weighs_layers_by_their_static_cost(results):
    table = pd.read_csv(results / "extreme_clips.csv").set_index(["action", "which"])
    assert table.loc[("fall", "most"), "name"] == "2.mp4" and table.loc[("fall", "most"), "percent"] == 100.0
    # clip 0: (1 * 1 + 3 * 0.5) / 4
    assert table.loc[("fall", "least"), "name"] == "0.mp4" and table.loc[("fall", "least"), "percent"] == 62.5
    assert table.loc[("rise", "least"), "percent"] == 43.75


def test_the_summary_gives_saving_and_difference(results):
    summary = json.loads((results / "summary.json").read_text())
    # 1 - 2.25 / 4 as the thesis counts; gates and cheap operations add 0.3 a clip: 1 - 2.55 / 4
    assert summary["headline"] == {"s2_8f": {
        "saving_percent_as_the_thesis_counts": 43.75, "saving_percent_gates_and_cheap_operations_counted": 36.25,
        "clip1_minus_static": 25.0, "clip1_minus_static_equal_epochs": None,
    }}  # fmt: skip
    assert summary["seeds"] == [0] and summary["hardware"] == ["CPU"]


def test_missing_runs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="s2_8f_seed0"):
        collect(tmp_path, ["s2_8f_seed0"], tmp_path / "results")
    assert not (tmp_path / "results").exists()
