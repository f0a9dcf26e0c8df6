"""Records of a rehearsal as CSV and Markdown."""

from pathlib import Path

import pandas as pd

from vared.benchmarks.machine import describe
from vared.reports.reporting import markdown
from vared.scratch import write_text


def write_walk(target: Path, profile: str, steps: pd.DataFrame) -> None:
    """`target`.csv, a row a step, and `target`.md, steps by kind with the seconds of each."""
    write_text(target.with_suffix(".csv"), steps.to_csv(index=False))
    kinds = steps.groupby("step", sort=False)["seconds"].agg(["count", "sum", "max"]).reset_index()
    kinds = kinds.rename(columns={"count": "steps", "sum": "seconds", "max": "longest"}).round(1)
    text = f"""# Rehearsal of the profile `{profile}`

`vared rehearse {profile}` wrote this: every data set of the profile as a few tiny files in its official format, every
run with a network of 1/16 of the width, one epoch a phase, from the files to the tables. Accuracies mean nothing and
are not kept; what counts is that each step ended. Steps one by one: [{target.name}.csv]({target.name}.csv).

{markdown(kinds)}

{len(steps)} steps, {steps["seconds"].sum():.0f} s. {on_what()}
"""
    write_text(target.with_suffix(".md"), text)


def on_what() -> str:
    """The machine in a sentence."""
    found = describe("cpu")
    return (
        f"Measured on {found['processor']}, {found['threads']} thread, torch {found['torch']}, {found['system']}, "
        f"{found['date']} UTC."
    )


def write_steps(target: Path, table: pd.DataFrame) -> None:
    """`target`.md: one training and one evaluation step of every full-size network of `table`."""
    shown = pd.DataFrame({
        "run": table["run"], "frames": table["frames"], "crop": table["crop_size"], "GMACs": table["gmacs"].round(2),
        "parameters, M": (table["parameters"] / 1e6).round(2), "training step, s": table["training_seconds"],
        "evaluation step, s": table["evaluation_seconds"],
        "kept for backward, GiB a clip": (table["kept_bytes_a_clip"] / 2**30).round(2),
        "peak memory, GiB": (table["peak_bytes"] / 2**30).round(2),
    })  # fmt: skip
    text = f"""# One step of every full-size network

`vared rehearse paper --full-size` wrote this: each network at the thesis's size, built as its run builds it, takes one
step of training (forward, losses of both phases, backward, update) and one of evaluation (sparse) on two clips that
come through the run's own loader. Files are tiny, so neither loss nor accuracy means anything. Times are of one CPU
core and say nothing about a GPU. Localisers train their head alone, on a frozen backbone. {on_what()}

{markdown(shown)}
"""
    write_text(target.with_suffix(".md"), text)
