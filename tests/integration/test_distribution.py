"""The distribution in real processes: both ways in, every rule of who decides, and what must not harm a program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

INSTRUMENT = (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)
PLAIN = (sys.executable,)

PROGRAM = """
import logging, otelml
with otelml.stage("encode", items=3):
    logging.getLogger("app").warning("working")
print("result")
"""


@dataclass
class Run:
    """What a program left: output, and the telemetry below its folder."""

    folder: Path
    stdout: str
    stderr: str
    returncode: int

    def lines(self, signal: str) -> list[dict[str, Any]]:
        """All JSON lines of a signal's files."""
        files = sorted(self.folder.glob(f"telemetry/*/*/{signal}*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    @property
    def announcements(self) -> list[str]:
        """The start-up lines on stderr."""
        return re.findall(r"^otelml: .* · service .*$", self.stderr, re.MULTILINE)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Run a program in a folder of its own, with only the given OTEL variables, and without a fixed port."""

    def start(
        program: str,
        *,
        way: tuple[str, ...] = INSTRUMENT,
        status: int = 0,
        path: Path | None = None,
        **environ: str,
    ) -> Run:
        (tmp_path / "train.py").write_text(textwrap.dedent(program))
        base = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "PYTHON"))}
        base["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(path or ""), os.environ.get("PYTHONPATH", "")])
        )
        done = subprocess.run(
            [*way, "train.py"], cwd=tmp_path, env={**base, "OTEL_EXPORTER_PROMETHEUS_PORT": "0", **environ},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return Run(tmp_path, done.stdout, done.stderr, done.returncode)

    return start


@dataclass
class Collector:
    """A server that takes OTLP over HTTP and keeps what it is sent."""

    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    server: Any = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def decode(self, path: str, message: Any) -> list[Any]:
        """The requests to `path`."""
        return [message.FromString(body) for found, _, body in self.requests if found == path]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A running collector."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append((self.path, dict(self.headers), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    found.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def read_resource(message: Any) -> dict[str, str]:
    """String attributes of the first resource."""
    return {pair.key: pair.value.string_value for pair in message.resource.attributes}


@pytest.mark.parametrize(
    ("way", "program"), [(INSTRUMENT, PROGRAM), (PLAIN, "import otelml\notelml.configure()\n" + PROGRAM)]
)
def test_with_nothing_set_everything_is_kept_in_files(run: Any, way: tuple[str, ...], program: str) -> None:
    """Both ways in: the program's output is its own, stderr has one line of ours, and all three signals are there."""
    done = run(program, way=way)
    assert done.stdout == "result\n"
    assert len(done.announcements) == 1
    assert re.fullmatch(
        r"otelml: metrics http://127\.0\.0\.1:\d+/metrics · files \./telemetry/train/(\S+)/ · service train, run \1",
        done.announcements[0],
    )
    assert [record["message"] for record in done.lines("logs")] == ["working"]
    record = done.lines("logs")[0]
    spans = [
        span for line in done.lines("traces") for span in line["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ]
    assert [span["name"] for span in spans] == ["encode"]
    assert (record["service"], record["trace_id"]) == ("train", spans[0]["traceId"])
    assert '"ml.stage.duration"' in json.dumps(done.lines("metrics"))
    assert "otelml" not in done.stderr.replace(done.announcements[0], "")


def test_the_prometheus_endpoint_answers_while_the_program_runs(run: Any) -> None:
    """At the address that the start-up line names; the series have the promoted labels."""
    done = run(
        PROGRAM
        + """
from urllib.request import urlopen
from otelml.configurator import active_pipeline
url = next(part for part in active_pipeline().description if "/metrics" in part).split()[1]
print(urlopen(url, timeout=10).read().decode())
"""
    )
    count = re.findall(r"^ml_stage_duration_seconds_count\{(.*)\} 1\.0$", done.stdout, re.MULTILINE)
    assert len(count) == 1
    assert {'ml_stage_name="encode"', 'service_name="train"'} <= set(count[0].split(","))
    assert "host_name=" in count[0]


def test_an_otlp_endpoint_takes_everything(run: Any, collector: Collector) -> None:
    """http/protobuf by default, with headers; one resource for all; no files, no Prometheus endpoint."""
    done = run(
        PROGRAM,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="x-key=abc",
        OTEL_SERVICE_NAME="named",
        OTELML_RUN_ID="run-7",
    )
    traces = collector.decode("/v1/traces", ExportTraceServiceRequest)
    metrics = collector.decode("/v1/metrics", ExportMetricsServiceRequest)
    logs = collector.decode("/v1/logs", ExportLogsServiceRequest)
    assert traces[0].resource_spans[0].scope_spans[0].spans[0].name == "encode"
    assert "ml.stage.duration" in str(metrics)
    assert logs[0].resource_logs[0].scope_logs[0].log_records[0].body.string_value == "working"
    resources = [
        read_resource(found)
        for found in (traces[0].resource_spans[0], metrics[0].resource_metrics[0], logs[0].resource_logs[0])
    ]
    assert resources[0] == resources[1] == resources[2]
    expected = {"service.name": "named", "ml.run.id": "run-7", "telemetry.distro.name": "otelml"}
    assert expected.items() <= resources[0].items()
    assert {headers["x-key"] for _, headers, _ in collector.requests} == {"abc"}
    assert not (done.folder / "telemetry").exists()
    assert done.announcements == [f"otelml: OTLP {collector.endpoint} · service named, run run-7"]


def test_one_signal_to_a_collector_the_rest_embedded(run: Any, collector: Collector) -> None:
    """The endpoint of one signal decides about that signal."""
    done = run(PROGRAM, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.endpoint}/own/path")
    assert {path for path, _, _ in collector.requests} == {"/own/path"}
    assert done.lines("traces") == []
    assert done.lines("metrics")
    assert done.lines("logs")


def test_keywords_reach_the_exporters(run: Any, collector: Collector) -> None:
    """`configure(otlp_endpoint=..., otlp_headers=...)` is the same as the variables."""
    run(
        f"""
        import otelml
        otelml.configure(otlp_endpoint="{collector.endpoint}", otlp_headers={{"x-key": "a b"}}, service_name="coded")
        {PROGRAM.strip().replace(chr(10), chr(10) + " " * 8)}
        """,
        way=PLAIN,
    )
    assert {path for path, _, _ in collector.requests} == {"/v1/traces", "/v1/metrics", "/v1/logs"}
    assert {headers["x-key"] for _, headers, _ in collector.requests} == {"a b"}
    traces = collector.decode("/v1/traces", ExportTraceServiceRequest)
    assert read_resource(traces[0].resource_spans[0])["service.name"] == "coded"


def test_delta_temporality_for_those_who_want_it(run: Any, collector: Collector) -> None:
    """A standard setting that only the exporter reads, as a keyword."""
    start = f"import otelml\notelml.configure(otlp_endpoint={collector.endpoint!r}, temporality='delta')\n"
    run(start + PROGRAM, way=PLAIN)
    requests = collector.decode("/v1/metrics", ExportMetricsServiceRequest)
    metrics = [
        metric
        for request in requests
        for scope in request.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == "ml.stage.duration"
    ]
    assert {metric.histogram.aggregation_temporality for metric in metrics} == {AGGREGATION_TEMPORALITY_DELTA}


def test_explicit_exporters_and_none(run: Any) -> None:
    """`console` prints, `none` is nowhere, and the embedded default stays for what was not named."""
    done = run(PROGRAM, OTEL_TRACES_EXPORTER="console", OTEL_LOGS_EXPORTER="none")
    assert '"name": "encode"' in done.stdout
    assert done.lines("traces") == done.lines("logs") == []
    assert done.lines("metrics")
    assert "logs off" in done.announcements[0]


def test_the_sampler_of_the_user_is_obeyed(run: Any) -> None:
    """No span where it says so, and the metrics all the same."""
    done = run(PROGRAM, OTEL_TRACES_SAMPLER="always_off")
    assert done.lines("traces") == []
    assert '"ml.stage.duration"' in json.dumps(done.lines("metrics"))


MALFORMED = {
    "OTELML_SPAN_BUDGET": "abc",
    "OTELML_FILE_MAX_BYTES": "big",
    "OTEL_TRACES_EXPORTER": "nonsense",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "zip",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
    "OTEL_METRIC_EXPORT_INTERVAL": "-5",
    "OTEL_METRICS_EXEMPLAR_FILTER": "maybe",
    "OTEL_BSP_MAX_QUEUE_SIZE": "many",
    "OTEL_BLRP_SCHEDULE_DELAY": "x",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x",
    "OTEL_RESOURCE_ATTRIBUTES": "novalue",
    "OTEL_PYTHON_ID_GENERATOR": "nonsense",
    "OTEL_SDK_DISABLED": "1",
}


def test_malformed_settings_are_said_once_each_and_harm_nothing(run: Any) -> None:
    """The program runs, telemetry works with defaults, and stderr has one line a variable and no traceback."""
    done = run(PROGRAM, **MALFORMED)
    assert done.stdout == "result\n"
    assert {name: done.stderr.count(f"{name}=") for name in MALFORMED} == dict.fromkeys(MALFORMED, 1)
    assert "Traceback" not in done.stderr
    assert (
        len(done.stderr.splitlines()) == len(MALFORMED) + 2
    )  # the start-up line, and the program's own record
    assert done.lines("traces")
    assert done.lines("logs")


def test_configure_raises_one_error_for_all(run: Any) -> None:
    """In code the mistakes are the programmer's to hear of, together."""
    done = run("import otelml\notelml.configure(fork='maybe')", way=PLAIN, status=1, **MALFORMED)
    assert "otelml.settings.SettingsError: 16 settings cannot be used" in done.stderr
    assert [name for name in (*MALFORMED, "fork") if f"\n  {name}=" not in done.stderr] == []


def test_an_unknown_propagator_does_not_break_later_imports(run: Any) -> None:
    """Importing opentelemetry.propagate fails for good on a name that it does not know."""
    program = """
    import otelml
    from otelml.settings import SettingsError
    try:
        otelml.configure()
    except SettingsError as error:
        print(error.problems[0].name)
    import os
    otelml.configure(propagators="tracecontext")
    from opentelemetry import propagate
    print(sorted(propagate.get_global_textmap().fields))
    """
    done = run(program, way=PLAIN, OTEL_PROPAGATORS="nonsense")
    assert done.stdout.splitlines() == ["OTEL_PROPAGATORS", "['traceparent', 'tracestate']"]


def write_package(folder: Path, name: str, module: str, entry_points: str) -> Path:
    """An installed distribution, as far as Python's metadata goes; returns what to put on the path."""
    package = name.replace("-", "_")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    (folder / f"{package}.py").write_text(textwrap.dedent(module))
    return folder


def test_a_broken_instrumentor_leaves_the_others_alone(run: Any, tmp_path: Path) -> None:
    """Those that come after it are loaded, it is said once, and our telemetry works."""
    path = write_package(
        tmp_path / "site", "other-instrumentations",
        """
        import os
        from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

        class Broken(BaseInstrumentor):
            def instrumentation_dependencies(self): return ()
            def _instrument(self, **kwargs): raise ValueError("no luck")
            def _uninstrument(self, **kwargs): pass

        class Working(BaseInstrumentor):
            def instrumentation_dependencies(self): return ()
            def _instrument(self, **kwargs): os.environ["WORKING"] = "yes"
            def _uninstrument(self, **kwargs): pass
        """,
        """
        [opentelemetry_instrumentor]
        aaa_broken = other_instrumentations:Broken
        zzz_working = other_instrumentations:Working
        """,
    )  # fmt: skip
    done = run(PROGRAM + "\nimport os; print(os.environ.get('WORKING'))", path=path)
    assert done.stdout == "result\nyes\n"
    assert done.stderr.count("aaa_broken") == 1
    assert "Traceback" not in done.stderr
    assert done.lines("logs")


@pytest.fixture
def exporters(tmp_path: Path) -> Path:
    """A package with an exporter that works, one that cannot be made, and a reader."""
    return write_package(
        tmp_path / "site", "other-exporters",
        """
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, InMemoryMetricReader
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

        class Failing(SpanExporter):
            def __init__(self): raise OSError("no such vendor")

        class Reader(InMemoryMetricReader):
            def __init__(self):
                super().__init__()
                print("reader made")
        """,
        """
        [opentelemetry_traces_exporter]
        vendor = other_exporters:ConsoleSpanExporter
        failing = other_exporters:Failing

        [opentelemetry_metrics_exporter]
        reader = other_exporters:Reader
        """,
    )  # fmt: skip


def test_exporters_of_other_packages_are_used(run: Any, exporters: Path) -> None:
    """By the names of their entry points; metric readers too."""
    done = run(PROGRAM, path=exporters, OTEL_TRACES_EXPORTER="vendor", OTEL_METRICS_EXPORTER="reader")
    assert '"name": "encode"' in done.stdout
    assert "reader made" in done.stdout
    assert done.lines("traces") == done.lines("metrics") == []


def test_an_exporter_that_cannot_be_made_is_replaced_or_refused(run: Any, exporters: Path) -> None:
    """The embedded default takes over under opentelemetry-instrument; `configure()` raises, and may be repeated."""
    lenient = run(PROGRAM, path=exporters, OTEL_TRACES_EXPORTER="failing")
    assert lenient.stderr.count("OTEL_TRACES_EXPORTER='failing': OSError: no such vendor") == 1
    assert lenient.lines("traces")
    strict = """
    import otelml
    try:
        otelml.configure()
    except otelml.SettingsError as error:
        print(error)
    otelml.configure(traces_exporter="none")
    """
    done = run(strict, way=PLAIN, path=exporters, OTEL_TRACES_EXPORTER="failing")
    assert "OTEL_TRACES_EXPORTER='failing': OSError: no such vendor" in done.stdout
    assert "traces off" in done.announcements[0]


@pytest.fixture
def stock_distribution(tmp_path: Path) -> Path:
    """Stand-in for opentelemetry-distro: found before ours, with a configurator of its own."""
    return write_package(
        tmp_path / "site", "opentelemetry-distro",
        """
        import os
        from opentelemetry.instrumentation.distro import BaseDistro

        class StockDistro(BaseDistro):
            def _configure(self, **kwargs): os.environ["STOCK_DISTRO"] = "ran"

        class StockConfigurator:
            def configure(self, **kwargs): os.environ["STOCK_CONFIGURATOR"] = "ran"
        """,
        """
        [opentelemetry_distro]
        distro = opentelemetry_distro:StockDistro

        [opentelemetry_configurator]
        configurator = opentelemetry_distro:StockConfigurator
        """,
    )  # fmt: skip


WHO_RAN = (
    "import os; print(*(name for name in ('STOCK_DISTRO', 'STOCK_CONFIGURATOR') if name in os.environ))\n"
)


def test_beside_another_distribution_ours_runs_when_named(run: Any, stock_distribution: Path) -> None:
    """OTEL_PYTHON_DISTRO=otelml is enough: the distribution chooses its configurator."""
    done = run(WHO_RAN + PROGRAM, path=stock_distribution, OTEL_PYTHON_DISTRO="otelml")
    assert done.stdout == "\nresult\n"
    assert len(done.announcements) == 1
    assert done.lines("logs")


def test_beside_another_distribution_the_first_one_wins(run: Any, stock_distribution: Path) -> None:
    """Without the variable the other one runs, as documented, and the program is unharmed."""
    done = run(WHO_RAN + PROGRAM, path=stock_distribution)
    assert done.stdout == "STOCK_DISTRO STOCK_CONFIGURATOR\nresult\n"
    assert done.announcements == []


def test_beside_the_real_opentelemetry_distro(run: Any) -> None:
    """The same with the package itself, which the Makefile installs apart from the rest: it pins older releases."""
    beside = Path(sys.prefix) / "beside"
    if not beside.is_dir() and not os.environ.get("CI"):
        pytest.skip("opentelemetry-distro is not installed in .venv/beside; `make test` does that")
    done = run(PROGRAM, path=beside, OTEL_PYTHON_DISTRO="otelml")
    assert done.stdout == "result\n"
    assert done.lines("logs")


CONFIG_FILE = """
file_format: "1.0"
resource:
  detection/development:
    detectors:
      - ml: {{}}
  attributes:
    - name: service.name
      value: declared
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_file/development: {{output_stream: "file://{folder}/traces.jsonl"}}
meter_provider:
  readers:
    - periodic:
        exporter:
          otlp_file/development: {{output_stream: "file://{folder}/metrics.jsonl"}}
logger_provider:
  processors:
    - batch:
        exporter:
          otlp_file/development: {{output_stream: "file://{folder}/logs.jsonl"}}
distribution:
  otelml:
    span_budget: 0
"""


@pytest.mark.parametrize(
    ("way", "program"), [(INSTRUMENT, PROGRAM), (PLAIN, "import otelml\notelml.configure()\n" + PROGRAM)]
)
def test_a_declarative_file_builds_the_providers(
    run: Any, tmp_path: Path, way: tuple[str, ...], program: str
) -> None:
    """Its exporters get all three signals, flushed at exit; its section of ours holds; nothing else is opened."""
    (tmp_path / "otel.yaml").write_text(CONFIG_FILE.format(folder=tmp_path))
    span = "from opentelemetry import trace\nwith trace.get_tracer('t').start_as_current_span('own'): pass\n"
    done = run(program + span, way=way, OTEL_CONFIG_FILE="otel.yaml")
    assert done.stdout == "result\n"
    traces, metrics, logs = (
        (tmp_path / f"{signal}.jsonl").read_text() for signal in ("traces", "metrics", "logs")
    )
    assert '"ml.stage.duration"' in metrics
    assert '"working"' in logs
    assert '"own"' in traces
    assert '"encode"' not in traces
    assert all('"declared"' in text and '"ml.run.id"' in text for text in (traces, metrics, logs))
    assert not (tmp_path / "telemetry").exists()
    assert done.stderr.splitlines()[0] == "otelml: providers of otel.yaml"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "not found"),
        ("tracer_provider: [", "parse"),
        ('file_format: "9.0"\n', "9.0"),
        (
            'file_format: "1.0"\ntracer_provider: {processors: [{simple: {exporter: {nonsense: {}}}}]}\n',
            "nonsense",
        ),
        ('file_format: "1.0"\ndistribution: {otelml: {span_bugdet: 3}}\n', "did you mean span_budget"),
        ('file_format: "1.0"\ndistribution: {otelml: {service_name: x}}\n', "own sections"),
    ],
)
def test_a_bad_declarative_file_is_said_once(
    run: Any, tmp_path: Path, content: str | None, reason: str
) -> None:
    """`configure()` raises; under opentelemetry-instrument the program runs with the default, after one line."""
    if content is not None:
        (tmp_path / "otel.yaml").write_text(content)
    strict = run("import otelml\notelml.configure()", way=PLAIN, status=1, OTEL_CONFIG_FILE="otel.yaml")
    assert "SettingsError: one setting cannot be used" in strict.stderr
    assert reason in strict.stderr
    lenient = run(PROGRAM, OTEL_CONFIG_FILE="otel.yaml")
    assert lenient.stdout == "result\n"
    said = [line for line in lenient.stderr.splitlines() if reason in line]
    assert len(said) == 1
    assert "Traceback" not in lenient.stderr


def test_a_disabled_declarative_file_turns_all_off(run: Any, tmp_path: Path) -> None:
    """Nothing is built, nothing is said by us."""
    (tmp_path / "otel.yaml").write_text('file_format: "1.0"\ndisabled: true\n')
    done = run(PROGRAM, OTEL_CONFIG_FILE="otel.yaml")
    assert (done.stdout, done.stderr) == ("result\n", "working\n")


def test_configure_after_opentelemetry_instrument_changes_nothing(run: Any) -> None:
    """One set of files, one line; what differs is named in one warning."""
    done = run("import otelml\nfor _ in range(3): otelml.configure(span_budget=7)\n" + PROGRAM)
    assert len(done.announcements) == 1
    assert done.stderr.count("ignored: span_budget") == 1
    assert len(list(done.folder.glob("telemetry/*/*/logs*.jsonl"))) == 1


def test_providers_of_the_program_stay(run: Any) -> None:
    """Each signal is said once; instruments measure into the SDK meter provider; the rest is as without us."""
    program = """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    reader = InMemoryMetricReader()
    meters, tracers = MeterProvider([reader]), TracerProvider()
    metrics.set_meter_provider(meters)
    trace.set_tracer_provider(tracers)
    import otelml
    otelml.configure()
    """ + textwrap.indent(PROGRAM, "    ") + """
    assert metrics.get_meter_provider() is meters and trace.get_tracer_provider() is tracers
    scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
    print(sorted(metric.name for scope in scopes for metric in scope.metrics))
    """  # fmt: skip
    done = run(program, way=PLAIN)
    assert "'ml.stage.duration'" in done.stdout
    assert done.stderr.count("already set a provider for traces") == 1
    assert done.stderr.count("already set a provider for metrics") == 1
    assert "provider for logs" not in done.stderr
    assert done.lines("metrics") == done.lines("traces") == []
    assert done.lines("logs")


def test_a_declarative_file_leaves_the_program_s_providers_alone(run: Any, tmp_path: Path) -> None:
    """Signals that are set already stay with who set them, the file gets the others."""
    (tmp_path / "otel.yaml").write_text(CONFIG_FILE.format(folder=tmp_path))
    program = """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.trace import TracerProvider
    mine = TracerProvider()
    trace.set_tracer_provider(mine)
    import otelml
    otelml.configure()
    print(trace.get_tracer_provider() is mine, type(metrics.get_meter_provider()).__name__)
    """
    done = run(program, way=PLAIN, OTEL_CONFIG_FILE="otel.yaml")
    assert done.stdout == "True MeterProvider\n"
    assert done.stderr.count("already set a provider for traces") == 1
    assert "Overriding" not in done.stderr


def test_variables_that_make_the_api_create_providers_do_not_get_in_the_way(run: Any) -> None:
    """OTEL_PYTHON_<KIND>_PROVIDER would have exporters create the globals while ours are being built."""
    program = (
        PROGRAM + "from opentelemetry import metrics; metrics.get_meter('m').create_counter('own').add(1)"
    )
    done = run(
        program,
        OTEL_PYTHON_METER_PROVIDER="sdk_meter_provider",
        OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider",
    )
    assert "Overriding" not in done.stderr
    assert '"own"' in json.dumps(done.lines("metrics"))
    assert done.lines("traces")


def test_logs_that_are_bridged_already_are_not_written_twice(run: Any) -> None:
    """A program with its own logger provider and OpenTelemetry's own handler keeps exactly that."""
    program = """
    import logging
    from opentelemetry import _logs
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    kept, provider = InMemoryLogRecordExporter(), LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    _logs.set_logger_provider(provider)
    logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))
    import otelml
    otelml.configure()
    logging.getLogger("app").warning("working")
    print([str(found.log_record.body) for found in kept.get_finished_logs()].count("working"))
    """
    assert run(program, way=PLAIN).stdout == "1\n"


@pytest.mark.parametrize("way", [INSTRUMENT, PLAIN])
def test_disabled_means_nothing_at_all(run: Any, way: tuple[str, ...]) -> None:
    """No file, no port, no word; stages and instruments still work."""
    program = "import otelml\notelml.configure()\notelml.counter('my.count').bind(a='b').add(1)\n" + PROGRAM
    done = run(program, way=way, OTEL_SDK_DISABLED="true")
    assert (done.stdout, done.stderr) == ("result\n", "working\n")
    assert not (done.folder / "telemetry").exists()


def test_force_flush_and_shutdown(run: Any) -> None:
    """A flush writes what there is; after the shutdown everything is harmless, and the exit is silent."""
    program = """
    import logging, pathlib, otelml
    from otelml.configurator import force_flush, shutdown
    print(force_flush())
    otelml.configure()
    def lines(): return len(next(pathlib.Path().glob("telemetry/*/*/logs.jsonl")).read_text().splitlines())
    logging.getLogger("app").warning("one")
    print(force_flush(), lines())
    logging.getLogger("app").warning("two")
    shutdown()
    print(lines())
    shutdown()
    logging.getLogger("app").warning("three")
    with otelml.stage("after"): pass
    otelml.configure()
    print(lines())
    """
    done = run(program, way=PLAIN, OTELML_QUIET="true")
    assert done.stdout.split() == ["False", "True", "1", "2", "2"]
    assert done.stderr == "one\ntwo\nthree\n"


def test_the_start_up_line_can_be_left_out(run: Any) -> None:
    """OTELML_QUIET; everything else is as ever."""
    done = run(PROGRAM, OTELML_QUIET="true")
    assert done.stderr == "working\n"
    assert done.lines("logs")


SPAWN = """
import logging, multiprocessing, otelml

def work(n):
    with otelml.stage("child"):
        logging.getLogger("app").warning("in child")
    return n

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(sum(pool.map(work, range(4))))
        pool.close()
        pool.join()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_are_silent(run: Any, method: str) -> None:
    """One line, one set of files: the parent's. Neither the workers nor the tracker have any."""
    done = run(SPAWN.replace('"spawn"', f'"{method}"'))
    assert done.stdout == "6\n"
    assert len(done.announcements) == 1
    assert [record["message"] for record in done.lines("logs")] == []
    assert len(list(done.folder.glob("telemetry/*/*/metrics*.jsonl"))) <= 1


def test_workers_of_a_fork_server_export_when_asked_to(run: Any) -> None:
    """They are forked from a process that has set up telemetry, and inherit no more than that it is on."""
    done = run(SPAWN.replace('"spawn"', '"forkserver"'), OTELML_FORK="export")
    assert done.stdout == "6\n"
    assert [record["message"] for record in done.lines("logs")] == ["in child"] * 4
    assert {record["run_id"] for record in done.lines("logs")} == {done.announcements[0].split("run ")[1]}


def test_spawned_workers_export_when_asked_to(run: Any) -> None:
    """Each has a line and files of its own, in the parent's run; the resource tracker has none."""
    done = run(SPAWN, OTELML_FORK="export")
    assert done.stdout == "6\n"
    assert len(done.announcements) == 3
    assert len({line.split("run ")[1] for line in done.announcements}) == 1
    assert [record["message"] for record in done.lines("logs")] == ["in child"] * 4
    services = {record["service"] for record in done.lines("logs")}
    assert services == {done.announcements[0].partition("service ")[2].partition(",")[0]}


@pytest.mark.parametrize(("way", "start"), [(INSTRUMENT, ""), (PLAIN, "import otelml\notelml.configure()\n")])
def test_stages_in_threads_keep_their_trace(run: Any, way: tuple[str, ...], start: str) -> None:
    """The threading instrumentation is on by both ways in."""
    program = (
        start
        + """
import otelml
from concurrent.futures import ThreadPoolExecutor

def inner():
    with otelml.stage("inner"): pass

with otelml.stage("outer"), ThreadPoolExecutor() as pool:
    pool.submit(inner).result()
"""
    )
    done = run(program, way=way)
    spans = {
        span["name"]: span
        for line in done.lines("traces")
        for span in line["resourceSpans"][0]["scopeSpans"][0]["spans"]
    }
    assert spans["inner"]["parentSpanId"] == spans["outer"]["spanId"]
    assert spans["inner"]["traceId"] == spans["outer"]["traceId"]
    assert "already instrumented" not in done.stderr


@pytest.mark.parametrize(("way", "start"), [(INSTRUMENT, ""), (PLAIN, "import otelml\notelml.configure()\n")])
def test_the_console_format_has_trace_ids_only_on_request(run: Any, way: tuple[str, ...], start: str) -> None:
    """OTEL_PYTHON_LOG_CORRELATION works as in OpenTelemetry; without it there is no handler that is not the user's."""
    handlers = "import logging; print(len(logging.getLogger().handlers))\n"
    plain = run(start + handlers + PROGRAM, way=way)
    assert plain.stdout == "0\nresult\n"
    asked = run(start + handlers + PROGRAM, way=way, OTEL_PYTHON_LOG_CORRELATION="true")
    assert re.search(r"working", asked.stderr)
    assert re.search(r"trace_id=[0-9a-f]{32} ", asked.stderr)
    assert [record["message"] for record in asked.lines("logs")][-1:] == ["working"]


def test_without_the_sdk_the_program_runs(run: Any) -> None:
    """`configure()` says that nothing is recorded, and stages cost next to nothing."""
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\nimport otelml\notelml.configure()\n" + PROGRAM
    )
    done = run(program, way=PLAIN)
    assert done.stdout == "result\n"
    assert done.stderr.count("nothing is recorded") == 1


def test_rank_and_launcher_are_on_every_signal(run: Any) -> None:
    """As torchrun would start it; the rank is in the start-up line, in the logs and in the file names."""
    done = run(PROGRAM, RANK="3", LOCAL_RANK="1", WORLD_SIZE="8", TORCHELASTIC_RUN_ID="exp1")
    assert done.announcements[0].endswith("service train, run exp1, rank 3 of 8")
    record = done.lines("logs")[0]
    assert (record["run_id"], record["rank"]) == ("exp1", 3)
    assert list(done.folder.glob("telemetry/train/exp1/logs.rank3.jsonl"))
