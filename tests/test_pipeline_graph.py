"""dvc.yaml, params.yaml, the lists in vared/runs.py and the notebooks agree."""

import ast
import json
from pathlib import Path

import nbformat
import pytest
import yaml

from vared.cli import profile_runs
from vared.localization.verbs import LOCALIZATION_FILES
from vared.notebooks import declared_parameters, is_stripped
from vared.pipeline import REDUNDANCY_FILES
from vared.run_words import parse_run
from vared.runs import BACKBONE_FILES, BASELINE_FILES, EVALUATION_FILES, TRAINING_FILES, results_folder

ROOT = Path(__file__).resolve().parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMETERS = yaml.safe_load((ROOT / "params.yaml").read_text())
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Imported by training or evaluation, but without influence on a number: containers, names, files, console, signals.
HARMLESS = {
    "vared/__init__.py", "vared/baselines/__init__.py", "vared/checkpoints.py", "vared/data/__init__.py",
    "vared/failures.py", "vared/history.py", "vared/run_words.py", "vared/runs.py", "vared/scratch.py",
    "vared/specialized.py", "vared/stopping.py", "vared/tasks/__init__.py", "vared/torch_version.py",
    "vared/torchvision_operators.py",
}  # fmt: skip


def content(stage: str) -> dict:
    """What a stage is made of, whether it is made once or for every profile or run, its own variables filled in."""
    found = STAGES[stage].get("do", STAGES[stage])
    text = json.dumps(found)
    for name, value in (pair for variables in found.get("vars", []) for pair in variables.items()):
        text = text.replace(f"${{{name}}}", value)
    return json.loads(text)


def dependencies(stage: str) -> list[str]:
    return content(stage)["deps"]


def outputs(stage: str) -> list[str]:
    entries = content(stage).get("outs", []) + content(stage).get("metrics", [])
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def notebook_stages() -> dict[str, str]:
    """Notebook -> the stage that runs it."""
    commands = {stage: content(stage)["cmd"].split() for stage in STAGES}
    return {words[5]: stage for stage, words in commands.items() if words[3:5] == ["notebook", "run"]}


def imported(path: str) -> set[str]:
    """Files of the package that `path` imports, directly or not."""
    found, todo = set(), [path]
    while todo:
        current = todo.pop()
        if current in found:
            continue
        found.add(current)
        for node in ast.walk(ast.parse((ROOT / current).read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "vared":
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.split(".")[0] == "vared"]
            for name in names:
                for candidate in (f"{name.replace('.', '/')}.py", f"{name.replace('.', '/')}/__init__.py"):
                    if (ROOT / candidate).exists():
                        todo.append(candidate)
    return found


def further(profile: str) -> dict:
    """Data sets that a profile has beside its own."""
    return PARAMETERS["profiles"][profile]["data"].get("further", {})


def test_every_file_that_changes_numbers_is_a_dependency():
    # Networks are imported by name when they are asked for; the profiles ask for this one.
    networks = imported("vared/backbones/r2plus1d.py")
    assert {profile["model"]["backbone"] for profile in PARAMETERS["profiles"].values()} == {"r2plus1d_18"}
    further = set(BACKBONE_FILES + BASELINE_FILES)
    training = (imported("vared/experiments.py") | networks) - HARMLESS - set(EVALUATION_FILES)
    assert training - further == set(TRAINING_FILES)
    evaluation = (imported("vared/protocol.py") | networks) - HARMLESS
    assert evaluation - further == set(TRAINING_FILES) | set(EVALUATION_FILES)


def test_every_file_behind_other_backbones_and_methods_is_a_dependency():
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vared" / "backbones").glob("*.py")}
    assert files - set(TRAINING_FILES) == set(BACKBONE_FILES)
    used = imported("vared/baselines/runs.py") | {name for file in files for name in imported(file)}
    known = HARMLESS | {*TRAINING_FILES, *EVALUATION_FILES, *BACKBONE_FILES, *BASELINE_FILES}
    assert used <= known


def test_stages_watch_the_lists_of_the_fingerprints():
    package = [[name for name in dependencies(stage) if name.startswith("vared/")] for stage in ("train", "evaluate")]
    training = sorted(TRAINING_FILES + BACKBONE_FILES + BASELINE_FILES)
    assert package == [training, sorted(EVALUATION_FILES + BASELINE_FILES)]
    assert {*training, *EVALUATION_FILES} <= set(dependencies("runs_ahead"))


def test_a_run_watches_its_own_data_set_and_all_runs_together_watch_every_set():
    for stage in ("train", "evaluate"):
        identities = [name for name in dependencies(stage) if name.endswith("identity.json")]
        assert identities == ["${item.data}/identity.json"]
    assert {"data/${key}/identity.json", "data/${key}/further"} <= set(dependencies("runs_ahead"))
    for profile, listed in PARAMETERS["run_lists"].items():
        made = {f"data/{profile}", *(f"data/{profile}/further/{name}" for name in further(profile))}
        assert {value["data"] for value in listed.values()} <= made


@pytest.mark.parametrize("profile", PARAMETERS["run_lists"])
def test_a_run_on_a_further_set_is_of_one_that_the_profile_has(profile):
    words = [parse_run(word) for word in profile_runs(ROOT, profile)]
    assert {run.data for run in words if run.data} <= further(profile).keys()


def test_the_redundancy_stage_watches_the_files_of_its_fingerprint():
    used = imported("vared/analysis/run_redundancy.py") - HARMLESS - set(TRAINING_FILES + EVALUATION_FILES)
    assert used == set(REDUNDANCY_FILES) == {name for name in dependencies("redundancy") if name.startswith("vared/")}


def test_the_localization_stage_watches_the_files_of_its_fingerprint():
    used = imported("vared/localization/experiment.py") - HARMLESS - set(TRAINING_FILES)
    packages = {"vared/localization/__init__.py", "vared/data/embedded/__init__.py"}
    assert used - packages == set(LOCALIZATION_FILES)
    watched = {name for name in dependencies("localize") if name.startswith("vared/")}
    assert watched == set(LOCALIZATION_FILES) | {"vared/localization/verbs.py"}


@pytest.mark.parametrize("profile", PARAMETERS["run_lists"])
def test_every_profile_says_how_to_localise(profile):
    from vared.recipes import Recipe

    settings = PARAMETERS["profiles"][profile]["localization"]
    if settings["runs"]:
        recipe = Recipe(**settings["training"])
        assert not (settings["frozen"] and recipe.finetune_epochs) and not recipe.channels_last


@pytest.mark.parametrize("profile", PARAMETERS["run_lists"])
def test_every_profile_says_on_how_many_clips_redundancy_is_measured_and_has_the_run_drawn(profile):
    wanted = PARAMETERS["profiles"][profile]["redundancy"]
    assert list(wanted) == ["clips"] and (wanted["clips"] is None or wanted["clips"] > 0)
    words = profile_runs(ROOT, profile)
    for stage in ("figure_b_1", "method"):
        drawn = next(name.rpartition("/")[2] for name in dependencies(stage) if name.startswith("data/runs/"))
        assert drawn in words


def test_the_counting_stage_watches_all_that_counts():
    used = {"vared/paper.py"} | imported("vared/costs/static_costs.py") | imported("vared/costs/policy_range.py")
    used |= imported("vared/costs/overheads.py")
    for path in sorted((ROOT / "vared" / "backbones").glob("*.py")):
        used |= imported(path.relative_to(ROOT).as_posix())
    outside = {name for name in used - HARMLESS if not name.startswith("vared/backbones/")}
    watched = [name for name in dependencies("costs") if name != "vared/backbones"]
    assert set(watched) == outside - {"vared/baselines/__init__.py"} | {"data/paper"}
    assert watched == sorted(watched) and "vared/backbones" in dependencies("costs")


def test_dependencies_that_lie_in_git_exist():
    made = {name for stage in STAGES for name in outputs(stage)}
    for stage in STAGES:
        for name in dependencies(stage):
            if "$" not in name and name not in made:
                assert (ROOT / name).exists(), f"stage {stage} depends on {name}"


def test_active_profiles_and_runs_agree():
    of = {"runs": "run_lists", "benchmark_runs": "benchmark_lists", "further_sets": "further_lists"}
    for used, lists in (of | {"ready": "ready_lists"}).items():
        expected = {}
        for profile, folder in PARAMETERS["active"].items():
            assert Path(folder) == results_folder(Path(), profile)
            expected |= PARAMETERS[lists][profile]
        assert PARAMETERS[used] == expected
    assert set(PARAMETERS["run_lists"]) == set(PARAMETERS["benchmark_lists"]) <= set(PARAMETERS["profiles"])
    for profile, listed in PARAMETERS["further_lists"].items():
        folder = results_folder(Path(), profile).as_posix()
        wanted = [{"profile": profile, "set": name, "results": folder} for name in further(profile)]
        assert list(listed.values()) == wanted and list(listed) == [f"{profile}-{name}" for name in further(profile)]
    for profile, listed in PARAMETERS["benchmark_lists"].items():
        assert listed.items() <= PARAMETERS["run_lists"][profile].items()


@pytest.mark.parametrize("figure", ["figure_4_1", "figure_4_2", "figure_b_4", "figure_b_5", "figure_b_7", "figure_b_8"])
def test_a_figure_of_policies_watches_what_draws_it(figure):
    notebook = nbformat.read(ROOT / "notebooks" / f"{figure}.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    drawing = {f"vared/figures/{name}.py" for name in ("clip_pictures", "policy_pictures") if f"{name}." in code}
    package = {name for file in drawing for name in imported(file)} - HARMLESS
    package = {name for name in package if not name.startswith("vared/data/")}
    assert {name for name in dependencies(figure) if name.startswith("vared/")} == package
    assert content(figure)["cmd"] == f"python -m vared notebook run {figure} ${{key}}"
    assert outputs(figure)[:3] == [f"${{item}}/figures/{figure}.{ending}" for ending in ("csv", "md", "png")]


def test_what_no_report_waits_for_is_made_all_the_same_and_watches_its_code():
    from vared.reports.report_page import APART as pages
    from vared.reproduction import APART as targets

    assert {f"results/{name}.md" for _, name in pages} <= {name for stage in targets for name in outputs(stage)}
    used = imported("vared/analysis/shipped_network.py") - HARMLESS - set(TRAINING_FILES + EVALUATION_FILES)
    watched = {name for name in dependencies("shipped_network") if name.startswith("vared/")}
    assert watched == used | {"vared/data/video.py"} and "requirements.lock" in dependencies("shipped_network")


def test_ready_networks_are_runs_that_the_model_card_waits_for():
    names = []
    for profile, listed in PARAMETERS["ready_lists"].items():
        names += listed
        runs = {(entry["profile"], entry["run"]) for entry in PARAMETERS["run_lists"][profile].values()}
        assert {(entry["profile"], entry["run"]) for entry in listed.values()} <= runs
    cards = [name for name in dependencies("model_card") if name.startswith("vared/weights/")]
    assert cards == sorted(f"vared/weights/{name}.json" for name in names)
    assert outputs("ready") == ["vared/weights/${key}.json", "vared/weights/${key}.safetensors"]


TABLES = [stage for stage in STAGES if stage.startswith("table_") and "vars" in STAGES[stage]["do"]]


def test_every_table_of_accuracies_in_the_thesis_has_a_stage():
    printed = {path.stem for path in (ROOT / "data" / "paper").glob("table_*.csv")}
    assert set(TABLES) == printed - {"table_4_1", "table_4_9", "table_b_1"}  # their own stage; localisation; redundancy


@pytest.mark.parametrize("stage", TABLES)
def test_a_table_depends_on_its_own_notebook_and_thesis_numbers_only(stage):
    assert content(stage)["cmd"] == f"python -m vared notebook run {stage} ${{key}}"
    watched, package = dependencies(stage), imported("vared/reports/table_pages.py")
    assert {name for name in watched if name.startswith("vared/")} == package - HARMLESS
    others = {"data/paper/table_4_1.csv"} if stage == "table_4_8" else set()
    assert {name for name in watched if name.startswith("data/")} == {f"data/paper/{stage}.csv"} | others
    assert [name for name in watched if name.startswith("notebooks/")] == [f"notebooks/{stage}.ipynb"]
    folders = [f"${{item}}/tables/{stage}.csv", f"${{item}}/tables/{stage}.md", f"${{item}}/notebooks/{stage}.ipynb"]
    assert outputs(stage) == folders


def test_dvc_sees_a_stage_for_every_table_and_profile():
    from dvc.repo import Repo

    with Repo(ROOT, uninitialized=True) as repo:
        for profile in PARAMETERS["active"]:
            for table in TABLES:
                (stage,) = repo.stage.collect(f"{table}@{profile}")
                assert stage.cmd == f"python -m vared notebook run {table} {profile}"
                assert (ROOT / "notebooks" / f"{table}.ipynb").samefile(next(
                    dep.fs_path for dep in stage.deps if dep.fs_path.endswith(".ipynb")
                ))  # fmt: skip


def test_claims_watch_every_table_that_their_rules_read():
    from vared.claims.tables import SHARED, NotTested, Results
    from vared.claims.verdicts import RULES

    read = set()

    class Recorded(Results):
        def _table(self, name):
            read.add(name)
            return super()._table(name)

    results = Recorded("embedded", ROOT / "results", ROOT / "results")
    for part in (part for rule in RULES.values() for part in rule.parts):
        try:
            part.measure(results)
        except NotTested:
            pass
    made = {name for stage in STAGES for name in outputs(stage)}
    files = {("results/" if name in SHARED else "${item}/") + f"{name}.csv" for name in read}
    tables = {name for name in dependencies("claims") if name.endswith(".csv") and not name.startswith("data/")}
    assert tables == files & made and {"${item}/runs.csv", "results/overheads.csv"} <= tables
    package = {name for name in imported("vared/claims/verdicts.py") - HARMLESS if not name.startswith("vared/claims/")}
    assert {name for name in dependencies("claims") if name.startswith("vared/")} == package | {"vared/claims"}


def test_the_stage_that_a_tested_claim_names_exists():
    import pandas as pd

    path = ROOT / "results" / "claims.csv"
    if not path.exists():
        pytest.skip("results/claims.csv is absent: run make repro")
    claims = pd.read_csv(path)
    assert set(claims[claims["verdict"] != "not tested here"]["stage"]) <= set(STAGES)


def test_the_front_page_links_what_it_waits_for():
    from vared.reports.report_page import OF_PROFILE, SHARED

    linked = {f"${{item}}/{name}.md" for _, name in OF_PROFILE} | {f"results/{name}.md" for _, name, *_ in SHARED}
    waited = {name for name in dependencies("report") if name.endswith(".md")}
    assert waited == linked | {"${item}/claims.md", "vared/weights/README.md"}


@pytest.mark.parametrize("profile", PARAMETERS["run_lists"])
def test_every_run_of_a_profile_is_a_word_with_a_stride(profile):
    sampling = PARAMETERS["profiles"][profile]["sampling"]
    for run in map(parse_run, profile_runs(ROOT, profile)):
        assert run.frames in sampling["stride"]
        assert run.frames in sampling.get("by_data", {}).get(run.data, sampling)["stride"]


@pytest.mark.parametrize("profile", PARAMETERS["run_lists"])
def test_the_recipe_of_a_profile_can_train(profile):
    from vared.runs import recipe_numbers
    from vared.training import Recipe

    numbers = PARAMETERS["profiles"][profile]["training"]
    for word in profile_runs(ROOT, profile):
        settings = recipe_numbers(numbers, parse_run(word))
        settings.pop("start_from", None)
        Recipe(seed=parse_run(word).seed, **settings)


def test_committed_outputs_are_not_cached_and_cached_ones_stay_out_of_git():
    for stage in STAGES:
        for entry in content(stage).get("outs", []) + content(stage).get("metrics", []):
            name = entry if isinstance(entry, str) else next(iter(entry))
            cached = isinstance(entry, str) or entry[name].get("cache", True)
            assert cached == name.startswith("data/"), f"stage {stage}: {name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_its_stage_reads_and_writes(path):
    header = nbformat.read(path, as_version=4).cells[0].source.splitlines()
    lines = {line.split("**")[1]: line for line in header if line.startswith("- **")}
    assert list(lines) == ["Question", "Thesis section", "Reads", "Writes"]
    stage = notebook_stages()[path.stem]
    ignored = ("vared/", "notebooks/", "data/${key}/", "data/runs/", "data/localizations/")
    reads = {name.replace("${item}/", "") for name in dependencies(stage) if not name.startswith(ignored)}
    executed = {f"notebooks/{path.stem}.ipynb", f"results/notebooks/{path.stem}.ipynb"}
    writes = {name.replace("${item}/", "") for name in outputs(stage)} - executed
    assert set(lines["Reads"].split("`")[1::2]) == reads
    assert set(lines["Writes"].split("`")[1::2]) == writes


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_stripped_and_runs_for_any_profile(path):
    assert is_stripped(path), "run: vared notebook strip"
    notebook = nbformat.read(path, as_version=4)
    profile = {"profile": "embedded"} if "do" in STAGES[notebook_stages()[path.stem]] else {}
    assert declared_parameters(notebook) == profile | {"write": False}
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(code))
    kinds = [type(node) for node in ast.walk(tree)]
    assert len(notebook.cells) <= 20 and sum(len(source.splitlines()) for source in code) <= 120
    assert ast.ClassDef not in kinds and kinds.count(ast.FunctionDef) <= 1
    assert not any("../" in source or source.lstrip().startswith(("%", "!")) for source in code)


def test_every_notebook_is_the_source_of_a_stage():
    assert {path.stem for path in NOTEBOOKS} == notebook_stages().keys()


def test_the_segmentation_stage_watches_the_files_of_its_fingerprints():
    from vared.segmentation.plans import MEASURING_FILES, NETWORK_FILES

    harmless = HARMLESS | {"vared/segmentation/__init__.py", "vared/segmentation/plans.py"}
    assert imported("vared/segmentation/experiment.py") - harmless - set(TRAINING_FILES) <= {
        *NETWORK_FILES, *EVALUATION_FILES,
    }  # fmt: skip
    used = imported("vared/segmentation/protocol.py") - harmless - set(TRAINING_FILES + EVALUATION_FILES)
    assert used == {*NETWORK_FILES, *MEASURING_FILES}
    watched = [name for name in dependencies("segment") if name.startswith("vared/")]
    files = (*TRAINING_FILES, *EVALUATION_FILES, *NETWORK_FILES, *MEASURING_FILES, "vared/segmentation/collecting.py")
    assert watched == sorted(files)


@pytest.mark.parametrize("profile", PARAMETERS["profiles"])
def test_the_recipe_of_a_segmentation_run_can_train(profile):
    from vared.training import Recipe

    numbers = PARAMETERS["profiles"][profile]["segmentation"]
    if numbers is not None:
        assert Recipe(**numbers["training"]).recalibration_clips > 0
