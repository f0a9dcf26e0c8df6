"""ADE20K as released for scene parsing (Zhou et al., 2017; thesis section 4.1): 150 classes, 20,210 and 2,000 images.

    <root>/images/{training,validation}/ADE_{train,val}_00000001.jpg
    <root>/annotations/{training,validation}/ADE_{train,val}_00000001.png    8-bit, one channel: 0 other, 1..150
    <root>/objectInfo150.txt         tab separated, with a header: the names of the classes (optional)
    <root>/sceneCategories.txt       `ADE_val_00000001 bathroom`: what an image shows (optional)

`root` is the folder ADEChallengeData2016 of the archive. The full ADE20K of 2021 is another format, with thousands of
classes in coloured images (`*_seg.png`), and is turned away.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vared.data.labelled_images import IGNORED, AnnotationError
from vared.data.records import shorten

CLASSES = 150
FOLDERS = {"train": "training", "val": "validation"}
FULL = (
    "This looks like the full ADE20K of 2021, whose classes are coded in colours. Use the release for scene parsing, "
    "ADEChallengeData2016, with one-channel annotations of 150 classes."
)


@dataclass(frozen=True)
class Ade20k:
    """One part of the data set; `scenes` has a word for every image, empty where sceneCategories.txt has none."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    scenes: tuple[str, ...]
    images: tuple[Path, ...]
    annotations: tuple[Path, ...]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image H x W x 3, and labels H x W with 0..149 for the classes 1..150 and IGNORED for 0.

        Raises AnnotationError that names the file when one cannot be decoded or holds a class above 150.
        """
        image, mask = (_pixels(files[index]) for files in (self.images, self.annotations))
        if mask.max(initial=0) > CLASSES:
            raise AnnotationError(f"{self.annotations[index]}: class {mask.max()}, but there are {CLASSES}.")
        return image, np.where(mask == 0, IGNORED, mask - 1).astype(np.uint8)


def load_ade20k(root: str | Path, part: str, *, odgt: str | Path | None = None) -> Ade20k:
    """The images of `part` ("train" or "val"), or those of them that the list `odgt` names.

    A row of the list is JSON with fpath_img, fpath_segm, width and height; paths start with the name of the archive.
    Opens every file and reads its header, no pixels. Raises AnnotationError that lists all files that are missing,
    unreadable, of another size than their partner or of another mode, and all rows of a list that are wrong.
    """
    root = Path(root)
    if part not in FOLDERS:
        raise ValueError(f"The parts of ADE20K are 'train' and 'val', not {part!r}.")
    if (root / "images" / "ADE").is_dir() or any(root.glob("images/**/*_seg.png")):
        raise AnnotationError(f"{root}: {FULL}")
    pairs = _listed(root, Path(odgt)) if odgt else _found(root, FOLDERS[part])
    problems = [text for image, mask in pairs if (text := _mismatch(image, mask))]
    if problems:
        raise AnnotationError(f"{len(problems)} of {len(pairs)} annotations cannot be used: {shorten(problems, '; ')}")
    names = tuple(image.stem for image, _ in pairs)
    known = read_scenes(root / "sceneCategories.txt")
    scenes, (images, masks) = tuple(known.get(name, "") for name in names), zip(*pairs, strict=True)
    return Ade20k(read_classes(root / "objectInfo150.txt"), names, scenes, images, masks)


def read_classes(path: Path) -> tuple[str, ...]:
    """The first name of every class of objectInfo150.txt; `class 1` to `class 150` when there is no such file.

    Cells have trailing blanks in the release. Raises AnnotationError that names the line.
    """
    if not path.exists():
        return tuple(f"class {number}" for number in range(1, CLASSES + 1))
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    classes = []
    for number, line in enumerate(lines, start=2):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 5 or cells[0] != str(number - 1) or not cells[4]:
            raise AnnotationError(f"{path} line {number}: {line!r} is not class {number - 1} in five columns.")
        classes.append(cells[4].partition(",")[0])
    if len(classes) != CLASSES:
        raise AnnotationError(f"{path} line {len(lines) + 1}: the file ends after {len(classes)} of {CLASSES} classes.")
    return tuple(classes)


def read_scenes(path: Path) -> dict[str, str]:
    """Image name -> scene of sceneCategories.txt, empty when there is no such file; raises AnnotationError."""
    scenes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else (), start=1):
        words = line.split()
        if len(words) != 2 or not words[0].startswith("ADE_"):
            raise AnnotationError(f"{path} line {number}: {line!r} is not the name of an image and a scene.")
        scenes[words[0]] = words[1]
    return scenes


def _found(root: Path, folder: str) -> list[tuple[Path, Path]]:
    images, masks = ({path.stem: path for path in sorted((root / kind / folder).glob(f"ADE_*.{ending}"))}
                     for kind, ending in (("images", "jpg"), ("annotations", "png")))  # fmt: skip
    if not images and not masks:
        raise AnnotationError(
            f"{root} holds no images/{folder}/ADE_*.jpg and no annotations/{folder}/ADE_*.png. Unpack "
            "ADEChallengeData2016.zip of sceneparsing.csail.mit.edu and name the folder ADEChallengeData2016."
        )
    if alone := [str((images | masks)[name]) for name in sorted(images.keys() ^ masks.keys())]:
        raise AnnotationError(f"{len(alone)} files have no image or annotation to go with: {shorten(alone)}")
    return [(images[name], masks[name]) for name in images]


def _listed(root: Path, odgt: Path) -> list[tuple[Path, Path]]:
    pairs, problems = [], []
    for number, line in enumerate(odgt.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            pair = tuple(root.joinpath(*Path(row[key]).parts[1:]) for key in ("fpath_img", "fpath_segm"))
            size = (int(row["width"]), int(row["height"]))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            problems.append(f"line {number}: {line.strip()!r} is no row of an odgt list ({type(error).__name__})")
            continue
        if missing := [str(path) for path in pair if not path.is_file()]:
            problems.append(f"line {number}: {', '.join(missing)} does not exist")
        elif (found := _size(pair[0])) not in (None, size):
            problems.append(f"line {number}: {pair[0]} is {found[0]} x {found[1]}, not {size[0]} x {size[1]}")
        pairs.append(pair)
    if problems or not pairs:
        raise AnnotationError(f"{odgt}: {shorten(problems, '; ') or 'the list is empty'}")
    return pairs


def _mismatch(image: Path, mask: Path) -> str | None:
    """What is wrong with a pair by their headers, naming the file."""
    try:
        with Image.open(image) as pixels, Image.open(mask) as labels:
            if labels.mode != "L":
                hint = f" {FULL}" if labels.mode in ("RGB", "RGBA") else ""
                return f"{mask} has the mode {labels.mode}, not L (8 bits, one channel).{hint}"
            if pixels.size != labels.size:
                return f"{mask} is {labels.width} x {labels.height}, its image {pixels.width} x {pixels.height} pixels"
    except (OSError, UnidentifiedImageError) as error:
        return f"{error}" if str(mask) in str(error) or str(image) in str(error) else f"{image}, {mask}: {error}"
    return None


def _size(path: Path) -> tuple[int, int] | None:
    """(width, height), None for what `_mismatch` will report."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError):
        return None


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image if path.suffix == ".png" else image.convert("RGB"))
    except OSError as error:  # a file that breaks off after its header, for one
        raise AnnotationError(f"{path} cannot be decoded: {error}") from error
