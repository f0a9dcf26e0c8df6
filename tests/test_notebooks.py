"""Running and stripping notebooks."""

from pathlib import Path

import nbformat
import pytest

from vared import notebooks
from vared.cli import main

ROOT = Path(__file__).resolve().parents[1]


def make(path, *code, parameters='profile = "embedded"\nwrite = False'):
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    notebook = nbformat.v4.new_notebook(cells=cells + [nbformat.v4.new_code_cell(source) for source in code])
    nbformat.write(notebook, path)
    return path


@pytest.mark.slow
def test_two_runs_give_the_same_bytes_and_parameters_arrive(tmp_path):
    noisy = "import sys\nprint(profile, write, object())\nprint('noise', file=sys.stderr)\nobject()"
    source = make(tmp_path / "a.ipynb", noisy)
    targets = [tmp_path / "out" / f"{i}" / "a.ipynb" for i in range(2)]
    for target in targets:
        assert notebooks.run(source, target, {"profile": "smoke", "write": True}, directory=tmp_path) == 0
    first, second = (target.read_bytes() for target in targets)
    assert first == second
    printed = nbformat.reads(first.decode(), as_version=4).cells[-1].outputs
    assert printed[0].text == "smoke True <object object at 0x0>\n" and len(printed) == 2
    assert "write = False" in first.decode() and "write = True" not in first.decode()
    assert [path.name for path in targets[0].parent.iterdir()] == ["a.ipynb"]


@pytest.mark.hazard("pipeline", "notebook that fails", "exit 1, .partial kept, no final file")
@pytest.mark.slow
def test_a_failing_notebook_leaves_only_its_partial_copy(tmp_path, capfd):
    source, target = make(tmp_path / "a.ipynb", "1 / 0"), tmp_path / "out" / "a.ipynb"
    assert notebooks.run(source, target, {"profile": "smoke"}, directory=tmp_path) == 1
    assert [path.name for path in target.parent.iterdir()] == ["a.partial.ipynb"]
    assert "ZeroDivisionError" in (target.parent / "a.partial.ipynb").read_text()
    assert "a.ipynb failed" in capfd.readouterr().err


@pytest.mark.hazard("security", "parameters not declared, or of another type", "refused")
@pytest.mark.parametrize(
    "parameters", [{"other": 1}, {"profile = 1\nimport os": "x"}, {"write": "yes"}, {"profile": 3}]
)
def test_undeclared_names_and_other_types_never_reach_the_code(tmp_path, parameters):
    source = make(tmp_path / "a.ipynb", "print(profile)")
    with pytest.raises(ValueError, match="declares no parameter|is of type"):
        notebooks.run(source, tmp_path / "out.ipynb", parameters, directory=tmp_path)
    assert not (tmp_path / "out.ipynb").exists()


def test_an_unknown_notebook_is_answered_with_the_known_ones(tmp_path):
    make(tmp_path / "table_9.ipynb")
    with pytest.raises(FileNotFoundError, match="only table_9"):
        notebooks.run(tmp_path / "table_1.ipynb", tmp_path / "out.ipynb", {}, directory=tmp_path)


def test_a_notebook_that_reads_a_profile_is_not_run_without_one(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["notebook", "run", "table_4_1"]) == 2
    assert "vared notebook run table_4_1 PROFILE" in capsys.readouterr().err


def test_stripping_removes_outputs_and_brings_back_the_same_bytes(tmp_path):
    path = make(tmp_path / "a.ipynb", "1 + 1")
    notebooks.strip_file(path)
    clean = path.read_bytes()
    assert notebooks.is_stripped(path)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="2")]
    notebook.cells[1].execution_count = 3
    notebook.cells[1].metadata["collapsed"] = True
    nbformat.write(notebook, path)
    assert not notebooks.is_stripped(path)
    assert notebooks.strip_file(path) and path.read_bytes() == clean and not notebooks.strip_file(path)
