"""A program that stands for any server: it listens on the ports that its command line or a collector's variables name.

Into the file FAKE_JOURNAL it writes `<name> <pid> started` and `<name> <pid> ended`. FAKE_DYING names the one that ends
with exit status 3 once the file FAKE_CUE is there, FAKE_DEAF the one that takes no notice of SIGTERM, FAKE_SILENT the
one that never listens.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import psutil


def install(folder: Path, *names: str) -> None:
    """Make programs of these names in `folder`."""
    for name in names:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        program.chmod(0o755)


def read_journal(path: Path) -> list[tuple[str, str]]:
    """Who did what, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], line.split()[2]) for line in lines]


def read_pids(path: Path) -> list[int]:
    """The processes that started."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[1]) for line in lines if line.endswith("started")]


def is_alive(pid: int) -> bool:
    """Whether it runs; a process that has ended and waits to be noticed does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _find_ports(name: str, arguments: list[str]) -> list[int]:
    found = {int(port) for text in arguments for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
    if name == "otelcol":
        found |= {int(value) for key, value in os.environ.items() if re.fullmatch(r"OTELCOL_\w+_PORT", key)}
    return sorted(found)


def _journal(name: str, what: str) -> None:
    with Path(os.environ["FAKE_JOURNAL"]).open("a") as journal:
        journal.write(f"{name} {os.getpid()} {what}\n")


def main(name: str, arguments: list[str]) -> int:
    """Listen until told to end."""
    ended = False

    def end(number: int, frame: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("FAKE_DEAF") == name else end)
    silent = os.environ.get("FAKE_SILENT") == name
    listeners = (
        [] if silent else [socket.create_server(("127.0.0.1", port)) for port in _find_ports(name, arguments)]
    )
    _journal(name, "started")
    print(f"{name} listens on {[one.getsockname()[1] for one in listeners]}", flush=True)
    while not ended:
        if os.environ.get("FAKE_DYING") == name and Path(os.environ["FAKE_CUE"]).exists():
            print(f"{name}: the disk is on fire", flush=True)
            return 3
        time.sleep(0.02)
    _journal(name, "ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
