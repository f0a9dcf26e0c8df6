"""What is read from class folders and lists, and that every problem is named with its line or file, all at once."""

import unicodedata

import pytest

from vared.own_data.layout import read_layout
from vared.own_data.splitting import check_parts, split


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def found(layout):
    return {(entry.name, entry.label, entry.part) for entry in layout.entries}


def reasons(layout):
    return " | ".join(str(problem) for problem in layout.problems)


def test_class_folders_with_and_without_parts(tmp_path):
    plain = read_layout(files(tmp_path / "a", "run/1.mp4", "run/day 2/3.MOV", "höhe/2.avi", "run/.x.mp4", ".git/z.mp4"))
    assert found(plain) == {("run/1.mp4", "run", ""), ("run/day 2/3.MOV", "run", ""), ("höhe/2.avi", "höhe", "")}
    assert plain.classes == ("höhe", "run") and not plain.problems
    parts = read_layout(files(tmp_path / "b", "Training/run/1.mp4", "Training/sit/2.mkv", "validation/run/3.webm"))
    assert {part for _, _, part in found(parts)} == {"train", "val"} and not parts.problems


def test_what_is_not_understood_in_folders_is_an_error_each(tmp_path):
    data = files(tmp_path, "loose.mp4", "run/1.mp4", "run/notes.txt", "pictures/1.jpg", "sit/2.mp4")
    text = reasons(read_layout(data))
    assert "error: loose.mp4: a video beside the class folders has no class" in text
    assert "error: pictures: a class folder without a video" in text
    assert "warning: run: 1 files have no ending of a video and are left out: notes.txt" in text


def test_a_part_beside_a_class_is_ambiguous(tmp_path):
    layout = read_layout(files(tmp_path, "train/1.mp4", "bus/2.mp4"))
    assert "'train' look like parts of the set, 'bus' like classes" in reasons(layout)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_in_any_order_of_columns(tmp_path, delimiter):
    files(tmp_path / "videos", "a b.mp4", "ü.avi")
    rows = [["Split", "label", "path"], ["train", "run, fast", "a b.mp4"], ["validation", "sit", "ü.avi"]]
    lines = (delimiter.join(f'"{value}"' for value in row) for row in rows)
    (tmp_path / "list.csv").write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    layout = read_layout(tmp_path / "list.csv", tmp_path / "videos")
    assert found(layout) == {("a b.mp4", "run, fast", "train"), ("ü.avi", "sit", "val")} and not layout.problems
    assert [entry.line for entry in layout.entries] == [2, 3]


@pytest.mark.hazard("lists", "bad rows of a list", "all at once, with line and reason")
def test_every_bad_row_of_a_list_is_named_with_its_line(tmp_path):
    files(tmp_path, "1.mp4", "2.mp4", "3.mp4", unicodedata.normalize("NFD", "é.mp4"))
    (tmp_path / "list.csv").write_text(
        "path,label,split\n1.mp4,run,train\n1.mp4,run,val\n2.mp4,,train\ngone.mp4,run,train\n3.mp4,Run ,train\n"
        "2.mp4,sit,later\ntoo,many,fields,here\n\u00e9.mp4,sit,val\n", encoding="utf-8",
    )  # fmt: skip
    text = reasons(read_layout(tmp_path / "list.csv"))
    for expected in (
        "line 3: 1.mp4: listed before, in line 2", "line 4: 2.mp4: label is empty",
        "line 5: gone.mp4: there is no such file", "line 7: 2.mp4: the split 'later' is none of train, val, test",
        "line 8: 4 fields, but the header names 3", "how its accents are written",
        "the labels 'Run' and 'run' differ in case or blanks alone",
    ):  # fmt: skip
        assert expected in text, text


@pytest.mark.parametrize("content, reason", [
    (b"file,class\n1.mp4,run\n", "the header must be path, label and perhaps split, in any order, not: file, class"),
    (b"path,label,label\n", "the header must be"), (b"", "the header must be .*not: nothing"),
    (b"path,label\n\xff.mp4,run\n", "not UTF-8 at byte"), (b"path,label\n", "no video found"),
    (b"path,label,split\n1.mp4,run,train\n2.mp4,sit,\n", "line 3: the split is empty here and given elsewhere"),
    (b"path,label\n1.mp4,run\n2.mp4,run\n", "there is one class only, 'run'"),
])  # fmt: skip
def test_a_list_that_cannot_be_used_says_why(tmp_path, content, reason):
    files(tmp_path, "1.mp4", "2.mp4")
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(AssertionError, match=reason):
        layout = read_layout(tmp_path / "list.csv")
        raise AssertionError(reasons(layout))


def test_nothing_and_no_list_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        read_layout(tmp_path / "gone")
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="neither a folder nor a CSV"):
        read_layout(tmp_path / "x.mp4")


def test_the_split_is_stratified_and_does_not_depend_on_the_order(tmp_path):
    layout = read_layout(
        files(tmp_path, *(f"{name}/{i}.mp4" for name in ("run", "sit") for i in range(10)), "one/1.mp4")
    )
    entries, how = split(layout, seed=3)
    assert "20 % of every class by seed 3" in how
    counts = [sum(e.part == "val" for e in entries if e.label == name) for name in ("run", "sit", "one")]
    assert counts == [2, 2, 0]
    check_parts(layout, entries)
    assert "class 'one' has one clip, which trains" in reasons(layout)
    judged = {entry.name for entry in entries if entry.part == "val"}
    layout.entries.reverse()
    assert {entry.name for entry in split(layout, seed=3)[0] if entry.part == "val"} == judged
    assert {entry.name for entry in split(layout, seed=4)[0] if entry.part == "val"} != judged


def test_parts_that_are_given_are_kept_and_test_judges_where_val_is_missing(tmp_path):
    three = read_layout(files(tmp_path / "a", "train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "test/b/4.mp4"))
    assert [entry.part for entry in split(three, 0)[0]] == ["test", "train", "train", "val"]
    two = read_layout(files(tmp_path / "b", "train/a/1.mp4", "train/b/2.mp4", "test/a/3.mp4"))
    entries, how = split(two, 0)
    assert [entry.part for entry in entries] == ["val", "train", "train"] and "test part judges" in how
    none = read_layout(files(tmp_path / "c", "val/a/1.mp4", "val/b/2.mp4"))
    split(none, 0)
    assert "there is a part val but none to train on" in reasons(none)
