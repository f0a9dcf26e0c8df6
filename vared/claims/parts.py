"""What a rule is made of: a number, and the range in which its whole 95 % interval must lie for the claim to hold.

Margins: "no loss" is less than 1 point; "a gain" is more than 0; "about 30 %" is more than 20 %, as more is no failure;
"saves" without a number is more than 10 %. Savings count what the thesis counts.
"""

from dataclasses import dataclass
from math import inf

from vared import paper
from vared.claims import measures
from vared.claims.measures import Measure
from vared.claims.tables import DYNAMIC, STATIC

KINETICS, KINETICS_400, MOMENTS = "Mini-Kinetics-200", "Kinetics-400", "Moments-In-Time"
R2PLUS1D, I3D, X3D = "r2plus1d_18", "i3d", "x3d_m"
TITLES = {"clip1_top1": "clip-1", "video1_top1": "video-1", "video5_top5": "video-5"}
CLIP1, VIDEO1, VIDEO5 = TITLES
NO_LOSS, SAVES, ABOUT = -1.0, 10.0, 10.0


@dataclass(frozen=True)
class Part:
    """Holds when the whole interval of the number that `measure` gives, in `unit`, lies between `low` and `high`."""

    what: str
    measure: Measure
    low: float = -inf
    high: float = inf
    unit: str = "points"


@dataclass(frozen=True)
class Rule:
    """Parts that must all hold, and the stage of dvc.yaml whose output shows them; or why the claim is not tested."""

    stage: str = ""
    parts: tuple[Part, ...] = ()
    untested: str = ""


def rule(stage: str, *parts: Part) -> Rule:
    return Rule(stage, parts)


def at(backbone: str, frames: int, data: str = KINETICS, training: str = "usual") -> dict:
    """Where a number is from: a backbone, a clip length, a data set by the thesis's name, usual or long training."""
    return {"backbone": backbone, "frames": frames, "data": data, "training": training}


def named(place: dict) -> str:
    """`R(2+1)D-18, 8 frames: `, with the thesis's data set where it is not the one of most tables."""
    words = [paper.TITLES[place["backbone"]]] if "backbone" in place else []
    words += [f"{place['frames']} frames"] if "frames" in place else []
    words += [f"for {place['data']}"] if place.get("data", KINETICS) != KINETICS else []
    words += ["trained longer"] if place.get("training") == "long" else []
    return ", ".join(words) + ": " if words else ""


def saves(low: float = SAVES, high: float = inf, **where) -> Part:
    """GFLOPs saved by a dynamic network, of the static one's."""
    return Part(f"{named(where)}GFLOPs saved", measures.saving(**DYNAMIC | where), low, high, "%")


def gains(metric: str, low: float = 0.0, against: dict = STATIC, name: str = "static", **where) -> Part:
    """Accuracy of the dynamic network minus that of another, the same where nothing else is said."""
    measure = measures.paired(metric, DYNAMIC | where, where | against)
    return Part(f"{named(where)}{TITLES[metric]}, dynamic minus {name}", measure, low)


def beats_static(*places: dict, metrics: tuple[str, ...] = (CLIP1, VIDEO1), low: float = 0.0) -> tuple[Part, ...]:
    """Saves, and gains accuracy (or loses no more than -`low`), in each of the places."""
    return tuple(
        part for place in places for part in (saves(**place), *(gains(metric, low, **place) for metric in metrics))
    )


def about(percent: float, **where) -> tuple[Part, Part]:
    """Saves about so much without loss, on the mean over all lengths and data sets with enough seeds."""
    return (
        Part("GFLOPs saved, mean over networks", measures.mean_over_networks(None, **where), percent - ABOUT, unit="%"),
        Part("clip-1, dynamic minus static, mean", measures.mean_over_networks(CLIP1, **where), NO_LOSS),
    )


def best_of_ablation(frames: int) -> tuple[Part, ...]:
    """The whole method against each of its halves and against the static network."""
    here, parts = at(R2PLUS1D, frames), []
    for half in ("temporal", "channel"):
        other = DYNAMIC | here | {"dimensions": half}
        more = measures.paired("gflops_avg", other, DYNAMIC | here, relative=True)
        parts.append(Part(f"{named(here)}GFLOPs, {half} only minus both", more, 0.0, unit="%"))
        parts += [gains(metric, against=other, name=f"{half} only", **here) for metric in (CLIP1, VIDEO1)]
    return *parts, gains(CLIP1, **here), gains(VIDEO1, **here)


def beats_baseline(network: str, *places: dict, name: str, low: float, high: float) -> tuple[Part, ...]:
    """More accurate than another method, at a cost that differs by `low` to `high` percent of the other's."""
    parts = []
    for place in places:
        other = {key: value for key, value in place.items() if key != "backbone"} | {"network": network}
        cost = measures.paired("gflops_avg", DYNAMIC | place, other, relative=True)
        accuracy = measures.paired(CLIP1, DYNAMIC | place, other)
        parts.append(Part(f"{named(place)}GFLOPs, dynamic minus {name}", cost, low, high, "%"))
        parts.append(Part(f"{named(place)}clip-1, dynamic minus {name}", accuracy, 0.0))
    return tuple(parts)


def faster(frames: int, low: float, **where) -> Part:
    """Clips a second over those of the fastest static network."""
    return Part("clips a second gained", measures.speed_gain(frames=frames, **where), low, unit="%")


def correlated(measured: str, known: str, sign: int, **where) -> Part:
    """Rank correlation over clips with the expected sign."""
    measure = measures.correlation(measured, known, **where)
    low, high = (0.0, inf) if sign > 0 else (-inf, 0.0)
    return Part(f"rank correlation of {measured} and {known}", measure, low, high, "")
