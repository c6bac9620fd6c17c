"""The files of the embedded default: what stands in them, what they are called, and what becomes of trouble."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from otelml.export.files import FileSet, path_name
from otelml.instruments import internal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

RESOURCE = Resource({"service.name": "train", "ml.run.id": "run-1", "ml.distributed.rank": 3})


@pytest.fixture
def files(tmp_path: Path) -> FileSet:
    """A file set in an empty folder."""
    return FileSet(tmp_path, "train", "run-1")


def make_span(name: str = "encode") -> ReadableSpan:
    """An ended span."""
    span = TracerProvider(resource=RESOURCE, shutdown_on_exit=False).get_tracer("test").start_span(name)
    span.end()
    return span  # type: ignore[return-value]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines of a file, each of which must be JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    """The telemetry files in `folder`."""
    return sorted(p.name for p in folder.glob("*.jsonl"))


def test_spans_are_written_as_otlp_json_lines(files: FileSet) -> None:
    """Each batch is one OTLP request on one line, with the resource."""
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(files.span_exporter()))
    with provider.get_tracer("test").start_as_current_span("encode"):
        pass
    (line,) = read_lines(files.folder / "traces.jsonl")
    (resource_spans,) = line["resourceSpans"]
    attributes = {a["key"]: a["value"] for a in resource_spans["resource"]["attributes"]}
    assert attributes["service.name"] == {"stringValue": "train"}
    assert resource_spans["scopeSpans"][0]["spans"][0]["name"] == "encode"


def test_metrics_are_written_as_otlp_json_lines(files: FileSet) -> None:
    """Each collection is one OTLP request on one line."""
    reader = PeriodicExportingMetricReader(files.metric_exporter(), export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    provider.get_meter("test").create_counter("ml.stage.items").add(7)
    provider.shutdown()
    (line,) = read_lines(files.folder / "metrics.jsonl")
    (metric,) = line["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert metric["name"] == "ml.stage.items"
    assert metric["sum"]["dataPoints"][0]["asInt"] == "7"


def test_logs_are_written_as_flat_json_lines(files: FileSet) -> None:
    """Each record is one line in the flat form, with service, run and rank of the resource."""
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(files.log_exporter()))
    logger = provider.get_logger("robocache")
    for body in ("first", "second\nline"):
        logger.emit(
            LogRecord(timestamp=1, severity_text="INFO", severity_number=SeverityNumber.INFO, body=body)
        )
    first, second = read_lines(files.folder / "logs.jsonl")
    assert first == {
        "timestamp": "1970-01-01T00:00:00.000000Z",
        "level": "INFO",
        "logger": "robocache",
        "message": "first",
        "service": "train",
        "run_id": "run-1",
        "rank": 3,
    }
    assert second["message"] == "second\nline"


def test_nothing_is_created_before_the_first_line(files: FileSet) -> None:
    """Making the exporters, and ending them, leaves no folder."""
    for exporter in (files.span_exporter(), files.metric_exporter(), files.log_exporter()):
        exporter.shutdown()
    files.shutdown()
    assert not files.folder.exists()


def test_a_change_of_directory_does_not_move_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is taken from where the program was when it started."""
    monkeypatch.chdir(tmp_path)
    files = FileSet("telemetry", "train", "run-1")
    monkeypatch.chdir("/")
    assert files.folder == tmp_path / "telemetry" / "train" / "run-1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train", "train"),
        ("résumé-2.1", "résumé-2.1"),
        ("team/train model", "team_train_model"),
        ("../../etc", "_.._etc"),
        ("..", "_"),
        (".hidden", "hidden"),
        ("", "_"),
        ("x" * 300, "x" * 100),
    ],
)
def test_service_and_run_become_safe_folder_names(text: str, expected: str) -> None:
    """Neither can leave the telemetry folder, hide, or be empty."""
    assert path_name(text) == expected


def test_a_second_process_gets_names_of_its_own(tmp_path: Path) -> None:
    """While one holds the plain names, another adds its pid; no third ever shares either's."""
    sets = [FileSet(tmp_path, "train", "run-1") for _ in range(3)]
    for one in sets:
        one.span_exporter().export([make_span()])
    plain, shared_pid, pid = names(sets[0].folder)
    assert (plain, pid) == ("traces.jsonl", f"traces.pid{os.getpid()}.jsonl")
    assert shared_pid.startswith(f"traces.pid{os.getpid()}-")


def test_the_signals_of_a_process_have_one_set_of_names(tmp_path: Path) -> None:
    """All three files of a process carry the same suffix, whichever is written first."""
    first, second = (FileSet(tmp_path, "train", "run-1") for _ in range(2))
    first.span_exporter().export([make_span()])
    for signal in ("logs", "traces", "metrics"):
        assert second.path(signal).name == f"{signal}.pid{os.getpid()}.jsonl"
    assert first.path("logs").name == "logs.jsonl"


def test_ranks_always_stand_in_the_names(tmp_path: Path) -> None:
    """Processes of one job do not depend on who comes first; a second process of a rank adds its pid."""
    for rank in (0, 1):
        FileSet(tmp_path, "train", "run-1", rank=rank).span_exporter().export([make_span()])
    one, two = FileSet(tmp_path, "train", "run-2", rank=1), FileSet(tmp_path, "train", "run-2", rank=1)
    assert names(tmp_path / "train" / "run-1") == ["traces.rank0.jsonl", "traces.rank1.jsonl"]
    assert one.path("logs").name == "logs.rank1.jsonl"
    assert two.path("logs").name == f"logs.rank1.pid{os.getpid()}.jsonl"


def test_the_names_of_an_ended_process_are_free_again(files: FileSet, tmp_path: Path) -> None:
    """A killed process holds nothing: the next one of the same run appends to its file."""
    program = (
        "import os, signal, sys\n"
        "from otelml.export.files import FileSet\n"
        "path = FileSet(sys.argv[1], 'train', 'run-1').path('traces')\n"
        "path.write_text('{\"killed\":1}\\n')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    files.span_exporter().export([make_span()])
    killed, ours = read_lines(files.folder / "traces.jsonl")
    assert killed == {"killed": 1}
    assert "resourceSpans" in ours


def test_shutdown_gives_the_names_free(tmp_path: Path) -> None:
    """After it another process may use them."""
    first, second = (FileSet(tmp_path, "train", "run-1") for _ in range(2))
    first.span_exporter().export([make_span()])
    first.shutdown()
    assert second.path("traces").name == "traces.jsonl"


def test_a_forked_child_lets_go_without_unlocking_the_parents_names(tmp_path: Path) -> None:
    """In the child the set claims names of its own while the parent keeps the plain ones."""
    files = FileSet(tmp_path, "train", "run-1")
    files.span_exporter().export([make_span()])
    pid = os.fork()
    if not pid:
        try:
            files.after_fork_in_child(silent=False)
            files.span_exporter().export([make_span()])
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert names(files.folder) == ["traces.jsonl", f"traces.pid{pid}.jsonl"]
    assert FileSet(tmp_path, "train", "run-1").path("traces").name == f"traces.pid{os.getpid()}.jsonl"


def test_a_folder_deleted_mid_run_is_made_again_and_claimed_anew(tmp_path: Path) -> None:
    """Two processes that lose their folder do not end up in one file."""
    first, second = (FileSet(tmp_path, "train", "run-1") for _ in range(2))
    exporters = [first.span_exporter(), second.span_exporter()]
    for exporter in exporters:
        exporter.export([make_span()])
    shutil.rmtree(tmp_path / "train")
    for exporter in exporters:
        exporter.export([make_span()])
    assert [len(read_lines(p)) for p in (first.folder).glob("*.jsonl")] == [1, 1]


def test_a_folder_that_cannot_be_written_is_said_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a file in the folder's place every export fails softly; one line says so; it recovers."""
    (tmp_path / "train").write_text("in the way")
    files = FileSet(tmp_path, "train", "run-1")
    spans, logs, metrics = files.span_exporter(), files.log_exporter(), files.metric_exporter()
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
    meter_provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter_provider.get_meter("test").create_counter("items").add(1)
    for _ in range(3):
        assert spans.export([make_span()]) is SpanExportResult.FAILURE
        provider.get_logger("x").emit(LogRecord(body="lost"))
        assert reader.force_flush()
    assert len(caplog.records) == 1
    assert str(files.folder) in caplog.text
    assert internal.totals() == {("errors", "export.files", "ENOTDIR"): 9}
    (tmp_path / "train").unlink()
    assert spans.export([make_span()]) is SpanExportResult.SUCCESS
    meter_provider.shutdown()
    assert names(files.folder) == ["metrics.jsonl", "traces.jsonl"]


def test_log_records_kept_from_a_full_disk_are_not_counted_as_lost(tmp_path: Path) -> None:
    """The exporter knows how many records of a batch could not be written."""
    files = FileSet(tmp_path, "train", "run-1")
    files.folder.mkdir(parents=True)
    (files.folder / "logs.jsonl").symlink_to("/dev/full")
    exporter = files.log_exporter()
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("x").emit(LogRecord(body="lost"))
    assert exporter.lost == 1  # type: ignore[attr-defined]
    assert internal.totals() == {("errors", "export.files", "ENOSPC"): 1}
