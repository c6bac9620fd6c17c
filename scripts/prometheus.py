"""Builds the Prometheus that tests/e2e starts, from its released source, once for each version.

The binary lies in the user's cache, so that fresh clones on one machine share it. It stands alone because Go is
needed for nothing else. `OTELML_PROMETHEUS=/path/to/prometheus` uses another one; `--path` prints which one is used
and builds nothing (exit code 1 where there is none).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/prometheus/prometheus@v0.315.0"
# Service discovery by file and HTTP only: the clients of twenty clouds are most of a full build.
TAGS = "remove_all_sd"


def locate_prometheus() -> Path:
    """Where Prometheus is, or will be once it is built."""
    if chosen := os.environ.get("OTELML_PROMETHEUS"):
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "otelml" / f"prometheus-{MODULE.partition('@')[2]}"


def find_go() -> str:
    """The `go` command; exits with advice where there is none."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    return go or sys.exit(
        "Building Prometheus needs Go (1.26 or newer): install it, or set OTELML_PROMETHEUS to a built one."
    )


def build(target: Path) -> None:
    """Build in the module's own folder, which pins what it needs, and move the binary to its place in one step.

    `go install` refuses modules whose go.mod replaces or excludes something, as that of Prometheus does.
    """
    go = find_go()
    target.parent.mkdir(parents=True, exist_ok=True)
    print("Building Prometheus (once; a few minutes) ...", flush=True)
    # The release has a go.work that names folders which are not in it.
    environ = {**os.environ, "GOWORK": "off"}
    with tempfile.TemporaryDirectory(prefix="otelml-prometheus-") as scratch:
        about = subprocess.run(
            [go, "mod", "download", "-json", MODULE],
            cwd=scratch, env=environ, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        built = Path(scratch) / "prometheus"
        command = [go, "build", "-trimpath", "-tags", TAGS, "-o", str(built), "./cmd/prometheus"]
        subprocess.run(command, cwd=json.loads(about.stdout)["Dir"], env=environ, check=True)
        staged = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copy2(built, staged)
        staged.replace(target)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", action="store_true", help="print where Prometheus is, build nothing")
    only_path = parser.parse_args().path
    target = locate_prometheus()
    if not only_path and not target.exists():
        if "OTELML_PROMETHEUS" in os.environ:
            sys.exit(f"OTELML_PROMETHEUS names no file: {target}")
        try:
            build(target)
        except subprocess.CalledProcessError as error:
            sys.exit(f"Building Prometheus failed: {error}")
    print(target)
    return 0 if target.exists() else 1


if __name__ == "__main__":
    sys.exit(main())
