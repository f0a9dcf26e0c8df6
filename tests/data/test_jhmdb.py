import csv
from collections import Counter

import pytest

from vared.data.jhmdb import load_jhmdb, source_group, split_by_source_group
from vared.data.records import ListError
from vared.data.scanning import scan_frame_counts


@pytest.fixture
def small_root(tmp_path):
    """The official layout with two classes, one of them with an underscore; loading opens no video."""
    for name in ("brush_hair", "catch"):
        rows = []
        for group in range(5):
            for number in range(2 + group % 2):
                video = f"Film_{group}_(a)_{name}_u_nm_np1_ba_goo_{number}.avi"
                path = tmp_path / "ReCompress_Videos" / name / video
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                rows.append(f"{video} {1 if group < 4 else 2}")
        (tmp_path / "splits").mkdir(exist_ok=True)
        (tmp_path / "splits" / f"{name}_test_split1.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_lists_become_train_and_test(small_root):
    train, test = load_jhmdb(small_root, "train"), load_jhmdb(small_root, "test")
    assert train.classes == test.classes == ("brush_hair", "catch")
    assert Counter(record.label for record in train.records) == {0: 10, 1: 10}
    assert Counter(record.label for record in test.records) == {0: 2, 1: 2}
    assert not {record.name for record in train.records} & {record.name for record in test.records}
    assert source_group(train.records[0]) == "Film_0_(a)"


def test_everything_missing_is_listed_with_where_to_put_it(small_root, tmp_path):
    gone = [record.path for record in load_jhmdb(small_root, "train").records[:2]]
    for path in gone:
        path.unlink()
    with pytest.raises(ListError, match="2 of 20 listed videos") as caught:
        load_jhmdb(small_root, "train")
    assert all(path.name in str(caught.value) for path in gone)
    with pytest.raises(ListError, match=r"test_split2.txt.*Download"):
        load_jhmdb(small_root, "train", split=2)
    with pytest.raises(ListError, match="ReCompress_Videos, splits missing.*unpack"):
        load_jhmdb(tmp_path / "empty", "train")
    with pytest.raises(ValueError, match="split_by_source_group"):
        load_jhmdb(small_root, "val")


def test_bad_rows_are_named(small_root):
    with (small_root / "splits" / "catch_test_split1.txt").open("a") as file:
        file.write("x.avi 3\nx.avi\n")
    with pytest.raises(ListError, match=r"2 rows.*catch_test_split1.txt row 13.*row 14"):
        load_jhmdb(small_root, "test")


def groups(videos):
    return {(record.label, source_group(record)) for record in videos.records}


@pytest.mark.parametrize("seed", range(5))
def test_validation_takes_whole_groups_of_every_class(small_root, seed):
    train = load_jhmdb(small_root, "train")
    part, validation = split_by_source_group(train, 0.3, seed)
    assert not groups(part) & groups(validation)
    assert sorted(r.name for r in (*part.records, *validation.records)) == sorted(r.name for r in train.records)
    assert not part.empty_classes()
    assert not validation.empty_classes()
    assert split_by_source_group(train, 0.3, seed)[1] == validation


def test_a_fraction_outside_zero_and_one_is_refused(small_root):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_by_source_group(load_jhmdb(small_root, "train"), 1.0, 0)


def test_official_split_one(jhmdb_root):
    train, test = load_jhmdb(jhmdb_root, "train"), load_jhmdb(jhmdb_root, "test")
    assert (len(train), len(test), len(train.classes)) == (660, 268, 21)
    assert not groups(train) & groups(test)
    part, validation = split_by_source_group(train, 0.2, 0)
    assert 0.15 < len(validation) / len(train) < 0.25
    assert not validation.empty_classes()
    assert not groups(part) & groups(validation)


def test_every_frame_of_j_hmdb_is_found_whatever_the_header_says(jhmdb_root):
    videos = load_jhmdb(jhmdb_root, "test")
    counts = scan_frame_counts(videos)
    assert all(isinstance(count, int) and 15 <= count <= 40 for count in counts)
    table = jhmdb_root / "frames.csv"
    if table.is_file():
        expected = {row["video"]: int(row["frames"]) for row in csv.DictReader(table.open())}
        assert counts == [expected[record.path.stem] for record in videos.records]
