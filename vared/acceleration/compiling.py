"""The C code of this folder, compiled for this machine at first use and kept in the user's cache folder."""

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

SOURCES = tuple(Path(__file__).with_name(f"{name}_kernel.c") for name in ("mix", "affine", "pointwise", "gate"))
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, or None, with a warning that says why, where it cannot be had."""
    parts = [path.read_bytes() for path in SOURCES] + [" ".join(FLAGS).encode(), _processor().encode()]
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vared"
    built = folder / f"mix-{name}.so"
    try:
        if not built.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                fresh = Path(scratch) / built.name
                command = [os.environ.get("CC", "cc"), *FLAGS, "-o", str(fresh), *map(str, SOURCES), "-lm"]
                subprocess.run(command, check=True, capture_output=True, text=True)
                fresh.replace(built)  # another process may have been faster: then its file is replaced by an equal one
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        warnings.warn(f"Dynamic layers run without the compiled mix, more slowly: {reason}", stacklevel=2)
        return None


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
