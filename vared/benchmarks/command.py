"""The verb `vared benchmark`: from the command line to one record under results/benchmarks/measurements/."""

import argparse
import json
import shlex
from pathlib import Path

# Nothing slow (torch) at the top: every command of the package reads this file.

FOLDER = Path("results") / "benchmarks" / "measurements"
_NUMBERS = {
    "frames": int, "crop_size": int, "width": float, "classes": int, "search_space": int, "batch": int, "threads": int,
    "repeats": int, "trials": int, "seed": int, "mix": str, "dtype": str, "device": str, "name": str, "run": str,
}  # fmt: skip
_HELP = {
    "case": "a case of the section benchmarks in params.yaml; other options change it",
    "mix": "policies: ratio-0.63, gmacs-26.5-of-56.0, or own (with --run)",
    "run": "PROFILE/RUN: the trained network and clips of that run",
    "name": "name of the record",
    "threads": "of torch on the CPU",
    "dtype": "float32, bfloat16 or float16",
    "device": "cpu or cuda",
    "repeats": "timed rounds",
    "trials": "timed runs of each static version before the fastest are chosen",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `vared benchmark`."""
    parser.add_argument("network", nargs="?", help="a network of create_model; without --case or --run")
    parser.add_argument("--case", help=_HELP["case"])
    for name, kind in _NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=_HELP.get(name))
    parser.add_argument("--training", action="store_true", default=None, help="time a training step, S = 2 and 3")
    parser.add_argument("--no-compile", dest="compile", action="store_false", default=None, help="no torch.compile")


def run(root: Path, options: argparse.Namespace) -> None:
    """Measure what `options` ask for and write the record, whole or not at all.

    Raises ValueError or FileNotFoundError for what cannot be measured.
    """
    from vared.benchmarks import cases
    from vared.scratch import write_text

    changes = {name: getattr(options, name) for name in ("network", *_NUMBERS, "training", "compile")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if sum(bool(source) for source in (options.case, options.network, options.run)) != 1:
        raise ValueError("vared benchmark takes either the name of a network, --case NAME or --run PROFILE/RUN.")
    parameters = cases.read_parameters(root)
    if options.case:
        case = cases.named_case(parameters, options.case, changes)
    elif options.run:
        case = cases.case_of_run(root, parameters, changes)
    else:
        case = cases.direct_case(changes)
    if case.training:
        from vared.benchmarks.training import measure_training as measure
    else:
        from vared.benchmarks.measurement import measure
    record = {"command": _command(options.case, changes)} | measure(case, root)
    path = root / FOLDER / f"{case.name}.json"
    write_text(path, json.dumps(record, indent=1) + "\n")
    _print(record, path.relative_to(root))


def _command(case: str | None, changes: dict[str, object]) -> str:
    """The command that measures the same again."""
    words = ["vared", "benchmark"] + [str(changes[name]) for name in ("network",) if name in changes]
    words += ["--case", case] if case else []
    for name in _NUMBERS:
        words += [f"--{name.replace('_', '-')}", str(changes[name])] if name in changes else []
    words += ["--training"] * ("training" in changes) + ["--no-compile"] * ("compile" in changes)
    return shlex.join(words)


def _print(record: dict, path: Path) -> None:
    for name, row in record["versions"].items():
        line = f"{name}: {row['median']:.4g} s a batch (IQR {row['iqr']:.2g}), {row['clips_per_second']:.4g} clips/s"
        line += f", {row['peak_bytes'] / 2**20:.0f} MiB" if "peak_bytes" in row else ""
        if row.get("realised") is not None:
            line += f", {row['realised']:.2f} of the possible gain"
        print(line)
    print(path)
