"""Data sets as their authors publish them, made readable for the pipeline without copying a video.

`vared data paper` writes for each recognition set of the thesis (section 4.1) a folder in the Kinetics layout:

    clips/classes.txt            the official class list in the order of its labels
    clips/train.csv, val.csv     label,youtube_id,time_start,time_end,split: every listed video, missing ones too
    clips/train/<class>          a link to the class folder of the official release, the same under val/

Only lists and links are made, so that neither disk nor DVC's cache holds a set twice (DVC follows no link to a folder).
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

from vared.data.kinetics import load_kinetics
from vared.data.kinetics400 import load_kinetics400
from vared.data.list_files import find_list, read_list
from vared.data.mini_kinetics import clip_of, load_mini_kinetics
from vared.data.moments import load_moments
from vared.data.records import ListError, VideoList
from vared.scratch import write_text

# The thesis's names: tables find a run's data by them. J-HMDB-21 has a source of its own (vared/data/preparation.py).
OFFICIAL = ("Mini-Kinetics-200", "Kinetics-400", "Moments-In-Time")
PARTS = ("train", "val")


def load_official(root: Path, source: Mapping[str, object], part: str) -> VideoList:
    """The videos of `part` ("train" or "val") of an official release.

    `root` is the project, `source` what params.yaml says of the set: its name `source`, its `folder`, and for
    Mini-Kinetics-200 which `lists`. Raises ListError as the set's loader does, ValueError for another name.
    """
    folder, splits = root / str(source["folder"]), root / "data" / "splits"
    if source["source"] == "Mini-Kinetics-200":
        return load_mini_kinetics(folder, part, splits, lists=source.get("lists", "thesis"))
    if source["source"] == "Kinetics-400":
        return load_kinetics400(folder, part, splits)
    if source["source"] == "Moments-In-Time":
        return load_moments(folder, part)
    raise ValueError(f"params.yaml: there is no official data set {source['source']!r}, only {', '.join(OFFICIAL)}.")


def link_official(root: Path, source: Mapping[str, object], clips: Path) -> dict[str, object]:
    """Fill the folder `clips`; returns the identity: a digest over names, labels and sizes of all videos, and counts.

    Contents are not hashed: that would read terabytes. Raises as `load_official` does, and ListError when what was
    written does not read as the same videos.
    """
    videos = {part: load_official(root, source, part) for part in PARTS}
    classes = videos["train"].classes
    write_text(clips / "classes.txt", "\n".join(classes) + "\n")
    found, digest = {}, hashlib.sha256(json.dumps([source["source"], classes]).encode())
    labels = _labels_of_missing(root / str(source["folder"]), source["source"])
    for part, listed in videos.items():
        _link_folders(root / str(source["folder"]), listed, clips / part)
        write_text(clips / f"{part}.csv", _list(listed, part, labels[part]))
        for record in listed.records:
            digest.update(json.dumps([part, record.name, record.label, record.path.stat().st_size]).encode())
        _require_same(listed, load_kinetics(clips, part), part)
        found[part] = {"videos": len(listed), "missing": len(listed.missing)}
    return {"sha256": digest.hexdigest(), "files": sum(counts["videos"] for counts in found.values()), **found}


def _link_folders(folder: Path, videos: VideoList, target: Path) -> None:
    """A link below `target` to every folder that holds a video, by its path below the part's folder."""
    for parent in sorted({record.path.parent for record in videos.records}):
        link = target.joinpath(*parent.relative_to(folder).parts[1:] or ("videos",))
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(parent.resolve(), link, target_is_directory=True)


def _list(videos: VideoList, part: str, labels: Mapping[tuple, str]) -> str:
    """The Kinetics CSV of a part. A missing video stands in it when its class is known and no other has its name."""
    rows = {(clip_of(record.path.stem), videos.classes[record.label]): None for record in videos.records}
    present = {clip for clip, _ in rows}
    for name in videos.missing:
        clip = clip_of(Path(name).stem)
        if clip not in present and clip in labels and labels[clip] in videos.classes:
            rows[clip, labels[clip]] = None
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("label", "youtube_id", "time_start", "time_end", "split"))
    writer.writerows((label, *("" if field is None else field for field in clip), part) for clip, label in rows)
    return stream.getvalue()


def _labels_of_missing(folder: Path, source: str) -> dict[str, dict[tuple, str]]:
    """part -> clip -> class by the official Kinetics lists; loaders name missing videos, but not their class."""
    labels: dict[str, dict[tuple, str]] = {part: {} for part in PARTS}
    for part in PARTS if source != "Moments-In-Time" else ():
        if path := find_list(folder, part):
            labels[part] = {row.clip: row.label for row in read_list(path) if row.clip and not row.problem}
    return labels


def _require_same(official: VideoList, ours: VideoList, part: str) -> None:
    pairs = [{(record.path.resolve(), record.label) for record in videos.records} for videos in (official, ours)]
    if pairs[0] != pairs[1] or len(official) != len(ours):
        different = sorted(str(path) for path, _ in pairs[0] ^ pairs[1])[:5]
        raise ListError(
            f"{len(official)} videos of part {part!r} were read as {len(ours)}; differing: {different}. Two files of "
            "one class whose names end in the same numbers cannot be told apart: rename one."
        )
