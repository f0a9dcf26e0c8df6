"""Table B.1, figures B-1 and B-6 and the table of adaptivity on made-up numbers."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from vared.analysis.similarity import MEASURES
from vared.figures import first_layer
from vared.reports import adaptivity_reporting, redundancy_reporting

PAPER = Path(__file__).resolve().parents[1] / "data" / "paper"


def redundancy() -> pd.DataFrame:
    """Two seeds of 8 frames, one of 16; CC tells run, tensor and dimension apart."""
    rows = []
    for base, run in ((0.5, "static_8f_seed0"), (0.7, "static_8f_seed1"), (0.9, "static_16f_seed0")):
        for step, tensor in ((0.0, "convolution"), (0.01, "rectified")):
            for sign, dimension in ((0.0, "temporal"), (-0.3, "channel")):
                row = {"run": run, "tensor": tensor, "dimension": dimension, "clips": 20}
                row |= dict.fromkeys(MEASURES, 0.25) | {"CC": base + step + sign}
                rows.append(row | {"CC_5%": row["CC"] - 0.1, "CC_95%": row["CC"] + 0.1})
    return pd.DataFrame(rows)


def long_table(network: str = "r2plus1d_18") -> pd.DataFrame:
    return redundancy_reporting.table_b_1(redundancy(), pd.read_csv(PAPER / "table_b_1.csv"), network, "embedded")


def test_thesis_and_ours_never_share_a_row_and_seeds_are_averaged():
    long = long_table()
    assert (long["thesis"].notna() != long["ours"].notna()).all()
    ours = long.dropna(subset="ours").set_index(["frames", "tensor", "dimension", "quantity"])
    row = ours.loc[(8, "rectified", "channel", "CC")]
    assert row["ours"] == pytest.approx(0.31) and row["spread"] == pytest.approx(0.02**0.5, abs=1e-6)
    assert (row["seeds"], row["clips"]) == (2, 20) and pd.isna(ours.loc[(16, "rectified", "channel", "CC"), "spread"])
    assert long["thesis"].notna().sum() == 24 and len(ours) == 2 * 2 * 2 * len(MEASURES)


def test_table_b_1_for_reading():
    table = redundancy_reporting.side_by_side_b_1(long_table()).set_index(["network", "dimension", "quantity"])
    thesis, own = (
        ["thesis: Moments-In-Time", "thesis: Kinetics-400"],
        ["ours: embedded, 8 frames", "ours: embedded, 16 frames"],
    )
    assert table.columns.tolist() == thesis + own and len(table) == 12
    assert table.loc[("R(2+1)D-18", "temporal", "CC")].tolist() == ["0.73", "0.78", "0.600 ± 0.141", "0.900"]
    assert table.loc[("I3D-InceptionV2", "channel", "RP")].tolist() == ["0.48", "0.61", "not run", "not run"]


def test_networks_that_the_thesis_does_not_measure_have_rows_of_their_own():
    table = redundancy_reporting.side_by_side_b_1(long_table("x3d_m")).set_index(["network", "dimension", "quantity"])
    assert table.loc[("X3D-M", "temporal", "CC")].tolist() == ["–", "–", "0.600 ± 0.141", "0.900"]
    assert set(table.loc["R(2+1)D-18"]["ours: embedded, 8 frames"]) == {"not run"}


def test_networks_and_data_sets_that_a_word_names_are_kept_apart():
    other = redundancy().query("run == 'static_16f_seed0'").assign(run="embedded_kinetics-i3d-static_8f_seed0", CC=0.1)
    both = pd.concat([redundancy(), other])
    long = redundancy_reporting.table_b_1(both, pd.read_csv(PAPER / "table_b_1.csv"), "r2plus1d_18", "embedded")
    table = redundancy_reporting.side_by_side_b_1(long).set_index(["network", "dimension", "quantity"])
    i3d, own = table.loc[("I3D-InceptionV2", "temporal", "CC")], table.loc[("R(2+1)D-18", "temporal", "CC")]
    assert i3d["ours: embedded_kinetics, 8 frames"] == "0.100" and i3d["ours: embedded, 8 frames"] == "not run"
    assert own["ours: embedded_kinetics, 8 frames"] == "not run" and own["ours: embedded, 8 frames"] == "0.600 ± 0.141"
    assert len(table) == 12
    rows = redundancy_reporting.readings(long).set_index(["network", "data", "tensor", "dimension", "frames"])
    assert rows.loc[("I3D-InceptionV2", "embedded_kinetics", "convolution", "temporal", 8), "CC"] == "0.100"
    assert len(rows) == 12


def test_without_any_run_the_table_says_so():
    nothing = pd.DataFrame(columns=["run", "tensor", "dimension", "clips", *MEASURES])
    long = redundancy_reporting.table_b_1(nothing, pd.read_csv(PAPER / "table_b_1.csv"), "r2plus1d_18", "embedded")
    table = redundancy_reporting.side_by_side_b_1(long)
    assert len(table) == 12 and set(table["ours"]) == {"not run"}


def test_every_reading_has_a_row_and_the_range_over_clips():
    table = redundancy_reporting.readings(long_table()).set_index(["frames", "tensor", "dimension"])
    assert len(table) == 8 and table.loc[(8, "convolution", "temporal"), "CC, 5 % to 95 % of clips"] == "0.500 to 0.700"
    assert table.loc[(16, "rectified", "channel"), "CC"] == "0.610"
    assert [title in table for title in redundancy_reporting.READINGS.values()] == [True] * len(MEASURES)


def test_the_bins_that_the_thesis_prints():
    figures, table = pd.read_csv(PAPER / "figures.csv"), pd.read_csv(PAPER / "table_4_1.csv")
    assert adaptivity_reporting.printed_bins(figures, table) == {15: 87.7, 14: 8.8, 16: 3.5}  # 70 to 75 % of 55.2
    figures["values_in_text"] = "nothing"
    with pytest.raises(ValueError, match="figure B-6"):
        adaptivity_reporting.printed_bins(figures, table)


def costs() -> pd.DataFrame:
    percent = {"s2_8f_seed0": [70.0, 72, 74, 81], "s2_8f_seed1": [71.0, 72, 74, 75], "s3_8f_seed0": [66.0] * 4}
    return pd.DataFrame([{"run": run, "cost_percent": cost} for run, of_run in percent.items() for cost in of_run])


def test_the_distribution_of_cost_over_clips():
    histogram = adaptivity_reporting.cost_histogram(costs(), {15: 87.7, 16: 12.3})
    cells = histogram.set_index(["group", "to_percent"])
    assert cells.loc["s2_8f"]["ours"].to_dict() == {70: 12.5, 75: 75.0, 80: 0.0, 85: 12.5}
    assert cells.loc[("s2_8f", 75), "spread"] == pytest.approx(50 / 2**0.5, abs=1e-3)
    assert cells.loc["s3_8f"]["ours"].tolist() == [100, 0, 0, 0] and cells.loc[("s3_8f", 70), "seeds"] == 1
    assert cells.loc["thesis"]["thesis"].tolist() == [0, 87.7, 12.3, 0]
    assert (histogram["thesis"].notna() != histogram["ours"].notna()).all()
    table = adaptivity_reporting.histogram_table(histogram).set_index("cost, % of the static network's")
    assert table.columns.tolist()[1:] == ["ours: 8 frames, S = 2", "ours: 8 frames, S = 3"]
    assert table.loc["70 to 75"].tolist() == ["87.7 %", "75.0 ± 35.4 %", "0.0 %"]


def test_without_a_dynamic_run_only_the_thesis_has_a_distribution():
    nothing = pd.DataFrame(columns=["run", "clip", "label", "cost_percent"])
    table = adaptivity_reporting.histogram_table(adaptivity_reporting.cost_histogram(nothing, {15: 100.0}))
    assert table["ours"].tolist() == ["not run"]


def test_adaptivity_of_a_group_in_one_row():
    adaptivity = pd.DataFrame({
        "run": ["s2_8f_seed0", "s2_8f_seed1", "s2_16f_seed0"], "mean": [1.0, 1.2, 3.0], "std": 0.1, "min": 0.8,
        "max": [1.4, 1.4, 4.0], "fullest_bin": [40.0, 60.0, 90.0], "temporal_entropy": 0.5, "channel_entropy": 0.25,
        "temporal_class_information": 0.125, "channel_class_information": 0.0,
    })  # fmt: skip
    runs = pd.DataFrame({"run": adaptivity["run"], "gflops_static": [2.0, 2.0, 4.0]})
    comparisons = pd.DataFrame([{
        "group": "s2_8f", "first": "dynamic", "second": "mean_policy", "difference": 3.7, "low": 2.1,
        "high": 5.4,
    }])  # fmt: skip
    table = adaptivity_reporting.adaptivity_table(adaptivity, runs, comparisons).set_index("network")
    row = table.loc["8 frames, S = 2"]
    assert row["cost, % of static"] == "55.0 ± 7.1" and row["least to most costly clip"] == "40.0 to 70.0"
    assert row["fullest bin of 5 %"] == "50.0 % of clips" and row["temporal entropy (bits)"] == "0.500"
    gains = table[[name for name in table if name.startswith("clip-1 minus")]]
    assert gains.loc["8 frames, S = 2"].tolist() == ["+3.70 (+2.10 to +5.40)", "not run"]
    assert set(gains.loc["16 frames, S = 2"]) == {"not run"}


def test_correlations_are_shown_for_groups_where_there_are_several_seeds():
    rows = []
    for run, rho in (
        ("static_8f_seed0", -0.9),
        ("static_8f_seed1", -0.7),
        ("static_8f", -0.8),
        ("static_16f_seed0", 0.1),
    ):
        for known in adaptivity_reporting.KNOWN:
            value = float("nan") if known == "clutter" else rho
            row = {
                "run": run,
                "measured": "temporal CC",
                "known": known,
                "rho": value,
                "low": rho - 0.1,
                "high": rho + 0.1,
            }
            rows.append(row | {"clips": 40})
    table = adaptivity_reporting.correlation_text(pd.DataFrame(rows), ("temporal CC", "cost")).set_index("network")
    motion, clutter = (adaptivity_reporting.KNOWN_TITLES[name] for name in ("motion", "clutter"))
    assert table[motion].to_dict() == {
        "8 frames, static": "-0.80 (-0.90 to -0.70)", "16 frames, static": "+0.10 (+0.00 to +0.20)",
    }  # fmt: skip
    assert table["seeds"].tolist() == [2, 1] and table[clutter].tolist() == ["constant"] * 2


def first_maps(still: bool) -> first_layer.FirstMaps:
    maps = torch.randn(9, 3, 6, 6)
    if still:
        maps[:, 1:] = maps[:, :1]
        maps[2, 1] = 5.0  # one value: no correlation
    return first_layer.FirstMaps(torch.rand(3, 3, 12, 12), maps)


def test_maps_of_a_still_clip_correlate_from_frame_to_frame():
    table = first_layer.correlations({"most": first_maps(True), "least": first_maps(False)})
    most, least = (table[table["which"] == which].set_index("filter") for which in ("most", "least"))
    assert most["frames_1_2"].drop(3).tolist() == [1.0] * 8 and pd.isna(most.loc[3]).sum() == 2
    assert least["frames_2_3"].abs().max() < 0.9


def test_maps_are_drawn_a_row_a_frame_and_correlations_a_panel_a_clip():
    shown = {"most": first_maps(True), "least": first_maps(False)}
    figure = Figure()
    first_layer.draw_maps(figure, shown)
    blocks = [part.axes for part in figure.subfigs]
    assert [len(axes) for axes in blocks] == [30, 30]
    drawn = blocks[1][11].images[0]  # second row, second column: frame 2 of the first filter
    assert (drawn.get_array() == shown["least"].maps[0, 1].numpy()).all()
    limit = shown["least"].maps[0].abs().max().item()
    assert drawn.get_clim() == pytest.approx((-limit, limit)) and blocks[1][10].get_ylabel() == "frame 2"
    figure = Figure()
    first_layer.draw_correlations(figure, shown)
    assert [axis.get_title() for axis in figure.axes] == ["most", "least"]
    assert len(figure.axes[0].patches) >= 16
