"""The walk through a profile: every data set checked and linked, every run trained and evaluated, every table made."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import yaml

from vared import collecting, pipeline, runs
from vared.cli import profile_numbers, profile_runs
from vared.data.official_check import check_profile
from vared.data.preparation import prepare, write_floors
from vared.data.sets import set_names, set_results

NOTEBOOKS = ("table_4_1", "table_4_2", "table_4_5", "table_4_7", "table_4_9", "segmentation")


class Walk:
    """Steps taken, each with its seconds, in the project at `root`."""

    def __init__(self, root: Path, profile: str, tell: Callable[[str], None] = print):
        self.root, self.profile, self.tell = root, profile, tell
        self.numbers = profile_numbers(root, profile)
        self.steps: list[dict[str, object]] = []

    def step(self, kind: str, name: str, work: Callable[[], object]) -> object:
        """Do `work`, note how long it took. What it raises names the step."""
        started = time.monotonic()
        try:
            result = work()
        except Exception as error:
            error.add_note(f"in the step {kind} {name} of the rehearsal")
            raise
        self.steps.append({"step": kind, "name": name, "seconds": round(time.monotonic() - started, 1)})
        self.tell(f"{kind} {name}: {self.steps[-1]['seconds']} s")
        return result

    def table(self) -> pd.DataFrame:
        """A row a step: step, name, seconds."""
        return pd.DataFrame(self.steps, columns=["step", "name", "seconds"])


def rehearse(root: Path, profile: str, *, only: Sequence[str] | None = None, notebooks: Sequence[str] = NOTEBOOKS,
             tell: Callable[[str], None] = print) -> pd.DataFrame:  # fmt: skip
    """Walk through `profile` in the project at `root`; `only` names the runs to take instead of all.

    Returns a row a step. Raises what the first failing step raises, with a note that names it.
    """
    walk = Walk(root, profile, tell)
    data, results = walk.numbers["data"], runs.results_folder(root, profile)
    for found in walk.step("check", profile, lambda: check_profile(root, walk.numbers)):
        if found.problems:
            raise ValueError(str(found))
    for name in set_names(data):
        walk.step("data", name, lambda: prepare(root, profile, data, name))  # noqa: B023
        folder = set_results(results, name)
        walk.step("floors", name, lambda: write_floors(root, profile, data, folder / "floors.csv", name))  # noqa: B023
    words = list(only or profile_runs(root, profile))
    plans = {word: runs.plan_run(root, profile, word, walk.numbers) for word in words}
    for plan in runs.in_order(plans.values()):
        walk.step("train", plan.run.word, lambda: pipeline.publish_training(root, plan))  # noqa: B023
        walk.step("evaluate", plan.run.word, lambda: pipeline.publish_evaluation(root, plan))  # noqa: B023
    walk.step("collect", profile, lambda: collecting.collect(root / "data" / "evaluations" / profile, words, results))
    _localise(walk, [word for word in walk.numbers["localization"]["runs"] if word in words], plans)
    _segment(walk, results)
    for name in notebooks:
        walk.step("table", name, lambda: _notebook(root, results, name, profile))  # noqa: B023
    return walk.table()


def _localise(walk: Walk, words: Sequence[str], plans: dict) -> None:
    from vared.localization import verbs

    for word in words:
        walk.step("localize", word, lambda: verbs.publish(walk.root, plans[word]))  # noqa: B023
    folder = walk.root / "data" / "localizations" / walk.profile
    files = [folder / word / "metrics.json" for word in words]
    verbs.write_table(files, runs.results_folder(walk.root, walk.profile))


def _segment(walk: Walk, results: Path) -> None:
    from vared.segmentation import verbs
    from vared.segmentation.collecting import collect
    from vared.segmentation.plans import plan_runs

    plans, folder = plan_runs(walk.root, walk.profile, walk.numbers), walk.root / "data" / "segmentation" / walk.profile
    for plan in plans:
        walk.step("segment", plan.run.word, lambda: verbs.publish(walk.root, plan, folder / plan.run.word))  # noqa: B023
    collect(folder, walk.profile, [plan.run.word for plan in plans], results)


def _notebook(root: Path, results: Path, name: str, profile: str) -> None:
    from vared import notebooks

    target = results / "notebooks" / f"{name}.ipynb"
    if notebooks.run(root / "notebooks" / f"{name}.ipynb", target, {"write": True, "profile": profile}, directory=root):
        raise RuntimeError(f"The notebook {name} failed; its last state lies beside {target}.")


def runs_of_every_set(root: Path, profile: str) -> list[str]:
    """The shortest list of runs that takes every data set and every kind of network of `profile` once."""
    words, seen = [], set()
    listed = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["run_lists"][profile]
    for value in listed.values():
        run = runs.parse_run(value["run"])
        kinds = {("data", run.data), ("backbone", run.backbone), ("network", run.network)}
        if not kinds <= seen:
            seen |= kinds
            words.append(run.word)
    return words
