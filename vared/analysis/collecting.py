"""Redundancy of the static and adaptivity of the dynamic runs of a profile, from what was measured to tidy tables.

    redundancy.csv           a row a run, tensor and dimension: means over clips, and quantiles (table B.1)
    redundancy_extremes.csv  of each static run the clips with most and with least redundancy in time (figure B-1)
    adaptivity.csv           a row a dynamic run: how its cost and its policy vary over clips
    cost_by_clip.csv         a row a dynamic run and clip: cost in percent of the static network's (figure B-6)
    correlations.csv         rank correlations with known motion and clutter: of redundancy (static), of cost (dynamic)
    scene_bins.csv           means of the same over tenths of the clips in order of what is known

The last two have no rows where nothing is known of the clips. Costs are the backbone's, as the thesis counts.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from vared.analysis.adaptivity import binned_means, correlation_table, run_adaptivity, with_scenes
from vared.analysis.redundancy import DIMENSIONS, Redundancy
from vared.analysis.run_redundancy import CLIPS
from vared.analysis.similarity import MEASURES
from vared.runs import parse_run
from vared.scratch import write_text

CORRELATED = ("CC", "RMSE", "RP")
REDUNDANT = [f"{dimension} {measure}" for dimension in DIMENSIONS for measure in CORRELATED]
BINNED = ("temporal CC", "channel CC", "cost")
# First columns of each table, all when it has no rows: DVC wants the file, and readers its header.
COLUMNS = {
    "redundancy": ["run", "tensor", "dimension", "clips", *MEASURES],
    "redundancy_extremes": ["run", "which", "clip", "name", "CC"],
    "adaptivity": [
        "run", "mean", "std", "min", "max", "fullest_bin", "temporal_entropy", "temporal_class_information",
        "channel_entropy", "channel_class_information",
    ],
    "cost_by_clip": ["run", "clip", "label", "cost_percent"],
    "correlations": ["run", "seed", "measured", "known", "rho", "low", "high", "clips"],
    "scene_bins": ["group", "seeds", "measured", "known", "bin", "clips", "known_mean", "mean", "half_width"],
}  # fmt: skip


def collect_analysis(
    measured: Path, evaluations: Path, words: Sequence[str], scenes: Mapping[str, pd.DataFrame] | None, target: Path
) -> None:
    """Write the tables above to `target`.

    `scenes` are `adaptivity.known_scenes` of every data set, the profile's own under "", None where nothing is known.

    `measured` and `evaluations` hold a folder a run of `words`, written by `measure_run` for those of `compared_maps`
    and by `protocol.evaluate_run` for the dynamic ones. Raises FileNotFoundError that names the runs that are missing.
    """
    runs = [parse_run(word) for word in words]
    static = {run.word: measured / run.word / CLIPS for run in runs if run.compared_maps}
    dynamic = {run.word: evaluations / run.word for run in runs if run.search_space is not None}
    needed = [*static.values(), *(folder / "metrics.json" for folder in dynamic.values())]
    if missing := [path.parent.name for path in needed if not path.exists()]:
        raise FileNotFoundError(f"Not measured yet: {', '.join(missing)}. Run dvc repro, it does what is left.")
    by_clip = {word: pd.read_parquet(path) for word, path in static.items()}
    costs = {word: _clip_costs(folder) for word, folder in dynamic.items()}
    tables = {
        "redundancy": [row for word, clips in by_clip.items() for row in redundancy_rows(word, clips)],
        "redundancy_extremes": [row for word, clips in by_clip.items() for row in extreme_rows(word, clips)],
        "adaptivity": [{"run": word} | _adaptivity(dynamic[word], clips) for word, clips in costs.items()],
        "cost_by_clip": [row for word, clips in costs.items() for row in cost_rows(word, clips)],
        "correlations": [],
        "scene_bins": [],
    }
    if scenes is not None:
        of = {run.word: scenes[run.data] for run in runs}
        redundant = {word: with_scenes(redundancy_by_clip(clips), of[word]) for word, clips in by_clip.items()}
        known = {word: with_scenes(clips.assign(cost=clips["cost_percent"]), of[word]) for word, clips in costs.items()}
        for of_runs, quantities in ((redundant, REDUNDANT), (known, ["cost"])):
            tables["correlations"] += correlation_table(of_runs, quantities).to_dict("records")
            drawn = [name for name in quantities if name in BINNED]
            tables["scene_bins"] += binned_means(of_runs, drawn).to_dict("records")
    for name, rows in tables.items():
        table = pd.DataFrame(rows)
        table = table.reindex(columns=list(dict.fromkeys([*COLUMNS[name], *table.columns])))
        write_text(target / f"{name}.csv", table.round(6).to_csv(index=False))


def redundancy_rows(word: str, clips: pd.DataFrame) -> list[dict]:
    """Rows of redundancy.csv from the clips.parquet of one run."""
    rows = []
    for tensor, of_tensor in clips.groupby("tensor", sort=False):
        summary = Redundancy(layers=pd.DataFrame(), clips=of_tensor).summary()
        rows += [{"run": word, "tensor": tensor} | row for row in summary.to_dict("records")]
    return rows


def redundancy_by_clip(clips: pd.DataFrame, tensor: str = "convolution") -> pd.DataFrame:
    """A row a clip: name, and a column such as `temporal CC` for every dimension and measure of CORRELATED."""
    wide = clips[clips["tensor"] == tensor].pivot(index=["clip", "name"], columns="dimension", values=list(CORRELATED))
    table = pd.DataFrame({f"{d} {m}": wide[m][d] for d in DIMENSIONS for m in CORRELATED})
    return table.reset_index().sort_values("clip", ignore_index=True)


def extreme_rows(word: str, clips: pd.DataFrame) -> list[dict]:
    """Rows of redundancy_extremes.csv: by the correlation of frames, mean over layers. The first clip of a tie."""
    table = redundancy_by_clip(clips).dropna(subset="temporal CC")
    if table.empty:
        return []
    ends = {"most": table["temporal CC"].idxmax(), "least": table["temporal CC"].idxmin()}
    found = {which: table.loc[position, ["clip", "name", "temporal CC"]].tolist() for which, position in ends.items()}
    return [{"run": word, "which": w, "clip": c, "name": n, "CC": float(cc)} for w, (c, n, cc) in found.items()]


def cost_rows(word: str, clips: pd.DataFrame) -> list[dict]:
    """Rows of cost_by_clip.csv from the clips of one run."""
    rows = clips[["clip", "label", "cost_percent"]].assign(cost_percent=clips["cost_percent"].round(3))
    return [{"run": word} | row for row in rows.to_dict("records")]


def _clip_costs(folder: Path) -> pd.DataFrame:
    """Clips of the final dynamic network in order, with `cost_percent` of the static cost and that cost `static`."""
    clips = pd.read_parquet(folder / "clips.parquet").query("variant == 'dynamic'").sort_values("clip")
    static = json.loads((folder / "metrics.json").read_text())["gflops_static"]
    return clips.assign(cost_percent=100 * clips["gflops_backbone"] / static, static=static)


def _adaptivity(folder: Path, clips: pd.DataFrame) -> Mapping[str, float]:
    return run_adaptivity(clips, pd.read_parquet(folder / "policies.parquet"), float(clips["static"].iloc[0]))
