"""How far policies depend on the clip, for reading: figure B-6, the table of adaptivity, and rank correlations.

Thesis numbers and ours never share a column. Runs that differ in the seed only are one row, a mean over seeds.
"""

import re

import pandas as pd

from vared.analysis.adaptivity import BIN, KNOWN, cost_bins, groups_of
from vared.reports.reporting import NOT_RUN, difference_text, with_spread
from vared.runs import parse_run

# What the thesis says in words of figure B-6; this network, data set and cost are those of one row of table 4.1.
_SHARE = re.compile(r"([\d.]+) %(?: of clips)? in ([\d.]+)-([\d.]+)")
THESIS_B_6 = "R(2+1)D-18, 16 frames, Mini-Kinetics-200"
KNOWN_TITLES = {
    "motion": "actor's motion (pixels a frame)", "camera_motion": "camera's motion (pixels a frame)",
    "clutter": "clutter (number times contrast)", "actor_radius": "radius of the actor (pixels)",
}  # fmt: skip


def group_title(group: str) -> str:
    """`s2_8f` as `8 frames, S = 2`; `static_8f` as `8 frames, static`; with data and backbone where they are named."""
    run = parse_run(f"{group}_seed0")
    words = [
        run.data,
        run.backbone,
        f"{run.frames} frames",
        f"S = {run.search_space}" if run.search_space else "static",
    ]
    words += [f"{run.dimensions} only"] if run.dimensions in ("temporal", "channel") else []
    return ", ".join(word for word in [*words, "long training" * run.long] if word)


def printed_bins(figures: pd.DataFrame, table_4_1: pd.DataFrame) -> dict[int, float]:
    """Percent of clips by bin (number of its upper edge, in steps of 5 % of the static cost) as the thesis prints them.

    From the words on figure B-6 in data/paper/figures.csv. Raises ValueError when they name no share.
    """
    text = figures.set_index("figure").loc["B-6", "values_in_text"]
    static = table_4_1[(table_4_1["length_frames"] == 16) & table_4_1["search_space"].isna()]["gflops_avg"].iloc[0]
    found = {round(float(high) / static / BIN): float(share) for share, _, high in _SHARE.findall(text)}
    if not found:
        raise ValueError(f"data/paper/figures.csv, figure B-6: no 'P % in LOW-HIGH' in {text!r}.")
    return found


def cost_histogram(costs: pd.DataFrame, printed: dict[int, float]) -> pd.DataFrame:
    """Figure B-6 in long form: group, from_percent, to_percent (of the static cost), thesis, ours, spread, seeds.

    `costs` is cost_by_clip.csv. thesis and ours are percent of clips; ours is the mean over seeds, `spread` their
    sample standard deviation. Bins between the lowest and the highest with a clip, in any run or in the thesis.
    """
    bins = pd.Series(cost_bins(costs["cost_percent"].astype(float), 100.0), index=costs.index)
    shown = [*printed, *bins]
    numbers = range(min(shown), max(shown) + 1)
    edges = [{"from_percent": round(100 * BIN * (k - 1)), "to_percent": round(100 * BIN * k)} for k in numbers]
    rows = [{"group": "thesis"} | e | {"thesis": printed.get(k, 0.0)} for e, k in zip(edges, numbers, strict=True)]
    for group, words in groups_of(costs["run"].unique()).items():
        shares = pd.DataFrame({w: 100 * bins[costs["run"] == w].value_counts(normalize=True) for w in words})
        shares = shares.reindex(numbers).fillna(0.0)
        for edge, (_, of_bin) in zip(edges, shares.iterrows(), strict=True):
            row = {"group": group} | edge | {"ours": of_bin.mean(), "spread": of_bin.std(), "seeds": len(words)}
            rows.append(row)
    columns = ["group", "from_percent", "to_percent", "thesis", "ours", "spread", "seeds"]
    return pd.DataFrame(rows).reindex(columns=columns).round(4).astype({"seeds": "Int64"})


def histogram_table(histogram: pd.DataFrame) -> pd.DataFrame:
    """`cost_histogram` as text, a row a bin; bins without any clip are left out."""
    rows = []
    for (low, high), cells in histogram.groupby(["from_percent", "to_percent"]):
        if not cells[["thesis", "ours"]].fillna(0).to_numpy().any():
            continue
        row = {"cost, % of the static network's": f"{low} to {high}"}
        for cell in cells.to_dict("records"):
            if cell["group"] == "thesis":
                row[f"thesis: {THESIS_B_6}"] = f"{cell['thesis']:.1f} %"
            else:
                row[f"ours: {group_title(cell['group'])}"] = f"{with_spread(cell['ours'], cell['spread'])} %"
        if "ours" not in "".join(row):
            row["ours"] = NOT_RUN
        rows.append(row)
    return pd.DataFrame(rows)


def adaptivity_table(adaptivity: pd.DataFrame, runs: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """As text, a row a dynamic group: spread of its cost, entropies, and what the policy is worth in accuracy.

    From adaptivity.csv, runs.csv and comparisons.csv of a profile.
    """
    static = runs.drop_duplicates("run").set_index("run")["gflops_static"]
    rows = []
    for group, words in groups_of(adaptivity["run"]).items():
        of_group = adaptivity[adaptivity["run"].isin(words)]
        percent = of_group[["mean", "std", "min", "max"]].mul(100 / of_group["run"].map(static), axis=0)
        row = {"network": group_title(group), "seeds": len(words)}
        row["cost, % of static"] = with_spread(percent["mean"].mean(), percent["mean"].std())
        row["standard deviation over clips"] = f"{percent['std'].mean():.1f}"
        row["least to most costly clip"] = f"{percent['min'].mean():.1f} to {percent['max'].mean():.1f}"
        row["fullest bin of 5 %"] = f"{of_group['fullest_bin'].mean():.1f} % of clips"
        for dimension in ("temporal", "channel"):
            for name, title in (("entropy", "entropy"), ("class_information", "entropy shared with the class")):
                mean = of_group.get(f"{dimension}_{name}", pd.Series(dtype=float)).mean()
                row[f"{dimension} {title} (bits)"] = "–" if pd.isna(mean) else f"{mean:.3f}"
        for control, title in (("mean_policy", "one policy for all"), ("random_policy", "policies of other clips")):
            title = f"clip-1 minus that with {title}, points (95 % interval)"
            row[title] = difference_text(comparisons, group, control)
        rows.append(row)
    return pd.DataFrame(rows)


def correlation_text(correlations: pd.DataFrame, measured: tuple[str, ...]) -> pd.DataFrame:
    """Rank correlations with their intervals as text: a row a measured quantity and group, a column a known one."""
    rows = []
    for quantity in measured:
        found = correlations[correlations["measured"] == quantity]
        for group, words in groups_of(w for w in found["run"].unique() if "_seed" in w).items():
            of_group = found[found["run"] == (group if len(words) > 1 else words[0])].set_index("known")
            row = {"measured": quantity, "network": group_title(group), "seeds": len(words)}
            row["clips"] = int(of_group["clips"].iloc[0])
            rows.append(row | {KNOWN_TITLES[known]: _interval(of_group.loc[known]) for known in KNOWN})
    return pd.DataFrame(rows)


def _interval(row: pd.Series) -> str:
    if pd.isna(row["rho"]):
        return "constant"
    return f"{row['rho']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
