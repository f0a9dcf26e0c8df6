"""The verb `vared benchmark-loader`: the training loader beside raw decoding, into results/benchmarks/."""

import argparse
from pathlib import Path

# Nothing slow (torch, av) at the top: every command of the package reads this file.
TARGET = Path("results") / "benchmarks" / "loader"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `vared benchmark-loader`."""
    parser.add_argument("--rounds", type=int, default=7, help="times that every version loads every file (default: 7)")
    parser.add_argument("--files", type=int, default=6, help="videos of 300 frames, 340 x 256 pixels (default: 6)")


def run(root: Path, options: argparse.Namespace) -> None:
    """Measure and write both files, whole or not at all."""
    from vared.benchmarks.loader import Files, measure
    from vared.scratch import write_text

    files = Files(count=options.files)
    table = measure(files, options.rounds)
    write_text(root / TARGET.with_suffix(".csv"), table.to_csv(index=False))
    write_text(root / TARGET.with_suffix(".md"), page(table, files, options.rounds))
    print(table.to_string(index=False))


def page(table, files, rounds: int) -> str:
    """The measurement as Markdown, with what it says about the goal."""
    from vared.benchmarks.loader import GOAL
    from vared.rehearsal.record import on_what
    from vared.reports.reporting import markdown

    shares = table[table["version"] == "loader"]["share"]
    verdict = "reached" if shares.min() >= GOAL else "not reached"
    command = f"vared benchmark-loader --files {files.count} --rounds {rounds}"
    return f"""# The training loader beside raw decoding

Clips a second on one core. `share` is that over `decode, RGB`: PyAV alone, which decodes up to the clip's last frame
and turns the clip's frames into RGB arrays. `loader` is an item of the training set, augmentation included. `decode`
looks at no frame. {files.count} videos of {files.frames} frames, {files.width} x {files.height} pixels, H.264; medians
of {rounds} rounds, versions in turns.

{markdown(table.rename(columns={"clips_per_second": "clips/s", "crop_size": "crop"}))}

Goal: the loader reaches {GOAL} of raw decoding. {verdict.capitalize()}: {shares.min():.2f} to {shares.max():.2f}.
From decoded frames on disk (`loader, frame cache`), as the profiles train, decoding is done once.

`{command}`. {on_what()}
"""
