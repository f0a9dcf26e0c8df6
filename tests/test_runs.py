"""Run words and fingerprints."""

import json

import pytest

from vared import runs
from vared.backbones import list_models
from vared.run_words import BACKBONES

NUMBERS = {
    "data": {"seed": 0}, "model": {"width": 0.1}, "sampling": {"stride": {8: 4}}, "training": {"epochs": 3},
    "evaluation": {"batch_size": 4},
}  # fmt: skip


@pytest.fixture
def project(tmp_path):
    for name in (*runs.TRAINING_FILES, *runs.BACKBONE_FILES, *runs.BASELINE_FILES, *runs.EVALUATION_FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    (tmp_path / "data" / "small").mkdir(parents=True)
    (tmp_path / "data" / "small" / "identity.json").write_text(json.dumps({"sha256": "abc"}))
    return tmp_path


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("static_8f_seed0", ("", "", "static", None, "", False, 8, 0)),
        ("s2_16f_seed12", ("", "", "dynamic", 2, "both", False, 16, 12)),
        ("s3_temporal_8f_seed1", ("", "", "dynamic", 3, "temporal", False, 8, 1)),
        ("single_frame_8f_seed0", ("", "", "single_frame", None, "", False, 8, 0)),
        ("pruned_32f_seed2", ("", "", "pruned", None, "", False, 32, 2)),
        ("moments-arnet_16f_seed0", ("moments", "", "arnet", None, "", False, 16, 0)),
        ("i3d-static_16f_seed0", ("", "i3d", "static", None, "", False, 16, 0)),
        ("kinetics-x3d_m-s2_channel_long_16f_seed0", ("kinetics", "x3d_m", "dynamic", 2, "channel", True, 16, 0)),
        ("embedded_kinetics-s2_8f_seed0", ("embedded_kinetics", "", "dynamic", 2, "both", False, 8, 0)),
        ("elsewhere-i3d-s2_8f_seed0", ("elsewhere", "i3d", "dynamic", 2, "both", False, 8, 0)),
        ("r2plus1d_18_tpn-static_8f_seed0", ("", "r2plus1d_18_tpn", "static", None, "", False, 8, 0)),
    ],
)
def test_a_word_says_what_is_trained(word, expected):
    run = runs.parse_run(word)
    names = ("data", "backbone", "network", "search_space", "dimensions", "long", "frames", "seed")
    assert tuple(getattr(run, name) for name in names) == expected
    assert run.group + f"_seed{run.seed}" == word and run.single_frame == word.startswith("single")


@pytest.mark.parametrize(("word", "partner"), [
    ("s2_temporal_8f_seed1", "static_8f_seed1"),
    ("kinetics-x3d_m-s2_long_16f_seed0", "kinetics-x3d_m-static_long_16f_seed0"),
])  # fmt: skip
def test_the_static_partner_differs_in_the_method_only(word, partner):
    assert runs.parse_run(word).static_partner == partner


@pytest.mark.parametrize(
    "word",
    ["", "static", "s0_8f_seed0", "s2_0f_seed0", "s2_8f", "s2_8f_seed", "s2_8f_seed01", "S2_8f_seed0", "s2_8f_seed0 ",
     "s2-8f-seed0", "static_8f_seed0\n", "s12_8f_seed0", "static_temporal_8f_seed0", "s2_both_8f_seed0",
     "I3D-s2_8f_seed0", "-s2_8f_seed0", "i3d-elsewhere-s2_8f_seed0", "s2_8f_long_seed0", "i3d-i3d-s2_8f_seed0",
     "elsewhere-unknown-s2_8f_seed0"],
)  # fmt: skip
def test_anything_else_is_refused_by_name(word):
    with pytest.raises(ValueError, match="no run"):
        runs.parse_run(word)


def test_redundancy_is_measured_in_plain_networks_of_table_b_1():
    words = ["static", "i3d-static", "other-static", "x3d_m-static", "single_frame", "s2", "i3d-s2"]
    measured = [word for word in words if runs.parse_run(f"{word}_8f_seed0").compared_maps]
    assert measured == ["static", "i3d-static", "other-static"]


def test_words_know_every_network():
    assert sorted(BACKBONES) == list_models()


def test_what_others_start_from_comes_first_then_the_longest(project):
    numbers = {**NUMBERS, "training": {"epochs": 3, "by_frames": {32: {"start_from_frames": 8}}}}
    words = [
        "single_frame_8f_seed0", "s3_8f_seed0", "s2_32f_seed0", "static_32f_seed0", "s2_8f_seed0", "static_8f_seed0",
        "s2_16f_seed0",
    ]  # fmt: skip
    plans = [runs.plan_run(project, "small", word, numbers) for word in words]
    assert [plan.run.word for plan in runs.in_order(plans)] == [
        "s2_8f_seed0", "static_8f_seed0", "static_32f_seed0", "s2_32f_seed0", "s2_16f_seed0", "s3_8f_seed0",
        "single_frame_8f_seed0",
    ]  # fmt: skip


def test_a_run_starts_from_the_same_run_with_other_frames_and_depends_on_all_of_it(project):
    training = {"epochs": 3, "by_frames": {16: {"epochs": 1, "start_from_frames": 8}}}
    plan = runs.plan_run(project, "small", "s2_16f_seed1", {**NUMBERS, "training": training})
    assert plan.start.run.word == "s2_8f_seed1" and plan.start.start is None
    assert plan.numbers["training"] == {"epochs": 1} and plan.start.numbers["training"] == {"epochs": 3}
    longer = runs.plan_run(project, "small", "s2_16f_seed1", {**NUMBERS, "training": {**training, "epochs": 4}})
    assert longer.numbers == plan.numbers and longer.training_fingerprint != plan.training_fingerprint


def test_settings_for_one_kind_of_run_leave_the_others_alone(project):
    training = {
        "epochs": 3, "finetune_epochs": 2, "long_factor": 2.0, "by_data": {"kinetics": {"epochs": 4}},
        "by_backbone": {"i3d": {"epochs": 5}},
        "baselines": {"cgnet": {"recipe": {"epochs": 6}, "settings": {"share": 0.5}}},
    }  # fmt: skip
    model = {"width": 0.1, "by_backbone": {"i3d": {"width": 0.2}}}
    numbers = {**NUMBERS, "training": training, "model": model, "data": {"further": {"kinetics": {"seed": 7}}}}
    further = project / "data" / "small" / "further" / "kinetics"
    further.mkdir(parents=True)
    (further / "identity.json").write_text(json.dumps({"sha256": "of kinetics"}))
    plan = {word: runs.plan_run(project, "small", f"{word}_8f_seed0", numbers) for word in (
        "static", "i3d-static", "kinetics-static", "kinetics-i3d-static", "cgnet", "static_long", "pruned",
    )}  # fmt: skip
    epochs = {word: found.numbers["training"]["epochs"] for word, found in plan.items()}
    assert epochs == {
        "static": 3, "i3d-static": 5, "kinetics-static": 4, "kinetics-i3d-static": 5, "cgnet": 6, "static_long": 6,
        "pruned": 3,
    }  # fmt: skip
    assert plan["static_long"].numbers["training"]["finetune_epochs"] == 4
    assert plan["pruned"].start.run.word == "static_8f_seed0" and plan["static"].start is None
    assert plan["cgnet"].numbers["baseline"] == {"share": 0.5} and not plan["static"].numbers["baseline"]
    assert plan["i3d-static"].numbers["model"] == {"width": 0.2, "backbone": "i3d"}
    assert plan["static"].numbers["model"] == {"width": 0.1}
    assert plan["kinetics-static"].data_identity == "of kinetics" and plan["static"].data_identity == "abc"
    same = runs.plan_run(
        project, "small", "static_8f_seed0", {**NUMBERS, "training": {"epochs": 3, "finetune_epochs": 2}}
    )
    assert same.training_fingerprint == plan["static"].training_fingerprint
    for word in ("moments-static_8f_seed0", "i3dd-static_8f_seed0"):
        with pytest.raises(ValueError, match=f"no data set '{word.split('-')[0]}' for {word}: only kinetics"):
            runs.plan_run(project, "small", word, numbers)


def test_code_of_other_networks_changes_only_their_runs(project):
    words = ("static_8f_seed0", "i3d-static_8f_seed0", "cgnet_8f_seed0", "arnet_8f_seed0")

    def fingerprints():
        return [runs.plan_run(project, "small", word, NUMBERS).training_fingerprint for word in words]

    first = fingerprints()
    (project / "vared" / "backbones" / "i3d.py").write_text("# another I3D")
    changed = [a != b for a, b in zip(first, fingerprints(), strict=True)]
    assert changed == [False, True, False, True]
    (project / "vared" / "baselines" / "cgnet.py").write_text("# another CGNet")
    assert [a != b for a, b in zip(first, fingerprints(), strict=True)] == [False, True, True, True]


@pytest.mark.hazard("pipeline", "stale or mixed-up results", "another folder for every change, also of profile")
def test_the_fingerprint_follows_everything_that_changes_weights(project):
    def plan(profile="small", word="s2_8f_seed0", **changed):
        return runs.plan_run(project, profile, word, {**NUMBERS, **changed})

    first = plan()
    assert plan() == first and plan().training_fingerprint == first.training_fingerprint
    seen = {first.training_fingerprint}
    others = [plan(word="s2_8f_seed1"), plan(training={"epochs": 4}), plan(model={"width": 0.2})]
    (project / "data" / "small" / "identity.json").write_text(json.dumps({"sha256": "other"}))
    others.append(plan())
    (project / "data" / "small" / "identity.json").write_text(json.dumps({"sha256": "abc"}))
    (project / "vared" / "losses.py").write_text("# another loss")
    others.append(plan())
    (project / "vared" / "losses.py").write_text("# vared/losses.py")
    (project / "data" / "small").rename(project / "data" / "twin")
    others.append(plan(profile="twin"))
    seen.update(other.training_fingerprint for other in others)
    assert len(seen) == 1 + len(others)


def test_evaluation_settings_leave_trained_weights_alone(project):
    first = runs.plan_run(project, "small", "s2_8f_seed0", NUMBERS)
    (project / "vared" / "evaluation.py").write_text("# another evaluation")
    edited = runs.plan_run(project, "small", "s2_8f_seed0", NUMBERS)
    other = runs.plan_run(project, "small", "s2_8f_seed0", {**NUMBERS, "evaluation": {"batch_size": 8}})
    assert first.training_fingerprint == edited.training_fingerprint == other.training_fingerprint
    fingerprints = {plan.evaluation_fingerprint for plan in (first, edited, other)}
    assert len(fingerprints) == 3


def test_missing_data_and_missing_sections_are_named(project):
    with pytest.raises(FileNotFoundError, match="vared data elsewhere"):
        runs.plan_run(project, "elsewhere", "s2_8f_seed0", NUMBERS)
    with pytest.raises(ValueError, match="'sampling' is missing"):
        runs.plan_run(project, "small", "s2_8f_seed0", {key: NUMBERS[key] for key in NUMBERS if key != "sampling"})


def test_controls_are_of_the_profiles_own_network_and_data(project):
    numbers = {**NUMBERS, "evaluation": {"batch_size": 4, "controls_at": [8]}, "data": {"further": {"other": {}}}}
    (project / "data" / "small" / "further" / "other").mkdir(parents=True)
    (project / "data" / "small" / "further" / "other" / "identity.json").write_text(json.dumps({"sha256": "of other"}))
    at = {
        word: runs.plan_run(project, "small", f"{word}_8f_seed0", numbers).numbers["evaluation"]["controls_at"]
        for word in ("s2", "i3d-s2", "other-s2")
    }
    assert at == {"s2": [8], "i3d-s2": [], "other-s2": []}


def test_what_a_backbone_says_takes_the_place_of_what_its_clip_length_says(project):
    training = {"by_frames": {16: {"start_from_frames": 8, "epochs": 2}}, "by_backbone": {"i3d": {"epochs": 5}}}
    training["by_backbone"]["i3d"]["start_from_frames"] = None  # from nothing
    numbers = {**NUMBERS, "training": {"epochs": 3} | training}
    long, other = (runs.plan_run(project, "small", f"{word}_16f_seed0", numbers) for word in ("i3d-s2", "s2"))
    assert long.start is None and long.numbers["training"] == {"epochs": 5}
    assert other.start.run.word == "s2_8f_seed0" and other.numbers["training"] == {"epochs": 2}
