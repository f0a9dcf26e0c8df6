"""The numbers that claims are about, each a function of the results: Results -> Measured, by default over seeds.

Differences are paired: the same seed on both sides. R temporal stride factor, r channel ratio.
"""

from collections.abc import Callable

import pandas as pd
from scipy import stats

from vared.claims.tables import DYNAMIC, STATIC, Measured, NotTested, Results, counted, difference, over_seeds

Measure = Callable[[Results], Measured]
ROUNDS = "quartiles of rounds"


def saved_of(rows: pd.DataFrame) -> pd.Series:
    """GFLOPs saved, percent of the static network's, as the thesis counts."""
    return 100 * (1 - rows["gflops_avg"] / rows["gflops_static"])


def spread_of(rows: pd.DataFrame) -> pd.Series:
    """Most minus least GFLOPs of a clip, percent of the mean."""
    return 100 * (rows["gflops_max"] - rows["gflops_min"]) / rows["gflops_avg"]


def saving(**where) -> Measure:
    """`saved_of` a network."""
    return lambda results: over_seeds(results.by_seed(saved_of, **where))


def spread(**where) -> Measure:
    """`spread_of` a network."""
    return lambda results: over_seeds(results.by_seed(spread_of, **where))


def difference_of(quantity: Callable, first: dict, second: dict) -> Measure:
    """First minus second network in a function of rows of runs.csv, such as `saved_of`."""
    return table_difference("runs", quantity, first, second)


def paired(column: str, first: dict, second: dict, *, relative: bool = False) -> Measure:
    """First minus second in a column of runs.csv; `relative`: in percent of the second."""

    def measure(results: Results) -> Measured:
        a, b = (results.by_seed(column, **side) for side in (first, second))
        change = difference(a, b)
        return over_seeds((100 * change / b).dropna() if relative else change)

    return measure


def mean_over_networks(column: str | None, against: dict = STATIC, *, least: bool = False, **where) -> Measure:
    """Mean (or `least`) over all dynamic networks with enough seeds: of the saving in percent when `column` is None,
    else of the gain in that column over another network."""

    def measure(results: Results) -> Measured:
        values = []
        for same in results.configurations(**where):
            if column is None:
                values.append(results.by_seed(saved_of, **DYNAMIC | same))
            else:
                values.append(difference(*(results.by_seed(column, **side | same) for side in (DYNAMIC, against))))
        common = pd.concat(values, axis=1).dropna()
        return over_seeds(common.min(axis=1) if least else common.mean(axis=1))

    return measure


def speed_gain(*, search_spaces: tuple[int, int | None] = (2, None), least: bool = False, **where) -> Measure:
    """Percent more clips a second than the fastest static network, full size; of a second search space, if given.

    The fastest version of the dynamic network counts; a GPU before a CPU. The interval holds half of the timed rounds.
    """

    def of(results: Results, space: int) -> pd.DataFrame:
        rows = results.rows("benchmarks/speed", role="dynamic", width=1.0, search_space=space, **where)
        rows = rows[rows["device"] == ("cuda" if (rows["device"] == "cuda").any() else "cpu")]
        rows = rows.loc[rows.groupby(["network", "frames"])["saved"].idxmax()]
        return rows.loc[[rows["saved"].idxmin() if least else rows["saved"].idxmax()]]

    def gain(saved: float) -> float:
        return 100 * (1 / (1 - saved) - 1)

    def measure(results: Results) -> Measured:
        first = of(results, search_spaces[0]).iloc[0]
        if search_spaces[1] is None:
            return Measured(*(gain(first[name]) for name in ("saved", "saved_low", "saved_high")), ROUNDS)
        second = of(results, search_spaces[1]).iloc[0]
        ends = (("saved", "saved"), ("saved_low", "saved_high"), ("saved_high", "saved_low"))
        return Measured(*(gain(first[a]) - gain(second[b]) for a, b in ends), ROUNDS)

    return measure


def training_growth(column: str) -> Measure:
    """Largest growth from search space 2 to 3 of a training step's `relative_time` or `relative_memory`, in percent."""

    def measure(results: Results) -> Measured:
        rows = results.rows("benchmarks/training_step")
        wide = rows.pivot_table(index="case", columns="version", values=column)
        spaces = [name for name in wide if str(name).endswith(("2", "3"))]
        if len(spaces) != 2:
            raise NotTested("benchmarks/training_step.csv lacks search spaces 2 and 3 side by side")
        return counted(100 * (wide[spaces[1]] / wide[spaces[0]] - 1).max())

    return measure


def full_size(share: Callable[[pd.DataFrame], pd.Series], table: str = "policy_range", **where) -> Measure:
    """Largest `share` in percent over the networks of a table of full-size counts."""
    return lambda results: counted(100 * share(results.rows(table, **where)).max())


def cheap_of_saved(rows: pd.DataFrame) -> pd.Series:
    """Cheap operations over what is saved, under R = 2 and r = 1/2 everywhere."""
    keys = ["network", "choice", "dataset", "frames", "search_space"]
    one = rows[rows["open"] == "one"].set_index([*keys, "temporal", "channel"])
    plain, halved = (one.xs(policy, level=("temporal", "channel")) for policy in ((1, 1.0), (2, 0.5)))
    return halved["cheap"] / (plain["backbone"] - halved["backbone"])


def correlation(measured: str, known: str, **where) -> Measure:
    """Rank correlation over clips of a measured with a known quantity (correlations.csv)."""
    return lambda results: over_seeds(
        results.by_seed("rho", table="correlations", measured=measured, known=known, **where)
    )


def of_table(table: str, column: str, **where) -> Measure:
    """A column of a table that has one row a seed with these values."""
    return lambda results: over_seeds(results.by_seed(column, table=table, **where))


def table_difference(table: str, column: str | Callable, first: dict, second: dict) -> Measure:
    """First minus second in a column of a table."""
    return lambda results: over_seeds(
        difference(*(results.by_seed(column, table=table, **side) for side in (first, second)))
    )


def policy(quantity: Callable[[pd.DataFrame], float], **where) -> Measure:
    """A number from a run's rows of policy_by_class.csv (mean r and 1/R by layer and class)."""

    def measure(results: Results) -> Measured:
        rows = results.rows("policy_by_class", **where)
        return over_seeds(pd.Series({seed: quantity(of_run) for seed, of_run in rows.groupby("seed")}))

    return measure


def against_depth(column: str) -> Callable[[pd.DataFrame], float]:
    """Rank correlation of the mean share computed ("temporal" 1/R or "channel" r) with the layer's place."""

    def quantity(rows: pd.DataFrame) -> float:
        means = rows.groupby("position")[column].mean()
        return float(stats.spearmanr(means.index, means).statistic)

    return quantity


def between_classes(rows: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation over classes, in points: a row a layer, columns temporal and channel."""
    return 100 * rows.groupby("layer")[["temporal", "channel"]].std()


def channel_over_temporal(rows: pd.DataFrame) -> float:
    """How much more the channel policy varies between classes than the temporal one, mean over layers."""
    varied = between_classes(rows)
    return float((varied["channel"] - varied["temporal"]).mean())


def project_over_expand(rows: pd.DataFrame) -> float:
    """How much more X3D's convolutions after the depthwise ones vary between classes than those before them."""
    varied = between_classes(rows).sum(axis=1)
    after, before = (varied[varied.index.str.endswith(name)] for name in ("conv_c", "conv_a"))
    return float(after.mean() - before.mean())


def count_networks(table: str, column: str) -> Measure:
    """Number of different entries in a column."""
    return lambda results: counted(results.table(table)[column].nunique())


def overfit_of(rows: pd.DataFrame) -> pd.Series:
    """Accuracy on training clips minus that on validation clips, in points."""
    return rows["train_top1"] - rows["clip1_top1"]


def range_of_cc(rows: pd.DataFrame) -> pd.Series:
    """How far the correlation of a clip's maps ranges over clips, without the outer tenth."""
    return rows["CC_95%"] - rows["CC_5%"]
