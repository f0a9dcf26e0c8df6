"""All problems of a set of videos at once, each with file and reason, before anything trains."""

import pandas as pd
import pytest

from tests.data.video_files import write_sound, write_video
from tests.own_data.odd_videos import write_odd_set, write_odd_video
from vared import cli
from vared.data.records import VideoRecord
from vared.data.video import VideoError, count_frames
from vared.own_data.checking import check, suitable_stride, write_report
from vared.own_data.probing import probe


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """Two sound classes, and a bit of everything that goes wrong."""
    data = write_odd_set(tmp_path_factory.mktemp("messy") / "meine vidéos", clips=4)
    good = sorted((data / "fällt um").glob("*.mp4"))[0]
    (data / "fällt um" / "copy.mp4").write_bytes(good.read_bytes())
    (data / "dreht sich (links)" / "stolen.mp4").write_bytes(good.read_bytes())
    (data / "fällt um" / "cut.mp4").write_bytes(good.read_bytes()[:900])
    (data / "fällt um" / "empty.mp4").write_bytes(b"")
    (data / "fällt um" / "page.mp4").write_bytes(b"<!DOCTYPE html><p>404</p>")
    write_sound(data / "fällt um" / "sound.mp4")
    write_video(data / "fällt um" / "brief.mp4", frames=3)
    write_video(data / "allein" / "only one .mp4", frames=30)
    return data


def test_everything_is_found_at_once(messy, tmp_path):
    found = check(messy, 8, 2)
    by_name = {problem.name.strip("'"): problem for problem in found.problems}
    errors = {name for name, problem in by_name.items() if problem.severity == "error"}
    assert {f"fällt um/{name}.mp4" for name in ("cut", "empty", "page", "sound")} <= errors
    assert "zero bytes" in by_name["fällt um/empty.mp4"].reason and "web page" in by_name["fällt um/page.mp4"].reason
    assert "3 frames are too short for a clip of 8 frames at stride 2" in by_name["fällt um/brief.mp4"].reason
    assert "blanks at an end" in by_name["allein/only one .mp4"].reason
    reasons = " | ".join(problem.reason for problem in found.problems)
    assert "under another class, dreht sich (links) and fällt um" in reasons
    assert "class 'allein' has one clip, which trains" in reasons
    write_report(found, tmp_path / "problems.csv")
    assert len(pd.read_csv(tmp_path / "problems.csv")) == len(found.problems)
    with pytest.raises(ValueError, match=r"has \d errors.*fällt um/empty.mp4.*--leave-out"):
        try:
            found.require()
        except ValueError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
    assert all("under another class" in problem.reason for problem in found.errors(leave_out=True))
    assert len(found.videos("train")) + len(found.videos("val")) == len(found.entries) - 4


def test_the_command_prints_them_and_says_by_its_status_whether_there_are_errors(messy, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no clone of the project is needed
    assert cli.main(["check", str(messy), "--workers", "0", "--report", "problems.csv"]) == 2
    printed = capsys.readouterr().out
    assert "error: fällt um/empty.mp4: the file is empty" in printed and "errors, " in printed
    assert (tmp_path / "problems.csv").exists()
    assert cli.main(["check", "gone"]) == 2


def test_a_copy_in_the_other_part_is_an_error_and_in_the_same_part_a_warning(tmp_path):
    one, two = (write_odd_video(tmp_path / "train" / name / "1", seed) for seed, name in enumerate(("a", "b")))
    for target, source in (("val/a/2.mp4", one), ("train/b/again.avi", two)):
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / target).write_bytes(source.read_bytes())
    found = {(p.severity, p.name): p.reason for p in check(tmp_path, 4, 1).problems}
    assert "is in train while this judges" in found["error", "val/a/2.mp4"]
    assert "it counts 2 times" in found["warning", "train/b/again.avi"]


@pytest.mark.parametrize("seed", range(4))
def test_the_length_is_exact_where_it_is_short_and_close_where_it_is_estimated(tmp_path, seed):
    path = write_odd_video(tmp_path / "ü 1", seed)
    exact = count_frames(path)
    assert probe(VideoRecord(path, 0, "x"), 29).frames == exact
    assert abs(probe(VideoRecord(path, 0, "x"), 2).frames - exact) <= 1


def test_a_long_video_that_was_cut_is_found_by_its_last_frame(tmp_path):
    path = write_video(tmp_path / "long.mp4", frames=40, faststart=True)
    assert abs(probe(VideoRecord(path, 0, "x"), 4).frames - 40) <= 1
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    with pytest.raises(VideoError, match="cut"):
        probe(VideoRecord(path, 0, "x"), 4)


def test_the_stride_suits_nine_of_ten_videos():
    assert suitable_stride([29] * 10, 8) == 4
    assert suitable_stride([29] * 9 + [3], 8) == 4
    assert suitable_stride([28] * 2 + [40] * 8, 8) == 2
    assert suitable_stride([3] * 10, 8) == 1 and suitable_stride([], 8) == 1
