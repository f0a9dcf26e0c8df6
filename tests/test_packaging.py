"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def pins() -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    split = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in split), "every line of the lock pins one exact version"
    return {canonicalize_name(name): version for name, version in split}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + [text for extra in project["optional-dependencies"].values() for text in extra]
    return [Requirement(text) for text in texts]


def test_the_lock_satisfies_every_requirement_of_the_package():
    locked = pins()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is not in requirements.lock"
        assert requirement.specifier.contains(locked[name]), f"{requirement} does not allow {locked[name]}"


def test_the_lock_names_no_build_and_no_folder_of_one_machine():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"\+cpu|\+cu\d|^-e|file:|https?://", text, flags=re.MULTILINE)


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip[-1] == "-e ."
    assert {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in pip[:-1]} == pins()


def test_everything_imported_by_the_package_is_a_declared_requirement():
    distribution_of = {"yaml": "pyyaml", "skimage": "scikit-image", "sklearn": "scikit-learn", "PIL": "pillow"}
    distribution_of["bs4"] = "beautifulsoup4"
    transitive = {"pillow": "matplotlib", "joblib": "scikit-learn", "scmrepo": "dvclive"}  # comes with
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    pattern = re.compile(r"^\s*(?:import|from)\s+([A-Za-z_]\w*)", flags=re.MULTILINE)
    for path in (ROOT / "vared").rglob("*.py"):
        for module in pattern.findall(re.sub(r'"""[\s\S]*?"""', "", path.read_text())):
            if module in sys.stdlib_module_names or module == "vared":
                continue
            name = canonicalize_name(distribution_of.get(module, module))
            assert name in declared or transitive.get(name) in declared, f"{path.name} imports {module}"
