"""The thesis's tables beside ours, on runs made up so that every cell is known."""

import json
from pathlib import Path

import pandas as pd
import pytest

from vared.claims.tables import Results
from vared.reports import table_pages, table_reporting, thesis_tables

ROOT = Path(__file__).resolve().parents[1]
COSTS = ("gflops_avg", "gflops_max", "gflops_min", "gflops_total")


def paper(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / "paper" / f"{name}.csv")


def thesis(name: str) -> pd.DataFrame:
    table = paper(name)
    if name == "table_4_8":
        table = thesis_tables.with_table_4_1(table, paper("table_4_1"))
    return thesis_tables.thesis_rows(table)


TABLES = [f"table_{name}" for name in ("4_2", "4_3", "4_4", "4_5", "4_6", "4_7", "4_8", "4_10", "4_11", "4_12", "b_2")]


def run(network, variant, seed, clip1, cost, **more):
    space = 2 if network == "dynamic" else None
    row = {
        "run": f"{network}_{'_'.join(str(value) for value in more.values())}_{seed}", "network": network, "frames": 16,
        "search_space": space, "seed": seed, "variant": variant, "clip1_top1": clip1, "video1_top1": clip1 + 2,
        "video5_top5": 90.0,
    } | dict.fromkeys(COSTS, cost)  # fmt: skip
    return row | {"gflops_total": cost + 0.05 * (network == "dynamic")} | more


def pair(gains, saving=0.3, **more) -> list[dict]:
    """Static (also of equal epochs) and dynamic networks of seeds 0, 1, ...; the dynamic ones gain so many points."""
    rows = []
    for seed, gain in enumerate(gains):
        rows.append(run("static", "static", seed, 70.0 + seed, 1.0, **more))
        rows.append(run("static", "static_equal_epochs", seed, 71.0 + seed, 1.0, **more) | {"video1_top1": None})
        rows.append(run("dynamic", "dynamic", seed, 70.0 + seed + gain, 1 - saving, **more))
        before = run("dynamic", "before_finetuning", seed, 69.0 + seed, 1.0, **more)
        rows.append(before | {"video1_top1": None, "video5_top5": None})
    return rows


@pytest.fixture
def results(tmp_path):
    """Function that writes runs.csv, speeds and full-size costs to a folder of results and reads them."""

    def write(runs, speeds=()) -> Results:
        (tmp_path / "benchmarks").mkdir(exist_ok=True)
        summary = {"model": {"backbone": "r2plus1d_18"}, "data": {"source": "embedded"}}
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        pd.DataFrame(runs).to_csv(tmp_path / "runs.csv", index=False)
        pd.DataFrame(speeds, columns=None if speeds else ["case", "version"]).to_csv(
            tmp_path / "benchmarks" / "speed.csv", index=False
        )
        static = pd.read_csv(ROOT / "results" / "static_costs.csv")
        static.to_csv(tmp_path / "static_costs.csv", index=False)
        return Results("embedded", tmp_path, tmp_path)

    return write


def lines(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table by heading."""
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def read(name: str, found: Results) -> tuple[list[dict], list[dict], str]:
    """The three parts of a table: rows of values, rows of differences, text of speeds."""
    rows = thesis(name)
    values = lines(table_pages.value_text(table_reporting.values(rows, found)))
    changes = lines(table_pages.difference_text(table_reporting.differences(rows, found)))
    return values, changes, table_pages.speed_text(table_reporting.speeds(rows, found))


def only(rows: list[dict], **where) -> dict:
    (row,) = [row for row in rows if all(row[name.replace("_", " ")] == value for name, value in where.items())]
    return row


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_every_row_of_the_thesis_and_says_what_was_not_run(name, results):
    elsewhere = results([run("static", "static", 0, 50.0, 1.0, frames=4)])
    values, changes, speed = read(name, elsewhere)
    printed = [row for row in values if row["thesis: GFLOPs"] != "–"]
    expected = paper(name)["gflops"].tolist()
    if name == "table_4_8":
        expected += [27.7, 20.0, 55.2, 40.4, 110.5, 79.3]
    assert sorted(float(row["thesis: GFLOPs"]) for row in printed) == sorted(expected)
    ours = [{key: cell for key, cell in row.items() if key.startswith("ours")} for row in values + changes]
    assert all(set(row.values()) == {"not run"} for row in ours)
    assert {row["verdict"] for row in changes} <= {"not run", "–"}
    assert "not run" in speed or speed == table_pages.NO_SPEED
    assert (speed == table_pages.NO_SPEED) == ("clips_per_second" not in paper(name))


def test_rows_without_the_new_columns_are_of_the_profiles_network_and_data(results):
    values, changes, _ = read("table_4_2", results(pair([2.0, 2.1, 1.9])))
    static, dynamic = (only(values, model="R(2+1)D-18", network=name) for name in ("static", "dynamic"))
    assert (
        static["ours: clip-1"] == "71.0 ± 1.0" and static["ours: seeds"] == "3" and static["ours: data"] == "embedded"
    )
    assert dynamic["ours: clip-1"] == "73.0 ± 1.0" and dynamic["thesis: clip-1"] == "60.6" and dynamic["S"] == "2"
    assert dynamic["ours: GFLOPs (as the thesis counts)"] == "0.7000"
    assert dynamic["ours: GFLOPs (gates and cheap operations counted)"] == "0.7500"
    assert static["plain network in full size, ours: GFLOPs"] == "55.08" and static["thesis: GFLOPs"] == "55.2"
    equal = only(values, model="R(2+1)D-18", network="static, equal epochs")
    assert equal["ours: clip-1"] == "72.0 ± 1.0" and equal["ours: video-1"] == "–" and equal["thesis: clip-1"] == "–"
    assert only(values, model="X3D-M", network="dynamic")["ours: clip-1"] == "not run"
    assert only(values, model="X3D-M", network="static")["thesis: GFLOPs"] == "6.20"
    change = only(changes, model="R(2+1)D-18", difference="dynamic (S = 2) minus static")
    assert change["thesis: GFLOPs"] == "-26.8 %" and change["thesis: clip-1"] == "+3.1"
    assert change["ours: GFLOPs (as the thesis counts)"] == "-30.0 % (-30.0 to -30.0)"
    assert change["ours: GFLOPs (gates and cheap operations counted)"].startswith("-25.0 %")
    assert change["ours: clip-1"] == "+2.00 (+1.75 to +2.25)" and change["verdict"] == "as in the thesis"
    later = only(changes, model="R(2+1)D-18", difference="dynamic (S = 2) minus static, equal epochs")
    assert later["ours: clip-1"].startswith("+1.00") and later["ours: video-1"] == "–" and later["verdict"] == "–"
    assert only(changes, model="X3D-M", difference="dynamic (S = 2) minus static")["verdict"] == "not run"


@pytest.mark.parametrize(
    ("gains", "saving", "verdict"),
    [
        ([2.0, 2.1, 1.9], 0.3, "as in the thesis"),
        ([-2.0, -2.1, -1.9], 0.3, "differs: clip-1, video-1"),
        ([5.0, -4.0, 1.0], 0.3, "undecided: clip-1, video-1"),
        ([2.0, 2.1, 1.9], -0.1, "differs: GFLOPs"),
        ([2.0, 2.1], 0.3, "not tested: 2 seeds"),
        ([2.0], 0.3, "not tested: 1 seed"),
    ],
)
def test_a_verdict_looks_at_the_sign_of_the_whole_interval(results, gains, saving, verdict):
    _, changes, _ = read("table_4_12", results(pair(gains, saving)))
    row = only(changes, difference="dynamic (S = 2) minus static")
    assert row["verdict"] == verdict and row["ours: seeds"] == str(len(gains))


def test_no_change_in_the_thesis_is_met_by_a_small_one(results):
    def verdict(gain):
        rows = pair([gain, gain, gain], frames=32, data="embedded_kinetics")
        _, changes, _ = read("table_4_6", results(rows))
        return only(changes, model="R(2+1)D-18", difference="dynamic (S = 2) minus static")["verdict"]

    assert verdict(0.5) == "differs: video-5"  # R(2+1)D: clip-1 61.5 on both sides; video-5 is 90 on both of ours
    assert verdict(1.5) == "differs: clip-1, video-5"


def test_data_sets_backbones_and_training_are_told_apart(results):
    rows = pair([1.0, 1.0, 1.0], backbone="x3d_m", data="embedded_kinetics", training="usual", dimensions="both")
    rows += pair([-3.0, -3.0, -3.0], backbone="x3d_m", data="embedded_kinetics", training="long", dimensions="both")
    rows += pair([5.0, 5.0, 5.0], backbone="x3d_m", data="embedded", training="usual", dimensions="both")
    found = results(rows)
    _, changes, _ = read("table_b_2", found)
    by_training = {row["training"]: row for row in changes if row["difference"] == "dynamic (S = 2) minus static"}
    assert by_training["usual"]["ours: clip-1"].startswith("+1.00") and by_training["long"]["verdict"].startswith(
        "differs"
    )
    assert by_training["long"]["thesis: GFLOPs"] == "-8.6 %" and by_training["usual"]["thesis: GFLOPs"] == "-16.2 %"
    for name, expected in (("table_4_2", "+5.00"), ("table_4_5", "+1.00"), ("table_4_7", "not run")):
        _, changes, _ = read(name, found)
        row = only(changes, model="X3D-M", difference="dynamic (S = 2) minus static")
        assert row["ours: clip-1"].startswith(expected)


def test_halves_of_the_method_are_compared_with_the_static_network_and_the_whole(results):
    rows = pair([2.0, 2.1, 1.9], frames=8, dimensions="both")
    for half, gain in (("temporal", 1.0), ("channel", 0.5)):
        rows += [row | {"dimensions": half} for row in pair([gain] * 3, 0.1, frames=8) if row["variant"] == "dynamic"]
    _, changes, _ = read("table_4_11", results(rows))
    expected = {
        "dynamic, temporal only (S = 2) minus static": "+1.00", "dynamic, channel only (S = 2) minus static": "+0.50",
        "dynamic (S = 2) minus static": "+2.00", "dynamic (S = 2) minus dynamic, temporal only": "+1.00",
        "dynamic (S = 2) minus dynamic, channel only": "+1.50",
    }  # fmt: skip
    for difference, number in expected.items():
        assert only(changes, difference=difference)["ours: clip-1"].startswith(number)
    assert only(changes, difference="dynamic (S = 2) minus dynamic, temporal only")["thesis: GFLOPs"] == "-14.9 %"


def test_phase_2_is_compared_with_phase_1_on_centre_clips(results):
    rows = pair([2.0, 2.1, 1.9], data="embedded_kinetics")
    _, changes, _ = read("table_4_10", results(rows))
    row = only(changes, model="R(2+1)D-18", difference="dynamic (S = 2) minus dynamic, before phase 2")
    assert row["ours: clip-1"].startswith("+3.00") and row["ours: video-1"] == "–"
    assert row["verdict"] == "as in the thesis (video-1 not measured)"


def test_other_methods_are_subtracted_from_the_dynamic_network_of_table_4_1(results):
    rows = [row for frames in (8, 16, 32) for row in pair([2.0, 2.1, 1.9], frames=frames)]
    rows += [run("pruned", "pruned", seed, 69.0 + seed, 0.69, frames=8) for seed in range(3)]
    rows += [run("cgnet", "cgnet", seed, 80.0 + seed, 0.6, frames=8) for seed in range(3)]
    values, changes, _ = read("table_4_8", results(rows))
    pruned = only(changes, frames="8", difference="dynamic (S = 2) minus weight-level pruning")
    assert pruned["thesis: GFLOPs"] == "+0.5 %" and pruned["thesis: clip-1"] == "+3.2"
    assert pruned["ours: clip-1"].startswith("+3.00") and pruned["verdict"] == "as in the thesis"
    cgnet = only(changes, frames="8", difference="dynamic (S = 2) minus CGNet")
    assert cgnet["thesis: GFLOPs"] == "-16.0 %" and cgnet["verdict"] == "differs: GFLOPs, clip-1"
    assert only(changes, frames="16", difference="dynamic (S = 2) minus CGNet")["verdict"] == "not run"
    assert only(values, frames="8", network="CGNet")["ours: clip-1"] == "81.0 ± 1.0"
    assert [row["frames"] for row in values] == sorted((row["frames"] for row in values), key=int)


def test_ar_net_is_compared_with_the_dynamic_tsn_and_full_size_parameters_are_ours(results):
    rows = pair([2.0, 2.1, 1.9], backbone="tsn_resnet50")
    rows += [run("ar_net", "ar_net", seed, 71.0 + seed, 1.5, backbone="") for seed in range(3)]
    values, changes, _ = read("table_4_4", results(rows))
    row = only(changes, model="TSN-ResNet-50", difference="dynamic (S = 2) minus AR-Net")
    assert row["thesis: clip-1"] == "+1.1" and row["ours: clip-1"].startswith("+1.00")
    sizes = "plain network in full size, ours: million parameters"
    assert only(values, model="AR-Net")[sizes] == "62.8" and only(values, model="TSN-ResNet-50")[sizes] == "23.9"
    assert only(values, model="AR-Net")["thesis: million parameters"] == "63.0"


def test_speeds_are_those_of_the_fastest_version_in_full_size_or_of_this_profiles_runs(results):
    def timed(case, saved, **more):
        return {
            "case": case, "role": "dynamic", "network": "i3d", "frames": 16, "search_space": 2, "width": 1.0,
            "run": None, "mix": "ratio-0.5", "processor": "CPU", "dtype": "float32", "saved": saved,
            "saved_low": saved - 0.01, "saved_high": saved + 0.01, "ideal": 0.5, "realised": saved / 0.5,
        } | more  # fmt: skip

    rows = pair([2.0], backbone="i3d")
    word = next(row["run"] for row in rows if row["variant"] == "dynamic")
    speeds = [
        timed("i3d", 0.1), timed("i3d", 0.2), timed("narrow", 0.3, width=0.1, run=f"embedded/{word}"),
        timed("other", 0.4, width=0.1, run=f"jhmdb/{word}"), timed("static", 0.9, role="fastest static"),
    ]  # fmt: skip
    _, _, text = read("table_4_2", results(rows, speeds))
    i3d = [row for row in lines(text) if row["model"] == "I3D-InceptionV2"]
    assert [row["ours: case"] for row in i3d] == ["i3d", "narrow"]
    assert i3d[0]["ours: time saved"] == "20.0 % (19.0 to 21.0)" and i3d[0]["ours: realised share"] == "0.40"
    # 56.0 -> 26.5 GFLOPs, 116.4 -> 141.7 clips a second
    assert [i3d[0][f"thesis: {name}"] for name in ("ideal gain", "time saved", "realised share")] == [
        "52.7 %",
        "17.9 %",
        "0.34",
    ]
    assert only(lines(text), model="X3D-M")["ours: case"] == "not run"


def test_shorter_clips_stand_in_where_a_group_has_no_others(results):
    found = results(
        pair([2.0, 2.1, 1.9]) + pair([3.0], frames=8) + pair([4.0], frames=8, backbone="i3d")
        + pair([5.0], frames=4, backbone="x3d_m")
    )  # fmt: skip
    rows = thesis("table_4_2")
    changed = table_reporting.at_our_lengths(rows, found)
    assert changed.drop(columns="where").equals(rows.drop(columns="where"))
    values = lines(table_pages.value_text(table_reporting.values(changed, found)))
    frames = {row["model"]: (row["frames"], row["ours: frames"]) for row in values}
    assert frames == {"R(2+1)D-18": ("16", "16"), "I3D-InceptionV2": ("16", "8"), "X3D-M": ("16", "not run")}
    assert only(values, model="I3D-InceptionV2", network="dynamic")["ours: clip-1"] == "74.0"
    assert only(values, model="R(2+1)D-18", network="dynamic")["ours: clip-1"] == "73.0 ± 1.0"
    changes = lines(table_pages.difference_text(table_reporting.differences(changed, found)))
    change = only(changes, model="I3D-InceptionV2", difference="dynamic (S = 2) minus static")
    assert (change["frames"], change["ours: frames"], change["ours: clip-1"]) == ("16", "8", "+4.00")
    page = table_pages.page("#", (table_pages.value_text(table_reporting.values(changed, found)), "", ""), [], "")
    assert "our clips have fewer frames than the thesis's" in page
    plain = table_pages.value_text(table_reporting.values(rows, found))
    assert "ours: frames" not in plain and "fewer frames" not in table_pages.page("#", (plain, "", ""), [], "")


def test_several_rows_a_seed_are_an_error(results):
    rows = pair([2.0])
    with pytest.raises(ValueError, match="several rows a seed"):
        table_reporting.values(thesis("table_4_2"), results([*rows, rows[0]]))


def test_the_page_keeps_its_parts_and_names_the_data(results):
    rows, found = thesis("table_4_5"), results(pair([2.0], data="embedded_kinetics"))
    parts = (
        table_pages.value_text(table_reporting.values(rows, found)),
        table_pages.difference_text(table_reporting.differences(rows, found)),
        table_pages.speed_text(table_reporting.speeds(rows, found)),
    )
    text = table_pages.page("# Heading", parts, rows["data"].unique(), "- Profile: embedded")
    assert text.startswith("# Heading\n") and all(part in text for part in parts) and "nan" not in text
    assert "is the plain network after as many epochs" in text
    before = table_pages.page("#", ("no such row", "", ""), [], "")
    assert "equal epochs" not in before
    assert "- Data that may stand in ours for the thesis's: Kinetics-400: Kinetics-400, embedded_kinetics" in text
