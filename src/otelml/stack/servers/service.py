"""One server: what it is started with, and its process, with a log of bounded size."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from otelml.stack.servers import ports
from otelml.stack.servers.tether import create_tether

LOG_MAX_BYTES = 10 * 2**20
"""Of a log and of the older part kept beside it, each."""
LAST_LINES = 20


@dataclass(frozen=True)
class Service:
    """A server as it will be started.

    Args:
        name: what the user calls it; its log is `<name>.log`, in small letters.
        command: the program and its arguments.
        folder: where it runs, and keeps its data.
        files: what has to be in files before it starts.
        ports: where it listens; it is ready when it does.
        about: what the user is told of it: addresses, mostly.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    files: Mapping[Path, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[ports.Port, int] = field(default_factory=dict)
    about: str = ""

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder.parent / f"{self.name.lower()}.log"


class Running:
    """The process of a service, started."""

    def __init__(self, service: Service) -> None:
        self.service = service
        service.folder.mkdir(parents=True, exist_ok=True)
        for path, text in service.files.items():
            path.write_text(text, encoding="utf-8")
        self.limit_log()
        with service.log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal reaches only its parent, which ends all in their order.
            self._process = subprocess.Popen(  # noqa: S603
                service.command,
                cwd=service.folder,
                env={**os.environ, **service.environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=create_tether(),  # noqa: PLW1509
            )

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Whether it listens on all its ports."""
        return all(ports.listens(number) for number in self.service.ports.values())

    def ask_to_end(self) -> None:
        """SIGTERM: all of these servers write down what they have, and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def limit_log(self) -> None:
        """Move a log that is full aside, in place of the one before it.

        The server keeps the file open, for appending: so it is copied and cut, and goes on at its new end.
        """
        log = self.service.log
        with suppress(OSError):  # there is none yet, or no space
            if log.stat().st_size > LOG_MAX_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)

    def read_last_lines(self) -> list[str]:
        """The end of its log."""
        with self.service.log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip() for line in deque(lines, LAST_LINES)]

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            # The whole group, for a program that is a script around the server.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
