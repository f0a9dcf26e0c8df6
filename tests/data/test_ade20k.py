"""ADE20K: what its files mean, and an error that names the file, or the line, for every one that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vared.data.ade20k import CLASSES, load_ade20k
from vared.data.labelled_images import IGNORED, AnnotationError

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "raw" / "ade20k_sample"
MASK = np.array([[0, 1, 2], [150, 3, 0]], dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """The official layout with two validation images of 3 x 2 pixels."""
    for number in (1, 2):
        write(tmp_path, number, np.full((2, 3, 3), 200, np.uint8), MASK)
    return tmp_path


def write(root, number, image, mask):
    for kind, pixels, ending in (("images", image, "jpg"), ("annotations", mask, "png")):
        path = root / kind / "validation" / f"ADE_val_{number:08d}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return path


def test_zero_is_ignored_and_classes_count_from_zero(root):
    images = load_ade20k(root, "val")
    image, labels = images.read(1)
    assert images.names == ("ADE_val_00000001", "ADE_val_00000002") and images.scenes == ("", "")
    assert image.shape == (2, 3, 3) and image.dtype == labels.dtype == np.uint8
    assert labels.tolist() == [[IGNORED, 0, 1], [149, 2, IGNORED]]


def test_grey_images_become_three_channels(root):
    write(root, 1, np.full((2, 3), 9, np.uint8), MASK)
    assert load_ade20k(root, "val").read(0)[0].tolist() == [[[9] * 3] * 3] * 2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK.T, "ADE_val_00000002.png is 2 x 3, its image 3 x 2 pixels"),
        (np.repeat(MASK[..., None], 3, 2), "ADE_val_00000002.png has the mode RGB.*full ADE20K of 2021"),
        (MASK.astype(np.uint16), "ADE_val_00000002.png has the mode I;16, not L"),
    ],
)
def test_a_mask_that_does_not_fit_is_named_before_it_is_read(root, mask, message):
    write(root, 2, np.zeros((2, 3, 3), np.uint8), mask)
    with pytest.raises(AnnotationError, match=message):
        load_ade20k(root, "val")


def test_a_class_out_of_range_is_named_when_it_is_read(root):
    write(root, 2, np.zeros((2, 3, 3), np.uint8), np.full((2, 3), CLASSES + 1, np.uint8))
    images = load_ade20k(root, "val")
    images.read(0)
    with pytest.raises(AnnotationError, match="ADE_val_00000002.png: class 151, but there are 150"):
        images.read(1)


def test_damaged_files_are_named(root):
    path = write(
        root, 2, np.zeros((64, 64, 3), np.uint8), np.random.default_rng(0).integers(0, 150, (64, 64), np.uint8)
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # the header is still there
    with pytest.raises(AnnotationError, match="ADE_val_00000002.png cannot be decoded"):
        load_ade20k(root, "val").read(1)
    path.write_bytes(b"no image")
    with pytest.raises(AnnotationError, match="1 of 2 annotations.*ADE_val_00000002.png"):
        load_ade20k(root, "val")


def test_files_without_a_partner_and_empty_folders_are_named(root, tmp_path):
    (root / "images" / "validation" / "ADE_val_00000001.jpg").unlink()
    with pytest.raises(AnnotationError, match="1 files have no.*annotations/validation/ADE_val_00000001.png"):
        load_ade20k(root, "val")
    with pytest.raises(AnnotationError, match="no images/training/ADE.*ADEChallengeData2016.zip"):
        load_ade20k(root, "train")
    with pytest.raises(ValueError, match="'train' and 'val', not 'test'"):
        load_ade20k(root, "test")


def test_the_full_release_is_turned_away(tmp_path):
    path = tmp_path / "images" / "ADE" / "training" / "urban" / "street" / "ADE_train_00016858_seg.png"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(AnnotationError, match="full ADE20K of 2021.*ADEChallengeData2016"):
        load_ade20k(tmp_path, "train")


def row(number, **changes):
    """A row of an odgt list."""
    names = [f"ADEChallengeData2016/{kind}/validation/ADE_val_{number:08d}" for kind in ("images", "annotations")]
    content = {"fpath_img": f"{names[0]}.jpg", "fpath_segm": f"{names[1]}.png", "width": 3, "height": 2}
    return json.dumps(content | changes)


def test_a_list_chooses_images(root, tmp_path):
    (tmp_path / "list.odgt").write_text(row(2) + "\n\n")
    assert load_ade20k(root, "val", odgt=tmp_path / "list.odgt").names == ("ADE_val_00000002",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: '{' is no row"), ('{"fpath_img": "a"}', "line 2.*KeyError"),
        (row(3), "line 2: .*ADE_val_00000003.jpg, .*png does not exist"),
        (row(2, width=4), "line 2: .*ADE_val_00000002.jpg is 3 x 2, not 4 x 2"),
    ],
)  # fmt: skip
def test_a_bad_row_of_a_list_is_named(root, tmp_path, line, message):
    (tmp_path / "list.odgt").write_text(f"{row(1)}\n{line}\n")
    with pytest.raises(AnnotationError, match=f"list.odgt: {message}"):
        load_ade20k(root, "val", odgt=tmp_path / "list.odgt")


def test_names_of_classes_and_scenes_are_read_when_they_are_there(root):
    assert load_ade20k(root, "val").classes[::149] == ("class 1", "class 150")
    lines = ["Idx\tRatio\tTrain\tVal\tName", *(f"{n} \t0.1\t2\t3\tthing {n}, object  " for n in range(1, CLASSES + 1))]
    (root / "objectInfo150.txt").write_text("\n".join(lines))
    (root / "sceneCategories.txt").write_text("ADE_val_00000002 bathroom\n")
    images = load_ade20k(root, "val")
    assert images.classes[::149] == ("thing 1", "thing 150") and images.scenes == ("", "bathroom")
    (root / "objectInfo150.txt").write_text("\n".join(lines[:3] + lines[4:]))
    with pytest.raises(AnnotationError, match="objectInfo150.txt line 4.*is not class 3"):
        load_ade20k(root, "val")
    (root / "objectInfo150.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(AnnotationError, match="objectInfo150.txt line 150: the file ends after 149"):
        load_ade20k(root, "val")
    (root / "objectInfo150.txt").unlink()
    (root / "sceneCategories.txt").write_text("ADE_val_00000002 bathroom\nkitchen\n")
    with pytest.raises(AnnotationError, match="sceneCategories.txt line 2: 'kitchen'"):
        load_ade20k(root, "val")


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="data/raw/ade20k_sample is absent: the first images of the release")
def test_the_first_images_of_the_release():
    images = load_ade20k(SAMPLE, "val", odgt=SAMPLE / "validation_sample.odgt")
    assert images == load_ade20k(SAMPLE, "val")
    image, labels = images.read(0)
    assert image.shape == (512, 683, 3) and labels.shape == (512, 683)
    assert np.unique(labels).tolist() == [0, 1, 2, 4, 6, 9, 17, IGNORED]
