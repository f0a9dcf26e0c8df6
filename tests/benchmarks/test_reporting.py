"""Tables and plot of made-up records, and the thesis's shares from its printed numbers."""

import json
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

from vared.benchmarks import layer_report, plotting, reporting
from vared.benchmarks.thesis import comparable, printed_speeds

matplotlib.use("Agg")
PAPER = Path(__file__).resolve().parents[2] / "data" / "paper"
MACHINE = {"processor": "A processor", "gpu": None, "threads": 2, "torch": "2"}


def record(name: str = "r2plus1d_18", **case) -> dict:
    case = {
        "network": "r2plus1d_18", "run": "", "frames": 16, "crop_size": 128, "width": 1.0, "search_space": 2,
        "batch": 8, "mix": "ratio-0.63", "device": "cpu", "dtype": "float32", **case,
    }  # fmt: skip
    static = {"median": 4.0, "iqr": 0.1, "gmacs": 50.0, "gmacs_total": 50.0, "peak_bytes": 300 * 2**20}
    dynamic = {
        "median": 3.2, "iqr": 0.2, "gmacs": 37.5, "gmacs_total": 40.0, "peak_bytes": 150 * 2**20, "ideal": 0.25,
        "saved": {"time": 0.2, "low": 0.18, "high": 0.22}, "realised": 0.8, "realised_total": 1.0,
    }  # fmt: skip
    trials = [
        {"version": "folded", "seconds": [4.0]}, {"version": "as it is", "seconds": [5.0, 6.0, 7.0]},
        {"version": "compiled", "error": "no compiler"},
    ]  # fmt: skip
    return {
        "name": name, "kind": "inference", "case": case, "machine": MACHINE, "static": "folded", "trials": trials,
        "gmacs": {"static": 50.0}, "bounds": {"onnx specialised": {"median": 2.0, "iqr": 0.1, "gmacs": 20.0}},
        "eager_memory": {"peak_bytes": 200 * 2**20},
        "versions": {"folded": static, "second": static, "dynamic, accelerated": dynamic},
    }  # fmt: skip


def training_record() -> dict:
    row = {"layout": {"best": "contiguous"}, "median": 2.0, "iqr": 0.1, "peak_bytes": 2**20}
    versions = {"static": row | {"relative_time": 1.0, "relative_memory": 1.0}}
    versions["dynamic, S = 2"] = row | {"relative_time": 1.1, "relative_memory": 1.2}
    return record("step") | {"kind": "training", "versions": versions}


@pytest.mark.parametrize(
    ("network", "share"), [("r2plus1d_18", 0.40), ("i3d", 0.34), ("x3d_m", 0.26)]
)  # fmt: skip
def test_shares_of_the_thesis_by_hand(network, share):
    assert comparable(printed_speeds(PAPER), network, 16, 2)["realised"] == pytest.approx(share, abs=0.005)


def test_every_printed_pair_is_there_once_and_ablations_are_not():
    speeds = printed_speeds(PAPER)
    assert len(speeds) == 16 and not speeds.duplicated(["network", "dataset", "frames", "search_space"]).any()
    row = speeds.set_index(["network", "dataset", "frames"]).loc[("i3d", "Kinetics-400", 32)]
    assert (row["static_gflops"], row["gflops"], row["static_speed"], row["speed"]) == (112.0, 64.3, 57.6, 71.7)
    assert row["realised"] == pytest.approx((1 - 57.6 / 71.7) / (1 - 64.3 / 112.0))
    assert speeds["realised"].min() == pytest.approx(0.21, abs=0.005)
    assert speeds["realised"].max() == pytest.approx(0.46, abs=0.005)
    assert comparable(speeds, "x3d_m", 32, 2) == {"ideal": None, "saved": None, "realised": None}


def test_rows_and_table_keep_thesis_and_ours_apart():
    rows = reporting.inference_rows([record(), record("narrow", width=0.5), training_record()], printed_speeds(PAPER))
    assert list(rows["role"]) == [reporting.TRIED, reporting.FASTEST, reporting.DYNAMIC, reporting.BOUND] * 2
    full, narrow = rows[rows["role"] == reporting.DYNAMIC].to_dict("records")
    assert (full["realised"], round(full["thesis_realised"], 2)) == (0.8, 0.4)
    assert narrow["thesis_realised"] is None or narrow["thesis_realised"] != narrow["thesis_realised"]
    assert full["seconds_per_clip"] == 0.4 and full["clips_per_second"] == 2.5
    static = rows[rows["role"] == reporting.FASTEST].iloc[0]
    assert static["memory"] == 200 and full["memory"] == 150  # what a compiler leaves behind is not the network's
    assert rows.iloc[0]["seconds"] == 6.0
    lines = reporting.inference_table(rows).splitlines()
    assert len(lines) == 4
    cells = dict(zip((w.strip() for w in lines[0].split("|")), (w.strip() for w in lines[2].split("|")), strict=True))
    assert (cells["realised share"], cells["thesis: realised share"], cells["ideal gain"]) == ("0.80", "0.40", "25.0 %")
    assert (cells["clips/s"], cells["all counted"]) == ("2 → 2.5", "40.00")


def test_training_rows_are_apart():
    rows = reporting.training_rows([record(), training_record()])
    assert list(rows["version"]) == ["static", "dynamic, S = 2"] and list(rows["relative_memory"]) == [1.0, 1.2]
    assert "| 1.10 " in reporting.training_table(rows)


def test_without_measurements_there_is_a_sentence_and_a_picture(tmp_path):
    assert reporting.read_records(tmp_path) == []
    rows = reporting.inference_rows([], printed_speeds(PAPER))
    assert reporting.inference_table(rows) == reporting.training_table(reporting.training_rows([])) == reporting.NOTHING
    assert plotting.draw_speed(rows).axes


def test_a_file_that_is_no_record_is_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(record()))
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ValueError, match="b.json is no record of a benchmark: it lacks case"):
        reporting.read_records(tmp_path)


def test_the_plot_shows_every_version_below_its_line():
    rows = reporting.inference_rows([record(), record("other")], printed_speeds(PAPER))
    figure = plotting.draw_speed(rows)
    axis = figure.axes[0]
    line = axis.lines[0]
    assert list(line.get_xdata()) == [0, pytest.approx(57.5)] and line.get_ydata()[1] == pytest.approx(0.5 * 1.15)
    points = [(c.lines[0].get_xdata()[0], c.lines[0].get_ydata()[0]) for c in axis.containers]
    assert points == [(50.0, 0.75), (50.0, 0.5), (37.5, 0.4), (20.0, 0.25)]
    assert "GMACs" in axis.get_xlabel() and "seconds" in axis.get_ylabel() and len(figure.axes) == 2
    markers = [c.lines[0].get_marker() for c in axis.containers]
    assert len(set(markers)) == len(markers) and figure.legends


def test_exported_versions_have_a_table_of_their_own():
    rows = reporting.inference_rows([record()], printed_speeds(PAPER))
    lines = reporting.exported_table(rows).splitlines()
    assert len(lines) == 3 and "onnx specialised" in lines[2] and "0.50" in lines[2]
    assert "onnx" not in reporting.inference_table(rows)
    assert reporting.exported_table(rows[rows["role"] == reporting.DYNAMIC]) == reporting.NOTHING


def layer(name: str, seconds: float) -> dict:
    return {
        "layer": name, "kind": "plain", "seconds": seconds, "gmacs": 2.0, "gigabytes": 0.5, "intensity": 4.0,
        "attainable": 0.05, "efficiency": 0.05 / seconds, "remaining": seconds - 0.05, "share": seconds,
    }  # fmt: skip


def test_layers_are_reported_where_they_were_measured():
    tables = {"static": [layer("stem", 0.1), layer("head", 0.3)], "dynamic": [layer("stem", 0.1)]}
    records = [record(), record("other") | {"layers": tables, "limits": {"peak": 40.0, "bandwidth": 20.0}}]
    rows = layer_report.layer_rows(records)
    assert list(rows["network"]) == ["static", "static", "dynamic"] and set(rows["case"]) == {"other"}
    text = layer_report.layers_text(rows)
    assert text.index("other, static") < text.index("head") < text.index("other, dynamic")
    figure = layer_report.draw_layers(records, rows)
    assert [axis.get_title() for axis in figure.axes] == ["other, static", "other, dynamic"]
    assert layer_report.layers_text(layer_report.layer_rows([record()])) == reporting.NOTHING


@pytest.mark.parametrize("table", [
    reporting.inference_rows([], pd.DataFrame()), reporting.training_rows([]), layer_report.layer_rows([]),
])  # fmt: skip
def test_a_table_of_no_records_can_be_read_again(tmp_path, table):
    table.to_csv(tmp_path / "table.csv", index=False)
    again = pd.read_csv(tmp_path / "table.csv")
    assert again.empty and "case" in again
