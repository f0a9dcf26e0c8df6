"""Accuracy reached without watching: what metadata, or one small frame without any training, gives away.

A set is a fair test of motion when these floors stay at chance. The trained single-frame network (the same backbone
shown one frame repeated) belongs to the training pipeline and is reported beside these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .embedded.settings import ALL_PAIRS, APPEARANCE_CLASSES, CUES
from .records import VideoList
from .video import read_frames

NEIGHBOURS = (1, 5, 15, 25)
METADATA = ("width", "height", "frames", "fps", "log_bytes", "log_bytes_per_frame")


def read_metadata(root: str | Path) -> pd.DataFrame:
    """clips.csv with the features of `METADATA` added; bytes are those of the video file."""
    clips = pd.read_csv(Path(root) / "clips.csv", keep_default_na=False)
    paths = [Path(root) / row.split / row.label / f"{row.clip}.mp4" for row in clips.itertuples()]
    size = np.array([path.stat().st_size for path in paths], float)
    return clips.assign(path=paths, log_bytes=np.log(size), log_bytes_per_frame=np.log(size / clips["frames"]))


def _hits(features: np.ndarray, clips: pd.DataFrame, ridge: bool) -> pd.DataFrame:
    """Right or wrong for every clip and method: columns split, then one a method.

    Validation clips are predicted from all training clips, training clips by cross-validation (five folds).
    """
    labels, train = clips["label"].to_numpy(), (clips["split"] == "train").to_numpy()
    folds = min(5, int(clips.loc[train, "label"].value_counts().min()))
    if folds < 2 or train.all():
        raise ValueError("The floors need two training clips of every class and one validation clip; generate more.")
    fitted_on = int(train.sum()) * (folds - 1) // folds  # tiny sets have fewer clips than neighbours asked for
    methods = {f"kNN, k = {k}": KNeighborsClassifier(min(k, fitted_on)) for k in NEIGHBOURS}
    if ridge:
        methods["ridge"] = RidgeClassifierCV(alphas=10.0 ** np.arange(0, 6))
    hits = pd.DataFrame({"split": clips["split"].to_numpy()})
    for name, method in methods.items():
        model = make_pipeline(StandardScaler(), method)
        guess = np.empty(len(labels), object)
        guess[train] = cross_val_predict(model, features[train], labels[train], cv=folds)
        guess[~train] = model.fit(features[train], labels[train]).predict(features[~train])
        hits[name] = guess == labels
    return hits


def _floor_row(floor: str, hits: pd.DataFrame, chance: float) -> dict[str, object]:
    """One line of the table. The method is chosen on training clips; `best` is the luckiest one on validation."""
    parts = {split: part.drop(columns="split").mean() for split, part in hits.groupby("split")}
    method, count = parts["train"].idxmax(), int((hits["split"] == "val").sum())
    bound = chance + 2 * np.sqrt(chance * (1 - chance) / count)
    accuracy = float(parts["val"][method])
    return {
        "floor": floor, "clips": count, "chance": chance, "accuracy": accuracy, "bound": float(bound),
        "passes": bool(accuracy <= bound), "method": method, "best": float(parts["val"].max()),
        "best method": parts["val"].idxmax(),
    }  # fmt: skip


def _largest_share(clips: pd.DataFrame) -> float:
    return float(clips.loc[clips["split"] == "val", "label"].value_counts(normalize=True).max())


def metadata_floor(root: str | Path) -> pd.DataFrame:
    """Validation accuracy of nearest neighbours on frame size, length, rate and bytes alone."""
    clips = read_metadata(root)
    hits = _hits(clips[list(METADATA)].to_numpy(float), clips, ridge=False)
    return pd.DataFrame([_floor_row("metadata only, all classes", hits, _largest_share(clips))])


def single_frame_floor(root: str | Path) -> pd.DataFrame:
    """Validation accuracy of ridge regression and nearest neighbours on the middle frame at 24x18 pixels.

    Two rows: among all motion classes, and within pairs (told which pair the clip is from, pooled over the pairs).
    """
    clips = read_metadata(root)
    clips = clips[~clips["label"].isin(APPEARANCE_CLASSES)].reset_index(drop=True)
    middle = [read_frames(row.path, [row.frames // 2])[0] for row in clips.itertuples()]
    features = _thumbnails(middle)
    present = [pair for pair in ALL_PAIRS if clips["label"].isin(pair).any()]
    members = [clips["label"].isin(pair).to_numpy() for pair in present]
    within = pd.concat([_hits(features[member], clips[member], ridge=True) for member in members])
    rows = [
        _floor_row("middle frame, motion classes", _hits(features, clips, ridge=True), _largest_share(clips)),
        _floor_row("middle frame, within time-order pairs", within, 0.5),
    ]
    return pd.DataFrame(rows)


def _thumbnails(images: list[np.ndarray]) -> np.ndarray:
    """24x18 pixels of every image as one row of features."""
    small = [np.asarray(Image.fromarray(image).resize((24, 18), Image.Resampling.BOX), float) for image in images]
    return np.stack(small).reshape(len(small), -1)


def video_floors(parts: Mapping[str, VideoList]) -> pd.DataFrame:
    """The floors of any data set, {"train": videos, "val": videos}: metadata, and the middle frame at 24x18 pixels.

    Metadata are frame size, decoded length, bytes and bytes a frame. Columns as in `floors_table`. In most real
    data a frame tells something about the action: the second floor is then above its bound.
    """
    rows, middle = [], []
    for split, videos in parts.items():
        for record in videos.records:
            frames = read_frames(record.path)
            middle.append(frames[len(frames) // 2])
            size = np.log(record.path.stat().st_size)
            measures = (*frames.shape[:3], size, size - np.log(len(frames)))
            rows.append({"split": split, "label": record.label} | dict(enumerate(measures)))
    clips = pd.DataFrame(rows)
    metadata = clips.drop(columns=["split", "label"]).to_numpy(float)
    return pd.DataFrame(
        [
            _floor_row("metadata only", _hits(metadata, clips, ridge=False), _largest_share(clips)),
            _floor_row("middle frame", _hits(_thumbnails(middle), clips, ridge=True), _largest_share(clips)),
        ]
    )


def balance_table(root: str | Path) -> pd.DataFrame:
    """By class: mean and spread of what must not depend on it (motion, camera, clutter, file size), shares of cues."""
    clips = read_metadata(root)
    columns = ["motion", "camera_motion", "clutter", "log_bytes"]
    table = clips.groupby("label")[columns].agg(["mean", "std"])
    table.columns = [" ".join(column) for column in table.columns]
    shares = pd.crosstab(clips["label"], clips["cue"], normalize="index").reindex(columns=list(CUES), fill_value=0.0)
    return table.join(shares).reset_index()


def floors_table(root: str | Path) -> pd.DataFrame:
    """Every floor of a generated set: floor, clips, chance, accuracy, bound, passes, method, best, best method.

    `bound` is chance (largest class share) + 2 standard errors, sqrt(p (1 - p) / n). `accuracy` is that of the method
    that cross-validation on the training clips prefers; `best` is the maximum over methods on the validation clips,
    which exceeds the bound by luck more often than one method does, because it is the best of several.
    Raises FileNotFoundError when the set is absent.
    """
    if not (Path(root) / "clips.csv").is_file():
        raise FileNotFoundError(f"{root} holds no clips.csv; generate the embedded data set there first.")
    return pd.concat([metadata_floor(root), single_frame_floor(root)], ignore_index=True)
