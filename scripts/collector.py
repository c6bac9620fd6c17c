"""Builds the collector that tests/e2e starts, with the official builder, once for each version of its manifest.

The binary lies in the user's cache, so that fresh clones on one machine share it. It stands alone because Go is
needed for nothing else. `OTELML_OTELCOL=/path/to/otelcol` uses another collector; `--path` prints which one is
used and builds nothing (exit code 1 where there is none).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.159.0"
MANIFEST = Path(__file__).parent.parent / "collector-config" / "builder.core.yaml"


def locate_collector() -> Path:
    """Where the collector is, or will be once it is built."""
    if chosen := os.environ.get("OTELML_OTELCOL"):
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(BUILDER.encode() + MANIFEST.read_bytes()).hexdigest()[:16]
    return cache / "otelml" / f"otelcol-{digest}"


def find_go() -> str:
    """The `go` command; exits with advice where there is none."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    return go or sys.exit(
        "Building the collector needs Go (1.25 or newer): install it, or set OTELML_OTELCOL to a built collector."
    )


def build(target: Path) -> None:
    """Build in a scratch folder and move the finished binary to its place in one step."""
    go = find_go()
    target.parent.mkdir(parents=True, exist_ok=True)
    print("Building the collector (once; a few minutes) ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="otelml-collector-") as scratch:
        # The builder calls `go` itself, by name.
        path = os.pathsep.join([str(Path(go).parent), os.environ.get("PATH", "")])
        environ = {**os.environ, "GOBIN": scratch, "PATH": path}
        subprocess.run([go, "install", BUILDER], env=environ, check=True)
        out = Path(scratch) / "out"
        manifest = Path(scratch) / "builder.yaml"
        manifest.write_text(MANIFEST.read_text().replace("dist:\n", f"dist:\n  output_path: {out}\n"))
        subprocess.run([Path(scratch) / "builder", f"--config={manifest}"], env=environ, check=True)
        staged = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copy2(out / "otelcol", staged)
        staged.replace(target)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", action="store_true", help="print where the collector is, build nothing")
    only_path = parser.parse_args().path
    target = locate_collector()
    if not only_path and not target.exists():
        if "OTELML_OTELCOL" in os.environ:
            sys.exit(f"OTELML_OTELCOL names no file: {target}")
        try:
            build(target)
        except subprocess.CalledProcessError as error:
            sys.exit(f"Building the collector failed: {error}")
    print(target)
    return 0 if target.exists() else 1


if __name__ == "__main__":
    sys.exit(main())
