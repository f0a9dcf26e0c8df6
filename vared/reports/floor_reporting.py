"""The networks beside what is reached without watching the video: the evidence that a data set is a fair test."""

import textwrap

import pandas as pd

from vared.reports.reporting import NOT_RUN, markdown, rows_of, with_spread

# Each 8-frame network: what it is, its column `network` and `variant` of runs.csv, its search space.
SINGLE_FRAME = ("the same static network, trained on one frame repeated", "single_frame", "static", None)
STATIC = ("static network on the video", "static", "static", None)
NETWORKS = (
    STATIC,
    ("static network on the video, equal epochs", "static", "static_equal_epochs", None),
    ("dynamic network (S = 2) on the video", "dynamic", "dynamic", 2),
    SINGLE_FRAME,
)  # fmt: skip
FRAMES = 8


def fairness(runs: pd.DataFrame, floors: pd.DataFrame, classes: int, networks=(STATIC, SINGLE_FRAME)) -> str:
    """A table of networks and floors in percent, and how to read it. `runs`, `floors`: runs.csv and floors.csv.

    A floor is given by the method that cross-validation on training clips prefers, and by the highest of all methods.
    """
    return f"{markdown(fairness_table(runs, floors, networks))}\n\n{_guide(floors, classes)}"


def fairness_table(runs: pd.DataFrame, floors: pd.DataFrame, networks=NETWORKS) -> pd.DataFrame:
    """As text: what decides, clips, accuracy, share of the largest class, bound, highest floor; networks first."""
    rows = [_network_row(runs, network) for network in networks]
    for floor in floors.to_dict("records"):
        accuracy = f"{_percent(floor['accuracy'])} ({floor['method']})"
        rows.append({
            "what decides": f"floor: {floor['floor']}", "clips": str(floor["clips"]),
            "largest class": _percent(floor["chance"]), "accuracy": accuracy,
            "bound": _percent(floor["bound"]), "highest floor": f"{_percent(floor['best'])} ({floor['best method']})",
        })  # fmt: skip
    return pd.DataFrame(rows).fillna("–")


def _network_row(runs: pd.DataFrame, network: tuple[str, str, str, int | None]) -> dict[str, str]:
    title, kind, variant, search_space = network
    if kind == "single_frame":
        found = runs[runs["run"].str.fullmatch(rf"{kind}_{FRAMES}f_seed\d+") & (runs["variant"] == variant)]
    else:
        found = rows_of(runs, FRAMES, search_space, variant)
    if found.empty:
        return {"what decides": title, "accuracy": NOT_RUN}
    accuracy = with_spread(found["clip1_top1"].mean(), found["clip1_top1"].std())
    return {"what decides": title, "clips": str(found["clips"].iloc[0]), "accuracy": accuracy}


def _guide(floors: pd.DataFrame, classes: int) -> str:
    """What the columns mean, and the strongest floor for each kind of information."""
    strongest = "; ".join(f"{row.floor}: {_percent(row.best)} %" for row in floors.itertuples())
    text = f"""Percent of the validation clips; networks: clip-1 with {FRAMES} frames. Chance among {classes} classes is
        1/{classes} = {_percent(1 / classes)} %, always naming the largest class of the clips concerned gives
        `largest class`, and `bound` is that plus two standard
        errors. The method of a floor's `accuracy` is chosen by cross-validation on
        training clips; `highest floor` is the best of all methods on the validation clips, the one for a network to
        beat. Highest floors: {strongest}."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"
