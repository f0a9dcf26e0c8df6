"""The data sets of a profile: its own under data/PROFILE, and further ones under data/PROFILE/further/NAME.

Further sets are those that the profile's section `data.further` in params.yaml names. Each folder holds clips/ and
identity.json, made by `vared data PROFILE`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from vared.data.jhmdb import load_jhmdb
from vared.data.kinetics import load_kinetics
from vared.data.records import VideoList

DEFAULT = "default"  # the name of the set that is the profile's own


def set_names(data: Mapping[str, object]) -> list[str]:
    """All sets of a profile, its own first; `data` is its section in params.yaml."""
    return [DEFAULT, *data.get("further", {})]


def set_source(data: Mapping[str, object], name: str = DEFAULT) -> dict[str, object]:
    """What params.yaml says of one set. Raises ValueError that lists the sets for a name that is none of them."""
    if name not in set_names(data):
        raise ValueError(f"params.yaml: there is no data set {name!r}, only {', '.join(set_names(data))}.")
    source = data if name == DEFAULT else data["further"][name]
    return {key: value for key, value in source.items() if key != "further"}


def further_folder(root: Path, profile: str) -> Path:
    """The folder of all further sets of a profile in the project at `root`."""
    return root / "data" / profile / "further"


def set_folder(root: Path, profile: str, name: str = DEFAULT) -> Path:
    """The folder of a set in the project at `root`; it holds clips/ and identity.json."""
    return root / "data" / profile if name == DEFAULT else further_folder(root, profile) / name


def set_results(results: Path, name: str = DEFAULT) -> Path:
    """Where results of a set belong within the profile's results folder."""
    return results if name == DEFAULT else results / "further" / name


def set_identity(root: Path, profile: str, name: str = DEFAULT) -> str:
    """sha256 over the bytes of a set. Raises FileNotFoundError when the set was not made."""
    path = set_folder(root, profile, name) / "identity.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Make the data sets first: vared data {profile}")
    return json.loads(path.read_text())["sha256"]


def load_set(root: Path, profile: str, data: Mapping[str, object], name: str = DEFAULT) -> dict[str, VideoList]:
    """The videos of a set that was made: {"train": ..., "val": ...}. Raises as `set_identity` and the loaders do."""
    source = set_source(data, name)
    set_identity(root, profile, name)
    clips = set_folder(root, profile, name) / "clips"
    if source["source"] == "jhmdb":
        return {part: load_jhmdb(clips, word, source["split"]) for part, word in (("train", "train"), ("val", "test"))}
    return {part: load_kinetics(clips, part) for part in ("train", "val")}
