import os
import time

import pytest

from vared.data.class_names import labels_by_name, normalise_class
from vared.data.kinetics import load_kinetics
from vared.data.list_files import resolve_below
from vared.data.records import ListError

HEADER = "label,youtube_id,time_start,time_end,split"


@pytest.fixture
def root(tmp_path):
    """Three classes, five videos; loading never opens a video, so empty files do."""
    for name in (
        "air drumming/abcdefghijk_000010_000020.mp4",
        "air drumming/-b_12_efg_h_000003_000013.MKV",
        "petting_cat/_x_000000_000010.webm",
        "massaging person's head/q(w)e_000007_000017.mp4",
        "massaging person's head/plain.mp4",
        "massaging person's head/notes.txt",
    ):
        path = tmp_path / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def write(root, *lines, name="val.csv"):
    (root / name).write_text("\n".join(lines) + "\n")


def found(videos):
    return [(record.name.removeprefix("val/"), videos.classes[record.label]) for record in videos.records]


def test_the_original_csv_is_read_by_header_name(root):
    write(
        root,
        "time_end,is_cc,split,youtube_id,label,time_start",
        '20,0,val,abcdefghijk,"air drumming",10',
        "13.0,1,val,-b_12_efg_h,air_drumming,3.0",
        "10,0,val,_x,petting cat,0",
        "17,0,val,q(w)e,massaging persons head,7",
        "44,0,val,takendownxx,petting cat,34",
        "",
    )
    videos = load_kinetics(root, "val")
    assert found(videos) == [
        ("air drumming/abcdefghijk_000010_000020.mp4", "air drumming"),
        ("air drumming/-b_12_efg_h_000003_000013.MKV", "air drumming"),
        ("petting_cat/_x_000000_000010.webm", "petting cat"),
        ("massaging person's head/q(w)e_000007_000017.mp4", "massaging persons head"),
    ]
    assert videos.classes == ("air drumming", "massaging persons head", "petting cat")
    assert videos.missing == ("takendownxx_34_44",)
    assert videos.report() == "4 videos kept, 1 listed but missing, 3 classes"
    assert all(record.path.is_file() for record in videos.records)


def test_labels_are_positions_in_the_class_list(root):
    write(root, HEADER, "petting cat,_x,0,10,val")
    write(root, "zumba", "Petting_Cat", "air drumming", name="classes.txt")
    videos = load_kinetics(root, "val")
    assert (videos.records[0].label, videos.source) == (1, "classes.txt")
    assert videos.empty_classes() == ["zumba", "air drumming"]
    assert load_kinetics(root, "val", ["petting cat"]).records[0].label == 0


@pytest.mark.hazard("lists", "bad rows of a list", "all at once, with line and reason")
def test_all_bad_rows_are_reported_at_once_with_their_numbers(root):
    write(
        root,
        HEADER,
        "petting cat,_x,0,10,val",
        "flying,zzz,0,10,val",
        "petting cat,_x,0",
        "petting cat,_x,zero,10,val",
        ",_x,0,10,val",
        "petting cat,abcdefghijk,10,20,val",
    )
    with pytest.raises(ListError) as caught:
        load_kinetics(root, "val", ["air drumming", "petting cat", "massaging person's head"])
    message = str(caught.value)
    assert "5 rows of" in message
    assert "val.csv" in message
    for row, words in {
        3: "'flying' is not in the class list",
        4: "3 fields, but the header names 5",
        5: "'zero'",
        6: "empty",
        7: "another class's folder",
    }.items():
        assert any(f"row {row}:" in line and words in line for line in message.splitlines()), (row, message)


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_path_label_lists_are_parsed_from_the_right(root, separator):
    write(
        root,
        f"val/air drumming/abcdefghijk_000010_000020.mp4{separator}2",
        f"val/massaging person's head/q(w)e_000007_000017.mp4{separator}0",
        f"val/gone with wind.mp4{separator}1",
    )
    videos = load_kinetics(root, "val")
    assert [(record.path.name, record.label) for record in videos.records] == [
        ("abcdefghijk_000010_000020.mp4", 2),
        ("q(w)e_000007_000017.mp4", 0),
    ]
    assert videos.missing == ("val/gone with wind.mp4",)
    assert videos.classes == ("0", "1", "2")


@pytest.mark.hazard("lists", "row without a label", "never a default label")
def test_a_path_list_never_gets_a_default_label(root):
    write(
        root,
        "val/petting_cat/_x_000000_000010.webm 1",
        "val/petting_cat/_x_000000_000010.webm",
        "val/petting_cat/_x_000000_000010.webm one",
        "val/petting_cat/_x_000000_000010.webm -1",
        "val/petting_cat/_x_000000_000010.webm 3",
        name="val.txt",
    )
    with pytest.raises(ListError) as caught:
        load_kinetics(root, "val", ["a", "b", "c"])
    assert "4 rows of" in str(caught.value)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "row 2", "row 3", "row 4", "row 5",
    ]  # fmt: skip


@pytest.mark.hazard("lists", "rows that lead out of the data folder", "5/5 forms refused unless allowed")
def test_paths_outside_the_root_are_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.mp4"
    outside.touch()
    (root / "val" / "link.mp4").symlink_to(outside)
    paths = [str(outside), "../" + outside.name, "val/link.mp4", "C:\\videos\\x.mp4", "https://example.org/x.mp4"]
    write(root, *(f"{path} 0" for path in paths))
    with pytest.raises(ListError, match="5 rows of") as caught:
        load_kinetics(root, "val")
    assert str(caught.value).count("outside the data folder") == 5
    write(root, f"{outside} 0")
    assert load_kinetics(root, "val", allow_outside_root=True).records[0].path == outside
    assert resolve_below(root, "val/../val/x.mp4", False) is not None


def test_folders_without_a_list(root):
    with pytest.warns(UserWarning, match="shift all labels"):
        videos = load_kinetics(root, "val")
    assert len(videos) == 5
    assert videos.classes == ("air drumming", "massaging person's head", "petting_cat")
    write(root, "petting cat", "massaging persons head", "air drumming", "zumba", name="classes.txt")
    listed = load_kinetics(root, "val")
    assert [record.label for record in listed.records] == [2, 2, 1, 1, 0]
    with pytest.raises(ListError, match="match no class.*petting_cat"):
        load_kinetics(root, "val", ["air drumming", "massaging person's head"])


def test_nothing_found_is_an_error(root):
    write(root, HEADER, "petting cat,gone,0,10,val")
    with pytest.raises(ListError, match="None of the 1 videos"):
        load_kinetics(root, "val")
    with pytest.raises(ListError, match="no video in"):
        load_kinetics(root, "train", ["a"])
    with pytest.raises(ListError, match="no data folder"):
        load_kinetics(root / "nowhere", "val")


def test_lists_that_cannot_give_labels_are_refused(root):
    write(root, "youtube_id,time_start,time_end,split", "_x,0,10,test")
    with pytest.raises(ListError, match="no column `label`"):
        load_kinetics(root, "val")
    write(root, "", "")
    with pytest.raises(ListError, match="is empty"):
        load_kinetics(root, "val")


def test_class_names_of_different_releases_match():
    spellings = ["petting cat", "petting_cat", ' "petting cat"', "Petting__cat", "'petting cat'"]
    assert {normalise_class(name) for name in spellings} == {"petting cat"}
    assert normalise_class("rock scissors paper (game)") != normalise_class("rock scissors paper")
    with pytest.raises(ListError, match="same class"):
        labels_by_name(["petting cat", "petting_cat"])


@pytest.mark.hazard("lists", "100,000 good rows", "read in < 10 s")
def test_a_long_list_is_read_quickly(root):
    (root / "val" / "x.mp4").touch()
    write(root, *["val/x.mp4 0"] * 100_000)
    start = time.perf_counter()
    assert len(load_kinetics(root, "val")) == 100_000
    assert time.perf_counter() - start < 10 * max(1.0, os.getloadavg()[0] / os.cpu_count())
