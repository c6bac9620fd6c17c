"""Settings: a mapping in, settings or one error out."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sentry_sdk.consts import EndpointType
from sentry_sdk.utils import Dsn as SentryDsn

from otelml import settings
from otelml.settings import SETTINGS, Settings, SettingsError, load, load_lenient, parsers
from otelml.settings.ranks import Ranks, read_ranks


def problems_of(environ: dict[str, str], **keywords: object) -> dict[str, str]:
    """What `load` complains about, by name."""
    with pytest.raises(SettingsError) as caught:
        load(environ, **keywords)
    return {problem.name: problem.allowed for problem in caught.value.problems}


def test_nothing_set_gives_the_defaults_of_the_table() -> None:
    """Every field has the default of its row, and says that it is one."""
    found = load({})
    assert {row.field: getattr(found, row.field) for row in SETTINGS} == {
        row.field: row.default for row in SETTINGS
    }
    assert {found.source(row.field) for row in SETTINGS} == {"default"}


def test_defaults_that_others_rely_on() -> None:
    """The values that design and docs promise."""
    found = load({})
    assert (found.span_budget, found.cardinality_limit, found.stage_name_limit) == (50.0, 200, 200)
    assert (found.telemetry_dir, found.file_max_bytes, found.file_keep) == (Path("telemetry"), 104857600, 5)
    assert (found.metric_interval_s, found.exit_timeout_s, found.fork) == (15.0, 2.0, "silent")
    assert (found.prometheus_host, found.prometheus_port, found.log_level) == ("127.0.0.1", 9464, "INFO")
    assert dict(found.quiet_loggers)["matplotlib"] == "WARNING"
    assert (found.gpu_devices, found.gpu_interval_s, found.gpu_serial_number) == ("rank", 5.0, False)
    assert (found.nvml_replay, found.nvml_replay_state) == (None, None)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("OTELML_SPAN_BUDGET", "all", "span_budget", math.inf),
        ("OTELML_SPAN_BUDGET", "0", "span_budget", 0.0),
        ("OTELML_SPAN_BUDGET", " 7.5 ", "span_budget", 7.5),
        ("OTELML_STAGE_LOGS", "Yes", "stage_logs", True),
        ("OTELML_STAGE_LOGS", "0", "stage_logs", False),
        ("OTELML_FILE_MAX_BYTES", "1GiB", "file_max_bytes", 2**30),
        ("OTELML_FILE_MAX_BYTES", "1.5 MB", "file_max_bytes", 1_500_000),
        ("OTELML_FILE_MAX_BYTES", "64k", "file_max_bytes", 65536),
        ("OTELML_FILE_MAX_BYTES", "1_000", "file_max_bytes", 1000),
        ("OTELML_EXIT_TIMEOUT", "500ms", "exit_timeout_s", 0.5),
        ("OTELML_EXIT_TIMEOUT", "1m", "exit_timeout_s", 60.0),
        ("OTELML_EXIT_TIMEOUT", "3", "exit_timeout_s", 3.0),
        ("OTELML_LOG_LEVEL", "warn", "log_level", "WARNING"),
        ("OTELML_FORK", "EXPORT", "fork", "export"),
        ("OTELML_QUIET_LOGGERS", "none", "quiet_loggers", ()),
        ("OTELML_QUIET_LOGGERS", "a, b=error", "quiet_loggers", (("a", "WARNING"), ("b", "ERROR"))),
        ("OTELML_GPU_DEVICES", "ALL", "gpu_devices", "all"),
        ("OTELML_GPU_DEVICES", "0, 3", "gpu_devices", "0,3"),
        ("OTELML_GPU_DEVICES", "GPU-8932f937,MIG-c6d4", "gpu_devices", "GPU-8932f937,MIG-c6d4"),
        ("OTELML_GPU_DEVICES", "MIG-GPU-8932f937/1/0", "gpu_devices", "MIG-GPU-8932f937/1/0"),
        ("OTELML_GPU_DEVICES", "00000000:3B:00.0,3b:00", "gpu_devices", "00000000:3B:00.0,3b:00"),
        ("OTELML_GPU_INTERVAL", "1", "gpu_interval_s", 1.0),
        ("OTELML_GPU_INTERVAL", "1500ms", "gpu_interval_s", 1.5),
        ("OTELML_NVML_REPLAY", "h200", "nvml_replay", ("h200",)),
        ("OTELML_NVML_REPLAY", f" h200 {os.pathsep}/a b.json{os.pathsep}", "nvml_replay", ("h200", "/a b.json")),
        ("OTELML_NVML_REPLAY_STATE", "Load", "nvml_replay_state", "load"),
        ("OTELML_GPU_SERIAL_NUMBER", "on", "gpu_serial_number", True),
        ("OTELML_DIR", "~", "telemetry_dir", Path.home()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "2500", "metric_interval_s", 2.5),
        ("OTEL_SDK_DISABLED", "TRUE", "sdk_disabled", True),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b%20c,d=", "resource_attributes", {"a": "b c", "d": ""}),
        ("OTEL_METRICS_EXPORTER", "otlp, prometheus", "metrics_exporter", ("otlp", "prometheus")),
        ("OTEL_TRACES_EXPORTER", "otelml_files", "traces_exporter", ("otelml_files",)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC", "otlp_protocol", "grpc"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "k=v", "otlp_logs_headers", {"k": "v"}),
        ("OTEL_PROPAGATORS", "tracecontext,none", "propagators", ("tracecontext", "none")),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "0", "prometheus_port", 0),
        ("SENTRY_TRACES_SAMPLE_RATE", "25%", "sentry_traces_sample_rate", 0.25),
        ("SENTRY_ENVIRONMENT", "staging", "sentry_environment", "staging"),
        ("SENTRY_RELEASE", "train@1.2 (a)", "sentry_release", "train@1.2 (a)"),
        ("OTEL_TRACES_EXPORTER", "otelml_sentry", "traces_exporter", ("otelml_sentry",)),
    ],
)  # fmt: skip
def test_a_variable_is_read_as_a_user_would_write_it(
    variable: str, text: str, field: str, value: object
) -> None:
    """Units, percentages, cases and spaces are understood; the source is the environment."""
    found = load({variable: text})
    assert getattr(found, field) == value
    assert found.source(field) == "environment"


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_is_an_unset_one(text: str) -> None:
    """OpenTelemetry's rule, for every row."""
    assert load({row.env: text for row in SETTINGS}) == load({})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OTELML_SPAN_BUDGET", "-1"),
        ("OTELML_SPAN_BUDGET", "nan"),
        ("OTELML_CARDINALITY_LIMIT", "0"),
        ("OTELML_CARDINALITY_LIMIT", "2.5"),
        ("OTELML_FILE_MAX_BYTES", "10 parsecs"),
        ("OTELML_FILE_MAX_BYTES", "0"),
        ("OTELML_EXIT_TIMEOUT", "-1s"),
        ("OTELML_STAGE_LOGS", "maybe"),
        ("OTELML_RUN_ID", "a\x07b"),
        ("OTELML_GPU_DEVICES", "first"),
        ("OTELML_GPU_DEVICES", "0,all"),
        ("OTELML_GPU_DEVICES", "-1"),
        ("OTELML_GPU_DEVICES", "0-3"),
        ("OTELML_GPU_DEVICES", "GPU-"),
        ("OTELML_GPU_DEVICES", "GPU-xyz"),
        ("OTELML_GPU_DEVICES", ","),
        ("OTELML_GPU_INTERVAL", "0"),
        ("OTELML_GPU_INTERVAL", "900ms"),
        ("OTELML_NVML_REPLAY", os.pathsep),
        ("OTELML_NVML_REPLAY_STATE", "busy"),
        ("OTELML_RUN_ID", "x" * 129),
        ("SENTRY_TRACES_SAMPLE_RATE", "10"),
        ("SENTRY_TRACES_SAMPLE_RATE", "-0.1"),
        ("SENTRY_TRACES_SAMPLE_RATE", "often"),
        ("SENTRY_ENVIRONMENT", "my staging"),
        ("SENTRY_ENVIRONMENT", "a/b"),
        ("SENTRY_ENVIRONMENT", "None"),
        ("SENTRY_ENVIRONMENT", "x" * 65),
        ("SENTRY_RELEASE", ".."),
        ("SENTRY_RELEASE", "a/b"),
        ("SENTRY_RELEASE", "x" * 201),
        ("OTEL_METRICS_EXPORTER", "otelml_sentry"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15s"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "70000"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:port"),
        ("OTEL_RESOURCE_ATTRIBUTES", "novalue"),
        ("OTEL_TRACES_EXPORTER", "zipkin_of_old"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
    ],
)
def test_what_cannot_be_used_is_refused_or_replaced(
    variable: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Strict: an error that names variable and value. Lenient: the default, said once, remembered as rejected."""
    with pytest.raises(SettingsError) as caught:
        load({variable: text})
    assert variable in str(caught.value)
    assert repr(text) in str(caught.value)
    found = load_lenient({variable: text})
    load_lenient({variable: text})
    assert found == load({})
    assert found.rejected == {variable}
    assert [variable in record.getMessage() for record in caplog.records] == [True]


def test_one_error_lists_every_problem_with_what_is_allowed() -> None:
    """A user with three mistakes repairs them in one round."""
    found = problems_of(
        {"OTELML_FORK": "sometimes", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        span_budgt=3,
        log_level="loud",
    )
    assert found == {
        "OTELML_FORK": "must be one of silent, export",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "must be one of http/protobuf, grpc",
        "span_budgt": "is no setting; did you mean span_budget?",
        "log_level": "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    }


@pytest.mark.parametrize(
    ("keywords", "values"),
    [
        ({"gpu_devices": [0, 3]}, ("0,3", None)),
        ({"gpu_devices": 2, "nvml_replay": ["h200", Path("a.json")]}, ("2", ("h200", "a.json"))),
        ({"gpu_devices": ("GPU-1a", "3b:00.0"), "nvml_replay": "h200"}, ("GPU-1a,3b:00.0", ("h200",))),
        ({"nvml_replay": Path("a.json")}, ("rank", ("a.json",))),
    ],
)
def test_gpus_are_configured_by_lists_too(keywords: dict[str, object], values: tuple[object, object]) -> None:
    """Numbers, ids and paths, one or several."""
    found = load({}, **keywords)
    assert (found.gpu_devices, found.nvml_replay) == values


def test_what_gpus_may_be_named_by_is_told() -> None:
    """The error has every form, and the shortest time between two readings."""
    assert problems_of({"OTELML_GPU_DEVICES": "first", "OTELML_GPU_INTERVAL": "10ms"}) == {
        "OTELML_GPU_DEVICES": "must be rank, visible, all, none, or GPUs separated by commas: indices of NVML, UUIDs "
        "that start with GPU- or MIG-, or their beginnings, PCI bus ids such as 0000:3b:00.0",
        "OTELML_GPU_INTERVAL": "must be a duration such as 2s, 500ms or a number of seconds, 1 s or more",
    }


def test_unknown_components_are_told_what_is_installed() -> None:
    """The exporters on offer are in the message."""
    allowed = problems_of({"OTEL_METRICS_EXPORTER": "promteheus"})["OTEL_METRICS_EXPORTER"]
    assert allowed.startswith("must be what is installed, separated by commas: ")
    assert {"console", "none", "otelml_files", "otlp", "prometheus"} <= set(
        allowed.split(": ")[1].split(", ")
    )


def test_the_sampler_s_argument_is_checked_with_the_sampler_that_takes_it() -> None:
    """A ratio must be one, as a number or a percentage; other samplers take any text."""
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
    assert load({**ratio, "OTEL_TRACES_SAMPLER_ARG": "10%"}).sampler_arg == "10%"
    assert (
        load({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "whatever"}).sampler_arg
        == "whatever"
    )
    assert set(problems_of({**ratio, "OTEL_TRACES_SAMPLER_ARG": "7"})) == {"OTEL_TRACES_SAMPLER_ARG"}


def test_only_grpc_endpoints_do_without_a_scheme() -> None:
    """HTTP to `collector:4318` would fail with every request."""
    bare = {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}
    assert load({**bare, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).otlp_endpoint == "collector:4317"
    assert load({**bare, "OTEL_TRACES_EXPORTER": "otlp_proto_grpc"}).otlp_endpoint == "collector:4317"
    assert set(problems_of(bare)) == {"OTEL_EXPORTER_OTLP_ENDPOINT"}


@pytest.mark.parametrize(
    "text",
    [
        "sentry.io",
        "https://sentry.io/1",
        "https://k@sentry.io",
        "https://k@sentry.io/project",
        "https://k@sentry.io:port/1",
        "ftp://k@sentry.io/1",
        "https://k@/1",
        "https://k@sentry.io/1?x=y",
    ],
)
def test_what_is_no_dsn_is_told_without_being_shown(text: str) -> None:
    """It may hold a key all the same."""
    with pytest.raises(SettingsError) as caught:
        load({"SENTRY_DSN": text})
    (problem,) = caught.value.problems
    assert (problem.name, problem.value) == ("SENTRY_DSN", "***")
    assert problem.allowed == "must be a DSN such as https://0123abcd@o1.ingest.sentry.io/123"
    assert load_lenient({"SENTRY_DSN": text}).sentry_dsn is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://k@o1.ingest.sentry.io/7", "https://o1.ingest.sentry.io/api/7/integration/otlp/v1/traces"),
        ("http://k@localhost:8000/1", "http://localhost:8000/api/1/integration/otlp/v1/traces"),
        ("https://k:old@h.org/a/b/1", "https://h.org/a/b/api/1/integration/otlp/v1/traces"),
    ],
)
def test_a_dsn_says_where_traces_go(text: str, url: str) -> None:
    """The project's OTLP path and its key, as Sentry's own SDK reads them off it; the key is not in its `repr`."""
    dsn = load({}, sentry_dsn=text).sentry_dsn
    assert dsn is not None
    auth = SentryDsn(text).to_auth()
    assert dsn.otlp_traces_url == url == auth.get_api_url(EndpointType.OTLP_TRACES).rstrip("/")
    assert dsn.otlp_headers == {"x-sentry-auth": f"sentry sentry_key={auth.public_key}"}
    assert str(dsn) == text
    assert "k@" not in repr(dsn)


def test_keywords_win_and_are_read_like_variables() -> None:
    """`configure(...)` takes Python values; durations in seconds also where the variable has milliseconds."""
    found = load(
        {"OTELML_SPAN_BUDGET": "1", "OTEL_METRIC_EXPORT_INTERVAL": "9000"},
        span_budget=math.inf, metric_interval_s=2.5, telemetry_dir=Path("x"), stage_logs=True,
        traces_exporter=["console", "otlp"], resource_attributes={"a": "b,c"}, quiet_loggers={"a": "info"},
        file_max_bytes=1000, run_id=None,
    )  # fmt: skip
    assert (found.span_budget, found.metric_interval_s, found.telemetry_dir) == (math.inf, 2.5, Path("x"))
    assert (found.stage_logs, found.traces_exporter, found.file_max_bytes) == (
        True,
        ("console", "otlp"),
        1000,
    )
    assert (found.resource_attributes, found.quiet_loggers) == ({"a": "b,c"}, (("a", "INFO"),))
    assert found.source("span_budget") == "configure()"
    assert found.source("run_id") == "default"


def test_a_keyword_replaces_a_variable_that_cannot_be_used() -> None:
    """What is not read need not be right."""
    assert load({"OTELML_FORK": "maybe"}, fork="export").fork == "export"


def test_a_keyword_in_another_unit_than_its_variable_is_told_its_own() -> None:
    """`metric_interval_s` is in seconds."""
    assert problems_of({}, metric_interval_s="soon") == {
        "metric_interval_s": "must be seconds, 0.001 or more"
    }


def test_the_deployment_names_the_service() -> None:
    """OTEL_SERVICE_NAME wins over `configure(service_name=...)`, which wins over nothing."""
    assert load({"OTEL_SERVICE_NAME": "deployed"}, service_name="coded").service_name == "deployed"
    assert load({}, service_name="coded").service_name == "coded"


def test_unknown_variables_of_ours_are_named_once_with_a_guess(caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt variable would silently do nothing; OpenTelemetry's own are none of our business."""
    environ = {"OTELML_SPAN_BUGDET": "3", "OTEL_WHATEVER": "x", "OTELML_INTERNAL_X": "y"}
    assert load(environ) == load_lenient(environ) == load({})
    assert [record.getMessage() for record in caplog.records] == [
        "otelml: OTELML_SPAN_BUGDET is no variable of otelml; did you mean OTELML_SPAN_BUDGET?"
    ]


@pytest.mark.parametrize(
    ("variable", "text", "shown"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer s3cret,x=y", "authorization=***,x=***"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret", "***"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/keys/s3cret.pem", "***"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:s3cret@h:1/p?key=s3cret", "https://***@h:1/p?***"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "s3cret@h:4317", "***@h:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318", "http://h:4318"),
        ("SENTRY_DSN", "https://s3cret:s3cret@o1.sentry.io:9/a/7", "https://***@o1.sentry.io:9/a/7"),
        ("SENTRY_DSN", "https:/s3cret@sentry.io/7", "***"),
    ],
)
def test_secrets_are_never_shown(variable: str, text: str, shown: str) -> None:
    """Header values, keys, and users, passwords and query values of URLs are masked."""
    row = next(row for row in SETTINGS if row.env == variable)
    assert row.show(text) == shown


def test_secrets_do_not_reach_error_messages() -> None:
    """A malformed header or endpoint is reported without what it holds."""
    with pytest.raises(SettingsError) as caught:
        load(
            {
                "OTEL_EXPORTER_OTLP_HEADERS": "s3cret",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://u:s3cret@h",
                "SENTRY_DSN": "https://s3cret@sentry.io/project",
            }
        )
    assert len(caught.value.problems) == 3
    assert "s3cret" not in str(caught.value)


def test_every_value_survives_writing_and_reading() -> None:
    """The text shown for a default is the text that gives it: docs and `otelml env` do not lie."""
    for row in SETTINGS:
        if row.default is not None and row.default != ():
            assert row.parse.read(row.parse.write(row.default)) == row.default, row.env


def test_the_table_is_one_row_a_field_and_a_variable() -> None:
    """No variable and no field stands twice; each has a text, and is of a known kind."""
    assert len({row.env for row in SETTINGS}) == len({row.field for row in SETTINGS}) == len(SETTINGS)
    assert all(row.doc and row.env.startswith(("OTEL_", "OTELML_", "SENTRY_")) for row in SETTINGS)


def test_the_signal_s_own_otlp_setting_wins_over_the_general_one() -> None:
    """`otlp()` looks at both."""
    found = load({"OTEL_EXPORTER_OTLP_TIMEOUT": "3", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "5"})
    assert [found.otlp(signal, "timeout") for signal in ("traces", "metrics", "logs")] == [3.0, 3.0, 5.0]


def test_current_is_read_once_and_set_by_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later changes of the environment do not reach a running process."""
    monkeypatch.setenv("OTELML_SPAN_BUDGET", "3")
    assert settings.current().span_budget == 3.0
    monkeypatch.setenv("OTELML_SPAN_BUDGET", "4")
    assert settings.current().span_budget == 3.0
    settings.set_current(load({}, span_budget=5))
    assert settings.current().span_budget == 5.0
    settings.reset()
    assert settings.current().span_budget == 4.0


def test_settings_cannot_be_changed() -> None:
    """They are frozen: what `configure()` settled on holds."""
    with pytest.raises(AttributeError):
        load({}).span_budget = 1.0  # type: ignore[misc]


def test_ratios_are_numbers_or_percentages() -> None:
    """0.1 and 10% are the same; what is outside of 0 to 1 is neither."""
    assert parsers.ratio.read("0.1") == parsers.ratio.read("10 %") == 0.1
    with pytest.raises(ValueError, match="101"):
        parsers.ratio.read("101%")


def test_opentelemetry_instrument_finds_no_option_of_its_own_in_the_module() -> None:
    """Its command line takes every attribute OTEL_* of the entry point's module for an option, and fails on doubles."""
    assert [name for name in dir(settings) if name.startswith("OTEL_")] == []


def test_importing_settings_is_light() -> None:
    """Neither the SDK nor a numerical library comes along."""
    code = "import otelml.settings, sys; print([m for m in ('opentelemetry.sdk', 'numpy', 'yaml') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_load_says_nothing_about_valid_settings(caplog: pytest.LogCaptureFixture) -> None:
    """Silence is the sign that all is well."""
    caplog.set_level(logging.DEBUG)
    assert isinstance(load({"OTELML_QUIET": "1"}), Settings)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("environ", "ranks"),
    [
        ({}, Ranks()),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}, Ranks(3, 1, 8)),
        ({"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}, Ranks(3, 1, 8)),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8"}, Ranks(3, None, 8)),
        ({"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0"}, Ranks(0, 0, 2)),
        ({"RANK": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, Ranks(1, None, None)),
        ({"RANK": "", "SLURM_PROCID": "2"}, Ranks(2, None, None)),
        ({"RANK": "-1"}, Ranks()),
        ({"RANK": "one", "WORLD_SIZE": "8"}, Ranks()),
        ({"WORLD_SIZE": "8"}, Ranks()),
        ({"RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, Ranks(5, 1, None, 4)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, Ranks(1, None, None, 2)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x3)"}, Ranks(1, None, None, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "4"}, Ranks(1, None, None, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2),2"}, Ranks(1)),
        ({"PMI_RANK": "1", "MPI_LOCALNRANKS": "2"}, Ranks(1, None, None, 2)),
    ],
)
def test_ranks_are_the_launcher_s_or_unknown(environ: dict[str, str], ranks: Ranks) -> None:
    """One launcher's variables are read together; nothing is mixed, corrected or invented."""
    assert read_ranks(environ) == ranks
