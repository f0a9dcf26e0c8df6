"""Run words and fingerprints."""

import json

import pytest

from vared import runs

NUMBERS = {
    "data": {"seed": 0}, "model": {"width": 0.1}, "sampling": {"stride": {8: 4}}, "training": {"epochs": 3},
    "evaluation": {"batch_size": 4},
}  # fmt: skip


@pytest.fixture
def project(tmp_path):
    for name in (*runs.TRAINING_FILES, *runs.EVALUATION_FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    (tmp_path / "data" / "small").mkdir(parents=True)
    (tmp_path / "data" / "small" / "identity.json").write_text(json.dumps({"sha256": "abc"}))
    return tmp_path


@pytest.mark.parametrize(
    ("word", "frames", "search_space", "single_frame", "seed"),
    [
        ("static_8f_seed0", 8, None, False, 0),
        ("s2_16f_seed12", 16, 2, False, 12),
        ("s3_8f_seed1", 8, 3, False, 1),
        ("single_frame_8f_seed0", 8, None, True, 0),
    ],
)
def test_a_word_says_what_is_trained(word, frames, search_space, single_frame, seed):
    run = runs.parse_run(word)
    assert (run.frames, run.search_space, run.single_frame, run.seed) == (frames, search_space, single_frame, seed)
    assert run.group + f"_seed{seed}" == word


@pytest.mark.parametrize(
    "word",
    ["", "static", "s0_8f_seed0", "s2_0f_seed0", "s2_8f", "s2_8f_seed", "s2_8f_seed01", "S2_8f_seed0", "s2_8f_seed0 ",
     "s2-8f-seed0", "static_8f_seed0\n", "s12_8f_seed0"],
)  # fmt: skip
def test_anything_else_is_refused_by_name(word):
    with pytest.raises(ValueError, match="no run"):
        runs.parse_run(word)


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
