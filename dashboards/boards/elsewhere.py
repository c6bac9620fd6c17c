"""Metrics on the boards that are not the registry's: OpenTelemetry's instrumentation, Prometheus, collector, rules.

They stand here in the registry's form so that everything else treats them alike.
"""

from __future__ import annotations

from otelml.semconv.model import Metric

# -- opentelemetry-instrumentation-system-metrics; docs/system.md says why these and no others
TYPE = "type"
MEMORY_STATE = "state"
DEVICE, DIRECTION = "device", "direction"

PROCESS_CPU_TIME = Metric("process.cpu.time", "counter", "s", "CPU time that this process used.", (TYPE,))
PROCESS_CONTEXT_SWITCHES = Metric(
    "process.context_switches", "counter", "{switch}",
    "Times that the process was switched out: by itself, or because others ran.",
    (TYPE,),
)  # fmt: skip
PROCESS_THREADS = Metric("process.thread.count", "updowncounter", "{thread}", "Threads of this process.")
PROCESS_MEMORY = Metric("process.memory.usage", "updowncounter", "By", "Resident memory of this process.")
PROCESS_VIRTUAL_MEMORY = Metric(
    "process.memory.virtual", "updowncounter", "By", "Address space of this process."
)
MEMORY_USAGE = Metric(
    "system.memory.usage", "updowncounter", "By", "Memory of the machine, by its state.", (MEMORY_STATE,)
)
DISK_IO = Metric(
    "system.disk.io", "counter", "By", "Bytes read from and written to each disk.", (DEVICE, DIRECTION)
)
NETWORK_IO = Metric(
    "system.network.io", "counter", "By", "Bytes received and sent on each network device.", (DEVICE, DIRECTION)
)  # fmt: skip
INSTRUMENTATION = (
    PROCESS_CPU_TIME,
    PROCESS_CONTEXT_SWITCHES,
    PROCESS_THREADS,
    PROCESS_MEMORY,
    PROCESS_VIRTUAL_MEMORY,
    MEMORY_USAGE,
    DISK_IO,
    NETWORK_IO,
)

# -- what Prometheus says of its targets
JOB, INSTANCE = "job", "instance"
UP = Metric(
    "up", "gauge", "{target}", "Whether the last scrape of a target succeeded, 1 or 0.", (JOB, INSTANCE)
)
SCRAPE_DURATION = Metric(
    "scrape_duration_seconds", "gauge", "s", "How long the last scrape of a target took.", (JOB, INSTANCE)
)
SCRAPE_SAMPLES = Metric(
    "scrape_samples_scraped", "gauge", "{sample}", "Samples in the last scrape of a target.", (JOB, INSTANCE)
)
PROMETHEUS = (UP, SCRAPE_DURATION, SCRAPE_SAMPLES)

# -- what the collector says of itself; scraped, its counters have no `_total`
RECEIVER, EXPORTER, DATA_TYPE = "receiver", "exporter", "data_type"
SIGNALS = {"spans": "spans", "log_records": "log records", "metric_points": "metric points"}


def _by_signal(name: str, what: str, *attributes: str) -> dict[str, Metric]:
    return {
        signal: Metric(
            f"otelcol_{name}_{signal}", "counter", f"{{{words[:-1]}}}", what.format(words), attributes
        )
        for signal, words in SIGNALS.items()
    }


ACCEPTED = _by_signal("receiver_accepted", "{} that the collector took in.", RECEIVER)
REFUSED = _by_signal("receiver_refused", "{} that the collector refused; the sender tries again.", RECEIVER)
SENT = _by_signal("exporter_sent", "{} that the collector delivered.", EXPORTER)
SEND_FAILED = _by_signal("exporter_send_failed", "{} that the collector gave up to deliver.", EXPORTER)
ENQUEUE_FAILED = _by_signal(
    "exporter_enqueue_failed", "{} that the collector dropped because a sending queue was full.", EXPORTER
)
QUEUE_SIZE = Metric(
    "otelcol_exporter_queue_size", "gauge", "",
    "What waits in a sending queue of the collector, in what that queue counts: items, bytes or batches.",
    (EXPORTER, DATA_TYPE),
)  # fmt: skip
QUEUE_CAPACITY = Metric(
    "otelcol_exporter_queue_capacity", "gauge", "", "What a sending queue of the collector holds, in what it counts.",
    (EXPORTER, DATA_TYPE),
)  # fmt: skip
COLLECTOR_CPU = Metric("otelcol_process_cpu", "counter", "s", "CPU time that the collector used.")
COLLECTOR_MEMORY = Metric("otelcol_process_memory_rss", "gauge", "By", "Resident memory of the collector.")
COLLECTOR_UPTIME = Metric(
    "otelcol_process_uptime", "counter", "s", "How long the collector has been running."
)
COLLECTOR = (
    *(metric for each in (ACCEPTED, REFUSED, SENT, SEND_FAILED, ENQUEUE_FAILED) for metric in each.values()),
    QUEUE_SIZE,
    QUEUE_CAPACITY,
    COLLECTOR_CPU,
    COLLECTOR_MEMORY,
    COLLECTOR_UPTIME,
)

# -- recording rules of dashboards/rules
FLEET_PSI = Metric(
    "ml_drift:psi:1h", "gauge", "{score}", "PSI of all replicas together, of the last hour.",
    ("ml.feature.name", "ml.model.name"),
)  # fmt: skip
FLEET_PSI_LIMIT = Metric(
    "ml_drift:psi_noise_limit:1h", "gauge", "{score}", "The PSI that chance alone hardly ever exceeds.",
    ("ml.feature.name", "ml.model.name"),
)  # fmt: skip
RULES = (FLEET_PSI, FLEET_PSI_LIMIT)

OF_NO_PROGRAM = (*PROMETHEUS, *COLLECTOR, *RULES)
"""Without service, host and rank: one target may be the collector of many programs, a rule adds them up."""
ALL = (*INSTRUMENTATION, *OF_NO_PROGRAM)


def collector_series(metric: Metric, *matchers: str) -> str:
    """The selector of one of the collector's own series, by either of its names: scraped, or pushed over OTLP."""
    suffix = "(_total)?" if metric.kind == "counter" else ""
    unit = {"s": "(_seconds)?", "By": "(_bytes)?"}.get(metric.unit, "")
    return "{" + ", ".join([f'__name__=~"{metric.name}{unit}{suffix}"', *matchers]) + "}"


def threshold(alert: str) -> str:
    """What an alert compares with: a series of dashboards/rules/thresholds.yaml."""
    return f"otelml:threshold:{alert}"
