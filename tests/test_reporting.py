"""Tables for readers."""

from pathlib import Path

import pandas as pd
import pytest

from vared import reporting

PAPER = pd.read_csv(Path(__file__).resolve().parents[1] / "data" / "paper" / "table_4_1.csv")


def run(network, frames, search_space, seed, variant, clip1, cost, **more):
    row = {"run": f"{network}{seed}", "network": network, "frames": frames, "search_space": search_space, "seed": seed}
    row |= {"variant": variant, "clips": 100, "gflops_static": 0.5, "clip1_top1": clip1, "video1_top1": clip1 + 1}
    row |= {"gflops_avg": cost, "gflops_max": cost, "gflops_min": cost / 2, "gflops_total": cost + 0.01}
    return row | more


RUNS = pd.DataFrame([
    run("static", 8, None, 0, "static", 80.0, 0.5), run("static", 8, None, 1, "static", 82.0, 0.5),
    run("static", 8, None, 0, "static_equal_epochs", 83.0, 0.5),
    run("dynamic", 8, 2, 0, "dynamic", 79.0, 0.3), run("dynamic", 8, 2, 1, "dynamic", 83.0, 0.4),
    run("dynamic", 8, 2, 0, "before_finetuning", 78.0, 0.49),
    run("single_frame", 8, None, 0, "static", 31.0, 0.5),
])  # fmt: skip


def test_a_row_averages_its_seeds_and_keeps_thesis_and_ours_apart():
    table = reporting.side_by_side(reporting.table_4_1(RUNS, PAPER)).set_index(["frames", "network"])
    static, dynamic = table.loc[8, "static"], table.loc[8, "dynamic, S = 2"]
    assert static["ours: clip-1"] == "81.0 ± 1.4" and static["thesis: clip-1"] == "56.4"
    assert dynamic["ours: clip-1"] == "81.0 ± 2.8" and dynamic["thesis: clip-1"] == "57.7"
    assert dynamic["ours: GFLOPs avg"] == "0.3500 (-30 %)" and dynamic["thesis: GFLOPs avg"] == "20.0 (-28 %)"
    assert dynamic["ours: GFLOPs min"] == "0.1750 (-65 %)"
    assert static["ours: seeds"] == 2


def test_a_cell_that_was_not_run_says_so_and_never_shows_the_thesis():
    table = reporting.side_by_side(reporting.table_4_1(RUNS, PAPER)).set_index(["frames", "network"])
    missing = table.loc[32, "dynamic, S = 2"]
    assert set(missing[[name for name in table.columns if name.startswith("ours")]]) == {"not run"}
    assert missing["thesis: GFLOPs avg"] == "79.3 (-28 %)"


def test_the_long_table_has_every_row_of_the_thesis():
    long = reporting.table_4_1(RUNS, PAPER)
    assert len(long) == len(PAPER) * len(reporting.METRICS)
    printed = long[long["metric"] == "gflops_avg"]["thesis"].tolist()
    assert printed == PAPER["gflops_avg"].tolist()


def test_controls_give_cost_accuracy_and_interval():
    comparisons = pd.DataFrame([{
        "frames": 8, "search_space": 2, "first": "dynamic", "second": "static", "seeds": "0 1", "clips": 100,
        "difference": 0.4, "low": -1.2, "high": 2.0,
    }])  # fmt: skip
    table = reporting.controls_table(RUNS, comparisons, 8, 2).set_index("network")
    difference = "dynamic minus this, points (95 % interval)"
    assert table.loc["static", difference] == "+0.40 (-1.20 to +2.00)"
    assert table.loc["static, equal epochs", "clip-1"] == "83.0"
    assert table.loc["static, equal epochs", difference] == "not run"
    assert table.loc["policies dealt to other clips (random policy)", "seeds"] == "not run"
    # gates and cheap operations count here: 1 - (0.36) / 0.5
    assert table.loc["dynamic (VA-RED²)", "saving"] == "28.0 %"
    assert table.loc["static, one frame repeated (floor)", "clip-1"] == "31.0"


def test_nothing_is_saved_unless_asked(tmp_path):
    files = {"a/t.md": "text", "a/t.csv": pd.DataFrame({"x": [1]}), "a/t.png": b"image"}
    assert reporting.save(tmp_path, files, write=False) == sorted(files) and not list(tmp_path.iterdir())
    reporting.save(tmp_path, files, write=True)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["t.csv", "t.md", "t.png"]
    assert (tmp_path / "a" / "t.csv").read_text() == "x\n1\n"


@pytest.mark.parametrize(("value", "text"), [(27.541, "27.54"), (0.0058447, "0.005845"), (110.162, "110.2")])
def test_costs_have_four_significant_digits(value, text):
    assert reporting.gflops(value) == text


def test_equal_figures_are_equal_bytes():
    import matplotlib.pyplot as plt

    def draw():
        figure, axis = plt.subplots(figsize=(1, 1))
        axis.plot([1, 2])
        image = reporting.png(figure)
        plt.close(figure)
        return image

    first = draw()
    assert first == draw() and b"Matplotlib" not in first
