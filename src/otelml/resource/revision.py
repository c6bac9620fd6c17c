"""The git revision of a folder, read from git's own files: no process is started, and git need not be installed.

The layout is that of gitrepository-layout(5): HEAD, loose and packed refs, and the `.git` file of a worktree.
"""

from __future__ import annotations

import re
from pathlib import Path

_LEVELS = 32
_LINKS = 5
_PACKED_BYTES = 16 * 2**20
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def read_revision(folder: Path) -> str | None:
    """The commit that HEAD names in the repository around `folder`; None outside of one, or before a first commit."""
    try:
        git = _find_git(folder)
        return _resolve(git, "HEAD") if git else None
    except (OSError, ValueError):  # unreadable or not text: unknown
        return None


def _find_git(folder: Path) -> Path | None:
    folder = folder.resolve()
    for parent in (folder, *folder.parents)[:_LEVELS]:
        candidate = parent / ".git"
        if candidate.is_dir():
            return candidate
        if candidate.is_file():
            return _follow_git_file(candidate)
    return None


def _follow_git_file(path: Path) -> Path | None:
    text = path.read_text(encoding="utf-8").strip()
    return path.parent / text.removeprefix("gitdir:").strip() if text.startswith("gitdir:") else None


def _shared_folder(git: Path) -> Path:
    """Where branches are: a worktree has a HEAD of its own and shares the rest."""
    common = git / "commondir"
    return git / common.read_text(encoding="utf-8").strip() if common.is_file() else git


def _resolve(git: Path, name: str) -> str | None:
    for _ in range(_LINKS):
        value = _read_ref(git, name)
        if value is None or not value.startswith("ref:"):
            return value if value and _REVISION.fullmatch(value) else None
        name = value.removeprefix("ref:").strip()
        if ".." in name.split("/"):
            return None
    return None


def _read_ref(git: Path, name: str) -> str | None:
    shared = _shared_folder(git)
    for root in (git, shared):
        if (root / name).is_file():
            return (root / name).read_text(encoding="utf-8").strip()
    return _read_packed(shared / "packed-refs", name)


def _read_packed(path: Path, name: str) -> str | None:
    if not path.is_file() or path.stat().st_size > _PACKED_BYTES:
        return None
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            revision, _, ref = line.rstrip("\n").partition(" ")
            if ref == name:
                return revision
    return None
