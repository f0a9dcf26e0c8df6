"""Good and bad video files, written once a session."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.video_files import cut, encode, set_rotation, write_sound, write_video


@pytest.fixture(scope="session")
def good_files(tmp_path_factory):
    """name -> (path, frames, height, width as it should come out)."""
    folder = tmp_path_factory.mktemp("good")
    gaps = [2 * i + (i > 10) * 30 for i in range(20)]
    files = {
        "h264": (write_video(folder / "h264.mp4"), 24, 48, 64),
        "index first": (write_video(folder / "first.mp4", faststart=True), 24, 48, 64),
        "mpeg4 in avi": (write_video(folder / "mpeg4.avi", codec="mpeg4"), 24, 48, 64),
        "vp9": (write_video(folder / "vp9.webm", 6, codec="libvpx-vp9"), 6, 48, 64),
        "time stamp gaps": (write_video(folder / "gaps.mp4", 20, pts=gaps), 20, 48, 64),
        "gaps in avi": (write_video(folder / "gaps.avi", 20, codec="mpeg4", pts=gaps), 20, 48, 64),
        "odd size": (write_video(folder / "odd.avi", 8, 63, 47, codec="mpeg4"), 8, 47, 63),
        "odd size 4:4:4": (write_video(folder / "odd444.mp4", 8, 63, 47, pixels="yuv444p"), 8, 47, 63),
        "portrait": (write_video(folder / "portrait.mp4", 8, 48, 64), 8, 64, 48),
        "one frame": (write_video(folder / "one.mp4", 1), 1, 48, 64),
        "three frames": (write_video(folder / "three.mkv", 3), 3, 48, 64),
        "ten bit": (write_video(folder / "ten.mkv", 5, pixels="yuv420p10le"), 5, 48, 64),
        "odd name": (write_video(folder / "a:b (c) %d 'd'.MP4", 4), 4, 48, 64),
    }
    for clockwise in (90, 180, 270):
        path = write_video(folder / f"rotated{clockwise}.mp4", 5)
        set_rotation(path, clockwise)
        size = (48, 64) if clockwise == 180 else (64, 48)
        files[f"rotated {clockwise}"] = (path, 5, *size)
    return files


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory):
    """name -> (path, words the error must hold)."""
    folder = tmp_path_factory.mktemp("bad")
    # noise, so that no cut or damaged byte falls into unused space
    noise = list(np.random.default_rng(0).integers(0, 256, (24, 48, 64, 3), dtype=np.uint8))
    detailed = encode(folder / "detailed.mp4", noise, faststart=True)
    detailed_avi = encode(folder / "detailed.avi", noise, codec="mpeg4")
    detailed_mkv = encode(folder / "detailed.mkv", noise)
    data = bytearray(detailed.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2500] = np.random.default_rng(1).bytes(2500)
    (folder / "damaged.mp4").write_bytes(data)
    (folder / "empty.mp4").touch()
    (folder / "page.mp4").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20)
    (folder / "random.mp4").write_bytes(np.random.default_rng(2).bytes(20_000))
    return {
        "absent": (folder / "absent.mp4", "no such file"),
        "empty": (folder / "empty.mp4", "empty"),
        "web page": (folder / "page.mp4", "web page"),
        "random bytes": (folder / "random.mp4", "not a video"),
        "sound only": (write_sound(folder / "sound.mp4"), "no video stream"),
        "index lost": (cut(encode(folder / "last.mp4", noise), folder / "lost.mp4", 0.6), "index is missing"),
        "cut, index first": (cut(detailed, folder / "cut.mp4", 0.5), "after|damaged"),
        "cut avi": (cut(detailed_avi, folder / "cut.avi", 0.5), "after|damaged"),
        "cut mkv": (cut(detailed_mkv, folder / "cut.mkv", 0.5), "after|damaged"),
        "damaged in the middle": (folder / "damaged.mp4", "after|damaged"),
    }


@pytest.fixture(scope="session")
def jhmdb_root():
    """The J-HMDB folder named by VARED_JHMDB, or data/jhmdb of the repository."""
    root = Path(os.environ.get("VARED_JHMDB", Path(__file__).parents[2] / "data" / "jhmdb"))
    if not (root / "ReCompress_Videos").is_dir():
        pytest.skip(f"needs J-HMDB in {root} (or in the folder VARED_JHMDB names); it may not be redistributed")
    return root
