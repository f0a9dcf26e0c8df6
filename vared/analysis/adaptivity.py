"""How far a policy depends on the input: numbers from the tables of an evaluation. Entropies in bits.

For the embedded data set, whose motion and clutter are known, also how the cost of a clip follows them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from vared.runs import parse_run

# Columns of the data set's clips.csv (data/README.md): pixels a frame of the actor and of the camera, number of
# distractors times their contrast, pixels. Camera motion and clutter are drawn without knowledge of the class.
KNOWN = ("motion", "camera_motion", "clutter", "actor_radius")
BIN = 0.05  # of the static cost: the bins of figure B-6


def cost_spread(clips: pd.DataFrame, column: str = "gflops_total") -> dict[str, float]:
    """Mean, standard deviation, minimum and maximum over clips of a cost column of `Evaluation.clips`."""
    cost = clips[column]
    spread = {"mean": cost.mean(), "std": cost.std(ddof=0), "min": cost.min(), "max": cost.max()}
    return {name: float(value) for name, value in spread.items()}


def cost_bins(cost: pd.Series, static: float) -> np.ndarray:
    """The bin of each cost as a whole number: bin k is above k - 1 times, at most k times, 5 % of the static cost."""
    # A cost on an edge belongs to the bin below it, whatever its last bits are.
    return np.ceil(np.round(cost.to_numpy() / (BIN * static), 6)).astype(int)


def fullest_bin(cost: pd.Series, static: float) -> float:
    """Percent of the clips in the fullest bin of cost; bins, from 0 on, are 5 % of the static cost wide (fig. B-6)."""
    bins = cost_bins(cost, static)
    return float(100 * np.unique(bins, return_counts=True)[1].max() / len(bins))


def run_adaptivity(clips: pd.DataFrame, policies: pd.DataFrame, static: float) -> dict[str, float]:
    """A dynamic run in one row, from its clips and policies and the static cost: mean, std, min and max of the cost as
    the thesis counts it, `fullest_bin`, and means over layers of entropy and class_information of both dimensions."""
    row = cost_spread(clips, "gflops_backbone") | {"fullest_bin": fullest_bin(clips["gflops_backbone"], static)}
    layers = layer_adaptivity(policies, clips)
    for dimension, of_dimension in layers.groupby("dimension"):
        for name in ("entropy", "class_information"):
            row[f"{dimension}_{name}"] = float(of_dimension[name].mean())
    return row


def layer_adaptivity(policies: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """A row a layer and dimension ("temporal", "channel") from `Evaluation.policies` and `Evaluation.clips`.

    mean_cost: nominal share computed. entropy: of the chosen candidate over clips; 0 means one choice for all.
    class_information: mutual information of choice and label. closed_first: share of clips that do not take the
    largest candidate. all_zero: share of clips for which the all-zero rule fired. never_open: candidates that no clip
    opens. mean_open_weight: mean V of open candidates.
    """
    labels = clips.set_index("clip")["label"]
    rows = []
    for layer, of_layer in policies.groupby("layer", sort=False):
        for dimension, column, first in (("temporal", "stride", 1), ("channel", "ratio", 1.0)):
            weights = of_layer.filter(regex=rf"^V_{dimension[0]}\d+$").dropna(axis=1).to_numpy()
            if weights.shape[1] < 2:
                continue
            choice, label = of_layer[column].to_numpy(), of_layer["clip"].map(labels).to_numpy()
            rows.append(
                {
                    "layer": layer,
                    "dimension": dimension,
                    "mean_cost": float((1 / choice if dimension == "temporal" else choice).mean()),
                    "entropy": entropy(choice),
                    "class_information": entropy(choice) + entropy(label) - entropy(choice, label),
                    "closed_first": float((choice != first).mean()),
                    "all_zero": float(of_layer[f"all_zero_{dimension}"].mean()),
                    "never_open": int((weights <= 0).all(0).sum()),
                    "mean_open_weight": float(weights[weights > 0].mean()),
                }
            )
    return pd.DataFrame(rows)


def entropy(*variables: np.ndarray) -> float:
    """Joint entropy in bits of the observed values, each variable N."""
    _, counts = np.unique(np.stack(variables, axis=1), axis=0, return_counts=True)
    share = counts / counts.sum()
    return float(max(-(share * np.log2(share)).sum(), 0.0))


def known_scenes(folder: Path) -> pd.DataFrame:
    """What is known of every clip of the embedded data set in `folder`, columns KNOWN, indexed by the clip's name.

    Raises FileNotFoundError for a folder without clips.csv.
    """
    return pd.read_csv(folder / "clips.csv").set_index("clip")[list(KNOWN)]


def with_scenes(table: pd.DataFrame, scenes: pd.DataFrame) -> pd.DataFrame:
    """A table with a column `name` (path of the video, as in `clips.parquet`) with what is known of each clip.

    Raises ValueError that names a clip of which nothing is known.
    """
    names = table["name"].map(lambda name: PurePosixPath(name).stem)
    if len(unknown := names[~names.isin(scenes.index)]):
        raise ValueError(f"clips.csv does not describe {unknown.iloc[0]!r}, nor {len(unknown) - 1} more clips.")
    return table.assign(**{column: names.map(scenes[column]) for column in scenes})


class RankCorrelation(NamedTuple):
    """Spearman's coefficient with its 95 % interval."""

    rho: float
    low: float
    high: float


def rank_correlation(measured, known, *, resamples: int = 1_000, seed: int = 0) -> RankCorrelation:
    """Spearman's rank correlation of a measured with a known quantity, mean over seeds.

    `measured`: seeds x clips, or clips for one seed; `known`: clips, the same for every seed. The interval is a
    percentile bootstrap over clips and, independently, seeds, as in `controls.paired_difference`. Not a number where a
    seed measured the same for every clip. Raises ValueError for other shapes.
    """
    a, b = np.atleast_2d(np.asarray(measured, dtype=np.float64)), np.asarray(known, dtype=np.float64)
    if b.ndim != 1 or a.shape[1] != len(b) or len(b) < 3:
        raise ValueError(f"Each of 3 clips or more needs a measured and a known value, not {a.shape}, {b.shape}.")
    if not (np.ptp(a, axis=1) > 0).all() or np.ptp(b) == 0:
        return RankCorrelation(np.nan, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    found = []
    for start in range(0, resamples, 100):  # in parts: resamples x seeds x clips would fill the memory
        drawn = generator.integers(len(b), size=(min(100, resamples - start), len(b)))
        weights = generator.multinomial(len(a), np.full(len(a), 1 / len(a)), size=len(drawn)) / len(a)
        found.append((_spearman(a[:, drawn], b[drawn]).T * weights).sum(1))
    low, high = np.nanpercentile(np.concatenate(found), [2.5, 97.5])
    return RankCorrelation(float(_spearman(a, b).mean()), float(low), float(high))


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the last axis, ties at their mean rank."""
    a, b = (rankdata(x, axis=-1) for x in (a, b))
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    with np.errstate(invalid="ignore"):  # a resample in which all clips are equal
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def groups_of(words: Iterable[str]) -> dict[str, list[str]]:
    """Runs that differ in the seed only, by the group's word (s2_8f)."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(parse_run(word).group, []).append(word)
    return groups


def correlation_table(
    runs: Mapping[str, pd.DataFrame], measured: Sequence[str], known: Sequence[str] = KNOWN
) -> pd.DataFrame:
    """Rank correlation of each measured with each known column, a row a run, and a row a group of runs that differ in
    the seed only, under the group's word (s2_8f) and without a seed.

    `runs`: word -> a row a clip, in the same order in every run of a group. Columns: run, seed, measured, known, rho,
    low, high, clips.
    """
    rows = []
    for group, words in groups_of(runs).items():
        seeds = [(word, parse_run(word).seed, [word]) for word in words]
        for name, seed, members in seeds + ([(group, None, words)] if len(words) > 1 else []):
            for what in measured:
                values = np.stack([runs[word][what] for word in members])
                for fact in known:
                    found = rank_correlation(values, runs[members[0]][fact])
                    rows.append({"run": name, "seed": seed, "measured": what, "known": fact, **found._asdict()})
                    rows[-1]["clips"] = values.shape[1]
    return pd.DataFrame(rows).round(6)


def binned_means(
    runs: Mapping[str, pd.DataFrame], measured: Sequence[str], known: Sequence[str] = KNOWN, bins: int = 10
) -> pd.DataFrame:
    """Mean of each measured column over tenths of the clips in order of each known one, a row a group and tenth.

    `runs` as in `correlation_table`; a clip counts with its mean over seeds. Clips of which the same is known stay
    together. Columns: group, seeds, measured, known, bin, clips, known_mean, mean, half_width (of the mean's 95 %
    interval over clips; missing for a single clip).
    """
    rows = []
    for group, words in groups_of(runs).items():
        for what in measured:
            values = pd.Series(np.mean([runs[word][what].to_numpy() for word in words], axis=0))
            for fact in known:
                by = runs[words[0]][fact].reset_index(drop=True)
                tenth = pd.qcut(by, bins, labels=False, duplicates="drop")
                for number, of_bin in values.groupby(tenth):
                    row = {"group": group, "seeds": len(words), "measured": what, "known": fact, "bin": int(number)}
                    row |= {"clips": len(of_bin), "known_mean": by[of_bin.index].mean(), "mean": of_bin.mean()}
                    rows.append(row | {"half_width": 1.96 * of_bin.sem()})
    return pd.DataFrame(rows)
