"""Which versions of torch are refused, and why. Read from the package's metadata: torch itself stays unloaded."""

from importlib.metadata import PackageNotFoundError, version

LEAST = (2, 10)
_WHY = (
    "2.9 computes wrong results in some 3-D convolutions and is slow in half precision (pytorch issues 163539, 166122, "
    "166643), and before 2.10 a prepared file could run code while weights are loaded (CVE-2026-24747)"
)


def require_torch(found: str | None = None) -> None:
    """Raise ImportError, with the reason, for a torch before LEAST; `found` is the installed version by default."""
    try:
        found = found or version("torch")
    except PackageNotFoundError:  # importing it will say so
        return
    if tuple(int(part) for part in found.split("+")[0].split(".")[:2]) < LEAST:
        raise ImportError(f"vared needs torch {'.'.join(map(str, LEAST))} or later, but this is {found}: {_WHY}.")
