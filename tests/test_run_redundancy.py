"""Redundancy of trained runs, from weights and videos to tables."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from vared.analysis.adaptivity import KNOWN, known_scenes
from vared.analysis.collecting import COLUMNS, collect_analysis
from vared.analysis.redundancy import TENSORS, measure_redundancy
from vared.analysis.run_redundancy import measure_run, some_clips
from vared.claims.tables import Results
from vared.data.embedded import generate
from vared.experiments import build_network, data_set
from vared.runs import RunPlan, parse_run

NUMBERS = {
    "data": {"source": "embedded"}, "model": {"backbone": "r2plus1d_18", "width": 1 / 16, "crop_size": 16},
    "sampling": {"stride": {8: 4}, "scales": [1.0]}, "training": {},
    "evaluation": {"batch_size": 5, "clips_per_video": 1}, "redundancy": {"clips": None},
}  # fmt: skip


def plan_of(word: str) -> RunPlan:
    return RunPlan("small", parse_run(word), NUMBERS, "data", "code", "code")


def trained_network(seed: int):
    """Stands for one that was trained: its weights are not those it would be built with."""
    return build_network(plan_of(f"static_8f_seed{seed + 100}"), 12)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Twelve clips and two static networks measured on them."""
    root = tmp_path_factory.mktemp("project")
    generate(root / "data" / "small" / "clips", train_clips=1, val_clips=12, seed=0, workers=1)
    for seed in range(2):
        plan = plan_of(f"static_8f_seed{seed}")
        weights, folder = root / "weights" / plan.run.word, root / "measured" / plan.run.word
        weights.mkdir(parents=True), folder.mkdir(parents=True)
        save_file(trained_network(seed).state_dict(), weights / "phase1.safetensors")
        measure_run(root, plan, weights, folder)
    return root


def evaluation(root, word, cost):
    """The files of an evaluated dynamic run that the analysis reads."""
    folder = root / "evaluations" / word
    folder.mkdir(parents=True, exist_ok=True)
    names = video_names(root).to_numpy()
    clips = pd.DataFrame({"variant": "dynamic", "clip": range(12), "label": 0, "name": names})
    clips["gflops_backbone"] = cost
    pd.concat([clips, clips.assign(variant="random_policy")]).to_parquet(folder / "clips.parquet")
    policies = {"V_t1": 1.0, "V_t2": 0.5, "V_c1": 1.0, "V_c2": 0.5, "all_zero_temporal": 0, "all_zero_channel": 0}
    policies = pd.DataFrame({"clip": range(12), "layer": "conv", "stride": 1, "ratio": 1.0, **policies})
    policies.to_parquet(folder / "policies.parquet")
    (folder / "metrics.json").write_text(json.dumps({"gflops_static": 2.0}))


@pytest.fixture(scope="module")
def tables(project):
    """Folder of the tables of both, and of a dynamic run whose cost is the motion of the actor."""
    scenes = known_scenes(project / "data" / "small" / "clips")
    evaluation(project, "s2_8f_seed0", scenes.loc[[stem(name) for name in video_names(project)], "motion"].to_numpy())
    words = ["static_8f_seed0", "static_8f_seed1", "s2_8f_seed0", "single_frame_8f_seed0"]
    collect_analysis(project / "measured", project / "evaluations", words, {"": scenes}, project / "results")
    return project / "results"


def test_clips_of_a_further_set_are_described_by_its_own_scenes(project, tmp_path):
    scenes = known_scenes(project / "data" / "small" / "clips")
    measured, word = tmp_path / "measured", "other-static_8f_seed0"
    for name in ("static_8f_seed0", word):
        shutil.copytree(project / "measured" / "static_8f_seed0", measured / name)
    brighter = scenes.assign(motion=-scenes["motion"])
    words = ["static_8f_seed0", word]
    collect_analysis(measured, project / "evaluations", words, {"": scenes, "other": brighter}, tmp_path)
    found = pd.read_csv(tmp_path / "correlations.csv").query("known == 'motion'").set_index(["measured", "run"])["rho"]
    for quantity in ("temporal CC", "channel CC"):
        assert found[quantity, word] == pytest.approx(-found[quantity, "static_8f_seed0"], abs=1e-6)


def video_names(root) -> pd.Series:
    return pd.read_parquet(root / "measured" / "static_8f_seed0" / "clips.parquet").drop_duplicates("clip")["name"]


def stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".mp4")


def test_a_run_is_measured_on_its_validation_clips_with_its_weights(project):
    plan = plan_of("static_8f_seed1")
    items = [item["clip"] for item in data_set(project, plan, "val")]
    direct = measure_redundancy(trained_network(1), [clip.unsqueeze(0) for clip in items])
    table = pd.read_parquet(project / "measured" / "static_8f_seed1" / "clips.parquet")
    assert table["tensor"].unique().tolist() == list(TENSORS) and len(table) == 3 * 2 * 12
    ours = table.query("tensor == 'convolution'")
    np.testing.assert_allclose(ours["CC"], direct.clips["CC"], rtol=1e-4)
    other = pd.read_parquet(project / "measured" / "static_8f_seed0" / "clips.parquet").query("tensor == 'convolution'")
    assert not np.allclose(ours["CC"], other["CC"])
    layers = pd.read_csv(project / "measured" / "static_8f_seed1" / "layers.csv")
    assert layers.groupby("tensor").size().nunique() == 1 and layers["layer"].nunique() > 20
    with pytest.raises(ValueError, match="s2_8f_seed0 is dynamic"):
        measure_run(project, plan_of("s2_8f_seed0"), project, project)
    with pytest.raises(ValueError, match="single_frame_8f_seed0 is shown one frame repeated"):
        measure_run(project, plan_of("single_frame_8f_seed0"), project, project)


def test_tables_of_all_runs(project, tables):
    described = pd.read_csv(project / "data" / "small" / "clips" / "clips.csv").set_index("clip")
    motion = described.loc[video_names(project).map(stem), "motion"]
    redundancy = pd.read_csv(tables / "redundancy.csv").set_index(["run", "tensor", "dimension"])
    clips = pd.read_parquet(project / "measured" / "static_8f_seed0" / "clips.parquet")
    of_run = clips.query("tensor == 'rectified' and dimension == 'channel'")
    row = redundancy.loc[("static_8f_seed0", "rectified", "channel")]
    assert row["CC"] == pytest.approx(of_run["CC"].mean(), abs=1e-5) and row["clips"] == 12 and len(redundancy) == 12
    assert row["CC_100%"] == pytest.approx(of_run["CC"].max(), abs=1e-5)
    correlations = pd.read_csv(tables / "correlations.csv").set_index(["run", "measured", "known"])["rho"]
    assert correlations["s2_8f_seed0", "cost", "motion"] == 1
    temporal = clips.query("tensor == 'convolution' and dimension == 'temporal'")["CC"].reset_index(drop=True)
    expected = temporal.corr(motion.reset_index(drop=True), method="spearman")
    assert correlations["static_8f_seed0", "temporal CC", "motion"] == pytest.approx(expected, abs=1e-5)
    assert ("static_8f", "channel CC", "actor_radius") in correlations.index
    assert len(correlations) == (3 * 6 + 1) * len(KNOWN)
    adaptivity = pd.read_csv(tables / "adaptivity.csv").iloc[0]
    assert adaptivity["run"] == "s2_8f_seed0" and adaptivity["mean"] == pytest.approx(motion.mean(), abs=1e-5)


def test_tables_of_single_clips_and_of_scenes(project, tables):
    known = known_scenes(project / "data" / "small" / "clips").loc[video_names(project).map(stem)]
    measured = pd.read_parquet(project / "measured" / "static_8f_seed1" / "clips.parquet")
    temporal = measured.query("tensor == 'convolution' and dimension == 'temporal'").set_index("name")["CC"]
    extremes = pd.read_csv(tables / "redundancy_extremes.csv").set_index(["run", "which"]).loc["static_8f_seed1"]
    assert extremes["name"].to_dict() == {"most": temporal.idxmax(), "least": temporal.idxmin()}
    assert extremes.loc["most", "CC"] == pytest.approx(temporal.max(), abs=1e-5)
    costs = pd.read_csv(tables / "cost_by_clip.csv")
    assert costs["run"].unique().tolist() == ["s2_8f_seed0"]
    np.testing.assert_allclose(costs["cost_percent"], 100 * known["motion"] / 2.0, atol=6e-4)
    bins = pd.read_csv(tables / "scene_bins.csv")
    assert set(bins["group"]) == {"static_8f", "s2_8f"} and bins.query("group == 'static_8f'")["seeds"].eq(2).all()
    line = bins.query("measured == 'cost' and known == 'motion'")
    assert line["clips"].sum() == 12 and line["mean"].is_monotonic_increasing
    np.testing.assert_allclose(line["mean"], 50 * line["known_mean"], rtol=1e-4)


def test_where_nothing_is_known_or_run_tables_have_a_header_and_no_rows(project, tmp_path):
    collect_analysis(project / "measured", project / "evaluations", ["static_8f_seed0"], None, tmp_path)
    found = {path.stem: pd.read_csv(path) for path in tmp_path.glob("*.csv")}
    assert found.keys() == COLUMNS.keys()
    empty = {name for name, table in found.items() if table.empty}
    assert empty == {"adaptivity", "cost_by_clip", "correlations", "scene_bins"}
    assert all(found[name].columns.tolist() == COLUMNS[name] for name in empty)


def test_headers_are_those_of_tables_with_rows(tables):
    for name, columns in COLUMNS.items():
        table = pd.read_csv(tables / f"{name}.csv")
        assert len(table) and table.columns.tolist()[: len(columns)] == columns, name


def test_fewer_clips_are_the_same_for_every_run_and_keep_their_positions(project, tmp_path):
    numbers = NUMBERS | {"redundancy": {"clips": 5}}
    plan = RunPlan("small", parse_run("static_8f_seed1"), numbers, "data", "code", "code")
    measure_run(project, plan, project / "weights" / "static_8f_seed1", tmp_path, ["convolution"])
    few = pd.read_parquet(tmp_path / "clips.parquet")
    every = pd.read_parquet(project / "measured" / "static_8f_seed1" / "clips.parquet")
    assert few["clip"].nunique() == 5 and few["clip"].unique().tolist() == some_clips(12, 5).tolist()
    both = few.merge(every.query("tensor == 'convolution'"), on=["clip", "name", "dimension"])
    assert len(both) == 10
    np.testing.assert_allclose(both["CC_x"], both["CC_y"], rtol=1e-4)
    assert some_clips(12, None).tolist() == some_clips(12, 99).tolist() == list(range(12))
    with pytest.raises(ValueError, match="redundancy.clips in params.yaml .* not 0"):
        some_clips(12, 0)


def test_claims_find_the_tables(tables):
    """Names of tables, columns and values that the rules ask for are those that are written here."""
    runs = [{"run": f"static_8f_seed{s}", "frames": 8, "search_space": None, "seed": s} for s in range(2)]
    runs += [{"run": "s2_8f_seed0", "frames": 8, "search_space": 2, "seed": 0}]
    pd.DataFrame(runs).to_csv(tables / "runs.csv", index=False)
    summary = {"model": {"backbone": "r2plus1d_18"}, "data": {"source": "embedded"}}
    (tables / "summary.json").write_text(json.dumps(summary))
    results = Results("small", tables, tables)
    place = {"backbone": "r2plus1d_18", "frames": 8, "data": "Mini-Kinetics-200"}
    wanted = (("temporal CC", "camera_motion", 2), ("channel CC", "actor_radius", 2), ("cost", "clutter", 1))
    for measured, known, seeds in wanted:
        assert len(results.by_seed("rho", table="correlations", measured=measured, known=known, **place)) == seeds
    tensor = {"tensor": "convolution", "dimension": "temporal"}
    for column in ("CC", "RP", "CC_5%", "CC_95%"):
        assert len(results.by_seed(column, table="redundancy", **tensor, **place)) == 2
    assert len(results.by_seed("fullest_bin", table="adaptivity", search_space=2, dimensions="both", **place)) == 1


def test_missing_runs_are_named_before_anything_is_written(project, tmp_path):
    with pytest.raises(FileNotFoundError, match="static_8f_seed7, s2_8f_seed9"):
        words = ["static_8f_seed0", "static_8f_seed7", "s2_8f_seed9"]
        collect_analysis(project / "measured", project / "evaluations", words, None, tmp_path / "new")
    assert not (tmp_path / "new").exists()
