"""`make repro`: run the pipeline of one profile from whatever state the checkout is in, then show the main table."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from vared.runs import results_folder

# The profile that is a test of the pipeline: it runs in a copy and leaves the checkout as it was.
THROWAWAY = "smoke"
# What no report waits for: half a minute that a test of the pipeline can do without.
APART = ("shipped_redundancy",)
# The profile whose main table README.md shows.
DEFAULT = "embedded"


def reproduce(root: Path, profile: str, environment: Mapping[str, str]) -> int:
    """Rebuild `profile`; returns the exit status of the pipeline."""
    # pandas is slow to import, and the other verbs of the command line need not wait for it.
    from vared.reports.report_page import update_readme

    if profile == THROWAWAY:
        root = throwaway_copy(root, root / "build" / profile, environment)
        activate(root / "params.yaml", profile, only=True)
    elif activate(root / "params.yaml", profile):
        print(f"params.yaml: the profile {profile} is active from now on.")
    if not (root / ".git").exists():
        _dvc(root, environment, "config", "--local", "core.no_scm", "true")
    # A stage depends on this folder; `vared data` makes it, but DVC may bring back what that made without running it.
    (root / "data" / profile / "further").mkdir(parents=True, exist_ok=True)
    apart = () if profile == THROWAWAY else APART
    status = _dvc(root, environment, "repro", f"report@{profile}", *apart)
    if status:
        print("\nThe pipeline stopped; the reason is above. Run the same command again to go on.", file=sys.stderr)
        return status
    if profile == DEFAULT:
        update_readme(root)
    folder = results_folder(root, profile)
    print(f"\n{(folder / 'tables' / 'table_4_1.md').read_text(encoding='utf-8')}")
    print(f"Tables, figures and executed notebooks: {folder} (start with README.md there)")
    return 0


def _dvc(root: Path, environment: Mapping[str, str], *arguments: str) -> int:
    # python -m vared in a stage must find the interpreter and the source of this checkout.
    path = f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, env={**environment, "PATH": path}, check=False
    ).returncode


def activate(parameters: Path, profile: str, *, only: bool = False) -> bool:
    """Make `profile` active in the file `parameters`, alone or beside the others; whether that changed the file.

    Edits the lines `active: {...}`, `runs: {<<: [...]}`, and those of `further_sets`, `benchmark_runs` and `ready` like
    it, and nothing else, so comments stay.
    """
    before = parameters.read_text(encoding="utf-8")
    folder = results_folder(Path(), profile)

    def add(line: re.Match, entry: str) -> str:
        entries = [] if only else [word.strip() for word in line["entries"].split(",") if word.strip()]
        return line["head"] + ", ".join(entries if entry in entries else [*entries, entry]) + line["tail"]

    text = before
    for pattern, entry in (
        (r"^(?P<head>active: \{)(?P<entries>[^}]*)(?P<tail>\})", f"{profile}: {folder}"),
        (r"^(?P<head>runs: \{<<: \[)(?P<entries>[^\]]*)(?P<tail>\]\})", f"*{profile}_runs"),
        (r"^(?P<head>further_sets: \{<<: \[)(?P<entries>[^\]]*)(?P<tail>\]\})", f"*{profile}_sets"),
        (r"^(?P<head>benchmark_runs: \{<<: \[)(?P<entries>[^\]]*)(?P<tail>\]\})", f"*{profile}_benchmarks"),
        (r"^(?P<head>ready: \{<<: \[)(?P<entries>[^\]]*)(?P<tail>\]\})", f"*{profile}_ready"),
    ):
        text, count = re.subn(pattern, lambda line, entry=entry: add(line, entry), text, flags=re.MULTILINE)
        if count != 1:
            names = ("runs", "further_sets", "benchmark_runs", "ready")
            lists = ", ".join(f"'{name}: {{<<: [...]}}'" for name in names)
            raise ValueError(f"{parameters.name} must have the lines 'active: {{...}}', {lists} once.")
    if text != before:
        parameters.write_text(text, encoding="utf-8")
    return text != before


def throwaway_copy(root: Path, target: Path, environment: Mapping[str, str]) -> Path:
    """Copy the working tree as it is to `target`, which is emptied first, without DVC's lock and without git."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in working_files(root):
        if name not in ("dvc.lock", ".dvc/config.local") and (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    _dvc(target, environment, "config", "--local", "core.no_scm", "true")
    return target


def working_files(root: Path) -> list[str]:
    """Tracked and new files that git does not ignore; without git, everything but working folders."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        return sorted(set(listing.split("\0")) - {""})
    skipped = {".venv", "build", "site", "scratch", "dvclive", "__pycache__", ".git"}
    generated = {("data", name) for name in ("runs", "evaluations", "redundancy", "localizations")}
    generated |= {(".dvc", "cache"), (".dvc", "tmp")}
    names = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        data = parts[:1] == ("data",) and len(parts) > 2 and parts[1] not in ("paper", "splits")
        if path.is_file() and not skipped.intersection(parts) and parts[:2] not in generated and not data:
            names.append("/".join(parts))
    return names
