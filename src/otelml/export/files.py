"""The files of the embedded default: OTLP/JSON lines for traces and metrics, flat JSON lines for logs and events.

One set a process under `<telemetry_dir>/<service>/<run>/`; no two live processes ever write the same file.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.json.file import FileMetricExporter, FileSpanExporter
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otelml.export.lines import LineWriter
from otelml.instruments import internal
from otelml.logs import flat

try:
    import fcntl
except ImportError:  # Windows: every process then has names of its own
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan

MAX_BYTES = 100 * 2**20
KEEP = 5


class FileSet:
    """The files of one process.

    Nothing is created before the first line. The plain names (`traces.jsonl`, ...) go to the first process that
    comes; one that finds them taken adds its pid. Goes into `Pipeline.exporters`.

    Args:
        rank: only where the process is one of several: it then always stands in the names (`traces.rank3.jsonl`).
        max_bytes: size from which a file is rotated; 0 for never.
        keep: rotated files kept beside each current one.
    """

    def __init__(
        self,
        telemetry_dir: str | os.PathLike[str],
        service: str,
        run_id: str,
        *,
        rank: int | None = None,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
    ) -> None:
        # Absolute now: the program may change its working directory before the first line.
        self.folder = Path(telemetry_dir).absolute() / path_name(service) / path_name(run_id)
        self._rank_suffix = "" if rank is None else f".rank{rank}"
        self._max_bytes = max_bytes
        self._keep = keep
        self._lock = threading.Lock()
        self._forked = False
        self._claim: _Claim | None = None
        self._writers: weakref.WeakSet[LineWriter] = weakref.WeakSet()

    def span_exporter(self) -> SpanExporter:
        """A new exporter that writes OTLP/JSON lines to `traces.jsonl`."""
        return _SpanFile(self._writer("traces"))

    def metric_exporter(self) -> MetricExporter:
        """A new exporter that writes OTLP/JSON lines to `metrics.jsonl`."""
        return _MetricFile(self._writer("metrics"))

    def log_exporter(self) -> LogRecordExporter:
        """A new exporter that writes flat JSON lines to `logs.jsonl`."""
        return LogFile(self._writer("logs"))

    def shutdown(self) -> None:
        """Close everything and give the names free. A later line would open its file again."""
        for writer in list(self._writers):
            writer.close()
        self._give_up_claim()

    def after_fork_in_child(self, *, silent: bool) -> None:  # noqa: ARG002 - the files are the parent's either way
        """`lifecycle` calls this: let go of the parent's files, so that its names are free when it ends.

        The child's own names always have its pid: which process gets the plain ones is no matter of who writes first.
        """
        self._lock = threading.Lock()
        self._forked = True
        self.shutdown()

    def _writer(self, signal: str) -> LineWriter:
        writer = LineWriter(
            lambda: self.path(signal), max_bytes=self._max_bytes, keep=self._keep, tell=self._tell
        )
        self._writers.add(writer)
        return writer

    def path(self, signal: str) -> Path:
        """The file of `signal` ("traces", "metrics", "logs") of this process; makes the folder. Raises OSError."""
        with self._lock:
            if self._claim is None or not self._claim.holds():
                self._give_up_claim()
                self.folder.mkdir(parents=True, exist_ok=True)
                self._claim = next(filter(None, map(self._try, self._suffixes())))
            return self.folder / f"{signal}{self._claim.suffix}.jsonl"

    def _suffixes(self) -> Iterator[str]:
        pid = f"{self._rank_suffix}.pid{os.getpid()}"
        if not self._forked:
            yield self._rank_suffix
        yield pid
        # The pid is taken by another container's process on a shared disk, or the disk knows no locks.
        while True:
            yield f"{pid}-{secrets.token_hex(4)}"

    def _try(self, suffix: str) -> _Claim | None:
        return _Claim.try_to_get(self.folder / f".writer{suffix}.lock", suffix)

    def _give_up_claim(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()

    def _tell(self, problem: OSError) -> None:
        reason = errno.errorcode.get(problem.errno or 0, type(problem).__name__)
        internal.count("errors", "export.files", reason)
        internal.warn_once(
            f"files:{self.folder}:{reason}",
            "otelml: cannot write telemetry under %s (%s); the program is unharmed, what is lost is counted in "
            "otelml.internal.dropped, and writing goes on when it can",
            self.folder,
            problem.strerror or problem,
        )


class _Claim:
    """The right to the file names with one suffix: a lock on a hidden file, which the kernel frees with the process."""

    def __init__(self, path: Path, suffix: str, fd: int) -> None:
        self.suffix = suffix
        self._path = path
        self._fd = fd

    @classmethod
    def try_to_get(cls, path: Path, suffix: str) -> _Claim | None:
        """The claim, or None where another process has it. A random suffix needs no lock. Raises OSError."""
        if "-" in suffix.rpartition(".pid")[2]:
            return cls(path, suffix, -1)
        if fcntl is None:
            return None
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return cls(path, suffix, fd)

    def holds(self) -> bool:
        """Whether the lock still guards the names: not where its file was deleted with the folder."""
        if self._fd < 0:
            return True
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except OSError:
            return False

    def release(self) -> None:
        """Close the file. In a forked child that leaves the parent's lock in place, as unlocking would not."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


class _SpanFile(FileSpanExporter):
    """The SDK's file exporter on a rotating writer; says FAILURE when a line was lost."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__(stream=writer)  # type: ignore[call-overload]
        self._writer = writer

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        before = self._writer.lost_lines
        result = super().export(spans)
        return result if self._writer.lost_lines == before else SpanExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        super().shutdown(timeout_millis, **kwargs)
        self._writer.close()


class _MetricFile(FileMetricExporter):
    """The same for metrics."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__(stream=writer)  # type: ignore[call-overload]
        self._writer = writer

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        before = self._writer.lost_lines
        result = super().export(metrics_data, timeout_millis, **kwargs)
        return result if self._writer.lost_lines == before else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        super().shutdown(timeout_millis, **kwargs)
        self._writer.close()


class LogFile(LogRecordExporter):
    """Writes log records in the flat form, one line each, a batch in one write."""

    def __init__(self, writer: LineWriter) -> None:
        self.lost = 0
        """Records of the last batch that could not be written."""
        self._writer = writer
        self._lock = threading.Lock()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write `batch`."""
        lines = "".join(f"{flat.dumps(flat.to_flat(record))}\n" for record in batch)
        with self._lock:
            before = self._writer.lost_lines
            self._writer.write(lines)
            self.lost = self._writer.lost_lines - before
        return LogRecordExportResult.FAILURE if self.lost else LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        with self._lock:
            self._writer.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """Nothing is buffered."""
        return True


def path_name(text: str) -> str:
    """`text` as the name of a folder: no separators, no leading dot, at most 100 characters, never empty."""
    name = re.sub(r"[^\w.-]+", "_", text)[:100].lstrip(".")
    return name or "_"
