"""Files from strangers: nothing in them runs, and nothing of ours would let it."""

import re
import sys
from importlib.metadata import requires
from pathlib import Path

import nbformat
import pytest
import torch

from tests.reliability.sources import ROOT, calls, imported_modules
from vared import checkpoints, cli, notebooks
from vared.torch_version import require_torch

NAMES = [(path, name, keywords) for path, name, keywords in calls()]


class Payload:
    """A pickle that makes a file when it is read by a loader that runs what it is told."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def payload(tmp_path):
    """A hostile checkpoint, and the file that appears when its payload runs."""
    mark = tmp_path / "it ran"
    torch.save({"state": Payload(mark)}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert mark.exists()
    mark.unlink()
    return tmp_path / "evil.pth", mark


@pytest.mark.hazard("security", "unrestricted unpickling", "every torch.load with weights_only=True (source scan)")
def test_every_load_is_restricted(record_property):
    loads = [(path, keywords.get("weights_only")) for path, name, keywords in NAMES if name == "torch.load"]
    record_property("tried", len(loads)), record_property("survived", sum(flag is True for _, flag in loads))
    assert loads and not [path for path, flag in loads if flag is not True]
    assert not {"pickle.load", "pickle.loads", "joblib.load", "pd.read_pickle", "dill.load"} & {n for _, n, _ in NAMES}
    assert not [path for path, name, keywords in NAMES if keywords.get("allow_pickle")]
    assert not [name for _, name, _ in NAMES if name.endswith("register_for_checkpointing")]


@pytest.mark.hazard("security", "malicious checkpoint", "refused wherever one is read, payload does not run")
def test_a_hostile_state_is_passed_over(tmp_path, payload, caplog):
    path, mark = payload
    for updates in (1, 2):
        checkpoints.save_state(tmp_path / "state", updates, {}, torch.nn.Linear(2, 2), {})
    path.rename(tmp_path / "state" / "0000000002" / "optimizer.pt")
    assert checkpoints.load_state(tmp_path / "state").updates == 1 and "falling back" in caplog.text
    assert not mark.exists()


@pytest.mark.hazard("security", "malicious checkpoint", "refused wherever one is read, payload does not run")
def test_hostile_weights_are_no_weights(tmp_path, payload, capsys):
    path, mark = payload
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "v.mp4").touch()
    words = ["--network", "r2plus1d_18", "--weights", str(path), "--classes", str(tmp_path / "classes.txt")]
    assert cli.main(["predict", str(tmp_path / "v.mp4"), *words, "--crop-size", "32", "--width", "0.0625"]) == 2
    assert "no complete safetensors file" in capsys.readouterr().err and not mark.exists()


@pytest.mark.hazard("security", "YAML that builds objects", "safe_load only (source scan)")
def test_yaml_is_read_safely():
    used = {name for _, name, _ in NAMES if name.startswith("yaml.")}
    assert used <= {"yaml.safe_load", "yaml.safe_dump"}


@pytest.mark.hazard("security", "names that reach a shell", "no shell, no eval of text (source scan)")
def test_nothing_goes_through_a_shell():
    assert not [path for path, _, keywords in NAMES if keywords.get("shell")]
    assert not {"os.system", "os.popen", "eval", "exec", "subprocess.getoutput"} & {name for _, name, _ in NAMES}
    started = [path for path, name, _ in NAMES if re.fullmatch(r"subprocess\.(run|Popen|check_output|call)", name)]
    assert set(started) <= {
        "vared/acceleration/compiling.py", "vared/ahead.py", "vared/reproduction.py", "vared/benchmarks/measurement.py",
    }  # fmt: skip


def notebook(folder: Path) -> Path:
    cell = nbformat.v4.new_code_cell('profile = "embedded"', metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "a.ipynb")
    return folder / "a.ipynb"


HOSTILE = {
    "a name with a newline": lambda folder: notebooks.run(
        notebook(folder), folder / "out.ipynb", {"profile = 1\nopen('it ran', 'w')": "x"}, directory=folder
    ),
    "a target above": lambda folder: cli.main(["notebook", "run", "../../etc/a"]),
    "an expression in braces": lambda folder: notebooks.run(
        notebook(folder), folder / "{profile.__class__}" / "out.ipynb", {"profile": "x"}, directory=folder
    ),
}


@pytest.mark.hazard("security", "hostile parameters of notebooks", "name with newline, ../, braces: 3/3 refused")
@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_parameters_never_reach_papermill(tmp_path, monkeypatch, how):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(notebooks, "import_papermill", lambda: pytest.fail("it would have run"))
    before = set(tmp_path.iterdir()) | {tmp_path / "a.ipynb"}
    try:
        assert HOSTILE[how](tmp_path) == 2
    except ValueError as error:
        assert "declares no parameter" in str(error) or "braces" in str(error)
    assert set(tmp_path.iterdir()) <= before


@pytest.mark.hazard("security", "JupyterLab open to others", "no empty token, 127.0.0.1, a tunnel in the documentation")
def test_jupyter_keeps_its_token_and_listens_to_this_machine():
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile", "dvc.yaml")}
    for path in [*(ROOT / "vared").rglob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]:
        texts[str(path)] = path.read_text(encoding="utf-8")
    weak = re.compile(r"token\s*=\s*(''|\"\"|\s|$)|--ip[= ](0\.0\.0\.0|\*)|allow_remote_access|disable_check_xsrf")
    assert [name for name, text in texts.items() if weak.search(text)] == []
    assert "ssh -N -L 8888:127.0.0.1:8888" in texts["README.md"] and "--ip 127.0.0.1" in texts["README.md"]


@pytest.mark.hazard("security", "versions of torch known to be bad", "refused at import with the reason")
@pytest.mark.parametrize("found", ["2.9.1", "2.5.0+cu121", "1.13.1"])
def test_an_old_torch_is_refused_with_the_reason(found, monkeypatch):
    with pytest.raises(ImportError, match=f"needs torch 2.10 or later, but this is {re.escape(found)}: .*CVE-2026"):
        require_torch(found)
    monkeypatch.setattr("importlib.metadata.version", lambda name: found)
    for name in ("vared", "vared.torch_version"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="pytorch issues"):
        __import__("vared")


@pytest.mark.parametrize("found", ["2.10.0", "2.13.0+cpu", "3.0"])
def test_other_versions_of_torch_are_not(found):
    require_torch(found)


@pytest.mark.hazard("security", "packages that were malicious", "no dependency on lightning; versions pinned")
def test_the_environment_has_no_package_that_is_known_to_have_been_malicious():
    pins = [line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1].isalnum()]
    bad = re.compile(r"(pytorch[-_])?lightning\b(?!-utilities)")  # that one belongs to torchmetrics
    assert all(len(pin) == 2 for pin in pins) and not [name for name, _ in pins if bad.match(name)]
    assert not [name for name in requires("vared") if bad.match(name)]
    assert not {name for name in imported_modules() if name.startswith(("lightning", "pytorch_lightning"))}
