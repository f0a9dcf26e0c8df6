"""The README's map from the thesis to files holds, and its results are those on disk."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from vared.report_page import MARKERS, readme_results

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


def pipeline_stages() -> dict[str, dict]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


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


def test_the_results_in_the_readme_are_those_of_the_last_run():
    if not (ROOT / "results" / "tables" / "table_4_1.csv").exists():
        pytest.skip("the default profile has no results yet")
    start, end = MARKERS
    shown = README.partition(start)[2].partition(end)[0].strip()
    assert shown == readme_results(ROOT).strip(), "run: vared readme"


def test_the_patent_notice_stands_in_the_readme():
    assert "US patent application 20230082448" in README and "grants no rights" in " ".join(README.split())


def test_the_floors_in_the_data_readme_are_those_measured():
    text = (ROOT / "data" / "README.md").read_text()
    for row in pd.read_csv(ROOT / "results" / "floors.csv").itertuples():
        shares = [f"{100 * value:.1f} %" for value in (row.chance, row.accuracy, row.bound)]
        line = f"| {row.floor} | {row.clips} | {' | '.join(shares)} | {row.method} | {100 * row.best:.1f} % |"
        assert line in text, f"data/README.md lacks the line: {line}"
