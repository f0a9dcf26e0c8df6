"""Every command of the README's "Train on your own videos", in order, on a set in a layout that nobody tuned for."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.own_data.odd_videos import write_odd_set
from vared import cli
from vared.own_data.card import wilson
from vared.own_data.settings import Settings, suitable_recipe

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SMALL = "--width 0.0625 --crop 16 --frames 4 --epochs 2 --finetune-epochs 1 --workers 0"  # a test has seconds


def readme_commands() -> list[list[str]]:
    section = README.partition("## Train on your own videos")[2].partition("\n## ")[0]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1]
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder outside any clone with `videos`, in which every command of the README has run."""
    folder = tmp_path_factory.mktemp("bei mir zu häuse")
    write_odd_set(folder / "videos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in readme_commands():
            extra = SMALL.split() if words[0] == "train" else ["--workers", "0"] if words[0] != "cost-curve" else []
            assert cli.main(words + extra) == 0, words
    return folder


def test_the_section_is_ten_lines_and_has_every_verb():
    section = README.partition("## Train on your own videos")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("```")]
    assert len(lines) <= 10 and {words[0] for words in readme_commands()} == {
        "check",
        "train",
        "evaluate",
        "cost-curve",
    }


def test_the_card_has_accuracy_cost_controls_and_floors(home):
    card = (home / "runs" / "videos" / "card.md").read_text(encoding="utf-8")
    for expected in (
        "mean policy", "random policy", "before efficiency fine-tuning", "middle frame", "metadata only",
        "most frequent training class", "fällt um", "12 clips trained; 4 judged", "by seed 0", "S = 2",
    ):  # fmt: skip
        assert expected in card, expected
    metrics = json.loads((home / "runs" / "videos" / "metrics.json").read_text())
    judged = pd.read_csv(home / "runs" / "videos" / "evaluation.csv")
    assert metrics["clips"] == len(judged) == 4
    assert metrics["networks"]["dynamic"]["clip1_top1"] == pytest.approx(100 * judged["correct"].mean())
    clips = pd.read_csv(home / "runs" / "videos" / "clips.csv").set_index("name")
    assert set(clips.loc[judged["name"], "part"]) == {"val"}


def test_the_curve_and_the_weights_at_a_share_are_written(home):
    curve = pd.read_csv(home / "runs" / "videos" / "cost_curve.csv")
    assert set(curve["network"]) == {"dynamic", "mean policy", "random policy"}
    names = {"at_90.safetensors", "cost_curve.md", "cost_curve.png"}
    assert names <= {path.name for path in (home / "runs" / "videos").iterdir()}


def test_training_for_a_share_leaves_the_same_files(home):
    one, other = ({path.name for path in (home / "runs" / name).iterdir()} for name in ("videos", "eighty"))
    assert {"weights.safetensors", "phase1.safetensors", "history.csv", "settings.json", "done.json"} <= one & other
    assert list(pd.read_csv(home / "runs" / "eighty" / "history.csv")["phase"]) == [1, 1, 2]


def test_called_again_it_does_nothing_and_with_other_settings_or_clips_it_refuses(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    weights = home / "runs" / "videos" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    again = ["train", "--data", "videos", *SMALL.split()]
    assert cli.main(again) == 0 and weights.stat().st_mtime_ns == before
    assert cli.main([*again, "--width", "0.125"]) == 2
    assert "width was 0.0625, now 0.125" in capsys.readouterr().err
    assert cli.main([*again, "--folder", "runs/x", "--share", "0.1"]) == 2
    assert "This network cannot cost 10 %" in capsys.readouterr().err
    assert cli.main(["train", "embedded", "s2_8f_seed0", "--data", "videos"]) == 2
    assert "not both" in capsys.readouterr().err


def test_a_clip_that_trained_is_never_judged_even_under_another_name(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    clips = pd.read_csv(home / "runs" / "videos" / "clips.csv")
    for name, rows in (("again", clips[clips["part"] == "train"]), ("more", clips)):
        lines = ["label,path", *(f'"{row.label}","{row.path}"' for row in rows.itertuples())]
        (home / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    judge = ["evaluate", "--folder", "runs/videos", "--workers", "0", "--data"]
    assert cli.main([*judge, "again.csv"]) == 2
    assert "was not trained on" in capsys.readouterr().err
    assert cli.main([*judge, "more.csv"]) == 0
    assert len(pd.read_csv(home / "runs" / "videos" / "evaluation.csv")) == 4


def test_a_recipe_follows_from_the_number_of_clips():
    large, small, tiny = suitable_recipe(1500), suitable_recipe(100), suitable_recipe(5)
    assert (large.batch_size, large.epochs) == (16, 9) and (small.batch_size, small.epochs) == (16, 60)
    assert tiny.batch_size == 2 and tiny.learning_rate == pytest.approx(0.1 * 2 / 16)
    assert suitable_recipe(100, epochs=1, finetune_epochs=0).epochs == 1
    assert suitable_recipe(100, learning_rate=0.5).learning_rate == 0.5
    with pytest.raises(ValueError, match="at least 2 clips and at most the 10"):
        suitable_recipe(10, batch_size=11)
    with pytest.raises(ValueError, match="exclude each other"):
        Settings(search_space=None, share=0.7)


def test_the_interval_of_an_accuracy_by_hand():
    """Wilson (1927): 8 of 10 is 0.490 to 0.943."""
    assert wilson(80.0, 10) == pytest.approx((49.0, 94.3), abs=0.05)
    assert wilson(100.0, 4)[1] == 100.0 and wilson(0.0, 4)[0] == 0.0
