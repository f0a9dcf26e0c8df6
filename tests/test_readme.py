"""What the README shows can be typed: every Python block runs as one session, every command is one that exists.

Commands on own videos run in tests/own_data/test_commands.py, those of `vared predict` in tests/test_predict_verb.py;
`vared export` has tests/test_export_verb.py. What takes minutes is parsed here and run by `make test` or `make repro`.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from tests.data.video_files import write_video
from vared.benchmarks.cases import read_parameters
from vared.cli import parser, profile_runs

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Sizes that a test has time for; everything else is executed as printed.
SMALLER = {
    "num_frames=16, crop_size=128": "num_frames=4, crop_size=32, width=0.125", "3, 16, 128, 128": "3, 4, 32, 32",
    "3, 224, 224": "3, 64, 64",
}  # fmt: skip
COMPILING = "fast.compile()"  # a minute in a compiler; tests/test_acceleration.py looks at what is compiled


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Words of every command of the bash blocks, and of those in the tables and the text that begin with `vared `."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    lines += [part for code in re.findall(r"`((?:vared|make|dvc) [^`]+)`", README) for part in code.split(" && ")]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_python_of_the_readme_runs_as_one_session(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch._inductor.config, "freezing", False)  # what a block sets is undone
    code = "\n".join(blocks("python"))
    assert COMPILING in code and len(blocks("python")) == 3
    for printed, small in SMALLER.items():
        assert printed in code
        code = code.replace(printed, small)
    session: dict = {}
    exec(compile(code.replace(COMPILING, "pass"), "README.md", "exec"), session)
    assert session["logits"].shape == (2, 200) and session["loss"].item() > 0
    assert session["report"].static > float(session["report"].costs.backbone[0]) * 0.5
    assert "layer1.0.conv2" in capsys.readouterr().out
    assert (tmp_path / "network.onnx").stat().st_size > 10_000
    write_video(tmp_path / "video.mp4", 34)
    (prediction,) = re.findall(r"`(vared\.predict\([^`]+)`", README)
    assert len(eval(prediction, session)) == 3


def test_every_command_is_understood():
    seen = set()
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in commands():
        if words[0] == "torchrun":  # it runs a command of ours
            words = words[words.index("-m") + 1 :]
        seen.add(tuple(words[:2]))
        if words[0] == "vared":
            options = parser().parse_args([word for word in words[1:] if word != "..."])
            if (
                words[1] in ("train", "evaluate")
                and getattr(options, "run", None)
                and getattr(options, "profile", None)
            ):
                assert options.run in profile_runs(ROOT, options.profile), words
            if words[1] == "benchmark" and len(words) > 2:
                assert options.case in read_parameters(ROOT)["benchmarks"], words
        elif words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "dvc":
            named = [word.partition("@")[0] for word in words[2:] if not word.startswith("-")]
            assert words[1] == "repro" and set(named) <= stages.keys(), words
        elif words[0] == "sbatch":  # tests/test_rehearsal.py runs the scripts
            assert any((ROOT / word).is_file() for word in words[1:]), words
        else:
            assert words[0] in ("jupyter", "pytest"), f"no test knows {words}"
    assert len(seen) >= 15


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["repro", "test", "site", "data", "lint", "strip"])
def test_make_knows_what_a_target_takes(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout, done.stderr
