"""The verb `vared predict`: labels and cost of video files by a ready network or a checkpoint of one's own.

A file that cannot be read is named with the reason and the others go on; the exit status is then 1.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Nothing slow (torch, pandas) at the top: every command of the package reads this file.

# What is taken from a folder; a file that is named is taken whatever it is called.
SUFFIXES = frozenset(
    f".{name}" for name in
    "3gp asf avi flv gif m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv".split()
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `vared predict`."""
    parser.set_defaults(needs_project=lambda options: False)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO|FOLDER", help="folders: all videos below them")
    parser.add_argument("--network", help="a ready network (default: r2plus1d_18-embedded-s2), or that of --weights")
    parser.add_argument("--step", type=int, help="frames from clip to clip (default: half of what a clip spans)")
    parser.add_argument("--batch-size", type=int, default=16, help="clips at a time (default: 16)")
    parser.add_argument("--csv", type=Path, help="write a row a clip, and one for each video that failed")
    parser.add_argument("--json", type=Path, help="write that with the probabilities of all classes")
    parser.add_argument("--annotate", type=Path, metavar="FOLDER", help="write each video with label and cost curve")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write a picture of each video's policies")
    own = parser.add_argument_group("a checkpoint of your own")
    own.add_argument("--weights", type=Path, help="safetensors file; --network is then a name of vared.list_models()")
    own.add_argument("--classes", type=Path, help="text file with a class name a line, in the order of the logits")
    own.add_argument("--frames", type=int, default=8, help="frames of a clip (default: 8)")
    own.add_argument("--stride", type=int, default=4, help="frames from one to the next (default: 4)")
    own.add_argument("--crop-size", type=int, default=128, help="pixels (default: 128)")
    own.add_argument("--width", type=float, default=1.0, help="factor on all channel counts (default: 1)")
    own.add_argument("--search-space", type=int, help="candidates a dimension of a dynamic network (default: plain)")


def run(folder: Path, options: argparse.Namespace) -> int:
    """Predict every video, print and write what was found; 1 when a video failed.

    Raises FileNotFoundError for what does not exist and ValueError for other bad input, before any video is read.
    """
    videos = find_videos(options.videos)
    targets = {name: _targets(videos, getattr(options, name), ending) for name, ending in _ENDINGS.items()}
    predictor = _predictor(options)
    from vared import prediction_files
    from vared.data.video import VideoError

    found, failed = [], {}
    for number, video in enumerate(videos):
        try:
            prediction = predictor(video, watch=_bar(video, number, len(videos)))
            for name, paths in targets.items():
                if paths:
                    getattr(prediction_files, f"write_{name}")(prediction, paths[video])
        except (VideoError, OSError) as error:
            failed[video] = _named(video, error)
            print(f"vared: {failed[video]}", file=sys.stderr)
            continue
        found.append(prediction)
        print(prediction_files.lines(prediction), flush=True)
    if len(found) > 1:
        print(prediction_files.mean_line(found))
    for name, write in (("csv", prediction_files.write_csv), ("json", prediction_files.write_json)):
        if path := getattr(options, name):
            write(path, predictor.card, found, failed)
    if failed:
        print(f"vared: {len(failed)} of {len(videos)} videos failed, see above.", file=sys.stderr)
    return 1 if failed else 0


_ENDINGS = {"annotate": ".mp4", "pictures": ".png"}


def find_videos(given: Sequence[Path]) -> list[Path]:
    """The files named, and the videos below the folders named, sorted within each folder; none twice.

    Raises FileNotFoundError for a path that does not exist, ValueError for a folder without videos.
    """
    found: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise ValueError(f"The folder {path} holds no video ({', '.join(sorted(SUFFIXES))}).")
            found |= dict.fromkeys(inside)
        elif path.exists():
            found[path] = None
        else:
            raise FileNotFoundError(f"{path} does not exist.")
    return list(found)


def _targets(videos: Sequence[Path], folder: Path | None, ending: str) -> dict[Path, Path]:
    """Where to write what is made of each video; ValueError where that is one place for two, or a video itself."""
    if folder is None:
        return {}
    targets: dict[Path, Path] = {}
    for video in videos:
        # Cut, so that a temporary name beside it is no longer than file systems allow (255 bytes).
        stem = os.fsdecode(os.fsencode(video.stem)[:200])
        target = folder / f"{stem}{ending}"
        if target in targets.values():
            other = next(path for path, taken in targets.items() if taken == target)
            raise ValueError(f"{other} and {video} would both be written to {target}: call vared for each of them.")
        if target.exists() and any(target.samefile(path) for path in videos):
            raise ValueError(f"{target} would be written over the video of that name: choose another folder.")
        targets[video] = target
    return targets


def _predictor(options: argparse.Namespace):
    from vared.checkpoints import load_weights
    from vared.prediction import Predictor
    from vared.ready import DEFAULT, load_ready, own_card

    if options.weights is None:
        if options.classes:
            raise ValueError("--classes goes with --weights; a ready network has its own classes.")
        model, card = load_ready(options.network or DEFAULT)
        names = ", ".join(card.classes)
        print(f"{card.name} knows {len(card.classes)} generated classes only: {names}.", file=sys.stderr)
    else:
        if not options.network or not options.classes:
            raise ValueError("--weights needs --network, a name of vared.list_models(), and --classes, a text file.")
        card = own_card(
            options.weights, options.network, options.classes, frames=options.frames, stride=options.stride,
            crop_size=options.crop_size, width=options.width, search_space=options.search_space,
        )  # fmt: skip
        model = load_weights(card.build(), options.weights)
    return Predictor(model, card, step=options.step, batch_size=options.batch_size)


def _bar(video: Path, number: int, count: int):
    """Wraps the frames of one video in a progress bar, on a terminal."""
    from tqdm import tqdm

    title = f"{number + 1}/{count} {video.name[:40]}"
    return lambda frames: tqdm(frames, title, unit="frame", leave=False, disable=None)


def _named(video: Path, error: Exception) -> str:
    """The error's message with the file's name in it, as text that can be written anywhere."""
    text = str(error) if str(video) in str(error) else f"{video}: {error}"
    return os.fsencode(text).decode(errors="replace")
