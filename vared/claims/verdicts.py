"""From rules to verdicts: reproduced, not reproduced, or not tested here, with the numbers that decide.

A part holds when the whole interval of its number lies in its range, is refuted when none of it does, and is undecided
otherwise. A claim is reproduced when every part holds; not reproduced when one is refuted, or when all are tested and
one is undecided; else not tested here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path

import pandas as pd

from vared.claims.analysis_rules import ANALYSIS
from vared.claims.parts import Part, Rule
from vared.claims.recognition_rules import RECOGNITION
from vared.claims.tables import HOLDS, REFUTED, Measured, NotTested, Results
from vared.reports.reporting import markdown
from vared.runs import results_folder
from vared.scratch import write_text

RULES = dict(sorted((RECOGNITION | ANALYSIS).items()))
REPRODUCED, NOT_REPRODUCED, NOT_TESTED = "reproduced", "not reproduced", "not tested here"
MISSING = "missing"  # the outcome of a part without a number; others: Measured.within


@dataclass(frozen=True)
class Finding:
    """What became of a part: `outcome`, the number when there is one, and the reason when it is missing."""

    part: Part
    outcome: str
    measured: Measured | None = None
    reason: str = ""


def examine(part: Part, results: Results) -> Finding:
    """Measure a part and compare its interval with its range."""
    try:
        found = part.measure(results)
    except NotTested as error:
        return Finding(part, MISSING, error.found, str(error))
    if any(isnan(number) for number in (found.value, found.low, found.high)):
        return Finding(part, MISSING, None, "the number is not defined")
    return Finding(part, found.within(part.low, part.high), found)


def verdict(findings: list[Finding]) -> str:
    """The verdict on a claim from what became of its parts, at least one."""
    outcomes = {finding.outcome for finding in findings}
    if REFUTED in outcomes:
        return NOT_REPRODUCED
    if MISSING in outcomes:
        return NOT_TESTED
    return REPRODUCED if outcomes == {HOLDS} else NOT_REPRODUCED


def judge(claims: pd.DataFrame, results: Results, rules: Mapping[str, Rule] = RULES) -> pd.DataFrame:
    """A row a claim and part: id, statement, source, thesis_value, part, value, low, high, basis, unit, above,
    below, outcome, verdict, reason, profile, stage. Claims without a test have one row without numbers.

    `claims` has the columns of data/paper/claims.csv. Raises ValueError when claims and rules are not the same.
    """
    if odd := set(claims["id"]) ^ set(rules):
        raise ValueError(f"Claims and rules differ: {', '.join(sorted(odd))}. Each claim needs one rule.")
    rows = []
    for claim in claims.to_dict("records"):
        rule = rules[claim["id"]]
        common = {name: claim[name] for name in ("id", "statement", "source", "thesis_value")}
        findings = [examine(part, results) for part in rule.parts]
        decided = verdict(findings) if findings else NOT_TESTED
        for finding in findings:
            rows.append(common | _numbers(finding) | {"verdict": decided, "stage": rule.stage})
            rows[-1]["profile"] = results.profile
        if not findings:
            rows.append(common | {"verdict": decided, "reason": rule.untested, "profile": results.profile})
    return pd.DataFrame(rows, columns=COLUMNS).round(6)


COLUMNS = [
    "id", "statement", "source", "thesis_value", "part", "value", "low", "high", "basis", "unit", "above", "below",
    "outcome", "verdict", "reason", "profile", "stage",
]  # fmt: skip


def _numbers(finding: Finding) -> dict[str, object]:
    part, found = finding.part, finding.measured
    row = {"part": part.what, "unit": part.unit, "outcome": finding.outcome, "reason": finding.reason}
    row |= {"above": part.low if part.low > -inf else None, "below": part.high if part.high < inf else None}
    if found is not None:
        row |= {"value": found.value, "low": found.low, "high": found.high, "basis": found.basis}
    return row


def claims_text(judged: pd.DataFrame) -> str:
    """The table of `judge` for reading: a row a claim, its parts below each other."""
    rows = []
    for name, parts in judged.groupby("id", sort=False):
        first = parts.iloc[0]
        stage = f"`{first['stage']}`" if pd.notna(first["stage"]) and first["stage"] else "–"
        rows.append({
            "claim": name, "statement": first["statement"], "thesis": first["thesis_value"],
            "ours (95 % interval)": "<br>".join(dict.fromkeys(_cell(part) for part in parts.to_dict("records"))),
            "profile": first["profile"], "verdict": f"**{first['verdict']}**", "stage": stage,
        })  # fmt: skip
    counts = judged.drop_duplicates("id")["verdict"].value_counts()
    total = ", ".join(f"{counts.get(name, 0)} {name}" for name in (REPRODUCED, NOT_REPRODUCED, NOT_TESTED))
    return f"""# Claims of the thesis

{total}, of {len(rows)}.

Computed from the tables of this folder by the rules in `vared/claims/`. An interval is Student's over seeds; numbers
that are counted are exact; an interval of timings holds the middle half of the rounds.
A part holds when its whole interval lies in the range given, is refuted when all of it lies outside, else undecided.
A claim is reproduced when every part holds. Data and networks are those of the profile, not the thesis's.

{markdown(pd.DataFrame(rows).astype(str))}
"""


def _cell(part: dict) -> str:
    unit = f" {part['unit']}" if part["unit"] else ""
    ends = ((part["above"], "above"), (part["below"], "below"))
    wanted = " and ".join(f"{word} {end:g}" for end, word in ends if pd.notna(end))
    if pd.isna(part["value"]):  # parts that lack the same table say so once
        return part["reason"]
    number = f"{part['value']:.4g}{unit}"
    if pd.isna(part["low"]):
        return f"{part['part']}: {number}; {part['reason']}"
    interval = "" if part["low"] == part["high"] else f" ({part['low']:.4g} to {part['high']:.4g})"
    return f"{part['part']}: {number}{interval}, {part['basis']}; {wanted}: {part['outcome']}"


def write_claims(root: Path, profile: str) -> pd.DataFrame:
    """Judge every claim by the results of `profile` in the project at `root`; writes claims.csv and claims.md there."""
    folder = results_folder(root, profile)
    claims = pd.read_csv(root / "data" / "paper" / "claims.csv")
    judged = judge(claims, Results(profile, folder, root / "results"))
    write_text(folder / "claims.csv", judged.to_csv(index=False))
    write_text(folder / "claims.md", claims_text(judged))
    return judged
