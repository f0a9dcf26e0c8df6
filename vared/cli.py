"""The command line: `vared VERB ...`, one verb a pipeline stage. Finds the project, reads params.yaml; thin otherwise.

Exit statuses: vared/failures.py, and `vared --help`.
"""

import argparse
import os
import re
import sys
from pathlib import Path

import yaml

# Nothing slow (torch, pandas, nbformat) at the top: publishing a finished run takes a fraction of a second.
from vared import cost_curve_verb, export_verb, pipeline, predict_verb, ready_verbs, reproduction, runs, scratch
from vared.analysis import verbs as analysis_verbs
from vared.benchmarks import command as benchmarks
from vared.benchmarks import loader_command
from vared.failures import OK, STATUSES, exit_status
from vared.localization import verbs as localization_verbs
from vared.own_data import verbs as own_data_verbs
from vared.rehearsal import verbs as rehearsal_verbs
from vared.segmentation import verbs as segmentation_verbs
from vared.stopping import on_sigterm


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Raises Terminated, which is SystemExit(143), on SIGTERM."""
    options = parser().parse_args(arguments)
    try:
        with on_sigterm():
            root = project_root() if options.needs_project(options) else Path.cwd()  # your own videos need no clone
            return options.command(root, options) or OK
    except Exception as error:
        status = exit_status(error)
        if status is None:
            raise
        print(f"vared: {error}", file=sys.stderr)
        return status


def parser() -> argparse.ArgumentParser:
    """All verbs with their arguments."""
    statuses = "; ".join(f"{status} {meaning}" for status, meaning in STATUSES.items())
    top = argparse.ArgumentParser(
        prog="vared", description="Train, evaluate and report VA-RED² networks.", epilog=f"Exit status: {statuses}."
    )
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, command, summary: str, *words: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=summary, description=summary)
        for word in words:
            sub.add_argument(word)
        sub.set_defaults(command=command, needs_project=lambda options: True)
        return sub

    sets = verb("data", make_data, "make the data sets of a profile under data/PROFILE", "profile")
    sets.add_argument("--set", help="only this set: default, or a name of data.further in params.yaml (default: all)")
    verb("costs", costs, "count every network of the thesis in full size: operations of each fixed policy, parameters")
    shortcuts = verb("floors", floors, "accuracy reached without watching the videos", "profile")
    shortcuts.add_argument("--set", default="default", help="a name of data.further in params.yaml")
    jobs = verb("runs-ahead", runs_ahead, "train and evaluate all runs of a profile side by side", "profile")
    jobs.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (default: cores)")
    verb("compute", compute, "train and evaluate one run into scratch/, publish nothing", "profile", "run")
    own_data_verbs.add_verbs(verb, train, evaluate)
    verb("collect", collect, "gather all runs of a profile into tidy tables", "profile")
    analysis_verbs.add_verbs(verb)
    segmentation_verbs.add_verbs(verb)
    localization_verbs.add_verb(verb)
    rehearsal_verbs.add_verb(verb)
    verb("generated-maps", generated_maps, "compare generated with computed maps in the 8-frame runs", "profile")
    benchmarks.add_arguments(verb("benchmark", benchmarks.run, "time a dynamic network against its static version"))
    export_verb.add_arguments(verb("export", export_verb.run, "write a trained run as ONNX, one policy for all clips"))
    cost_curve_verb.add_arguments(verb("cost-curve", cost_curve_verb.run, "accuracy against cost of a trained network"))
    ready_verbs.add_verbs(verb)
    predict_verb.add_arguments(verb("predict", predict_verb.run, "say what videos show, and at what cost"))
    loader_command.add_arguments(
        verb("benchmark-loader", loader_command.run, "clips a second of the training loader beside raw decoding")
    )
    verb("runs", list_runs, "print the words of all runs of a profile, one a line", "profile")
    verb("claims", claims, "judge the thesis's claims by the results of a profile", "profile")
    verb("report", report, "write the README of the results of a profile", "profile")
    verb("readme", readme, "put the main table of the results into README.md")
    verb("activate", activate, "let dvc repro rebuild a profile too", "profile")
    verb("repro", repro, "rebuild everything of a profile and show its main table", "profile")
    notebook = verb("notebook", notebook_command, "execute, strip or check notebooks")
    notebook.add_argument("action", choices=("run", "strip", "check"))
    notebook.add_argument("name", nargs="?", help="notebook to run, without folder and ending")
    notebook.add_argument("profile", nargs="?", help="profile whose results it reads, if it reads any")
    return top


def project_root() -> Path:
    """The nearest folder above the working directory that holds dvc.yaml."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "dvc.yaml").exists():
            return folder
    raise FileNotFoundError(f"No dvc.yaml in {Path.cwd()} or above it: call vared inside a clone of the project.")


def load_parameters(root: Path) -> dict:
    """The content of params.yaml."""
    return yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))


def profile_numbers(root: Path, profile: str) -> dict:
    """The section of `profile` in params.yaml; raises ValueError that lists the profiles when there is none."""
    profiles = load_parameters(root)["profiles"]
    if profile not in profiles:
        raise ValueError(f"There is no profile {profile!r} in params.yaml, only {', '.join(profiles)}.")
    return profiles[profile]


def profile_runs(root: Path, profile: str) -> list[str]:
    """The words of all runs of `profile`, checked."""
    profile_numbers(root, profile)
    listed = load_parameters(root)["run_lists"].get(profile, {})
    for key, value in listed.items():
        run = runs.parse_run(value["run"])
        expected = {"profile": profile, "run": run.word, "data": run.data_folder(profile)}
        if key != f"{profile}-{run.word}" or value != expected:
            raise ValueError(f"params.yaml, run_lists.{profile}: {key} does not belong to {value}.")
    return [value["run"] for value in listed.values()]


def list_runs(root: Path, options: argparse.Namespace) -> None:
    print(*profile_runs(root, options.profile), sep="\n")


def plan_of(root: Path, options: argparse.Namespace) -> runs.RunPlan:
    return runs.plan_run(root, options.profile, options.run, profile_numbers(root, options.profile))


def make_data(root: Path, options: argparse.Namespace) -> None:
    from vared.data.preparation import prepare
    from vared.data.sets import set_names

    data, workers = profile_numbers(root, options.profile)["data"], len(os.sched_getaffinity(0))
    for name in [options.set] if options.set else set_names(data):
        prepare(root, options.profile, data, name, workers=workers)


def costs(root: Path, options: argparse.Namespace) -> None:
    from vared import paper
    from vared.costs import overheads, policy_range, static_costs

    printed, target = root / "data" / "paper", root / "results"
    plain = static_costs.count_networks(paper.printed_static(printed))
    scratch.write_text(target / "static_costs.csv", plain.to_csv(index=False))
    networks = paper.printed_dynamic(printed)
    scratch.write_text(target / "policy_range.csv", policy_range.count_policies(networks).to_csv(index=False))
    scratch.write_text(target / "overheads.csv", overheads.count_overheads(networks).to_csv(index=False))


def floors(root: Path, options: argparse.Namespace) -> None:
    from vared.data.preparation import write_floors
    from vared.data.sets import set_results

    data, results = profile_numbers(root, options.profile)["data"], runs.results_folder(root, options.profile)
    write_floors(root, options.profile, data, set_results(results, options.set) / "floors.csv", options.set)


def runs_ahead(root: Path, options: argparse.Namespace) -> int:
    numbers = profile_numbers(root, options.profile)
    plans = [runs.plan_run(root, options.profile, word, numbers) for word in profile_runs(root, options.profile)]
    return 0 if pipeline.compute_all(root, plans, options.jobs) else 1


def compute(root: Path, options: argparse.Namespace) -> None:
    plan = plan_of(root, options)
    pipeline.evaluated(root, plan, pipeline.trained(root, plan))


def train(root: Path, options: argparse.Namespace) -> None:
    pipeline.publish_training(root, plan_of(root, options))


def evaluate(root: Path, options: argparse.Namespace) -> None:
    pipeline.publish_evaluation(root, plan_of(root, options))


def collect(root: Path, options: argparse.Namespace) -> None:
    from vared import collecting

    words = profile_runs(root, options.profile)
    evaluations = root / "data" / "evaluations" / options.profile
    collecting.collect(evaluations, words, runs.results_folder(root, options.profile))


def claims(root: Path, options: argparse.Namespace) -> None:
    from vared.claims import write_claims

    profile_numbers(root, options.profile)
    write_claims(root, options.profile)


def generated_maps(root: Path, options: argparse.Namespace) -> None:
    from vared.analysis.generated_maps import write_generated_maps

    numbers = profile_numbers(root, options.profile)
    plans = [runs.plan_run(root, options.profile, word, numbers) for word in profile_runs(root, options.profile)]
    write_generated_maps(root, plans, runs.results_folder(root, options.profile) / "generated_maps.csv")


def report(root: Path, options: argparse.Namespace) -> None:
    from vared.reports import report_page

    report_page.write_results_page(root, options.profile)


def readme(root: Path, options: argparse.Namespace) -> None:
    from vared.reports import report_page

    report_page.update_readme(root)


def activate(root: Path, options: argparse.Namespace) -> None:
    profile_numbers(root, options.profile)
    reproduction.activate(root / "params.yaml", options.profile)


def repro(root: Path, options: argparse.Namespace) -> int:
    profile_numbers(root, options.profile)
    return reproduction.reproduce(root, options.profile, os.environ)


def notebook_command(root: Path, options: argparse.Namespace) -> int:
    from vared import notebooks

    sources = root / "notebooks"
    if options.action == "strip":
        for path in sorted(sources.glob("*.ipynb")):
            if notebooks.strip_file(path):
                print(f"stripped {path.relative_to(root)}")
        return 0
    if options.action == "check":
        dirty = [path.name for path in sorted(sources.glob("*.ipynb")) if not notebooks.is_stripped(path)]
        if dirty:
            print(f"Notebooks with outputs: {', '.join(dirty)}. Run: vared notebook strip", file=sys.stderr)
        return 1 if dirty else 0
    if not options.name:
        raise ValueError("vared notebook run takes the name of a notebook and, for most, a profile.")
    if not re.fullmatch(r"\w+", options.name):
        raise ValueError(f"{options.name!r} is no name of a notebook: give it without folder and ending.")
    source, parameters, folder = sources / f"{options.name}.ipynb", {"write": True}, root / "results"
    if options.profile:
        profile_numbers(root, options.profile)
        parameters["profile"], folder = options.profile, runs.results_folder(root, options.profile)
    elif "profile" in notebooks.declared_parameters(notebooks.read_source(source)):
        raise ValueError(f"{options.name} reads a profile's results: vared notebook run {options.name} PROFILE")
    target = folder / "notebooks" / f"{options.name}.ipynb"
    # In the project's folder, so that the kernel imports this checkout whatever is installed.
    return notebooks.run(source, target, parameters, directory=root)
