"""What `vared repro smoke` left under build/smoke: `make test` runs this after the smoke pipeline."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from vared.cli import profile_runs

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build" / "smoke"
RESULTS = COPY / "results" / "smoke"

pytestmark = pytest.mark.smoke


def test_methods_to_compare_with_cost_what_they_should():
    runs = pd.read_csv(RESULTS / "runs.csv").set_index("network")
    share = runs["gflops_avg"] / runs["gflops_static"]
    pruned = runs.loc["pruned"]
    assert 0.715 < share["pruned"] and pruned["gflops_avg"] <= 0.72 * pruned["gflops_static"] + 1e-6  # both rounded
    assert 0.4 < share["cgnet"] < 1 and 0 < share["ar_net"] < 1
    methods = runs.loc[["pruned", "cgnet", "ar_net"]]
    assert (methods["gflops_total"] == methods["gflops_avg"]).all()


def test_every_run_is_there_with_all_its_variants():
    runs = pd.read_csv(RESULTS / "runs.csv")
    assert set(runs["run"]) == set(profile_runs(ROOT, "smoke"))
    variants = runs.groupby("network")["variant"].agg(set)
    assert variants["static"] == {"static", "static_equal_epochs"}
    assert variants["dynamic"] == {"before_finetuning", "dynamic", "mean_policy", "random_policy"}
    assert all(variants[name] == {name} for name in ("pruned", "cgnet", "ar_net"))
    assert runs["clip1_top1"].between(0, 100).all()
    assert (runs["gflops_avg"] <= runs["gflops_static"] * (1 + 1e-6)).all()
    assert (runs["gflops_min"] <= runs["gflops_avg"] + 1e-6).all()
    assert (runs["gflops_avg"] <= runs["gflops_max"] + 1e-6).all()


OTHER_TABLES = [
    f"tables/table_{name}" for name in ("4_2", "4_3", "4_4", "4_5", "4_6", "4_7", "4_8", "4_10", "4_11", "4_12", "b_2")
]
DRAWN = ["figures/figure_1_1", "figures/figure_3_1", "figures/figure_b_2", "figures/figure_b_3"]


@pytest.mark.parametrize("name", [
    "tables/table_4_1", *OTHER_TABLES, "figures/figure_4_1", "figures/figure_4_2", "tables/table_b_1",
    "figures/figure_b_1", "figures/figure_b_6", "figures/adaptivity", "figures/cost_curve", "tables/segmentation",
    *DRAWN,
])  # fmt: skip
def test_every_table_and_figure_is_written_with_its_notebook(name):
    assert "Profile: smoke" in (RESULTS / f"{name}.md").read_text()
    assert len(pd.read_csv(RESULTS / f"{name}.csv"))
    notebook = nbformat.read(RESULTS / "notebooks" / f"{Path(name).name}.ipynb", as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    if name.startswith("figures"):
        assert (RESULTS / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["figure_b_4", "figure_b_5", "figure_b_7", "figure_b_8"])
def test_figures_of_sets_that_were_not_run_say_so_and_have_an_empty_table(name):
    text = (RESULTS / "figures" / f"{name}.md").read_text()
    assert "Left out: " in text and "`run_lists.smoke` in params.yaml holds none" in text and "nan" not in text
    table = pd.read_csv(RESULTS / "figures" / f"{name}.csv")
    assert table.empty and "action" in table
    assert (RESULTS / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert f"(figures/{name}.md)" in (RESULTS / "README.md").read_text()


@pytest.mark.parametrize("name", ["static_costs", "overheads", "policy_range"])
def test_what_belongs_to_no_profile_is_made_there_too(name):
    assert len(pd.read_csv(COPY / "results" / "tables" / f"{name}.csv")) > 20
    assert f"../tables/{name}.md" in (RESULTS / "README.md").read_text()
    notebook = nbformat.read(COPY / "results" / "notebooks" / f"{name}.ipynb", as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def test_the_method_notebook_shows_the_trained_network():
    text = (RESULTS / "notebooks" / "00_method.ipynb").read_text()
    assert "trained: run s2_8f_seed0 of the profile smoke" in text
    assert (RESULTS / "figures" / "method.png").read_bytes().startswith(b"\x89PNG")


def test_redundancy_and_adaptivity_are_measured_on_the_clips_asked_for():
    redundancy = pd.read_csv(RESULTS / "redundancy.csv")
    wanted = yaml.safe_load((ROOT / "params.yaml").read_text())["profiles"]["smoke"]["redundancy"]["clips"]
    own = redundancy[redundancy["run"] == "static_8f_seed0"]
    further = redundancy[redundancy["run"] == "embedded_moments-i3d-static_8f_seed0"]  # has 16 clips in all
    assert len(own) + len(further) == len(redundancy)
    assert set(own["clips"]) == {wanted} and set(further["clips"]) == {16}
    for one in (own, further):
        assert one.groupby(["tensor", "dimension"]).size().tolist() == [1] * 6
    dynamic = {word for word in profile_runs(ROOT, "smoke") if word.startswith("s2") or word.startswith("s3")}
    costs = pd.read_csv(RESULTS / "cost_by_clip.csv")
    assert set(costs["run"]) == set(pd.read_csv(RESULTS / "adaptivity.csv")["run"]) == dynamic
    assert costs["cost_percent"].between(0, 100.001).all()
    runs = pd.read_csv(RESULTS / "runs.csv").query("variant == 'dynamic'").set_index("run")
    percent = 100 * runs["gflops_avg"] / runs["gflops_static"]
    assert costs.groupby("run")["cost_percent"].mean().sub(percent).abs().max() < 0.1
    measured = pd.read_csv(RESULTS / "correlations.csv")["measured"]
    assert {"temporal CC", "cost"} <= set(measured)
    assert "not run" in (RESULTS / "tables" / "table_b_1.md").read_text()  # I3D on the profile's own data
    assert "ours: embedded_moments, 8 frames" in (RESULTS / "tables" / "table_b_1.md").read_text()


@pytest.mark.parametrize("name", ["tables/table_4_1", *OTHER_TABLES])
def test_runs_that_were_not_made_are_called_so_in_the_table(name):
    text = (RESULTS / f"{name}.md").read_text()
    assert "not run" in text and "nan" not in text


def test_runs_that_were_made_have_numbers_in_every_table_about_them():
    runs = pd.read_csv(RESULTS / "runs.csv").query("variant == 'dynamic'").set_index("run")
    for name, word in {"table_4_2": "s2_16f_seed0", "table_4_11": "s2_8f_seed0", "table_4_12": "s2_16f_seed0"}.items():
        table = pd.read_csv(RESULTS / "tables" / f"{name}.csv").query("metric == 'clip1_top1' and network == 'dynamic'")
        ours = table[table["minus"].isna() & (table["model"] == "R(2+1)D-18")]["ours"]
        assert ours.tolist() == pytest.approx([runs.loc[word, "clip1_top1"]], abs=1e-5)


def test_a_run_of_another_network_on_a_further_set_is_in_its_table_with_its_own_clip_length():
    runs = pd.read_csv(RESULTS / "runs.csv").query("backbone == 'i3d'").set_index("variant")
    assert set(runs["data"]) == {"embedded_moments"} and set(runs["frames"]) == {8}
    table = pd.read_csv(RESULTS / "tables" / "table_4_7.csv").query("metric == 'clip1_top1' and network == 'static'")
    static = table[(table["model"] == "I3D-InceptionV2") & table["minus"].isna()].iloc[0]
    assert (static["frames"], static["our_frames"], static["our_data"]) == (16, 8, "embedded_moments")
    assert static["ours"] == pytest.approx(runs.loc["static", "clip1_top1"], abs=1e-5)


def test_every_claim_has_a_verdict_and_is_linked():
    claims = pd.read_csv(RESULTS / "claims.csv")
    assert set(claims["id"]) == set(pd.read_csv(ROOT / "data" / "paper" / "claims.csv")["id"])
    assert claims["verdict"].notna().all() and set(claims["profile"]) == {"smoke"}
    readme = (RESULTS / "README.md").read_text()
    for link in re.findall(r"\]\(([^)]+)\)", readme):
        assert (RESULTS / link).exists(), link
    assert "](claims.md)" in readme and all(f"]({name}.md)" in readme for name in OTHER_TABLES)


def test_generated_maps_are_measured_in_every_dynamic_run_with_8_frames():
    maps = pd.read_csv(RESULTS / "generated_maps.csv")
    both = [(run, dimension) for run in ("s2_8f_seed0", "s3_8f_seed0") for dimension in ("temporal", "channel")]
    assert list(zip(maps["run"], maps["dimension"], strict=True)) == [*both, ("s2_temporal_8f_seed0", "temporal")]
    assert maps["CC"].between(-1, 1).all() and (maps["RMSE"] > 0).all()
    assert "s3_8f_seed0" in (RESULTS / "figures" / "figure_b_3.md").read_text()


def test_drawn_figures_come_from_the_trained_network():
    for name in DRAWN:
        text = (RESULTS / "notebooks" / f"{Path(name).name}.ipynb").read_text()
        assert "48 validation clips" in text, name
        assert f"({name}.md)" in (RESULTS / "README.md").read_text()


def test_a_second_run_of_the_pipeline_does_nothing():
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "dvc", "repro", "report@smoke"]
    output = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True, check=True).stdout
    assert "up to date" in output and "Running stage" not in output


def test_the_checkout_was_left_alone():
    assert "smoke" not in yaml.safe_load((ROOT / "params.yaml").read_text())["active"]
    assert not (ROOT / "results" / "smoke").exists()
