"""The data stage."""

import json
import time

import pandas as pd
import pytest

from vared.data.floors import video_floors
from vared.data.kinetics import load_kinetics
from vared.data.preparation import folder_digest, prepare, write_floors

SOURCE = {"source": "embedded", "train_clips": 24, "val_clips": 12, "seed": 3}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    prepare(root, "small", SOURCE, workers=1)
    return root


def test_the_identity_names_the_bytes_on_disk(project):
    identity = json.loads((project / "data" / "small" / "identity.json").read_text())
    clips = project / "data" / "small" / "clips"
    assert identity["sha256"] == folder_digest(clips) and identity["files"] >= 36
    assert len(list(clips.glob("train/*/*.mp4"))) == 24


def test_a_profile_without_further_sets_has_an_empty_folder_for_them(project):
    assert list((project / "data" / "small" / "further").iterdir()) == []


def test_making_the_same_data_again_gives_the_same_identity(project):
    time.sleep(1.1)  # nothing may carry the time, to the second, into the files
    before = (project / "data" / "small" / "identity.json").read_bytes()
    prepare(project, "small", SOURCE, workers=1)
    assert (project / "data" / "small" / "identity.json").read_bytes() == before


def test_the_digest_sees_a_changed_byte_and_a_changed_name(tmp_path):
    (tmp_path / "a").write_bytes(b"xy")
    first = folder_digest(tmp_path)
    (tmp_path / "a").write_bytes(b"xz")
    second = folder_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, folder_digest(tmp_path)}) == 3


def test_floors_are_written_for_generated_and_for_other_videos(project):
    write_floors(project, "small", SOURCE, project / "results" / "floors.csv")
    table = pd.read_csv(project / "results" / "floors.csv")
    clips = project / "data" / "small" / "clips"
    general = video_floors({part: load_kinetics(clips, part) for part in ("train", "val")})
    assert list(general.columns) == list(table.columns)
    assert general["floor"].tolist() == ["metadata only", "middle frame"]
    assert (general["chance"] == 1 / 12).all() and general["accuracy"].between(0, 1).all()


def test_data_that_has_to_be_supplied_is_asked_for(tmp_path):
    source = {"source": "jhmdb", "folder": "data/raw/jhmdb", "split": 1}
    with pytest.raises(FileNotFoundError, match="ReCompress_Videos"):
        prepare(tmp_path, "jhmdb", source)
    with pytest.raises(ValueError, match="known are embedded and jhmdb"):
        prepare(tmp_path, "other", {"source": "moments"})
