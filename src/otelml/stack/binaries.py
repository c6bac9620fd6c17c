"""Where the servers' programs are on this machine: named by a variable, on the PATH, or built into the user's cache."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from otelml.settings import PROGRAM_VARIABLES

# The collector's distribution that has every component of ours comes first; Debian has a name of its own.
_ALSO_CALLED = {
    "otelcol": ("otelcol-contrib", "otelcol"),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
}
# Where each comes from without Go: Debian's and Ubuntu's packages; the collector is in none of them.
_SOURCES = {
    "otelcol": "the release of otelcol-contrib",
    "prometheus": "`apt install prometheus`",
    "promtool": "`apt install prometheus`",
    "alertmanager": "`apt install prometheus-alertmanager`",
    "amtool": "`apt install prometheus-alertmanager`",
}
# scripts/servers.py names what it built: by release, or collectors by the hash of their manifest.
_VERSION = r"(v\d+\.\d+\.\d+|[0-9a-f]{16})"


def find(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The program `name` (a key of `PROGRAM_VARIABLES`), or None where there is none that can be run.

    A variable that is set decides alone: another program than the one asked for would be a surprise.
    """
    if chosen := environ.get(PROGRAM_VARIABLES[name], "").strip():
        return _which(chosen, environ)
    on_path = (_which(command, environ) for command in _ALSO_CALLED.get(name, (name,)))
    return next((path for path in on_path if path), None) or _newest_built(name, environ)


def say_missing(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """A sentence for the user of a program that `find` did not find: why, and what would bring it."""
    variable = PROGRAM_VARIABLES[name]
    if chosen := environ.get(variable, "").strip():
        return f"{variable} names no program that can be run: {chosen}"
    build = "make collector" if name == "otelcol" else "make servers"
    return (
        f"there is no {name}: install it on the PATH ({_SOURCES[name]}), set {variable}=/path/to/{name}, "
        f"or run `{build}` in a checkout of otelml (it needs Go)"
    )


def _which(command: str, environ: Mapping[str, str]) -> Path | None:
    found = shutil.which(command, path=environ.get("PATH", ""))
    return Path(found) if found else None


def _newest_built(name: str, environ: Mapping[str, str]) -> Path | None:
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otelml"
    built = [path for path in cache.glob(f"{name}-*") if re.fullmatch(f"{name}-{_VERSION}", path.name)]
    runnable = [path for path in built if os.access(path, os.X_OK)]
    return max(runnable, key=lambda path: path.stat().st_mtime, default=None)
