"""One inference benchmark from case to record: trials, contest, counts, memory.

The static network is represented by its fastest version on this machine. Every version, static or dynamic, must first
give the outputs of the plain network of its kind in fp32, to a tolerance; where lower precision takes the plain network
itself further away than that, to twice its distance.
"""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from vared.benchmarks import contest, machine, memory
from vared.benchmarks.bounds import exported_gmacs, exported_runs
from vared.benchmarks.cases import Case
from vared.benchmarks.mixes import check_dealt, dealt, policies_of
from vared.benchmarks.peaks import measure_machine
from vared.benchmarks.roofline import measure_layers
from vared.benchmarks.subjects import (
    Subject,
    build_subject,
    load_subject,
    plain_network,
    save_subject,
    threads,
)
from vared.benchmarks.versions import (
    ACCELERATED,
    EAGER,
    PLAIN,
    Run,
    difference,
    dynamic_builders,
    runner,
    static_builders,
    to_channels_last,
)

# Largest difference to the plain network in fp32, relative to its largest output. Lower precision rounds every layer.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
TF32_TOLERANCE = 1e-2  # what a GPU rounds fp32 convolutions to
FINALISTS = 2  # static versions that trials are too short to tell apart
HOPELESS = 2.0  # times the best so far: a first run that slow is the only one


def measure(case: Case, root: Path) -> dict:
    """Time `case` and return its record, ready for JSON.

    Raises ValueError when a dynamic version computes something else than the plain dynamic network, or does not run
    its gates; a static version that fails or differs is left out and recorded with the reason.
    """
    keeps = memory.keep_freed()
    with threads(case.threads):
        if case.device == "cuda":
            torch.backends.cudnn.benchmark = True
        exact = build_subject(case, root)
        subject = exact.cast(case.dtype)
        trials, finalists = _trials(case, subject, _exact_output(plain_network(exact.model), exact))
        with dealt(exact.model, exact.weights):
            expected = _exact_output(exact.model, exact)
        seconds, differences = _contest(case, subject, finalists, expected)
        described = machine.describe(case.device) | {"keeps_freed_memory": keeps}
        layers = _layers(subject) if case.layers else {}
    bounds = {name: seconds.pop(name) for name in (exported_gmacs(subject) if case.exported else ())}
    static = min(finalists, key=lambda name: contest.spread(seconds[name])["median"])
    costs, peaks = _costs(subject), _peaks(case, root, subject, [EAGER, static, *differences])
    return {
        "name": case.name, "kind": "inference", "case": asdict(case), "machine": described,
        "tolerance": tolerance(case), "gmacs": costs, "static": static, "trials": trials, **layers,
        "versions": {
            name: _version(case, name, seconds, static, costs, differences) | peaks.get(name, {}) for name in seconds
        },
        "bounds": {
            name: contest.spread(times) | {"gmacs": exported_gmacs(subject)[name]} for name, times in bounds.items()
        },
        # Compilers leave much behind in the memory of their process: the network alone for comparison.
        "eager_memory": peaks[EAGER],
    }  # fmt: skip


def tolerance(case: Case) -> float:
    """How far outputs of two versions may lie apart, relative to the largest."""
    tf32 = case.device == "cuda" and case.dtype == "float32"
    return TF32_TOLERANCE if tf32 else TOLERANCE[case.dtype]


def _exact_output(model: nn.Module, exact: Subject) -> Tensor:
    """What the plain network gives without any shortcut in precision."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return model(exact.clips)


def _trials(case: Case, subject: Subject, expected: Tensor) -> tuple[list[dict], dict]:
    """A row a static version, and the fastest ones ready to run."""
    network = plain_network(subject.model)
    rows, ready, limit = [], {}, tolerance(case)
    for name, build in static_builders(case.device, case.compile).items():
        try:
            with torch.inference_mode():
                run = build(network, subject.clips)
                started = time.perf_counter()
                absolute, relative = difference(run(), expected)
                first = time.perf_counter() - started
                limit = max(limit, 2 * relative) if not rows and case.dtype != "float32" else limit
                if not relative <= limit:
                    raise ValueError(f"differs from the plain network by {relative:.2g} of its largest output")
                hopeless = ready and first > HOPELESS * min(best for best, _ in ready.values())
                seconds = [first] if hopeless else [contest.timed(run, case.device) for _ in range(case.trials + 1)][1:]
        except Exception as error:  # whatever a compiler raises
            rows.append({"version": name, "error": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
            print(f"static, {name}: left out, {rows[-1]['error']}", flush=True)
            continue
        rows.append({"version": name, "seconds": seconds, "difference": absolute, "relative_difference": relative})
        print(f"static, {name}: {min(seconds):.4g} s", flush=True)
        ready[name] = (min(seconds), run)
        for slower in sorted(ready, key=lambda key: ready[key][0])[FINALISTS:]:
            del ready[slower]
    if not ready:
        raise ValueError(f"Benchmark {case.name}: no static version of {case.network} runs here: {rows[0]['error']}")
    return rows, {name: run for name, (_, run) in ready.items()}


def _contest(case: Case, subject: Subject, finalists: dict, expected: Tensor) -> tuple[dict, dict]:
    """Seconds of the finalists and the dynamic versions, and the differences of the latter to the plain one."""
    runs, differences, limit = finalists | exported_runs(case, subject), {}, tolerance(case)
    with ExitStack() as stack, torch.inference_mode():
        for name, prepare in dynamic_builders(case.compile).items():
            with torch.inference_mode(False):
                model = prepare(subject.model)
            stack.enter_context(dealt(model, subject.weights))
            runs[name] = runner(model, subject.clips)
            differences[name] = difference(runs[name](), expected)
            check_dealt(model, subject.weights, name)
            if name == PLAIN and case.dtype != "float32":
                limit = max(limit, 2 * differences[name][1])
            if not differences[name][1] <= limit:
                raise ValueError(
                    f"Benchmark {case.name}: {name!r} differs from the plain dynamic network by "
                    f"{differences[name][1]:.2g} of its largest output, more than {limit:.2g}."
                )
        return contest.interleaved(runs, case.repeats, device=case.device), differences


def _layers(subject: Subject) -> dict[str, object]:
    """Where the time goes: a row a layer of the static network, folded, and of the accelerated one, and the machine."""
    clips = subject.clips.contiguous(memory_format=torch.channels_last_3d)
    limits = measure_machine(clips.device, clips.dtype)
    static = to_channels_last(fuse(plain_network(subject.model)))
    fast = dynamic_builders(False)[ACCELERATED](subject.model)
    tables = {"static": measure_layers(static, clips, limits, repeats=3)}
    with dealt(fast, subject.weights):
        tables["dynamic"] = measure_layers(fast, clips, limits, repeats=3)
    rows = {name: table.replace({np.nan: None}).to_dict("records") for name, table in tables.items()}
    return {"layers": rows, "limits": asdict(limits)}


def _costs(subject: Subject) -> dict[str, float]:
    """GMACs of a clip, mean over the batch: static; executed by the backbone (as the thesis counts), gates, cheap
    operations and in total."""
    executed = subject.report.executed(policies_of(subject.report, subject.weights))
    parts = {name: getattr(executed, name) for name in ("backbone", "gate", "cheap", "total")}
    clips = executed.backbone
    return {
        "static": subject.report.static, **{name: part.mean().item() for name, part in parts.items()},
        "backbone_min": clips.min().item(), "backbone_max": clips.max().item(),
    }  # fmt: skip


def _version(case: Case, name: str, seconds, static: str, costs, differences) -> dict:
    """What is known of one version of the contest."""
    row = contest.spread(seconds[name]) | {"seconds": seconds[name]}
    row["clips_per_second"] = case.batch / row["median"]
    if name not in differences:
        return row | {"gmacs": costs["static"], "gmacs_total": costs["static"]}
    row |= {"gmacs": costs["backbone"], "gmacs_total": costs["total"]}
    row["difference"], row["relative_difference"] = differences[name]
    row["saved"] = contest.saved_time(seconds[name], seconds[static])
    for key, gmacs in (("", "gmacs"), ("_total", "gmacs_total")):
        ideal = 1.0 - row[gmacs] / costs["static"]
        row[f"ideal{key}"], row[f"realised{key}"] = ideal, contest.realised(row["saved"]["time"], ideal)
    return row


def _peaks(case: Case, root: Path, subject: Subject, names: list[str]) -> dict[str, dict]:
    """Peak memory of these versions by name, each in a fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "subject.pt"
        save_subject(subject, file)
        return {name: memory.in_child(_peak, case, root, file, name) for name in dict.fromkeys(names)}


def _peak(case: Case, root: Path, file: Path, name: str) -> dict:
    """Peak memory of version `name` of the subject in `file`, in this process."""
    with threads(case.threads), ExitStack() as stack:
        subject = load_subject(case, root, file)

        def build() -> Run:
            prepare = dynamic_builders(case.compile).get(name)
            if prepare is None:
                run = static_builders(case.device, case.compile)[name](plain_network(subject.model), subject.clips)
            else:
                run = runner(stack.enter_context(dealt(prepare(subject.model), subject.weights)), subject.clips)
            stack.enter_context(torch.inference_mode())
            return run

        return memory.peak_memory(build, case.device)
