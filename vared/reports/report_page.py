"""The front page of a results folder, and the results parts of the project's README and of data/README.md."""

import os
import re
from pathlib import Path

import pandas as pd

from vared.reports import floor_reporting, reporting
from vared.reproduction import DEFAULT
from vared.runs import results_folder
from vared.scratch import write_text

MARKERS = ("<!-- results: written by `vared readme` -->", "<!-- end of results -->")
OF_PROFILE = (
    ("Table 4.1", "tables/table_4_1"),
    *((f"Table 4.{number}", f"tables/table_4_{number}") for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)),
    ("Table B.1", "tables/table_b_1"), ("Table B.2", "tables/table_b_2"),
    ("Figure 1-1", "figures/figure_1_1"), ("Figure 3-1", "figures/figure_3_1"),
    ("Figure 4-1", "figures/figure_4_1"), ("Figure 4-2", "figures/figure_4_2"),
    ("Figure B-1", "figures/figure_b_1"), ("Figure B-2", "figures/figure_b_2"),
    ("Figure B-3", "figures/figure_b_3"), ("Figure B-4", "figures/figure_b_4"),
    ("Figure B-5", "figures/figure_b_5"), ("Figure B-6", "figures/figure_b_6"),
    ("Figure B-7", "figures/figure_b_7"), ("Figure B-8", "figures/figure_b_8"),
    ("Detections, section 4.5", "figures/localization"),
    ("Redundancy and cost against motion and clutter", "figures/adaptivity"),
    ("Accuracy against cost of one trained network", "figures/cost_curve"),
    ("Semantic segmentation, section 4.3 (no table there)", "tables/segmentation"),
)  # fmt: skip
# Made once, for no profile; the third word is the notebook where that is called otherwise.
SHARED = (
    ("Static costs, tables 4.1 to 4.9, B.2", "tables/static_costs"),
    ("Parameters that gates and cheap operations add", "tables/overheads"),
    ("Range of each network's cost, and the thesis's place in it", "tables/policy_range"),
    ("Speed columns of tables 4.1, 4.2, 4.5 to 4.7, 4.11, 4.12", "benchmarks/speed", "benchmark"),
)
# The same, but the page does not wait for it.
APART = (("Redundancy in a trained 3-D network on real video, as packages ship both", "tables/shipped_redundancy"),)


def write_results_page(root: Path, profile: str) -> Path:
    """Write README.md of the results folder of `profile` from its tables; returns its path."""
    folder = results_folder(root, profile)
    summary = reporting.read_summary(folder)
    floors = pd.read_csv(folder / "floors.csv")
    runs = pd.read_csv(folder / "runs.csv")
    fairness = floor_reporting.fairness(runs, floors, summary["classes"], floor_reporting.NETWORKS)
    card, explored = (
        os.path.relpath(root / path, folder) for path in ("vared/weights/README.md", "results/notebooks/explore.ipynb")
    )
    bad_days, tried = (os.path.relpath(root / f"results/reliability.{end}", folder) for end in ("md", "csv"))
    text = f"""# Results of the profile `{summary["profile"]}`

Every file here is made, and overwritten, by `make repro PROFILE={profile}`.

| thesis | ours | data | computed by |
|---|---|---|---|
{_links(folder, folder, OF_PROFILE)}
{_links(root / "results", folder, SHARED + APART)}
| Claims of the thesis, with verdicts | [claims.md](claims.md) | [claims.csv](claims.csv) | `vared claims {profile}` |
| Bad days: tried and survived | [reliability.md]({bad_days}) | [reliability.csv]({tried}) | `pytest -m hazard` |

The method on one clip, equations 3.1 to 3.6 with pictures: [00_method.ipynb](notebooks/00_method.ipynb).
A network with its weights ([model card]({card})) on a clip of your choice: [explore.ipynb]({explored}).

Behind them: [runs.csv](runs.csv) (a row a run and variant), [comparisons.csv](comparisons.csv) (paired differences),
[policy_by_class.csv](policy_by_class.csv), [extreme_clips.csv](extreme_clips.csv), [floors.csv](floors.csv),
[redundancy.csv](redundancy.csv), [redundancy_extremes.csv](redundancy_extremes.csv), [adaptivity.csv](adaptivity.csv),
[cost_by_clip.csv](cost_by_clip.csv), [correlations.csv](correlations.csv), [scene_bins.csv](scene_bins.csv),
[generated_maps.csv](generated_maps.csv) (beside computed ones), [cost_curve.csv](cost_curve.csv),
[localization.csv](localization.csv). Costs of full-size networks and their range are counted on shapes alone; they are
the same for every profile.

{_table(folder)}

## Floors: accuracy without watching the video, beside the networks

{fairness}

Above its bound, something beside the action tells the class.

{reporting.provenance(summary, "report")}

The environment is that of `requirements.lock`. Numbers repeat to the last bit on the same machine and environment; on
another processor they differ in the last digits, and training can amplify that: compare with the ± over seeds.
"""
    write_text(folder / "README.md", text)
    return folder / "README.md"


def _links(home: Path, seen_from: Path, results: tuple[tuple[str, ...], ...]) -> str:
    """A row for each of `results` (title, path without ending) below `home`, as links from `seen_from`."""
    rows = []
    for title, name, *notebook in results:
        source = notebook[0] if notebook else Path(name).name
        files = [home / f"{name}.md", home / f"{name}.csv", home / "notebooks" / f"{source}.ipynb"]
        links = (f"[{file.name}]({os.path.relpath(file, seen_from)})" for file in files)
        rows.append(f"| {title} | " + " | ".join(links) + " |")
    return "\n".join(rows)


def _table(folder: Path) -> str:
    """Table 4.1 and its controls, headings one level down."""
    text = (folder / "tables" / "table_4_1.md").read_text(encoding="utf-8")
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("- "))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"^#", "##", kept, flags=re.MULTILINE))


def readme_results(root: Path) -> str:
    """The results part of README.md: main table of the default profile with the command for every row, and controls."""
    folder = results_folder(root, DEFAULT)
    long = pd.read_csv(folder / "tables" / "table_4_1.csv")
    runs = pd.read_csv(folder / "runs.csv")
    table = reporting.side_by_side(long)
    table = table.drop(columns=[name for name in table.columns if "GFLOPs max" in name or "GFLOPs min" in name])
    table["command"] = [_command(row, runs) for row in table[["frames", "network"]].itertuples(index=False)]
    controls = reporting.controls_table(runs, pd.read_csv(folder / "comparisons.csv"), frames=8, search_space=2)
    provenance = reporting.provenance(reporting.read_summary(folder), "table_4_1")
    title = "Does the policy look at the clip? 8 frames, S = 2, paired on the same clips and seeds:"
    return f"{reporting.markdown(table)}\n\n{provenance}\n\n{title}\n\n{reporting.markdown(controls)}"


def _command(row, runs: pd.DataFrame) -> str:
    """How to compute a row of the table: the command for its first seed, and which other seeds there are."""
    search_space = None if row.network.startswith("static") else int(row.network[-1])
    words = reporting.rows_of(runs, row.frames, search_space)["run"].tolist()
    if not words:
        return "–"
    seeds = ", ".join(word.rpartition("seed")[2] for word in words[1:])
    text = f"`vared train embedded {words[0]} && vared evaluate embedded {words[0]}`"
    return f"{text}, seeds {seeds} likewise" if seeds else text


def data_readme_results(root: Path) -> str:
    """The results part of data/README.md: the networks of the default profile beside the floors of its data."""
    folder = results_folder(root, DEFAULT)
    classes = reporting.read_summary(folder)["classes"]
    return floor_reporting.fairness(pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "floors.csv"), classes)


def update_readme(root: Path) -> bool:
    """Put the results parts between the markers of README.md and data/README.md; whether that changed a file.

    Raises ValueError when a file does not hold each marker once, before any is written.
    """
    parts = {root / "README.md": readme_results(root), root / "data" / "README.md": data_readme_results(root)}
    before = {path: path.read_text(encoding="utf-8") for path in parts}
    after = {path: _between_markers(path.relative_to(root), before[path], part) for path, part in parts.items()}
    for path, text in after.items():
        if text != before[path]:
            write_text(path, text)
    return after != before


def _between_markers(name: Path, text: str, part: str) -> str:
    start, end = MARKERS
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"{name} must hold the lines {start} and {end} once each.")
    head, _, rest = text.partition(start)
    return f"{head}{start}\n\n{part}\n\n{end}{rest.partition(end)[2]}"
