"""Sends the files of the embedded default to a collector: what was recorded without one, afterwards.

A line of traces or metrics is an OTLP request as it stands; log records are put together into some.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from otelml.stack import flat_records
from otelml.stack.otlp_http import Answer, Endpoint, UnreachableError

MAX_LINE_BYTES = 64 * 2**20
"""Longer lines are skipped: no collector takes a request of that size."""

MAX_LOG_RECORDS = 500
MAX_LOG_BYTES = 2**20
"""A request of log records ends with the record that reaches one of the two."""

MAX_PROBLEMS = 20
"""Lines that are named; the others are counted."""

ITEMS = {"traces": "spans", "metrics": "data points", "logs": "log records"}
_TOPS = {"traces": "resourceSpans", "metrics": "resourceMetrics"}

# logs.jsonl, logs.rank3.jsonl, logs.pid4711-0a1b2c3d.jsonl; rotated ones with a number, the oldest with the highest.
_NAME = re.compile(r"(traces|metrics|logs)((?:\.[a-z][\w-]*)*)(?:\.(\d+))?\.jsonl")


@dataclass(frozen=True)
class Recorded:
    """A file of one signal."""

    path: Path
    signal: str


@dataclass(frozen=True)
class Batch:
    """One request with so many items; `where` names the first line in it."""

    signal: str
    request: dict[str, Any]
    items: int
    where: str


@dataclass(frozen=True)
class Broken:
    """A line that cannot be used."""

    where: str


@dataclass
class Tally:
    """What became of it all."""

    files: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    """Lines."""
    unreadable: int = 0
    """Files."""
    problems: list[str] = field(default_factory=list)
    problems_left_out: int = 0
    stopped_at: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether everything was taken."""
        return not (self.refused or self.broken or self.unreadable or self.stopped_at)

    def note(self, problem: str) -> None:
        """Name a problem, unless there are many already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.problems_left_out += 1

    def add(self, batch: Batch, answer: Answer) -> None:
        """Count a request that was answered."""
        what = ITEMS[batch.signal]
        rejected = min(answer.rejected, batch.items) if answer.taken else batch.items
        self.sent[what] += batch.items - rejected
        if rejected:
            self.refused[what] += rejected
            self.note(f"{batch.where}: {rejected} {what} refused: {answer.reason}")


def find_files(paths: Iterable[Path]) -> list[Recorded]:
    """The files at and below `paths`, those of each process from its oldest line to its newest.

    Raises ValueError for a path that is neither a folder nor such a file.
    """
    found: dict[Path, tuple[Any, ...]] = {}
    for path in paths:
        if not path.exists():
            raise ValueError(f"there is no {path}: name the folder or the files that a program wrote")
        for file in path.rglob("*.jsonl") if path.is_dir() else (path,):
            match = _NAME.fullmatch(file.name)
            if match and file.is_file():
                found[file] = (file.parent, match[2], match[1], -int(match[3] or 0))
            elif file == path:
                raise ValueError(f"{path} is no file of traces, metrics or logs, and no folder")
    return [Recorded(file, found[file][2]) for file in sorted(found, key=found.__getitem__)]


def replay(files: Iterable[Recorded], endpoint: Endpoint) -> Tally:
    """Send `files`, in their order. Ends early where the endpoint takes nothing any more."""
    tally = Tally()
    for recorded in files:
        tally.files += 1
        try:
            _replay_file(recorded, endpoint, tally)
        except OSError as error:
            tally.unreadable += 1
            tally.note(f"{recorded.path}: {error.strerror}")
        if tally.stopped_at:
            break
    endpoint.close()
    return tally


def _replay_file(recorded: Recorded, endpoint: Endpoint, tally: Tally) -> None:
    for part in read_batches(recorded):
        if isinstance(part, Broken):
            tally.broken += 1
            tally.note(f"{part.where}: no line of {recorded.signal}")
            continue
        try:
            tally.add(part, endpoint.post(part.signal, part.request))
        except UnreachableError as error:
            tally.stopped_at = part.where
            tally.note(f"{part.where}: {error}")
            return


def read_batches(recorded: Recorded) -> Iterator[Batch | Broken]:
    """The requests that a file holds, and its lines that are of no use. Raises OSError."""
    with recorded.path.open("rb") as file:
        lines = _read_lines(file, str(recorded.path))
        yield from _log_batches(lines) if recorded.signal == "logs" else _otlp_batches(lines, recorded.signal)


@dataclass(frozen=True)
class _Line:
    where: str
    size_bytes: int
    value: Any


def _read_lines(file: BinaryIO, name: str) -> Iterator[_Line]:
    """The lines that are not empty; `value` is None where one is no JSON."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES):
        number += 1
        is_whole = data.endswith(b"\n") or len(data) < MAX_LINE_BYTES
        while not is_whole:
            rest = file.readline(MAX_LINE_BYTES)
            is_whole = rest.endswith(b"\n") or len(rest) < MAX_LINE_BYTES
            data = b"too long"
        if data.strip():
            yield _Line(f"{name}:{number}", len(data), _parse(data))


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _otlp_batches(lines: Iterable[_Line], signal: str) -> Iterator[Batch | Broken]:
    for line in lines:
        items = _count_items(line.value, signal)
        if items is None:
            yield Broken(line.where)
        else:
            yield Batch(signal, line.value, items, line.where)


def _count_items(request: Any, signal: str) -> int | None:
    """Spans or data points in an OTLP request; None where it is none."""
    try:
        resources = request[_TOPS[signal]]
        return sum(_count_of_resource(resource, signal) for resource in resources)
    except (KeyError, TypeError, AttributeError):
        return None


def _count_of_resource(resource: Mapping[str, Any], signal: str) -> int:
    if signal == "traces":
        return sum(len(scope.get("spans", ())) for scope in resource.get("scopeSpans", ()))
    metrics = (metric for scope in resource.get("scopeMetrics", ()) for metric in scope.get("metrics", ()))
    kinds = (kind for metric in metrics for kind in metric.values() if isinstance(kind, dict))
    return sum(len(kind.get("dataPoints", ())) for kind in kinds)


def _log_batches(lines: Iterable[_Line]) -> Iterator[Batch | Broken]:
    waiting: list[_Line] = []
    size_bytes = 0
    for line in lines:
        if not flat_records.is_flat(line.value):
            yield Broken(line.where)
            continue
        waiting.append(line)
        size_bytes += line.size_bytes
        if len(waiting) == MAX_LOG_RECORDS or size_bytes >= MAX_LOG_BYTES:
            yield _log_batch(waiting)
            waiting, size_bytes = [], 0
    if waiting:
        yield _log_batch(waiting)


def _log_batch(lines: list[_Line]) -> Batch:
    request = flat_records.to_request(line.value for line in lines)
    return Batch("logs", request, len(lines), lines[0].where)
