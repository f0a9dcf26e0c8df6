"""From the evaluations of all runs of a profile to tidy tables: the only files that tables and figures read.

Rounded here to more digits than anything prints, so that noise in the last bit does not redraw everything.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from vared.runs import Run, parse_run
from vared.scratch import write_text

METRICS = {
    "clip1_top1": "clip1_top1", "video1_top1": "video1_top1", "video5_top5": "video5_top5",
    "gflops_avg": "gflops_backbone_mean", "gflops_max": "gflops_backbone_max", "gflops_min": "gflops_backbone_min",
    "gflops_gate": "gflops_gate_mean", "gflops_cheap": "gflops_cheap_mean", "gflops_total": "gflops_total_mean",
}  # fmt: skip
NAMES = {"arnet": "ar_net"}  # networks whose name in tables is not that in run words
# Paired differences in clip-1, on the same clips: first minus second.
COMPARISONS = (
    ("dynamic", "static"), ("dynamic", "static_equal_epochs"), ("dynamic", "mean_policy"),
    ("dynamic", "random_policy"), ("dynamic", "before_finetuning"),
)  # fmt: skip


def collect(evaluations: Path, words: list[str], target: Path) -> None:
    """Write runs.csv, comparisons.csv, policy_by_class.csv, extreme_clips.csv and summary.json.

    `evaluations` holds a folder for each of the runs `words`. Raises FileNotFoundError that names the missing runs.
    """
    missing = [word for word in words if not (evaluations / word / "metrics.json").exists()]
    if missing:
        raise FileNotFoundError(f"Not evaluated yet: {', '.join(missing)}. Run dvc repro, it does what is left.")
    records = {word: json.loads((evaluations / word / "metrics.json").read_text()) for word in words}
    clips = {word: pd.read_parquet(evaluations / word / "clips.parquet") for word in words}
    policies = {word: pd.read_parquet(evaluations / word / "policies.parquet") for word in words}
    runs = runs_table(records)
    comparisons = comparison_table(clips)
    target.mkdir(parents=True, exist_ok=True)
    for name, table in {
        "runs": runs,
        "comparisons": comparisons,
        "policy_by_class": policy_by_class(records, clips, policies),
        "extreme_clips": extreme_clips(records, clips, policies),
    }.items():
        write_text(target / f"{name}.csv", table.to_csv(index=False))
    write_text(target / "summary.json", json.dumps(summary(records, runs, comparisons), indent=1) + "\n")


def runs_table(records: dict[str, dict]) -> pd.DataFrame:
    """A row a run and variant: accuracies in percent, costs in GMACs a clip (thesis: GFLOPs)."""
    rows = []
    for word, record in records.items():
        for variant, metrics in record["variants"].items():
            values = {name: metrics.get(source) for name, source in METRICS.items()}
            size = {"clips": int(metrics["clips"]), "gflops_static": record["gflops_static"]}
            run = parse_run(word)
            where = {"data": data_name(run, record)}
            where |= {name: record["model"][name] for name in ("backbone", "width", "crop_size")}
            rows.append(_run_columns(run) | where | {"variant": NAMES.get(variant, variant)} | size | values)
    return pd.DataFrame(rows).round(6)


def data_name(run: Run, record: dict) -> str:
    """The data set as tables call it: a real set by its name, a generated one by the run's further set."""
    source = record["data"]["source"]
    return run.data if run.data and source == "embedded" else source


def _run_columns(run: Run) -> dict[str, object]:
    return {
        "run": run.word, "network": NAMES.get(run.network, run.network), "frames": run.frames,
        "search_space": run.search_space or "", "dimensions": run.dimensions,
        "training": "long" if run.long else "usual", "seed": run.seed,
    }  # fmt: skip


def comparison_table(clips: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Difference in clip-1 between two variants on the same clips, for every dynamic group with a partner.

    `difference` in points, `low` and `high` its 95 % interval (see vared.controls.paired_difference).
    """
    from vared.controls import paired_difference

    rows = []
    groups: dict[str, list[Run]] = {}
    for run in map(parse_run, clips):
        if run.network == "dynamic":
            groups.setdefault(run.group, []).append(run)
    for group, members in groups.items():
        for first, second in COMPARISONS:
            pairs = []
            for run in members:
                partner = run.static_partner if second.startswith("static") else run.word
                pair = (_correct(clips, run.word, first), _correct(clips, partner, second))
                if all(side is not None for side in pair):
                    pairs.append((run.seed, *pair))
            if pairs:
                seeds, a, b = zip(*pairs, strict=True)
                found = paired_difference(np.stack(a), np.stack(b))
                rows.append({
                    "group": group, "frames": members[0].frames, "search_space": members[0].search_space,
                    "first": first, "second": second, "seeds": " ".join(map(str, seeds)), "clips": len(a[0]),
                    "difference": found.mean, "low": found.low, "high": found.high,
                })  # fmt: skip
    columns = ["group", "frames", "search_space", "first", "second", "seeds", "clips", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns).round(4)


def _correct(clips: dict[str, pd.DataFrame], word: str, variant: str) -> np.ndarray | None:
    """0 or 1 (or a share, over permutations) for each clip in order; None when it was not run."""
    if word not in clips:
        return None
    rows = clips[word][clips[word]["variant"] == variant].sort_values("clip")
    return rows["correct"].to_numpy(dtype=float) if len(rows) else None


def policy_by_class(records, clips, policies) -> pd.DataFrame:
    """Mean share of frames (1/R) and of channels (r) computed, a row a run, action and layer in network order."""
    tables = []
    for word, table in policies.items():
        if table.empty:
            continue
        joined = _with_classes(table, clips[word], records[word]["classes"])
        joined["temporal"] = 1.0 / joined["stride"]
        order = {layer: position for position, layer in enumerate(table["layer"].unique())}
        means = joined.groupby(["action", "layer"], sort=False)[["temporal", "ratio", "share"]].mean().reset_index()
        means = means.rename(columns={"ratio": "channel"}).assign(run=word, position=means["layer"].map(order))
        tables.append(means.sort_values(["action", "position"]))
    columns = ["run", "action", "position", "layer", "temporal", "channel", "share"]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns].round(4)


def extreme_clips(records, clips, policies) -> pd.DataFrame:
    """Per action the clips with most and least work in the dynamic convolutions, of the runs that a figure shows.

    `percent`: multiply-accumulates of the dynamic (spatial, 2-D) convolutions executed for the clip, of their static
    ones. On a tie the clip that comes first.
    """
    columns = ["run", "action", "which", "clip", "name", "percent"]
    rows = []
    for word in _runs_with_extremes([word for word, table in policies.items() if len(table)]):
        macs = pd.Series(records[word]["dynamic_layers"])
        table = _with_classes(policies[word], clips[word], records[word]["classes"])
        table["executed"] = table["share"] * table["layer"].map(macs)
        percent = 100.0 * table.groupby(["action", "clip", "name"])["executed"].sum() / macs.sum()
        percent = percent.rename("percent").reset_index().sort_values(["action", "clip"])
        for _, of_class in percent.groupby("action"):
            for which, row in (("most", of_class["percent"].idxmax()), ("least", of_class["percent"].idxmin())):
                rows.append({"run": word, "which": which} | of_class.loc[row].to_dict())
    return pd.DataFrame(rows, columns=columns).round(2)


def _runs_with_extremes(words: list[str]) -> list[str]:
    """First run (S = 2, the profile's network) of 8 frames on the profile's own data (figure 4-2), and of every length
    on its further sets (figures B-7, B-8)."""
    found: dict[str, str] = {}
    for run in map(parse_run, words):
        usual = run.search_space == 2 and run.dimensions == "both" and not run.long and not run.backbone
        if usual and (run.data or run.frames == 8):
            found.setdefault(run.group, run.word)
    return list(found.values())


def _with_classes(policies: pd.DataFrame, clips: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    final = clips[clips["variant"] == "dynamic"][["clip", "label", "name"]]
    joined = policies.merge(final, on="clip")
    return joined.assign(action=joined["label"].map(dict(enumerate(classes))))


def summary(records: dict[str, dict], runs: pd.DataFrame, comparisons: pd.DataFrame) -> dict:
    """Where the numbers come from, and the headline: savings and paired differences of every dynamic group.

    The saving is given as the thesis counts it, backbone only, and with gates and cheap operations counted.
    """
    some = next(iter(records.values()))
    dynamic = runs[(runs["network"] == "dynamic") & (runs["variant"] == "dynamic")]
    headline = {}
    for name, group in dynamic.groupby(dynamic["run"].map(lambda word: parse_run(word).group), sort=False):
        row = {}
        for cost, counted in (("avg", "as_the_thesis_counts"), ("total", "gates_and_cheap_operations_counted")):
            saving = 100.0 * (1.0 - group[f"gflops_{cost}"] / group["gflops_static"])
            row[f"saving_percent_{counted}"] = round(float(saving.mean()), 3)
        for second in ("static", "static_equal_epochs"):
            versus = comparisons.query(f"group == '{name}' and second == '{second}'")
            row[f"clip1_minus_{second}"] = round(float(versus["difference"].iloc[0]), 3) if len(versus) else None
        headline[name] = row
    return {
        "profile": some["profile"], "data": some["data"], "model": some["model"], "videos": some["videos"],
        "classes": len(some["classes"]), "seeds": sorted({parse_run(word).seed for word in records}),
        "hardware": sorted({record["hardware"] for record in records.values()}), "headline": headline,
        "further": further_sets(records),
    }  # fmt: skip


def further_sets(records: dict[str, dict]) -> dict[str, dict]:
    """Of each further data set what `summary` says of the profile's own, by its name in runs.csv; `set` is its name in
    params.yaml."""
    found: dict[str, dict] = {}
    for word, record in records.items():
        run = parse_run(word)
        if not run.data:
            continue
        own = {"set": run.data, "data": record["data"], "videos": record["videos"], "classes": len(record["classes"])}
        entry = found.setdefault(data_name(run, record), own | {"models": [], "seeds": []})
        for name, value in (("models", record["model"]), ("seeds", run.seed)):
            entry[name] += [] if value in entry[name] else [value]
    return found
