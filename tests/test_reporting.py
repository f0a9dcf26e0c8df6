"""Tables for readers."""

from pathlib import Path

import pandas as pd
import pytest

from vared.reports import floor_reporting, reporting

PAPER = pd.read_csv(Path(__file__).resolve().parents[1] / "data" / "paper" / "table_4_1.csv")


def run(network, frames, search_space, seed, variant, clip1, cost, **more):
    word = f"s{search_space}" if search_space else network
    row = {"run": f"{word}_{frames}f_seed{seed}", "network": network, "frames": frames}
    row |= {"search_space": search_space, "seed": seed}
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
    assert dynamic["ours: GFLOPs avg (as the thesis counts)"] == "0.3500 (-30 %)"
    assert dynamic["thesis: GFLOPs avg"] == "20.0 (-28 %)"
    assert dynamic["ours: GFLOPs min (as the thesis counts)"] == "0.1750 (-65 %)"
    assert static["ours: seeds"] == 2
    # gates and cheap operations cost 0.01 each: 1 - (0.31 + 0.41) / 2 / 0.5
    assert dynamic["ours: saving, gates and cheap operations counted"] == "28.0 %"
    assert static["ours: saving, gates and cheap operations counted"] == "–"


def test_equal_epochs_stand_beside_every_length_and_never_show_a_number_of_the_thesis():
    runs = RUNS.assign(video1_top1=RUNS["video1_top1"].mask(RUNS["variant"] == "static_equal_epochs"))
    table = reporting.side_by_side(reporting.table_4_1(runs, PAPER))
    table = table[table["network"] == "static, equal epochs"].set_index("frames")
    assert table.index.tolist() == [8, 16, 32]
    assert set(table[[name for name in table.columns if name.startswith("thesis")]].to_numpy().ravel()) == {"–"}
    assert table.loc[8, "ours: clip-1"] == "83.0" and table.loc[16, "ours: clip-1"] == "not run"
    assert table.loc[8, "ours: video-1"] == "–", "run, but evaluated on centre clips only"


def test_a_cell_that_was_not_run_says_so_and_never_shows_the_thesis():
    table = reporting.side_by_side(reporting.table_4_1(RUNS, PAPER)).set_index(["frames", "network"])
    missing = table.loc[32, "dynamic, S = 2"]
    assert set(missing[[name for name in table.columns if name.startswith("ours")]]) == {"not run"}
    assert missing["thesis: GFLOPs avg"] == "79.3 (-28 %)"


def test_the_long_table_has_every_row_of_the_thesis():
    long = reporting.table_4_1(RUNS, PAPER)
    printed = long[long["thesis"].notna()]
    assert len(printed) == len(PAPER) * len(reporting.METRICS)
    assert printed[printed["metric"] == "gflops_avg"]["thesis"].tolist() == PAPER["gflops_avg"].tolist()
    assert "gflops_total" not in set(printed["metric"])


def test_controls_give_cost_accuracy_and_interval():
    comparisons = pd.DataFrame([{
        "group": "s2_8f", "first": "dynamic", "second": "static", "seeds": "0 1", "clips": 100,
        "difference": 0.4, "low": -1.2, "high": 2.0,
    }])  # fmt: skip
    table = reporting.controls_table(RUNS, comparisons, 8, 2).set_index("network")
    difference = "dynamic minus this, points (95 % interval)"
    assert table.loc["static", difference] == "+0.40 (-1.20 to +2.00)"
    assert table.loc["static, equal epochs", "clip-1"] == "83.0"
    assert table.loc["static, equal epochs", difference] == "not run"
    assert table.loc["policies dealt to other clips (random policy)", "seeds"] == "not run"
    # gates and cheap operations count here: 1 - (0.36) / 0.5
    assert table.loc["dynamic (VA-RED²)", "saving, gates and cheap operations counted"] == "28.0 %"
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


def test_fairness_sets_the_networks_beside_the_highest_floor():
    floors = pd.DataFrame([{
        "floor": "metadata only", "clips": 268, "chance": 0.0597, "accuracy": 0.1007, "bound": 0.0886, "passes": False,
        "method": "kNN, k = 5", "best": 0.1418, "best method": "ridge",
    }])  # fmt: skip
    table = floor_reporting.fairness_table(RUNS, floors).set_index("what decides")
    assert table.loc["static network on the video", "accuracy"] == "81.0 ± 1.4"
    assert table.loc[floor_reporting.SINGLE_FRAME[0], "accuracy"] == "31.0"
    floor = table.loc["floor: metadata only"]
    assert floor["accuracy"] == "10.1 (kNN, k = 5)" and floor["highest floor"] == "14.2 (ridge)"
    text = floor_reporting.fairness(RUNS[RUNS["network"] == "static"], floors, classes=21)
    assert "1/21 = 4.8 %" in text and "metadata only: 14.2 %" in text
    assert "| not run " in next(line for line in text.splitlines() if "one frame repeated" in line)
