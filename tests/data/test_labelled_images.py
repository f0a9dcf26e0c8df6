"""Augmentation of images with labels, and the stand-in made of generated clips."""

import numpy as np
import pytest
import scipy.io
import torch

from vared.data.embedded import generate
from vared.data.embedded_masks import CLASSES, load_masked_frames, read_mask
from vared.data.labelled_images import IGNORED, AnnotationError, CropTransform, SegmentationDataset, to_tensors


def painted(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel tells the label of every pixel."""
    labels = np.random.default_rng(0).integers(0, 3, (height // 4, width // 4), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.stack([labels * 100, labels, labels], 2).astype(np.uint8), labels


@pytest.mark.parametrize("size", [(32, 40), (12, 60)])
def test_a_crop_keeps_pixels_and_labels_together_and_ignores_what_it_pads(size):
    image, labels = painted(*size)
    red = [to_tensors(np.full((1, 1, 3), 100 * k, np.uint8), labels[:1, :1], (1, 1))[0][0].item() for k in range(3)]
    transform = CropTransform(24, scales=(1.0, 1.0))
    padded = set()
    for seed in range(20):
        pixels, classes = transform(image, labels, np.random.default_rng(seed))
        assert pixels.shape == (3, 24, 24) and classes.shape == (24, 24) and classes.dtype == torch.int64
        for label in range(3):
            assert torch.allclose(pixels[0][classes == label], torch.tensor(red[label]))
        assert (pixels[:, classes == IGNORED] == 0).all()
        padded.add(int((classes == IGNORED).sum()))
    assert padded == ({0} if size[0] > 24 else {24 * 12})


def test_crops_depend_on_seed_epoch_and_index_alone():
    class Two:
        classes, names = ("a", "b", "c"), ("x", "y")

        def read(self, index):
            return painted(32, 40)

    def crops(seed, epoch):
        data = SegmentationDataset(Two(), CropTransform(16), seed=seed)
        data.set_epoch(epoch)
        return [data[1]["clip"], data[0]["clip"]]

    first = crops(0, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, crops(0, 0), strict=True))
    assert not any(torch.equal(first[0], other) for other in (first[1], crops(1, 0)[0], crops(0, 1)[0]))
    assert SegmentationDataset(Two())[0]["clip"].shape == (3, 32, 40)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("set") / "clips", train_clips=48, val_clips=48, seed=0, workers=1)


def test_generated_frames_come_with_the_mask_of_their_actor(clips, tmp_path):
    images = load_masked_frames(clips, "val", tmp_path, images_per_class=6)
    assert images.classes == CLASSES and len(set(images.names)) == len(images.names) == 18
    for index in range(18):
        frame, labels = images.read(index)
        label = index // 6 + 1
        assert frame.shape[:2] == labels.shape and set(np.unique(labels)) == {0, label}
        clip, _, number = images.names[index].partition(":")
        (path,) = clips.glob(f"puppet_mask/*/{clip}/puppet_mask.mat")
        assert ((labels > 0) == read_mask(path)[int(number)]).all()
        assert (path.parent.parent.name == CLASSES[label]) == (label > 1)


def test_a_mask_that_does_not_fit_its_video_is_named(clips, tmp_path):
    path = next(clips.glob("puppet_mask/striped/*/puppet_mask.mat"))
    with pytest.raises(AnnotationError, match="nowhere.mat does not exist"):
        read_mask(path.with_name("nowhere.mat"))
    (tmp_path / "a.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(AnnotationError, match="a.mat is no MATLAB file"):
        read_mask(tmp_path / "a.mat")
    scipy.io.savemat(tmp_path / "a.mat", {"part_mask": np.full((2, 2, 3), 7)})
    with pytest.raises(AnnotationError, match="a.mat: part_mask must be.*up to 7"):
        read_mask(tmp_path / "a.mat")
    for part in ("train", "val"):
        for path in clips.glob("puppet_mask/striped/*/puppet_mask.mat"):
            mask = scipy.io.loadmat(path)["part_mask"]
            scipy.io.savemat(path, {"part_mask": mask[:-1] if part == "train" else mask[..., :-1]})
        with pytest.raises(AnnotationError, match="puppet_mask.mat (is of|has).* but .*mp4"):
            load_masked_frames(clips, part, tmp_path, images_per_class=4)
