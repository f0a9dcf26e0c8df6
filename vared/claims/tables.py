"""What the tables of results say about a claim: a number with a 95 % interval, or why there is none.

Tables are the CSV files of a results folder. Rows of runs.csv without a column of their own for it are of the profile's
backbone and data set (summary.json), with both dimensions dynamic.

Seeds are independent repetitions, so the interval of a trained quantity is Student's, over seeds.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

MINIMAL_SEEDS = 3
# Counted or timed in full size, the same for every profile.
SHARED = ("static_costs", "policy_range", "overheads", "benchmarks/speed", "benchmarks/training_step")
# What runs.csv says of a run, for the tables that only name it.
DESCRIPTION = ("backbone", "data", "frames", "search_space", "dimensions", "training", "seed")
# Generated data that stand for the thesis's, by the thesis's names; a profile with the real data has the real name.
STAND_INS = {
    "Mini-Kinetics-200": ("embedded",),
    "Kinetics-400": ("embedded_kinetics",),
    "Moments-In-Time": ("embedded_moments",),
}
HOLDS, REFUTED, UNDECIDED = "holds", "refuted", "undecided"
STATIC = {"network": "static", "variant": "static"}
EQUAL_EPOCHS = {"network": "static", "variant": "static_equal_epochs"}
DYNAMIC = {"network": "dynamic", "variant": "dynamic", "search_space": 2, "dimensions": "both"}


class NotTested(Exception):
    """The tables hold no such number; the message says what is missing. `found` is a number without an interval."""

    found: "Measured | None" = None


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval; `basis` says over what. Both ends are the number itself when it is counted."""

    value: float
    low: float
    high: float
    basis: str

    def within(self, low: float, high: float) -> str:
        """HOLDS when the whole interval lies between `low` and `high`, REFUTED when none of it does, else UNDECIDED."""
        if low < self.low and self.high < high:
            return HOLDS
        return REFUTED if self.high <= low or self.low >= high else UNDECIDED


class Results:
    """The tables of one profile, and those of no profile, which lie in the folder of the default one."""

    def __init__(self, profile: str, folder: Path, shared: Path):
        self.profile, self.folder, self.shared = profile, folder, shared
        self.table = cache(self._table)

    def _table(self, name: str) -> pd.DataFrame:
        """The table `name`.csv. Raises NotTested when there is none, or nothing in it."""
        path = (self.shared if name in SHARED else self.folder) / f"{name}.csv"
        if not path.exists():
            raise NotTested(f"{name}.csv was not made")
        try:
            table = pd.read_csv(path)
        except pd.errors.EmptyDataError as error:
            raise NotTested(f"{name}.csv is empty") from error
        if name == "runs":
            summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
            own = {"backbone": summary["model"]["backbone"], "data": summary["data"]["source"]}
            for column, value in (own | {"dimensions": "both", "training": "usual"}).items():
                table[column] = table[column].fillna(value) if column in table else value
        elif "run" in table and name not in SHARED:
            described = self.table("runs").drop_duplicates("run")
            lacking = [column for column in DESCRIPTION if column not in table]
            table = table.merge(described[["run", *lacking]], on="run", how="left")
        return table

    def rows(self, name: str, **where) -> pd.DataFrame:
        """Rows of a table in which every column has the given value (or one of a tuple). Raises NotTested for none."""
        table = self.table(name)
        if lacking := [column for column in where if column not in table]:
            raise NotTested(f"{name}.csv has no column {', '.join(lacking)}")
        for column, value in where.items():
            wanted = STAND_INS.get(value, ()) + (value,) if column == "data" else value
            table = table[table[column].isin(wanted if isinstance(wanted, tuple) else (wanted,))]
        if table.empty:
            raise NotTested(f"{name}.csv has no row with {_spelled(where)}")
        return table

    def by_seed(self, column: str | Callable, *, table: str = "runs", **where) -> pd.Series:
        """A column, or a function of rows, indexed by seed. Raises ValueError when a seed has several rows."""
        rows = self.rows(table, **where)
        try:
            values = rows[column] if isinstance(column, str) else column(rows)
        except KeyError as error:
            raise NotTested(f"{table}.csv has no column {error.args[0]}") from error
        values = values.set_axis(rows["seed"].to_numpy()).dropna()
        if values.empty:
            what = column if isinstance(column, str) else column.__name__
            raise NotTested(f"{what} was not measured with {_spelled(where)}")
        if values.index.has_duplicates:
            raise ValueError(f"{table}.csv has several rows a seed with {_spelled(where)}: the rule must say which.")
        return values

    def configurations(self, **where) -> list[dict]:
        """Every (backbone, data, frames) of dynamic networks (S = 2) with a static partner in enough common seeds."""
        runs, found = self.rows("runs", **DYNAMIC | where), []
        for key, _ in runs.groupby(keys := ["backbone", "data", "frames", "training"], sort=False):
            same = dict(zip(keys, key, strict=True))
            try:
                seeds = [set(self.by_seed("clip1_top1", **side | same).index) for side in (DYNAMIC, STATIC)]
            except NotTested:
                continue
            if len(set.intersection(*seeds)) >= MINIMAL_SEEDS:
                found.append(same)
        if not found:
            raise NotTested(f"no static and dynamic network with {MINIMAL_SEEDS} common seeds for {_spelled(where)}")
        return found


def over_seeds(values: pd.Series) -> Measured:
    """Mean with Student's 95 % interval. Raises NotTested for fewer than MINIMAL_SEEDS values."""
    values = values.dropna()
    count = len(values)
    if count < MINIMAL_SEEDS:
        error = NotTested(f"{count} seed{'s' * (count != 1)}; an interval over seeds needs {MINIMAL_SEEDS}")
        error.found = Measured(values.mean(), np.nan, np.nan, f"{count} seed{'s' * (count != 1)}") if count else None
        raise error
    half = stats.t.ppf(0.975, count - 1) * values.std() / np.sqrt(count)
    return Measured(values.mean(), values.mean() - half, values.mean() + half, f"{count} seeds")


def counted(value: float) -> Measured:
    """A number that repeats exactly."""
    return Measured(float(value), float(value), float(value), "counted")


def difference(first: pd.Series, second: pd.Series) -> pd.Series:
    """first - second by seed, seeds of both only. Raises NotTested when they share none."""
    common = (first - second).dropna()
    if common.empty:
        raise NotTested("the two networks have no seed in common")
    return common


def _spelled(where: dict) -> str:
    return ", ".join(f"{column} {value}" for column, value in sorted(where.items())) or "any setting"
