"""The data stages: put each data set of a profile into its folder (vared/data/sets.py) and write down what it is.

identity.json holds one digest over every file. All later stages depend on it instead of thousands of videos.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from vared.data.jhmdb import load_jhmdb
from vared.data.official import OFFICIAL, link_official
from vared.data.sets import DEFAULT, further_folder, load_set, set_folder, set_source


def prepare(root: Path, profile: str, data: Mapping[str, object], name: str = DEFAULT, *, workers: int = 2) -> None:
    """Make clips/ and identity.json of the set `name` from the `data` section of the profile.

    The profile's own set gets a folder further/ beside it, empty where there is no further set: stages depend on it.
    Raises ValueError for an unknown set, source or setting, FileNotFoundError when a data set has to be supplied and is
    not there.
    """
    source = set_source(data, name)
    clips = set_folder(root, profile, name) / "clips"
    further_folder(root, profile).mkdir(parents=True, exist_ok=True)
    (clips.parent / "identity.json").unlink(missing_ok=True)  # it would vouch for what is about to go
    if clips.exists():
        shutil.rmtree(clips)  # takes links away, not what they lead to
    settings = {key: value for key, value in source.items() if key != "source"}
    if source["source"] == "embedded":
        from vared.data.embedded import generate

        scene = _scene(f"profiles.{profile}.data, set {name}", settings.pop("scene", {}))
        generate(clips, **settings, settings=scene, workers=workers)
    elif source["source"] == "jhmdb":
        _copy_jhmdb(root / settings["folder"], clips)
    elif source["source"] not in OFFICIAL:
        known = f"embedded and jhmdb, and the official {', '.join(OFFICIAL)}"
        raise ValueError(f"profiles.{profile}.data, set {name}: source is {source['source']!r}; known are {known}.")
    if source["source"] in OFFICIAL:
        identity = link_official(root, source, clips)
    else:
        identity = {"sha256": folder_digest(clips), "files": sum(path.is_file() for path in clips.rglob("*"))}
    (clips.parent / "identity.json").write_text(json.dumps(identity, indent=1) + "\n")


def _scene(where: str, numbers: Mapping[str, object]):
    from vared.data.embedded import SceneSettings

    unknown = sorted(set(numbers) - {field.name for field in fields(SceneSettings)})
    if unknown:
        raise ValueError(f"params.yaml, {where}: scene has no setting {', '.join(unknown)}; see SceneSettings.")
    return SceneSettings(**{key: tuple(value) if isinstance(value, list) else value for key, value in numbers.items()})


def _copy_jhmdb(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise FileNotFoundError(
            f"{source} does not exist. J-HMDB-21 is for research use and does not come with this project: put it there "
            f"(or a link to it) with the folders ReCompress_Videos and splits of the official release."
        )
    for part in ("train", "test"):
        load_jhmdb(source, part)
    for folder in ("ReCompress_Videos", "splits"):
        shutil.copytree(source / folder, target / folder, copy_function=shutil.copyfile)


def folder_digest(folder: Path) -> str:
    """sha256 over names and contents of all files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def write_floors(root: Path, profile: str, data: Mapping[str, object], target: Path, name: str = DEFAULT) -> None:
    """Write the accuracies reached without watching the videos of a set, to the CSV file `target`."""
    # scikit-learn takes seconds to import, and only this stage needs it.
    from vared.data.floors import floors_table, video_floors

    if set_source(data, name)["source"] == "embedded":
        table = floors_table(set_folder(root, profile, name) / "clips")
    else:
        table = video_floors(load_set(root, profile, data, name))
    target.parent.mkdir(parents=True, exist_ok=True)
    table.round(6).to_csv(target, index=False)
