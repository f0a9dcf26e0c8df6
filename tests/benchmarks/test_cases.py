"""What can be asked for, and that all else is refused with its name before anything is built."""

from pathlib import Path

import pytest
import yaml

from vared.benchmarks.cases import Case, case_of_run, direct_case, named_case, read_parameters
from vared.cli import main

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = read_parameters(ROOT)


@pytest.mark.parametrize("name", PARAMETERS["benchmarks"])
def test_every_named_case_is_valid_and_two_threads_are_the_rule(name):
    case = named_case(PARAMETERS, name, {})
    assert case.name == name and case.threads == (1 if name == "smoke" else 2)


def test_every_run_to_time_is_a_dynamic_run_of_its_list():
    for key, item in PARAMETERS["benchmark_runs"].items():
        assert item in PARAMETERS["run_lists"][item["profile"]].values() and key == f"{item['profile']}-{item['run']}"
        assert item["run"].startswith("s")


def test_options_change_a_named_case_and_name_a_direct_one():
    assert named_case(PARAMETERS, "i3d", {"dtype": "bfloat16", "name": "other"}) == Case(
        "other", "i3d", crop_size=256, batch=2, mix="gmacs-26.5-of-56.0", dtype="bfloat16", layers=True
    )
    assert direct_case({"network": "x3d_m"}).name == "x3d_m_16f_256_batch8_ratio-0.63_cpu_float32"
    assert direct_case({"network": "x3d_m", "name": "mine"}).name == "mine"


def test_a_run_decides_its_network(tmp_path):
    (tmp_path / "data" / "runs" / "embedded" / "s3_8f_seed0").mkdir(parents=True)
    case = case_of_run(tmp_path, PARAMETERS, {"run": "embedded/s3_8f_seed0", "batch": 4})
    assert (case.network, case.frames, case.crop_size, case.width) == ("r2plus1d_18", 8, 32, 0.125)
    assert (case.search_space, case.batch, case.mix, case.name) == (3, 4, "own", "embedded-s3_8f_seed0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["r2plus1d_18", "--mix", "own"], "no policies of their own"),
        (["r2plus1d_18", "--mix", "half"], "'half' is no mix"),
        (["r2plus1d_18", "--dtype", "int8"], "dtype must be one of"),
        (["r2plus1d_18", "--batch", "0"], "batch must be a whole number"),
        (["r2plus1d_18", "--name", "../x"], "name is made of"),
        (["r2plus1d_18", "--width", "0"], "width must be positive"),
        (["r2plus1d_18", "--training", "--batch", "1"], "batch 2 or more"),
        (["r2plus1d_18", "--case", "smoke"], "either the name of a network"),
        ([], "either the name of a network"),
        (["--case", "none"], "no benchmark 'none'"),
        (["--run", "embedded/static_8f_seed0"], "is a static network"),
        (["--run", "embedded/s9_8f_seed999"], "does not exist. Train it"),
        (["--run", "elsewhere/s2_8f_seed0"], "profile of params.yaml"),
        (["--run", "embedded/s2_8f_seed0", "--width", "1"], "decides width"),
        (["resnet"], "no network 'resnet'"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["benchmark", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_field_in_params_is_refused():
    parameters = yaml.safe_load("benchmarks: {odd: {network: i3d, crop: 3}}")
    with pytest.raises(ValueError, match=r"benchmarks.odd: unknown fields \['crop'\]"):
        named_case(parameters, "odd", {})
