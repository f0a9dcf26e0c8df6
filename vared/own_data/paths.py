"""Paths as lists have them: which lead out of the data folder, and why there is no file at one."""

import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path


def leads_out(home: str, written: str) -> bool:
    """Whether a path, as written, leads out of the real folder `home`: absolute, by `..` or a link, drive, address."""
    if "\0" in written:  # no file has such a name
        return False
    if re.match(r"[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://|\\\\", written):
        return True
    folder, name = os.path.split(os.path.join(home, written))
    target = os.path.join(_real_folder(folder), name)
    if name in (".", "..") or os.path.islink(target):
        target = os.path.realpath(target)
    return not target.startswith(os.path.join(home, ""))


# Rows share few folders; both look at the file system, and a list may have 100,000 of them.
_real_folder = lru_cache(maxsize=4096)(os.path.realpath)


@lru_cache(maxsize=64)
def _names_in(folder: Path) -> dict[str, str]:
    """Names in a folder by the form in which case and the writing of accents do not count."""
    return {_loosely(path.name): path.name for path in folder.iterdir()} if os.path.isdir(folder) else {}


def _loosely(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def why_missing(path: Path) -> str:
    """Why there is no file at `path`, with a file of nearly that name if there is one."""
    if os.path.isdir(path):
        return "this is a folder, not a video"
    same = _names_in(path.parent).get(_loosely(path.name))
    hint = f"; there is {same!r}, which differs in case or in how its accents are written" if same else ""
    return f"there is no such file: {path}{hint}"


def forget_folders() -> None:
    """Look at the file system anew from here on."""
    _real_folder.cache_clear()
    _names_in.cache_clear()
