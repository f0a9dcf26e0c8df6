"""J-HMDB-21 in its official layout (Jhuang et al., 2013): 928 videos, 21 classes, three train/test splits.

    <root>/ReCompress_Videos/<class>/<video>.avi
    <root>/splits/<class>_test_split<1..3>.txt      rows `<video>.avi 1` (train) or `2` (test)

`puppet_mask/<class>/<video>/puppet_mask.mat` is only needed for boxes. Research use only: nothing of the data set may
be redistributed. The headers of the published files say more frames than they hold; see `vared.data.video`.
"""

from pathlib import Path

import numpy as np

from vared.data.records import ListError, VideoList, VideoRecord, shorten

_PARTS = {"1": "train", "2": "test", "0": "unused"}
_WHERE = (
    "Download the videos and splits from the J-HMDB page (jhmdb.is.tue.mpg.de) and unpack them so that "
    "{root} holds ReCompress_Videos/<class>/<video>.avi and splits/<class>_test_split1.txt."
)


def load_jhmdb(root: str | Path, part: str, split: int = 1) -> VideoList:
    """The videos of `part` ("train" or "test") of official split 1, 2 or 3; labels are positions in the sorted classes.

    Raises ListError when folders, videos or lists are missing (all of them listed) or a row is wrong.
    """
    if part not in ("train", "test"):
        raise ValueError(f"The parts of J-HMDB are 'train' and 'test', not {part!r}; see split_by_source_group.")
    root = Path(root)
    absent = [name for name in ("ReCompress_Videos", "splits") if not (root / name).is_dir()]
    if absent:
        raise ListError(f"J-HMDB is incomplete, {', '.join(absent)} missing. {_WHERE.format(root=root)}")
    ending = f"_test_split{split}"
    lists = sorted(root.glob(f"splits/*{ending}.txt"))
    if not lists:
        raise ListError(f"There is no list splits/*{ending}.txt. {_WHERE.format(root=root)}")
    classes = sorted(path.stem.removesuffix(ending) for path in lists)
    records, missing, errors = [], [], []
    for label, name in enumerate(classes):
        for video in _videos_of(root / "splits" / f"{name}{ending}.txt", part, errors):
            path = root / "ReCompress_Videos" / name / video
            records.append(VideoRecord(path, label, path.relative_to(root).as_posix()))
            if not path.is_file():
                missing.append(records[-1].name)
    if errors:
        raise ListError(f"{len(errors)} rows of the J-HMDB lists are wrong: {shorten(errors, '; ')}")
    if missing or not records:
        reason = f"{len(missing)} of {len(records)} listed videos of part {part!r} are missing: {shorten(missing)}"
        raise ListError(f"J-HMDB is incomplete: {reason}. {_WHERE.format(root=root)}")
    return VideoList(tuple(records), tuple(classes), (), f"split {split}")


def _videos_of(list_path: Path, part: str, errors: list[str]) -> list[str]:
    videos = []
    for number, line in enumerate(list_path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        video, _, code = line.strip().rpartition(" ")
        if not video or code not in _PARTS:
            errors.append(f"{list_path.name} row {number}: {line!r} is not `<video>.avi 1` or `2`")
        elif _PARTS[code] == part:
            videos.append(video.strip())
    return videos


def source_group(record: VideoRecord) -> str:
    """The recording a video was cut from: its name up to `_<class>_`. Videos of one recording look alike."""
    return record.path.stem.rpartition(f"_{record.path.parent.name}_")[0]


def split_by_source_group(videos: VideoList, fraction: float, seed: int) -> tuple[VideoList, VideoList]:
    """(train, validation): about `fraction` of every class goes to validation, whole source groups at a time.

    A cut by video would put near copies of training videos into the validation part. Pure function of its arguments;
    of a class with a single group nothing is moved.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, but is {fraction}.")
    held_out: set[tuple[int, str]] = set()
    for label in range(len(videos.classes)):
        groups = [source_group(record) for record in videos.records if record.label == label]
        names = sorted(set(groups))
        taken = 0
        for position in np.random.default_rng([seed, label]).permutation(len(names))[1:]:
            size = groups.count(names[position])
            if taken + size / 2 <= fraction * len(groups):  # stops nearest to the fraction
                held_out.add((label, names[position]))
                taken += size
    chosen = [(record.label, source_group(record)) in held_out for record in videos.records]
    train = videos.subset(position for position, out in enumerate(chosen) if not out)
    return train, videos.subset(position for position, out in enumerate(chosen) if out)
