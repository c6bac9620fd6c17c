"""The one table of settings: variable, field, default, parser and text feed loading, errors, docs, `otelml env`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from otelml.settings import parsers
from otelml.settings.dsn import Dsn, mask_dsn
from otelml.settings.parsers import Parser, mask_endpoint

SIGNALS = ("traces", "metrics", "logs")
QUIET_LOGGERS = tuple(
    (name, "WARNING")
    for name in (
        "PIL",
        "absl",
        "asyncio",
        "boto3",
        "botocore",
        "coremltools",
        "datasets",
        "filelock",
        "fsspec",
        "h5py",
        "httpcore",
        "httpx",
        "huggingface_hub",
        "jax",
        "matplotlib",
        "numba",
        "numexpr",
        "s3transfer",
        "sentence_transformers",
        "tensorflow",
        "torch",
        "transformers",
        "urllib3",
    )
)

Source = Literal["default", "environment", "configure()"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `parse` reads the text; `default` is the value when the variable is unset or empty."""

    env: str
    field: str
    default: Any
    parse: Parser
    doc: str
    secret: bool = False
    group: str = ""

    @property
    def is_standard(self) -> bool:
        """Whether OpenTelemetry defines the variable."""
        return self.env.startswith("OTEL_")

    def show(self, text: str) -> str:
        """`text` as it may be printed: no header values, keys, or passwords in URLs."""
        if self.parse is parsers.dsn:
            return mask_dsn(text)
        if self.secret:
            pairs = [part.partition("=") for part in text.split(",")]
            return ",".join(f"{key.strip()}=***" for key, equals, _ in pairs if equals) or "***"
        if self.parse is parsers.pairs:
            return ",".join(_masked(*part.partition("=")) for part in text.split(","))
        return mask_endpoint(text) if self.parse is parsers.endpoint else text

    def show_value(self, value: Any) -> str:
        """`value` as text that may be printed; nothing for None."""
        return "" if value in (None, ()) else self.show(self.parse.write(value))


_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)


def _masked(key: str, equals: str, value: str) -> str:
    return f"{key}{equals}***" if value and _SECRET_NAME.search(key) else f"{key}{equals}{value}"


def _row(env: str, default: Any, parse: Parser, doc: str, *, secret: bool = False, group: str) -> Any:
    return field(default=default, metadata={"setting": Setting(env, "", default, parse, doc, secret, group)})


def _mine(env: str, default: Any, parse: Parser, doc: str) -> Any:
    return _row(env, default, parse, doc, group="otelml")


def _standard(env: str, default: Any, parse: Parser, doc: str) -> Any:
    return _row(env, default, parse, doc, group="OpenTelemetry")


def _sentry(env: str, default: Any, parse: Parser, doc: str, *, secret: bool = False) -> Any:
    return _row(env, default, parse, doc, secret=secret, group="Sentry")


def _exporters(signal: str) -> Parser:
    own = {"metrics": ("prometheus",), "traces": (parsers.SENTRY_EXPORTER,)}.get(signal, ())
    mine = ("otlp", "none", parsers.FILES_EXPORTER, *own)
    return parsers.component(f"opentelemetry_{signal}_exporter", *mine, several=True)


_OTLP_ROWS: tuple[tuple[str, Parser, bool, str], ...] = (
    ("endpoint", parsers.endpoint, False, "where {what} go over OTLP; over HTTP {path}"),
    ("protocol", parsers.choice("http/protobuf", "grpc"), False, "how; http/protobuf when unset"),
    ("headers", parsers.pairs, True, "headers of each request"),
    ("timeout", parsers.number(0, unit="seconds"), False, "limit for one attempt to export; 10 s when unset"),
    ("compression", parsers.choice("none", "gzip", "deflate"), False, "compression of the requests"),
    ("certificate", parsers.path, False, "file with the certificates to trust"),
    ("client_key", parsers.path, True, "file with the client's private key"),
    ("client_certificate", parsers.path, False, "file with the client's certificate"),
    ("insecure", parsers.standard_flag, False, "gRPC without TLS where the endpoint has no scheme"),
)


def _otlp_fields(signal: str) -> list[tuple[str, Any, Any]]:
    scope = f"{signal}_" if signal else ""
    path = "the full URL" if signal else "/v1/traces, /v1/metrics, /v1/logs are appended"
    what = signal or "all signals"
    return [
        (
            f"otlp_{scope}{name}",
            Any,
            _row(
                f"OTEL_EXPORTER_OTLP_{scope}{name}".upper(),
                None,
                parse,
                doc.format(what=what, path=path)
                if not signal or name == "endpoint"
                else f"the same for {signal}",
                secret=secret,
                group="OTLP",
            ),
        )
        for name, parse, secret, doc in _OTLP_ROWS
    ]


# One general row and one a signal for each of the nine: written out, 36 fields that differ in their names only.
_OtlpSettings: Any = make_dataclass(
    "_OtlpSettings",
    [row for signal in ("", *SIGNALS) for row in _otlp_fields(signal)],
    frozen=True,
    eq=False,
    repr=False,
)


@dataclass(frozen=True)
class Settings(_OtlpSettings):
    """Every setting in force. Durations in seconds, sizes in bytes; `None` is unset."""

    # What is recorded
    span_budget: float = _mine(
        "OTELML_SPAN_BUDGET",
        50.0,
        parsers.span_budget,
        "spans a second that each stage name may make; `all` for every one, `0` for none",
    )
    stage_logs: bool = _mine(
        "OTELML_STAGE_LOGS", False, parsers.flag, "write a start and a complete log record for every stage"
    )
    cardinality_limit: int = _mine(
        "OTELML_CARDINALITY_LIMIT",
        200,
        parsers.integer(1),
        "series an instrument may have, and names stages may have; what goes beyond is counted as overflow",
    )
    log_level: str = _mine(
        "OTELML_LOG_LEVEL", "INFO", parsers.log_level, "level of the logger `otelml`, which events use"
    )
    quiet_loggers: tuple[tuple[str, str], ...] = _mine(
        "OTELML_QUIET_LOGGERS",
        QUIET_LOGGERS,
        parsers.logger_levels,
        "libraries too talkative below WARNING, or below LEVEL in name=LEVEL: `setup_logging` raises their loggers, "
        "and telemetry leaves such records out; `none` for none",
    )
    # Where it goes
    telemetry_dir: Path = _mine(
        "OTELML_DIR", Path("telemetry"), parsers.path, "folder of the embedded default's files"
    )
    file_max_bytes: int = _mine(
        "OTELML_FILE_MAX_BYTES", 100 * 2**20, parsers.size_bytes, "size at which a telemetry file is rotated"
    )
    file_keep: int = _mine(
        "OTELML_FILE_KEEP", 5, parsers.integer(0), "rotated files kept beside each current one"
    )
    run_id: str | None = _mine(
        "OTELML_RUN_ID",
        None,
        parsers.identifier,
        "id of this run; the launcher's, or one made up, when unset",
    )
    quiet: bool = _mine("OTELML_QUIET", False, parsers.flag, "no start-up line on stderr")
    # Processes
    fork: Literal["silent", "export"] = _mine(
        "OTELML_FORK",
        "silent",
        parsers.choice("silent", "export"),
        "whether worker processes of `multiprocessing` export telemetry of their own",
    )
    exit_timeout_s: float = _mine(
        "OTELML_EXIT_TIMEOUT", 2.0, parsers.duration_s, "limit for the last export when the program ends"
    )
    # GPUs
    gpu_devices: str = _mine(
        "OTELML_GPU_DEVICES",
        "rank",
        parsers.gpu_devices,
        "GPUs that this process reports: `rank` for the one of its local rank among those that CUDA sees (all of "
        "them without ranks), `visible` for all that CUDA sees, `all`, `none`, or a list",
    )
    gpu_interval_s: float = _mine(
        "OTELML_GPU_INTERVAL", 5.0, parsers.duration(1), "time between two readings of the GPUs"
    )
    gpu_serial_number: bool = _mine(
        "OTELML_GPU_SERIAL_NUMBER", False, parsers.flag, "put the serial number of each GPU on its metrics"
    )
    nvml_replay: tuple[str, ...] | None = _mine(
        "OTELML_NVML_REPLAY",
        None,
        parsers.files,
        "recordings of GPUs to read in place of the GPUs here, one GPU each; `h200` is built in",
    )
    nvml_replay_state: Literal["idle", "load"] | None = _mine(
        "OTELML_NVML_REPLAY_STATE",
        None,
        parsers.choice("idle", "load"),
        "the one state of a recording to replay; all in turn when unset",
    )

    # Sentry
    sentry_dsn: Dsn | None = _sentry(
        "SENTRY_DSN",
        None,
        parsers.dsn,
        "the project that errors become issues of; nothing goes to Sentry when unset",
        secret=True,
    )
    sentry_environment: str | None = _sentry(
        "SENTRY_ENVIRONMENT",
        None,
        parsers.sentry_environment,
        "environment of issues; `deployment.environment.name` of the resource, else production, when unset",
    )
    sentry_release: str | None = _sentry(
        "SENTRY_RELEASE",
        None,
        parsers.sentry_release,
        "release of issues; `service.version` of the resource, else the git revision, when unset",
    )
    sentry_traces_sample_rate: float = _sentry(
        "SENTRY_TRACES_SAMPLE_RATE",
        0.1,
        parsers.ratio,
        "share of the traces that go to Sentry, where they go there: without an OTLP endpoint for traces",
    )

    # OpenTelemetry's own
    sdk_disabled: bool = _standard(
        "OTEL_SDK_DISABLED", False, parsers.standard_flag, "build nothing, record nothing"
    )
    config_file: Path | None = _standard(
        "OTEL_CONFIG_FILE", None, parsers.path, "declarative configuration, which then builds the providers"
    )
    service_name: str | None = _standard(
        "OTEL_SERVICE_NAME", None, parsers.text, "`service.name`; the main script's name when unset"
    )
    resource_attributes: Mapping[str, str] | None = _standard(
        "OTEL_RESOURCE_ATTRIBUTES", None, parsers.pairs, "attributes of the resource"
    )
    resource_detectors: tuple[str, ...] | None = _standard(
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        None,
        parsers.component("opentelemetry_resource_detector", "*", several=True),
        "detectors beside `host` and `ml`",
    )
    traces_exporter: tuple[str, ...] | None = _standard(
        "OTEL_TRACES_EXPORTER", None, _exporters("traces"), "exporters of traces; `none` for none"
    )
    metrics_exporter: tuple[str, ...] | None = _standard(
        "OTEL_METRICS_EXPORTER", None, _exporters("metrics"), "exporters of metrics; `none` for none"
    )
    logs_exporter: tuple[str, ...] | None = _standard(
        "OTEL_LOGS_EXPORTER", None, _exporters("logs"), "exporters of logs and events; `none` for none"
    )
    prometheus_host: str = _standard(
        "OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1", parsers.text, "address of the Prometheus endpoint"
    )
    prometheus_port: int = _standard(
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        9464,
        parsers.port,
        "its port; a taken one moves to the next free one",
    )
    metric_interval_s: float = _standard(
        "OTEL_METRIC_EXPORT_INTERVAL",
        15.0,
        parsers.milliseconds(1),
        "time between two exports of metrics; 60 s for exporters other than the embedded files",
    )
    metric_timeout_s: float = _standard(
        "OTEL_METRIC_EXPORT_TIMEOUT", 30.0, parsers.milliseconds(1), "limit for one collection of metrics"
    )
    temporality: str | None = _standard(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        None,
        parsers.choice("cumulative", "delta", "lowmemory"),
        "temporality of metrics over OTLP; cumulative when unset",
    )
    histogram_aggregation: str | None = _standard(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        None,
        parsers.choice("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        "histograms over OTLP; explicit_bucket_histogram when unset",
    )
    exemplar_filter: str | None = _standard(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        None,
        parsers.choice("always_on", "always_off", "trace_based"),
        "which measurements become exemplars; trace_based when unset",
    )
    sampler: str | None = _standard(
        "OTEL_TRACES_SAMPLER",
        None,
        parsers.component("opentelemetry_traces_sampler"),
        "sampler of traces; parentbased_always_on when unset",
    )
    sampler_arg: str | None = _standard(
        "OTEL_TRACES_SAMPLER_ARG", None, parsers.text, "its argument, such as 0.1"
    )
    id_generator: str | None = _standard(
        "OTEL_PYTHON_ID_GENERATOR",
        None,
        parsers.component("opentelemetry_id_generator"),
        "maker of trace and span ids",
    )
    propagators: tuple[str, ...] | None = _standard(
        "OTEL_PROPAGATORS",
        None,
        parsers.component("opentelemetry_propagator", "none", several=True),
        "how context crosses processes; tracecontext,baggage when unset",
    )
    bsp_schedule_delay_s: float = _standard(
        "OTEL_BSP_SCHEDULE_DELAY", 5.0, parsers.milliseconds(1), "time between two batches of spans"
    )
    bsp_export_timeout_s: float = _standard(
        "OTEL_BSP_EXPORT_TIMEOUT", 30.0, parsers.milliseconds(1), "limit for one batch of spans"
    )
    bsp_max_queue_size: int = _standard(
        "OTEL_BSP_MAX_QUEUE_SIZE", 2048, parsers.integer(1), "spans waiting at most"
    )
    bsp_max_export_batch_size: int = _standard(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        512,
        parsers.integer(1),
        "spans in a batch at most; not above the queue",
    )
    blrp_schedule_delay_s: float = _standard(
        "OTEL_BLRP_SCHEDULE_DELAY", 1.0, parsers.milliseconds(1), "time between two batches of log records"
    )
    blrp_export_timeout_s: float = _standard(
        "OTEL_BLRP_EXPORT_TIMEOUT", 30.0, parsers.milliseconds(1), "limit for one batch of log records"
    )
    blrp_max_queue_size: int = _standard(
        "OTEL_BLRP_MAX_QUEUE_SIZE", 2048, parsers.integer(1), "log records waiting at most"
    )
    blrp_max_export_batch_size: int = _standard(
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        512,
        parsers.integer(1),
        "log records in a batch at most; not above the queue",
    )
    attribute_count_limit: int | None = _standard(
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
        None,
        parsers.integer(),
        "attributes of a span or log record at most; 128 when unset",
    )
    attribute_value_length_limit: int | None = _standard(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", None, parsers.integer(), "length of an attribute's value at most"
    )
    span_attribute_count_limit: int | None = _standard(
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        None,
        parsers.integer(),
        "attributes of a span at most; 128 when unset",
    )
    span_attribute_value_length_limit: int | None = _standard(
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        None,
        parsers.integer(),
        "length of a span attribute's value at most",
    )
    span_event_count_limit: int | None = _standard(
        "OTEL_SPAN_EVENT_COUNT_LIMIT", None, parsers.integer(), "events of a span at most; 128 when unset"
    )
    span_link_count_limit: int | None = _standard(
        "OTEL_SPAN_LINK_COUNT_LIMIT", None, parsers.integer(), "links of a span at most; 128 when unset"
    )
    event_attribute_count_limit: int | None = _standard(
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        None,
        parsers.integer(),
        "attributes of a span event at most; 128 when unset",
    )
    link_attribute_count_limit: int | None = _standard(
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        None,
        parsers.integer(),
        "attributes of a span link at most; 128 when unset",
    )
    logrecord_attribute_count_limit: int | None = _standard(
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
        None,
        parsers.integer(),
        "attributes of a log record at most; 128 when unset",
    )
    logrecord_attribute_value_length_limit: int | None = _standard(
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        None,
        parsers.integer(),
        "length of a log attribute's value at most",
    )
    disabled_instrumentations: tuple[str, ...] = _standard(
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        (),
        parsers.names,
        "instrumentations not to load; `*` for all",
    )
    log_correlation: bool = _standard(
        "OTEL_PYTHON_LOG_CORRELATION",
        False,
        parsers.standard_flag,
        "put trace ids into the console format of `logging`, by its own instrumentation",
    )

    # Where each value that is not a default came from, and which variables were set to something unusable.
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False, compare=False)
    rejected: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @property
    def stage_name_limit(self) -> int:
        """Distinct stage names that get series of their own: the same limit as for an instrument's series."""
        return self.cardinality_limit

    @property
    def keeps_all_spans(self) -> bool:
        """Whether the span budget is `all`."""
        return self.span_budget == math.inf

    def source(self, name: str) -> Source:
        """Where the value of field `name` came from."""
        return self.sources.get(name, "default")

    def otlp(self, signal: str, name: str) -> Any:
        """OTLP's `name` (such as "endpoint") for `signal`: its own when set, else the general one."""
        own = getattr(self, f"otlp_{signal}_{name}")
        return own if own is not None else getattr(self, f"otlp_{name}")


def _settings_of(rows: tuple[Field[Any], ...]) -> tuple[Setting, ...]:
    table = [replace(row.metadata["setting"], field=row.name) for row in rows if "setting" in row.metadata]
    order = {"otelml": 0, "Sentry": 1, "OpenTelemetry": 2, "OTLP": 3}
    return tuple(sorted(table, key=lambda setting: order[setting.group]))


SETTINGS: tuple[Setting, ...] = _settings_of(fields(Settings))
