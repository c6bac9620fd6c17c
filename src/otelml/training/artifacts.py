"""What a run says of a file or folder that it produced: its size and its SHA-256, never its bytes.

The digest of a folder is the SHA-256 of one line a file, sorted by name: its digest, two blanks, and its path within
the folder with `/`, as `sha256sum` prints them. Links to folders are not followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 1 << 20

MAX_FILES = 100_000
"""Files of a folder; a larger one is named, but neither measured nor hashed."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or folder that a run produced; `size_bytes` and `sha256` are None where it could not be read."""

    path: str
    type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


def read_artifact(path: str | os.PathLike[str], artifact_type: str | None = None) -> Artifact:
    """Measure and hash `path` (about 1 s a GB on the caller's thread, without the interpreter's lock).

    Raises:
        OSError: it is not there, or cannot be read, or is neither file nor folder, or has more than MAX_FILES files.
    """
    where = Path(path)
    name = os.fsdecode(path)
    size, digest = _folder(where) if where.is_dir() else _file(where)
    return Artifact(name, artifact_type, size, digest)


def _file(path: Path) -> tuple[int, str]:
    if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device might never end
        raise OSError(f"{path} is no regular file")
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _folder(folder: Path) -> tuple[int, str]:
    digest, total = hashlib.sha256(), 0
    for name in sorted(_names(folder)):
        size, of_file = _file(folder / name)
        total += size
        digest.update(f"{of_file}  {name}\n".encode(errors="surrogateescape"))
    return total, digest.hexdigest()


def _names(folder: Path) -> Iterator[str]:
    count = 0
    for place, _, files in os.walk(folder):
        for file in files:
            path = Path(place, file)
            if path.is_file():
                count += 1
                if count > MAX_FILES:
                    raise OSError(f"{folder} has more than {MAX_FILES} files")
                yield path.relative_to(folder).as_posix()
