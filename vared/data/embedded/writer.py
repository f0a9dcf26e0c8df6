"""Write a generated data set: H.264 files in the Kinetics layout, masks in the J-HMDB layout, boxes and clip rows.

root/{train,val}/<class>/<id>_<start>_<end>.mp4     root/{train,val}.csv     root/classes.txt
root/puppet_mask/<class>/<clip>/puppet_mask.mat     root/clips.csv           root/boxes.csv
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import av
import numpy as np
import pandas as pd
import scipy.io
from joblib import Parallel, delayed
from tqdm import tqdm

from .scene import Clip, render_clip
from .settings import SceneSettings


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Half-open boxes (N, 5) of rows frame, x1, y1, x2, y2 (0-based) of masks (T, H, W); empty masks have no row."""
    frames = np.flatnonzero(masks.any((1, 2)))
    columns, rows = masks[frames].any(1), masks[frames].any(2)
    x1, y1 = columns.argmax(1), rows.argmax(1)
    x2, y2 = columns.shape[1] - columns[:, ::-1].argmax(1), rows.shape[1] - rows[:, ::-1].argmax(1)
    return np.stack((frames, x1, y1, x2, y2), 1)


def clip_name(seed: int, split: str, index: int, seconds: int) -> tuple[str, int, int]:
    """Kinetics-like id of 11 characters, start and end in seconds, all drawn from a hash and free of meaning."""
    digest = hashlib.sha256(f"{seed}/{split}/{index}".encode()).digest()
    start = int.from_bytes(digest[16:18], "big") % 300
    return base64.urlsafe_b64encode(digest)[:11].decode(), start, start + seconds


def write_video(path: Path, clip: Clip, fps: int) -> None:
    """Encode frames (T, H, W, 3) as H.264 in MP4 at the clip's constant bit rate.

    A constant rate (filler included) keeps the file size from following the content, and so from hinting at the class.
    """
    rate = clip.row["bitrate"]
    _, height, width, _ = clip.frames.shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, clip.pixel_format
        stream.options = {
            "preset": "veryfast",
            "threads": "1",
            # without lookahead: with it, rate control chose differently from run to run
            "x264-params": f"log=-1:mbtree=0:rc-lookahead=0:nal-hrd=cbr:bitrate={rate}:vbv-maxrate={rate}"
            f":vbv-bufsize={rate // 4}",
        }
        for image in clip.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_mat(path: Path, content: dict[str, np.ndarray]) -> None:
    """Write a MATLAB file whose bytes depend on `content` alone: scipy puts the time into the first 116 bytes."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, content, do_compression=True)
    stream.seek(0)
    stream.write(b"MATLAB 5.0 MAT-file".ljust(116))
    path.write_bytes(stream.getvalue())


def write_clip(root: Path, seed: int, split: str, index: int, settings: SceneSettings) -> tuple[dict, np.ndarray]:
    """Render one clip and write its video and mask; return its row of clips.csv and its boxes (N, 5)."""
    clip = render_clip(seed, split, index, settings)
    seconds = max(1, round(settings.frames / settings.fps))
    video_id, start, end = clip_name(seed, split, index, seconds)
    name, label = f"{video_id}_{start:06d}_{end:06d}", str(clip.row["label"])
    write_video(root / split / label / f"{name}.mp4", clip, settings.fps)
    folder = root / "puppet_mask" / label / name
    folder.mkdir()
    mask = {"part_mask": np.ascontiguousarray(clip.masks.transpose(1, 2, 0))}
    write_mat(folder / "puppet_mask.mat", mask)
    row = clip.row | {"clip": name, "youtube_id": video_id, "time_start": start, "time_end": end}
    return row, mask_boxes(clip.masks)


def _write_tables(root: Path, results: list[tuple[dict, np.ndarray]], classes: tuple[str, ...]) -> None:
    clips = pd.DataFrame([row for row, _ in results])
    for split in ("train", "val"):
        rows = clips[clips["split"] == split]
        rows[["label", "youtube_id", "time_start", "time_end", "split"]].to_csv(root / f"{split}.csv", index=False)
    clips.drop(columns=["youtube_id", "time_start", "time_end"]).to_csv(root / "clips.csv", index=False)
    boxes = pd.DataFrame(np.concatenate([boxes for _, boxes in results]), columns=["frame", "x1", "y1", "x2", "y2"])
    boxes.insert(0, "clip", np.repeat([row["clip"] for row, _ in results], [len(boxes) for _, boxes in results]))
    boxes.to_csv(root / "boxes.csv", index=False)
    (root / "classes.txt").write_text("\n".join(classes) + "\n")


def generate(
    root: str | Path, *, train_clips: int, val_clips: int, seed: int, settings: SceneSettings | None = None,
    workers: int = 2,
) -> Path:  # fmt: skip
    """Generate a data set into `root`, which must not exist (or be an empty folder), and return it.

    A clip depends on (seed, split, index, settings) alone: more clips or other `workers` (processes) never change
    one. Everything is written beside `root` and moved there at the end, so a killed run leaves no `root`.
    Raises FileExistsError when `root` holds files and ValueError when a split would be empty.
    """
    root, settings = Path(root), settings or SceneSettings()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} already holds files; remove it to generate the embedded data set anew.")
    if min(train_clips, val_clips) < 1:
        raise ValueError(f"Both splits need clips, but {train_clips} train and {val_clips} val clips were asked for.")
    root.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        for folder in ("train", "val", "puppet_mask"):
            for label in settings.classes:
                (scratch / folder / label).mkdir(parents=True)
        tasks = [("train", i) for i in range(train_clips)] + [("val", i) for i in range(val_clips)]
        jobs = (delayed(write_clip)(scratch, seed, split, index, settings) for split, index in tasks)
        stream = Parallel(n_jobs=workers, return_as="generator")(jobs)
        results = list(tqdm(stream, total=len(tasks), desc="generating clips", unit="clip", mininterval=1))
        _write_tables(scratch, results, settings.classes)
        scratch.chmod(0o755)  # mkdtemp folders are private
        os.replace(scratch, root)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return root
