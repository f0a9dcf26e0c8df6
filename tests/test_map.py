"""The README's map from the thesis to files holds, and its results are those on disk."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.test_pipeline_graph import STAGES, content
from vared.reports.report_page import MARKERS, data_readme_results, readme_results

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MAP = re.search(r"^## Map.*?(?=^## )", README, flags=re.MULTILINE | re.DOTALL)[0]
EQUATIONS = re.findall(r"\(((?:3|A)\.\d)\)", MAP)


def headlines() -> dict[str, str]:
    """Path -> first line of the docstring of every module."""
    found = {}
    for path in (ROOT / "vared").rglob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        found[path.relative_to(ROOT).as_posix()] = text.partition("\n")[0]
    return found


def committed(name: str) -> pd.DataFrame:
    """A table of the default profile's results; skips the test when it was not made yet."""
    path = ROOT / "results" / name
    if not path.exists():
        pytest.skip(f"results/{name} is absent: the default profile was not computed yet; run make repro")
    return pd.read_csv(path)


def own_runs() -> pd.DataFrame:
    """Rows of the default profile's own network on its own data."""
    return committed("runs.csv").query("data == 'embedded' and backbone == 'r2plus1d_18'")


def pipeline_stages() -> dict[str, dict]:
    return {name: content(name) for name in STAGES}


def test_every_equation_is_the_headline_of_exactly_the_file_that_the_map_names():
    assert EQUATIONS == ["3.1", "3.5", "3.2", "3.3", "3.4", "3.6", "A.1", "A.2"]
    for number in EQUATIONS:
        homes = [path for path, line in headlines().items() if f"({number})" in line]
        row = next(line for line in MAP.splitlines() if f"({number})" in line)
        assert len(homes) == 1, f"equation ({number}) is the headline of {homes}"
        assert f"`{homes[0]}`" in row


def test_every_file_and_stage_of_the_map_exists():
    stages = pipeline_stages()
    for word in re.findall(r"`([\w./@]+)`", MAP):
        if "@" in word or word in stages:
            assert word.split("@")[0] in stages
        elif not word.startswith("results/"):
            assert (ROOT / word).exists(), word


def test_every_table_and_figure_of_the_map_is_an_output_of_its_stage():
    stages = pipeline_stages()
    rows = [line for line in MAP.splitlines() if "stage `" in line]
    assert rows
    for line in rows:
        result, notebook, stage = re.findall(r"`([\w./@]+)`", line)
        content = stages[stage.split("@")[0]]
        outs = {name.replace("${item}", "results") for entry in content["outs"] for name in entry}
        assert result in outs and notebook in content["deps"]


@pytest.mark.parametrize(
    ("path", "part", "source"),
    [("README.md", readme_results, "tables/table_4_1.csv"), ("data/README.md", data_readme_results, "floors.csv")],
)
def test_the_results_in_a_readme_are_those_of_the_last_run(path, part, source):
    committed("runs.csv")
    committed(source)
    start, end = MARKERS
    shown = (ROOT / path).read_text().partition(start)[2].partition(end)[0].strip()
    assert shown == part(ROOT).strip(), "run: vared readme"


def test_the_data_readme_shows_both_networks_and_every_floor_as_measured():
    runs, floors = own_runs(), committed("floors.csv")
    text = (ROOT / "data" / "README.md").read_text()
    titles = {"static": "static network on the video", "single_frame": "trained on one frame repeated"}
    for network, title in titles.items():
        mean = runs.query(f"network == '{network}' and frames == 8 and variant == 'static'")["clip1_top1"].mean()
        row = next(line for line in text.splitlines() if line.startswith("|") and title in line)
        assert f" {mean:.1f} " in row
    for floor in floors.itertuples():
        row = next(line for line in text.splitlines() if line.startswith(f"| floor: {floor.floor} "))
        for value in (floor.chance, floor.accuracy, floor.bound, floor.best):
            assert f" {100 * value:.1f} " in row
        assert floor.method in row


def test_the_committed_floors_are_within_their_bounds():
    floors = committed("floors.csv").set_index("floor")
    assert set(floors.index) == {
        "metadata only, all classes", "middle frame, motion classes", "middle frame, within time-order pairs",
    }  # fmt: skip
    chance = floors["chance"]
    # Written anew: chance plus two standard errors of a share of as many clips.
    bound = chance + 2 * (chance * (1 - chance) / floors["clips"]) ** 0.5
    assert floors["bound"].tolist() == pytest.approx(bound.tolist(), abs=1e-5)
    above = floors[floors["accuracy"] > bound + 1e-5]
    assert above.empty, f"not a fair test of motion: {above[['accuracy', 'bound']]}"
    assert floors["passes"].all()


def test_the_committed_static_network_needs_the_video_and_leaves_room():
    runs = own_runs().query("frames == 8 and variant == 'static'")
    accuracy = runs.groupby("network")["clip1_top1"].agg(["min", "mean", "max"])
    assert 65 <= accuracy.loc["static", "mean"] <= 90
    assert accuracy.loc["single_frame", "max"] <= accuracy.loc["static", "min"] - 30


def test_the_patent_notice_stands_in_the_readme():
    assert "US patent application 20230082448" in README and "grants no rights" in " ".join(README.split())
