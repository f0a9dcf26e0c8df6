"""Kinetics-400 by its own class list, and the two data sets named Mini-Kinetics-200 on top of it."""

import os
import time
import warnings
from pathlib import Path

import pytest

from tests.data.video_files import index_of, write_video
from vared.data.class_names import read_classes
from vared.data.kinetics400 import load_kinetics400
from vared.data.mini_kinetics import load_mini_kinetics
from vared.data.records import ListError
from vared.data.video import read_frames

SPLITS = Path(__file__).resolve().parents[2] / "data" / "splits"
KINETICS = read_classes(SPLITS / "kinetics400_classes.txt")
MINI = read_classes(SPLITS / "mini_kinetics200_classes.txt")
HEADER = "label,youtube_id,time_start,time_end,split,is_cc"
# class, id, start; the last two are of Kinetics-400, but not of the thesis's 200 classes
VIDEOS = [
    ("air drumming", "7LSJ2Ryv1a8", 0),
    ("yoga", "_b_12_efg_h", 3),
    ("answering questions", "-cwyDVypfYg", 10),
    ("abseiling", "aaaaaaaaaaa", 1),
    ("bench pressing", "bbbbbbbbbbb", 2),
]


def write(root, name, *lines):
    (root / name).write_text("\n".join(lines) + "\n")


def name_of(youtube_id, start):
    return f"{youtube_id}_{start:06d}_{start + 10:06d}"


@pytest.fixture
def root(tmp_path):
    """Kinetics-400 as users have it: official CSV, class folders with blanks, one video taken down."""
    for label, youtube_id, start in VIDEOS:
        path = tmp_path / "val" / label / f"{name_of(youtube_id, start)}.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    rows = [f'"{label}",{youtube_id},{start},{start + 10},val,0' for label, youtube_id, start in VIDEOS]
    gone = ['"yoga",gonegonegon,5,15,val,0', '"zumba",gonegonego2,5,15,val,0']
    write(tmp_path, "val.csv", HEADER, *rows, *gone)
    return tmp_path


def video_folders(separator=" "):
    rows = [(label, name_of(*clip), MINI.index(label)) for label, *clip in VIDEOS[:2]]
    rows.append(("yoga", "takendown12_000005_000015", MINI.index("yoga")))
    return [separator.join((f"images/val/{label}/{clip}", "300", str(number))) for label, clip, number in rows]


def test_the_class_lists_are_complete_and_ours_is_part_of_kinetics():
    assert (len(set(KINETICS)), len(set(MINI))) == (400, 200)
    assert set(MINI) < set(KINETICS) and list(KINETICS) == sorted(KINETICS) and list(MINI) == sorted(MINI)


def test_an_incomplete_kinetics_download_shifts_no_label(root):
    videos = load_kinetics400(root, "val", SPLITS)
    assert [record.label for record in videos.records] == [KINETICS.index(label) for label, *_ in VIDEOS]
    assert len(videos.missing) == 2 and videos.classes == KINETICS
    (root / "val.csv").unlink()
    assert {record.label for record in load_kinetics400(root, "val", SPLITS).records} == {
        KINETICS.index(label) for label, *_ in VIDEOS
    }


def test_kinetics_of_another_release_is_told_how_to_be_named(root):
    (root / "val.csv").rename(root / "validate.csv")
    with pytest.raises(ListError, match="validate.csv is the list of part 'val'.* as val.csv"):
        load_kinetics400(root, "val", SPLITS)
    (root / "validate.csv").rename(root / "val.csv")
    (root / "val").rename(root / "validate")
    with pytest.raises(ListError, match="validate holds the videos of part 'val'"):
        load_kinetics400(root, "val", SPLITS)
    with pytest.raises(ListError, match="data/splits of this project"):
        load_kinetics400(root, "train", root)
    with pytest.raises(ValueError, match="not 'test'"):
        load_kinetics400(root, "test", SPLITS)


def test_a_windows_csv_with_byte_order_mark_is_read(root):
    text = (root / "val.csv").read_text()
    (root / "val.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(load_kinetics400(root, "val", SPLITS)) == 5


@pytest.mark.parametrize(("name", "separator"), [("mini_val_videofolder.txt", " "), ("mini_val.txt", ";")])
def test_the_lists_of_the_thesis_choose_among_the_videos(root, name, separator):
    write(root, name, *video_folders(separator))
    videos = load_mini_kinetics(root, "val", SPLITS)
    found = [(record.path.parent.name, record.label) for record in videos.records]
    assert found == [("air drumming", 0), ("yoga", 199)]
    assert videos.classes == MINI and videos.missing == ("takendown12_5_15",) and videos.source == name


def test_files_named_by_their_id_alone_are_found(root):
    path = root / "val" / "yoga" / f"{name_of('_b_12_efg_h', 3)}.mp4"
    path.rename(path.with_name("_b_12_efg_h.mp4"))
    write(root, "mini_val_videofolder.txt", *video_folders())
    assert [record.path.name for record in load_mini_kinetics(root, "val", SPLITS).records][1] == "_b_12_efg_h.mp4"


def test_all_bad_lines_of_the_list_are_reported_at_once_with_the_file(root):
    good = video_folders()
    write(
        root,
        "mini_val_videofolder.txt",
        good[0],
        "images/val/air drumming/aaaaaaaaaaa_000001_000011 0",
        "images/val/air drumming/aaaaaaaaaaa_000001_000011 300 200",
        "images/val/air drumming/aaaaaaaaaaa_000001_000011 300 1",
        "images/val/air drumming/aaaaaaaaaaa 300 0",
        good[0],
        f"images/val/yawning/{name_of('_b_12_efg_h', 3)} 300 {MINI.index('yawning')}",
    )
    with pytest.raises(ListError) as caught:
        load_mini_kinetics(root, "val", SPLITS)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"6 lines of {root / 'mini_val_videofolder.txt'} are wrong:"
    words = {2: "`folder frames label`", 3: "0 to 199", 4: "the folder is", 5: "_<start>_<end>", 6: "repeats line 1",
             7: "yoga/_b_12_efg_h_000003_000013.mp4 is of another class"}  # fmt: skip
    for line, (number, word) in zip(lines[1:], words.items(), strict=True):
        assert line.startswith(f"  line {number}: ") and word in line, line


def test_without_the_list_every_video_of_the_classes_is_taken_and_said(root):
    with pytest.warns(UserWarning, match="mini_val_videofolder.txt: all 3 Kinetics-400 videos"):
        videos = load_mini_kinetics(root, "val", SPLITS)
    assert [videos.classes[record.label] for record in videos.records] == [label for label, *_ in VIDEOS[:3]]
    assert videos.missing == ("gonegonegon_5_15",)  # zumba is not one of the 200 classes


def other_set(root):
    """200 classes of which 98 are not the thesis's: ids in the CSV, one video each of some classes."""
    foreign = [name for name in KINETICS if name not in MINI][:98]
    classes = sorted(set(MINI[:102]) | set(foreign))
    rows = [f'"{label}",{number:011d},0,10,train,0' for number, label in enumerate(classes)]
    write(root, "train.csv", HEADER, *rows, '"zumba",zumbazumba1,0,10,train,0')
    write(root, "train_ytid_list.txt", *(f"{number:011d}" for number in range(200)))
    for number, label in enumerate(classes):
        if number % 4 == 3:
            continue  # taken down
        path = root / "train" / label / f"{number:011d}_000000_000010.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    return classes


def test_the_other_data_set_of_this_name_has_labels_of_its_own(root):
    classes = other_set(root)
    videos = load_mini_kinetics(root, "train", SPLITS, lists="xie")
    assert videos.classes == tuple(classes) and len(videos) == 150 and len(videos.missing) == 50
    assert all(classes[record.label] == record.path.parent.name for record in videos.records)
    listed = next(video for video in VIDEOS if video[0] in classes)
    write(root, "val_ytid_list.txt", listed[1], "notthere123")
    videos = load_mini_kinetics(root, "val", SPLITS, lists="xie")
    assert [classes[record.label] for record in videos.records] == [listed[0]] and videos.missing == ("notthere123",)


def test_a_mix_up_of_the_two_is_noticed(root):
    other_set(root)
    write(root, "mini_train_videofolder.txt", f"images/train/{MINI[0]}/{0:011d}_000000_000010 300 0")
    with pytest.warns(UserWarning) as caught:
        with pytest.raises(ListError, match="is of another class"):
            load_mini_kinetics(root, "train", SPLITS)
    assert any("is it the data set of Xie et al." in str(warning.message) for warning in caught)


def test_absent_and_wrong_lists_of_the_other_set_are_named(root):
    with pytest.raises(ListError, match=r"no .*train_ytid_list.txt.*s9xie"):
        load_mini_kinetics(root, "val", SPLITS, lists="xie")
    write(root, "train_ytid_list.txt", "aaaaaaaaaaa", "too short", "aaaaaaaaaaa")
    write(root, "val_ytid_list.txt", "aaaaaaaaaaa")
    with pytest.raises(ListError, match=r"2 lines of .*train_ytid_list.txt[\s\S]*line 2: 'too short'[\s\S]*line 3"):
        load_mini_kinetics(root, "val", SPLITS, lists="xie")
    write(root, "train_ytid_list.txt", "aaaaaaaaaaa")
    with pytest.raises(ListError, match="of 0 classes by the official list .*train.csv, but must be of 200"):
        load_mini_kinetics(root, "val", SPLITS, lists="xie")
    with pytest.raises(ValueError, match="'thesis' or 'xie'"):
        load_mini_kinetics(root, "val", SPLITS, lists="other")


def test_its_videos_decode(root):
    write_video(root / "val" / "yoga" / f"{name_of('_b_12_efg_h', 3)}.mp4", 12)
    write(root, "mini_val_videofolder.txt", *video_folders())
    frames = read_frames(load_mini_kinetics(root, "val", SPLITS).records[1].path, [0, 11])
    assert frames.shape == (2, 48, 64, 3) and [index_of(frame) for frame in frames] == [0, 11]


@pytest.mark.hazard("lists", "100,000 good rows", "read in < 10 s")
def test_a_long_list_is_read_quickly(root):
    rows = [f"images/val/{MINI[i % 200]}/{i:011d}_000000_000010 300 {i % 200}" for i in range(100_000)]
    write(root, "mini_val_videofolder.txt", *video_folders(), *rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start = time.perf_counter()
        assert len(load_mini_kinetics(root, "val", SPLITS).missing) == 100_001
        assert time.perf_counter() - start < 5 * max(1.0, os.getloadavg()[0] / os.cpu_count())
