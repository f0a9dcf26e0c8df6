"""`vared predict` on good and odd files, and the commands that the README shows."""

import json
import re
import shlex
import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

import vared
from tests.data.video_files import cut, encode, picture, write_sound, write_video
from vared import ready
from vared.cli import main
from vared.predict_verb import find_videos

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder outside the project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_command_of_the_readme_runs(folder, capsys):
    section = re.search(r"^## Run it on your own video.*?(?=^## )", README, flags=re.MULTILINE | re.DOTALL)[0]
    commands = re.search(r"```bash\n(.*?)```", section, flags=re.DOTALL)[1].splitlines()
    assert 4 <= len(commands) <= 10
    write_video(folder / "video.mp4", 34)
    write_video(folder / "videos" / "a.avi", 5, codec="mpeg4")
    shutil.copy(ready.WEIGHTS / "r2plus1d_18-embedded-static.safetensors", folder / "own.safetensors")
    (folder / "own.txt").write_text("\n".join(ready.read_card(ready.DEFAULT).classes))
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "vared" and main(words[1:]) == 0, command
        assert "GMACs a clip" in capsys.readouterr().out
    assert {path.name for path in (folder / "out").iterdir()} == {"video.mp4", "video.png"}
    assert (folder / "out.csv").exists() and (folder / "out.json").exists()


def test_odd_files_are_named_and_the_rest_go_on(folder, capsys):
    videos = folder / "videos"
    long_name = "n" * 251 + ".mp4"  # the longest that file systems take
    write_video(videos / "good.mp4", 12)
    write_video(videos / long_name, 3)
    write_video(videos / "below" / "UPPER.MP4", 3)
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("not a video")
    (videos / "notes.txt").write_text("no video by its name")
    write_sound(videos / "sound.mp4")
    noise = list(np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8))
    cut(encode(folder / "whole.mp4", noise, faststart=True), videos / "short.mp4", 0.5)
    arguments = ["predict", "videos", "--csv", "a.csv", "--json", "a.json", "--annotate", "out", "--pictures", "out"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    for name, reason in (("empty", "zero bytes"), ("text", "not a video"), ("sound", "only sound"), ("short", "")):
        assert re.search(rf"Cannot read the video videos/{name}\.mp4: .*{reason}", said.err)
    assert "4 of 7 videos failed" in said.err and "mean over 3 clips of 3 videos" in said.out
    table = pd.read_csv("a.csv")
    assert table["video"].tolist()[3:] == [f"videos/{name}.mp4" for name in ("empty", "short", "sound", "text")]
    assert table["error"].isna().tolist() == [True] * 3 + [False] * 4
    content = json.loads((folder / "a.json").read_text())
    assert [entry["video"] for entry in content["failed"]] == table["video"].tolist()[3:]
    assert {path.suffix for path in (folder / "out").iterdir()} == {".mp4", ".png"}
    assert len(list((folder / "out").iterdir())) == 6


def test_csv_and_json_hold_what_was_predicted(folder):
    write_video(folder / "a.mp4", 40)
    assert main("predict a.mp4 --step 5 --csv out/a.csv --json out/a.json".split()) == 0
    expected = vared.predict("a.mp4", step=5)
    table = pd.read_csv("out/a.csv")
    shared = [name for name in expected.clips if name in table]
    pd.testing.assert_frame_equal(table[shared], expected.clips[shared], check_dtype=False)
    (video,) = json.loads((folder / "out/a.json").read_text())["videos"]
    assert video["frames"] == 40 and video["mean"]["gmacs"] == pytest.approx(expected.gmacs)
    assert video["mean"]["top"][0][0] == expected.top(1)[0][0]
    for row, probabilities in zip(video["clips"], expected.probabilities, strict=True):
        assert list(row["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-5)


def test_a_video_without_time_stamps_is_written_too(folder):
    prediction = vared.predict(write_video(folder / "a.mp4", 3))
    from vared import prediction_files

    prediction.clips[["start_seconds", "end_seconds"]] = float("nan")
    prediction_files.write_json(folder / "a.json", prediction.card, [prediction], {})
    assert json.loads((folder / "a.json").read_text())["videos"][0]["clips"][0]["start_seconds"] is None
    prediction_files.write_annotate(prediction, folder / "b.mp4")
    assert len(frames_of(folder / "b.mp4")) == 3
    prediction_files.write_pictures(prediction, folder / "b.png")
    assert "3 frames, 1 clip)" in prediction_files.lines(prediction)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (48, 96), (160, 24)])
def test_the_annotated_video_shows_the_frames_and_the_moment(folder, width, height):
    images = [picture(index, height, width) for index in range(34)]
    encode(folder / "a.mp4", images)
    assert main("predict a.mp4 --annotate out".split()) == 0
    shown = frames_of(folder / "out" / "a.mp4")
    assert len(shown) == 34 and shown[0].shape[1] == 480 and shown[0].shape[0] % 2 == 0
    tall = shown[0].shape[0] - 120
    for index in (3, 30):
        part = shown[index][tall - tall // 8 : tall - 4, 236:244]  # in the middle, near the lower edge of the video
        assert abs(float(part.mean()) - (20 + 5 * index)) < 6
    strips = [frame[tall + 30 : tall + 85].astype(int) for frame in shown]
    red = [np.argwhere(strip[..., 0] - strip[..., 1:].max(2) > 60) for strip in strips]
    assert all(len(found) for found in red)
    places = [float(np.median(found[:, 1])) for found in red]
    assert places == sorted(places) and places[0] < 275 and places[-1] > 450


def test_an_own_checkpoint_gives_what_the_ready_one_gives(folder):
    card = ready.read_card("r2plus1d_18-embedded-s2")
    write_video(folder / "a.mp4", 34)
    (folder / "classes.txt").write_text("\n".join(card.classes))
    own = f"--network r2plus1d_18 --weights {ready.WEIGHTS / card.name}.safetensors --classes classes.txt"
    sizes = "--crop-size 32 --width 0.125 --search-space 2"
    assert main(f"predict a.mp4 {own} {sizes} --csv own.csv".split()) == 0
    assert main("predict a.mp4 --csv ready.csv".split()) == 0
    own, shipped = (pd.read_csv(name).drop(columns="network") for name in ("own.csv", "ready.csv"))
    pd.testing.assert_frame_equal(own, shipped)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("absent.mp4", "absent.mp4 does not exist"),
        ("none", "holds no video"),
        ("a.mp4 --network x3d_m", "no ready network 'x3d_m'"),
        ("a.mp4 --step 0", "step must be at least 1"),
        ("a.mp4 --classes c.txt", "--classes goes with --weights"),
        ("a.mp4 --weights w.safetensors", "--weights needs --network"),
        ("a.mp4 --weights w.safetensors --network x3d_m --classes c.txt", "w.safetensors does not exist"),
        ("a.mp4 b/a.mp4 --annotate out", "would both be written to out/a.mp4"),
        ("a.mp4 --annotate .", "would be written over the video"),
    ],
)
def test_bad_input_is_refused_before_any_video_is_read(folder, capsys, arguments, message):
    (folder / "none").mkdir()
    (folder / "b").mkdir()
    for name in ("a.mp4", "b/a.mp4"):
        (folder / name).write_text("never read")
    assert main(["predict", *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_files_are_found_once_and_in_order(tmp_path):
    for name in ("b.mp4", "a/c.MKV", "a/.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_videos([tmp_path / "b.mp4", tmp_path, tmp_path / "notes.txt"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b.mp4", "a/c.MKV", "notes.txt"]
