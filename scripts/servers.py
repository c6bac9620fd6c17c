"""Builds or installs the servers that tests/e2e starts, once for each version.

The binaries lie in the user's cache, so that fresh clones on one machine share them, and `otelml up` finds them. It
stands alone because Go is needed for nothing else. `OTELML_PROMETHEUS=/path/to/prometheus` and the like (see `--list`)
use another binary; `--path NAME` prints which one is used and builds nothing (exit code 1 where there is none).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "collector-config"
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.159.0"
PROMETHEUS = "github.com/prometheus/prometheus@v0.315.0"
ALERTMANAGER = "github.com/prometheus/alertmanager@v0.31.1"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.0"
JAEGER = "github.com/jaegertracing/jaeger@v1.76.0"
COMPOSE = "github.com/compose-spec/compose-go/v2@v2.16.2"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KNOWN_TO_OTELML = ("otelcol", "prometheus", "promtool", "alertmanager", "amtool")
"""Those that `otelml up` and `otelml collector` start, by the same variables; the others are for tests alone."""


@dataclass(frozen=True)
class Server:
    """A program that can be built: what tells its versions apart, and how to build it in a scratch folder."""

    name: str
    version: str
    build: Callable[[Path], Path]

    @property
    def variable(self) -> str:
        """The environment variable that names another binary."""
        owner = "OTELML" if self.name in KNOWN_TO_OTELML else "TESTS"
        return f"{owner}_{self.name.upper().replace('-', '_')}"

    @property
    def path(self) -> Path:
        """Where the binary is, or will be once it is built."""
        if chosen := os.environ.get(self.variable):
            return Path(shutil.which(chosen) or chosen)
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "otelml" / f"{self.name}-{self.version}"


def collector(name: str, manifest: Path) -> Server:
    """A collector of the official builder; a changed manifest is another version."""

    def build(scratch: Path) -> Path:
        environ = go_environ()
        out, copy = scratch / "out", scratch / "builder.yaml"
        subprocess.run(["go", "install", BUILDER], env={**environ, "GOBIN": str(scratch)}, check=True)
        copy.write_text(manifest.read_text().replace("dist:\n", f"dist:\n  output_path: {out}\n"))
        subprocess.run([scratch / "builder", f"--config={copy}"], env=environ, check=True)
        return out / "otelcol"

    digest = hashlib.sha256(BUILDER.encode() + manifest.read_bytes()).hexdigest()[:16]
    return Server(name, digest, build)


def download(module: str, environ: dict[str, str], folder: Path) -> Path:
    """The folder of a released Go module."""
    about = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd=folder, env=environ, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return Path(json.loads(about.stdout)["Dir"])


def program(module: str, package: str, name: str = "", tags: str = "") -> Server:
    """A program of a released Go module, built in the module's own folder, which pins what it needs.

    `go install` refuses modules whose go.mod replaces or excludes something, as those of some servers do.
    """
    name = name or package.rpartition("/")[2]

    def build(scratch: Path) -> Path:
        # Releases may have a go.work that names folders which are not in them.
        environ = {**go_environ(), "GOWORK": "off"}
        source = download(module, environ, scratch)
        command = ["go", "build", "-trimpath", "-tags", tags, "-o", str(scratch / name), package]
        subprocess.run(command, cwd=source, env=environ, check=True)
        return scratch / name

    return Server(name, module.partition("@")[2], build)


def application(name: str, version: str) -> Server:
    """A program of the package index, in a virtual environment of its own: `NAME COMMAND ...` runs its commands."""

    def build(scratch: Path) -> Path:
        home = server.path.with_name(f"{server.path.name}.venv")
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pins = Path(__file__).with_name(f"{name}.txt")
        command = [home / "bin" / "pip", "install", "--quiet", "-c", pins, f"{name}=={version}"]
        subprocess.run(command, check=True)
        script = scratch / name
        script.write_text(f'#!/bin/sh\ncommand=$1; shift\nexec "{home}/bin/$command" "$@"\n')
        script.chmod(0o755)
        return script

    server = Server(name, version, build)
    return server


def document(name: str, module: str, path: str) -> Server:
    """A file of a released Go module: the schema that a configuration is checked against."""
    return Server(
        name,
        module.partition("@")[2],
        lambda scratch: download(module, go_environ(), scratch) / path,
    )


SERVERS = {
    server.name: server
    for server in (
        collector("otelcol", CONFIGS / "builder.full.yaml"),
        collector("otelcol-core", CONFIGS / "builder.core.yaml"),
        # Service discovery by file and HTTP only: the clients of twenty clouds are most of a full build.
        program(PROMETHEUS, "./cmd/prometheus", tags="remove_all_sd"),
        program(PROMETHEUS, "./cmd/promtool", tags="remove_all_sd"),
        program(ALERTMANAGER, "./cmd/alertmanager"),
        program(ALERTMANAGER, "./cmd/amtool"),
        program(JAEGER, "./cmd/jaeger"),
        program(KUSTOMIZE, ".", name="kustomize"),
        application("bugsink", "2.6.1"),
        document("compose-schema", COMPOSE, "schema/compose-spec.json"),
        document(
            "podmonitor-schema",
            PROMETHEUS_OPERATOR,
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        ),
    )
}


def provide(server: Server) -> None:
    """Build `server` unless it is there, and move the finished binary to its place in one step."""
    target = server.path
    if target.exists():
        return
    if server.variable in os.environ:
        sys.exit(f"{server.variable} names no file: {target}")
    print(f"Building {server.name} (once; minutes) ...", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"otelml-{server.name}-") as scratch:
        staged = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copy2(server.build(Path(scratch)), staged)
        staged.replace(target)


def go_environ() -> dict[str, str]:
    """The environment with `go` on its path; exits with advice where there is none."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        sys.exit("Building the servers needs Go (1.26 or newer): install it, or name built ones; see --list.")
    return {**os.environ, "PATH": os.pathsep.join([str(Path(go).parent), os.environ.get("PATH", "")])}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SERVERS)}; all when not given")
    parser.add_argument("--path", action="store_true", help="print where they are, build nothing")
    parser.add_argument("--list", action="store_true", help="print the variables that name other binaries")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SERVERS):
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    chosen = [SERVERS[name] for name in arguments.names or SERVERS]
    for server in chosen:
        if not arguments.path and not arguments.list:
            try:
                provide(server)
            except subprocess.CalledProcessError as error:
                sys.exit(f"Building {server.name} failed: {error}")
        print(f"{server.variable}={server.path}" if arguments.list else server.path)
    return 0 if arguments.list or all(server.path.exists() for server in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
