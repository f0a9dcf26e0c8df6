"""From the records of benchmarks to tables: the thesis's shares and ours in separate columns.

Units: seconds, 1e9 multiply-accumulates of a clip, MiB.
"""

import json
from pathlib import Path

import pandas as pd

from vared.benchmarks.thesis import comparable
from vared.reports.reporting import gflops, markdown

NOTHING = "Nothing measured yet: `vared benchmark --case NAME`, with a case of params.yaml."
FASTEST, TRIED, DYNAMIC, BOUND = "fastest static", "static, tried", "dynamic", "exported"
_INPUT = ("network", "frames", "crop_size", "width", "search_space", "batch", "mix", "run", "device", "dtype")


def read_records(folder: Path) -> list[dict]:
    """All records in `folder` by name. Raises ValueError that names a file without the parts of a record."""
    records = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if missing := {"name", "kind", "case", "machine", "versions", "static"} - record.keys():
            raise ValueError(f"{path.name} is no record of a benchmark: it lacks {', '.join(sorted(missing))}.")
        records.append(record)
    return records


def inference_rows(records: list[dict], speeds: pd.DataFrame) -> pd.DataFrame:
    """A row a version of every inference record; `speeds` are the thesis's (`thesis.printed_speeds`).

    Columns: case, role ("fastest static", "static, tried", "dynamic", "exported"), version, what was run (network to
    dtype), processor, threads, torch, seconds (median of a batch), iqr, seconds_per_clip, clips_per_second, gmacs (as
    the thesis counts), gmacs_total (gates and cheap operations too), memory, and for dynamic versions ideal, saved
    (1 - t / t of the fastest static one), saved_low, saved_high (quartiles over rounds), realised, realised_total, and
    thesis_ideal, thesis_saved, thesis_realised.
    """
    rows = []
    for record in records:
        if record["kind"] != "inference":
            continue
        common = _common(record)
        for trial in record["trials"]:
            if "seconds" in trial and trial["version"] != record["static"]:
                seconds = pd.Series(trial["seconds"]).median()
                rows.append(common | {"role": TRIED, "version": trial["version"], **_times(seconds, common["batch"])})
                rows[-1] |= {"gmacs": record["gmacs"]["static"], "gmacs_total": record["gmacs"]["static"]}
        for name, version in record["versions"].items():
            if name == record["static"] or "saved" in version:
                rows.append(common | _version(record, name, version, speeds))
        for name, version in record["bounds"].items():
            row = {"role": BOUND, "version": name, **_times(version["median"], common["batch"])}
            rows.append(common | row | {key: version[key] for key in ("iqr", "gmacs")})
    return _readable(rows)


def _readable(rows: list[dict]) -> pd.DataFrame:
    """A table of `rows` that, written as CSV, can be read again when there is none."""
    return pd.DataFrame(rows, columns=None if rows else ["case", "version"]).round(9)


def _common(record: dict) -> dict:
    case, machine = record["case"], record["machine"]
    return {
        "case": record["name"], **{name: case[name] for name in _INPUT},
        "processor": machine["gpu"] or machine["processor"], "threads": machine["threads"], "torch": machine["torch"],
    }  # fmt: skip


def _times(seconds: float, batch: int) -> dict[str, float]:
    return {"seconds": seconds, "seconds_per_clip": seconds / batch, "clips_per_second": batch / seconds}


def _version(record: dict, name: str, version: dict, speeds: pd.DataFrame) -> dict:
    row = {"role": FASTEST, "version": name, **_times(version["median"], record["case"]["batch"])}
    row |= {"iqr": version["iqr"], "gmacs": version["gmacs"], "gmacs_total": version["gmacs_total"]}
    row["memory"] = version["peak_bytes"] / 2**20
    if "saved" not in version:
        row["memory"] = min(row["memory"], record["eager_memory"]["peak_bytes"] / 2**20)
        return row
    saved, case = version["saved"], record["case"]
    row |= {"role": DYNAMIC, "saved": saved["time"], "saved_low": saved["low"], "saved_high": saved["high"]}
    row |= {key: version[key] for key in ("ideal", "realised", "realised_total")}
    full_size = case["width"] == 1 and not case["run"]
    thesis = comparable(speeds, case["network"] if full_size else "", case["frames"], case["search_space"])
    return row | {f"thesis_{key}": value for key, value in thesis.items()}


def training_rows(records: list[dict]) -> pd.DataFrame:
    """A row a network of every training record: case, what was run, seconds of a step, memory, and both relative to
    the static network."""
    rows = []
    for record in records:
        if record["kind"] == "training":
            common = {
                name: value for name, value in _common(record).items() if name not in ("search_space", "mix", "run")
            }
            for name, version in record["versions"].items():
                row = {"version": name, "layout": version["layout"]["best"], "seconds": version["median"]}
                row |= {"iqr": version["iqr"], "memory": version["peak_bytes"] / 2**20}
                rows.append(common | row | {key: version[key] for key in ("relative_time", "relative_memory")})
    return _readable(rows)


def inference_table(rows: pd.DataFrame) -> str:
    """A Markdown row a dynamic version, beside the fastest static one."""
    if rows.empty:
        return NOTHING
    static = rows[rows["role"] == FASTEST].set_index("case")
    table = []
    for row in rows[rows["role"] == DYNAMIC].itertuples():
        rival = static.loc[row.case]
        table.append({
            "case": row.case, "input": f"{row.frames} x {row.crop_size}², batch {row.batch}",
            "on": f"{_where(row)}, {row.dtype}", "policies": row.mix,
            "fastest static": rival["version"], "version": row.version,
            "GMACs static": gflops(rival["gmacs"]), "GMACs dynamic": gflops(row.gmacs),
            "all counted": gflops(row.gmacs_total),
            "static, s a batch": f"{rival['seconds']:.4g} (IQR {rival['iqr']:.2g})",
            "dynamic, s a batch": f"{row.seconds:.4g} (IQR {row.iqr:.2g})",
            "clips/s": f"{rival['clips_per_second']:.4g} → {row.clips_per_second:.4g}",
            "memory, MiB": f"{rival['memory']:.0f} → {row.memory:.0f}",
            "ideal gain": _percent(row.ideal), "time saved": _percent(row.saved),
            "realised share": _share(row.realised), "all counted: realised": _share(row.realised_total),
            "thesis: ideal gain": _percent(row.thesis_ideal), "thesis: time saved": _percent(row.thesis_saved),
            "thesis: realised share": _share(row.thesis_realised),
        })  # fmt: skip
    return markdown(pd.DataFrame(table).astype(str))


def exported_table(rows: pd.DataFrame) -> str:
    """A Markdown row a version in onnxruntime, beside the fastest static one of torch."""
    exported = rows[rows["role"] == BOUND] if len(rows) else rows
    if exported.empty:
        return NOTHING
    static = rows[rows["role"] == FASTEST].set_index("case")
    table = [{
        "case": row.case, "version": row.version, "GMACs": gflops(row.gmacs),
        "s a batch": f"{row.seconds:.4g} (IQR {row.iqr:.2g})",
        "over the fastest static of torch": f"{row.seconds / static.loc[row.case]['seconds']:.2f}",
    } for row in exported.itertuples()]  # fmt: skip
    return markdown(pd.DataFrame(table).astype(str))


def training_table(rows: pd.DataFrame) -> str:
    """A Markdown row a network of every training record."""
    if rows.empty:
        return NOTHING
    table = [{
        "case": row.case, "input": f"{row.frames} x {row.crop_size}², batch {row.batch}",
        "on": f"{_where(row)}, {row.dtype}", "network": row.version, "layout": row.layout,
        "s a step": f"{row.seconds:.4g} (IQR {row.iqr:.2g})", "peak memory, MiB": f"{row.memory:.0f}",
        "time over static": f"{row.relative_time:.2f}", "memory over static": f"{row.relative_memory:.2f}",
    } for row in rows.itertuples()]  # fmt: skip
    return markdown(pd.DataFrame(table).astype(str))


def _where(row) -> str:
    return row.processor if row.device == "cuda" else f"{row.processor}, {threads_text(row.threads)}"


def threads_text(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return "1 thread" if count == 1 else f"{count:.0f} threads"


def _percent(share: float | None) -> str:
    return "–" if pd.isna(share) else f"{100 * share:.1f} %"


def _share(share: float | None) -> str:
    return "–" if pd.isna(share) else f"{share:.2f}"
