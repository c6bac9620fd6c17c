"""`make demo`: runs the behaviour pipeline under `opentelemetry-instrument` and shows what its telemetry says.

Every number comes from where a user would look: the Prometheus endpoint, scraped while the program runs, and the
files it leaves behind. Nothing is taken from the program's memory, and what is missing is an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from readback import MissingTelemetryError, Observed
from report import show

PIPELINE = Path(__file__).with_name("behaviour_pipeline.py")
SCRAPE_INTERVAL_S = 0.25
REPLAY = {"OTELML_NVML_REPLAY": "h200", "OTELML_GPU_INTERVAL": "2s"}


def has_gpu(environ: dict[str, str]) -> bool:
    """Whether NVML shows a GPU here; `otelml gpu` says so with its exit status."""
    command = [sys.executable, "-m", "otelml", "gpu", "--json"]
    return subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 0


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """The pipeline as a user starts it, without the shell's OTEL_* variables: they would change what is shown."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELML_"))}
    environ["PYTHONUNBUFFERED"] = "1"
    if not has_gpu(environ):
        environ |= REPLAY
        print("No GPU here: a recorded one is replayed, as", " ".join(f"{k}={v}" for k, v in REPLAY.items()))
    launcher = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    if launcher is None:
        raise MissingTelemetryError("opentelemetry-instrument is not installed beside this Python")
    command = [launcher, sys.executable, str(PIPELINE), *arguments]
    print("$ opentelemetry-instrument python examples/behaviour_pipeline.py", *arguments, flush=True)
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def echo(child: subprocess.Popen[str], seen: Observed) -> None:
    """Pass the program's output on, and take endpoint and folder from the start-up line in it."""
    for line in child.stdout or ():
        print("  |", line.rstrip(), flush=True)
        if not seen.url and (found := re.search(r"http://\S+/metrics", line)):
            seen.url = found[0]
        if seen.folder is None and (found := re.search(r"(\S*telemetry[/\\]\S+?)[,;.]?(\s|$)", line)):
            seen.folder = Path(found[1])


def observe(child: subprocess.Popen[str], seen: Observed) -> None:
    """Until the program ends: scrape its endpoint, and ask the system for its CPU time and memory."""
    process, began = psutil.Process(child.pid), time.monotonic()
    seen.began_at_s = time.time()
    while child.poll() is None:
        time.sleep(SCRAPE_INTERVAL_S)
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
            seen.cpu_s, seen.peak_rss = times.user + times.system, max(seen.peak_rss, memory.rss)
            if seen.url:
                with urllib.request.urlopen(seen.url, timeout=2) as answer:  # noqa: S310 - the pattern asks for http
                    text = answer.read().decode()
                if text:  # an endpoint that is being opened or closed answers with nothing
                    seen.scrapes.append((time.monotonic() - began, text))
        except (psutil.Error, OSError):
            continue  # the program is on its way out
        finally:
            seen.wall_s = time.monotonic() - began


def stop(child: subprocess.Popen[str]) -> None:
    """End the program: a Ctrl-C reached it too, so first let it finish on its own."""
    for step in (lambda: None, child.terminate, child.kill):
        step()
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            continue
        return


def run(child: subprocess.Popen[str]) -> Observed:
    """Watch the pipeline to its end and return what was seen on the way."""
    seen = Observed()
    reader = threading.Thread(target=echo, args=(child, seen), daemon=True)
    reader.start()
    try:
        observe(child, seen)
    finally:
        if child.poll() is None:
            stop(child)
        reader.join(3)
    if child.returncode:
        raise MissingTelemetryError(f"the pipeline ended with exit code {child.returncode}")
    return seen


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=int, help="how many recordings the pipeline serves (4 or more)")
    recordings = parser.parse_args().recordings
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        show(run(start([] if recordings is None else ["--recordings", str(recordings)])))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except MissingTelemetryError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
