"""What the source of the package calls and imports, read as syntax trees: for tests that forbid something."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def trees() -> dict[str, ast.Module]:
    """Every file of the package, by its path from the root."""
    files = sorted((ROOT / "vared").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def calls() -> list[tuple[str, str, dict[str, object]]]:
    """Every call: file, dotted name as written, and its keywords with constant values (others: None)."""
    found = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                values = {k.arg: getattr(k.value, "value", None) for k in node.keywords if k.arg}
                found.append((path, ast.unparse(node.func), values))
    return found


def imported_modules() -> set[str]:
    """Modules that any file imports, also within functions."""
    found = set()
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
