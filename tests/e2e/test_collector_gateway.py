"""What gateways keep of the traces, and that every span of a trace comes to the same one: on running collectors."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from capture import Capture
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from otlpkit import LayeredCollector, Start, a_record, a_span, attributes, send
from serverkit import wait_until

SAMPLER = "otelcol_processor_tail_sampling_"
JUDGED_ONCE = "processors: {tail_sampling: {sampling_strategy: trace-complete}}"


def wait_for_dropped(collector: LayeredCollector, count: int) -> None:
    """Return when the gateway has decided against `count` traces."""
    wait_until(
        lambda: (
            collector.own_metric(f"{SAMPLER}global_count_traces_sampled", decision="not_sampled") == count
        ),
        collector.read_log,
    )


def names(capture: Capture) -> list[str]:
    """The names of the spans that came, sorted."""
    return sorted(span.name for span in capture.spans())


def test_errors_and_slow_spans_are_kept_and_the_rest_is_not(start: Start, capture: Capture) -> None:
    """With a share of 0: errors, slow spans, outliers and what is in their traces; not even first spans otherwise."""
    gateway = start(
        "base", "redaction", "gateway", capture=capture,
        OTELCOL_SAMPLING_PERCENT="0", OTELCOL_SAMPLING_WAIT="1s", OTELCOL_SAMPLING_SLOW="2s",
    )  # fmt: skip
    send(gateway.url, a_span("dropped", trace=1, duration_s=1.9))
    send(gateway.url, a_span("first", trace=2, attributes={"ml.stage.kept": "first"}))
    send(gateway.url, a_span("before the error", trace=3))
    send(gateway.url, a_span("error", trace=3, error="lost"))
    send(gateway.url, a_span("after the error", trace=3))
    send(gateway.url, a_span("slow", trace=4, duration_s=2.0))
    send(gateway.url, a_span("outlier", trace=5, attributes={"ml.stage.kept": "outlier"}))
    wait_for_dropped(gateway, 2)
    wait_until(lambda: len(capture.spans()) >= 5, gateway.read_log)
    assert names(capture) == ["after the error", "before the error", "error", "outlier", "slow"]
    assert gateway.complaints() == []


def test_an_error_late_in_a_long_trace_is_kept(start: Start, capture: Capture) -> None:
    """A run is one trace for hours: that its beginning was dropped must not cost the error at its end."""
    settings = {"OTELCOL_SAMPLING_PERCENT": "0", "OTELCOL_SAMPLING_WAIT": "1s"}
    gateway = start("base", "redaction", "gateway", capture=capture, **settings)
    send(gateway.url, a_span("beginning", trace=1))
    wait_for_dropped(gateway, 1)
    send(gateway.url, a_span("error", trace=1, error="lost"))
    send(gateway.url, a_span("end", trace=1))
    wait_until(lambda: len(capture.spans()) == 2, gateway.read_log)
    assert names(capture) == ["end", "error"]


def test_judged_once_the_late_error_would_be_lost(start: Start, capture: Capture, tmp_path: Path) -> None:
    """So the strategy in the layer is what keeps it: the sampler's default one drops it as a late span."""
    once = tmp_path / "once.yaml"
    once.write_text(JUDGED_ONCE)
    settings = {"OTELCOL_SAMPLING_PERCENT": "0", "OTELCOL_SAMPLING_WAIT": "1s"}
    gateway = start("base", "redaction", "gateway", once, capture=capture, **settings)
    send(gateway.url, a_span("beginning", trace=1))
    wait_for_dropped(gateway, 1)
    send(gateway.url, a_span("error", trace=1, error="lost"))
    wait_until(lambda: gateway.own_metric(f"{SAMPLER}sampling_late_span_age_count") == 1, gateway.read_log)
    assert names(capture) == []


def test_a_share_of_the_rest_is_kept(start: Start, capture: Capture) -> None:
    """All at 100 %; of 400 traces at 50 % between 100 and 300 (the odds against are under 1 in 10^20)."""
    settings = {"OTELCOL_SAMPLING_WAIT": "1s"}
    everything = start(
        "base", "redaction", "gateway", capture=capture, OTELCOL_SAMPLING_PERCENT="100", **settings
    )
    send(everything.url, a_span("one", trace=1))
    wait_until(lambda: names(capture) == ["one"], everything.read_log)
    half = start("base", "redaction", "gateway", capture=capture, OTELCOL_SAMPLING_PERCENT="50", **settings)
    for trace in range(1, 401):
        send(half.url, a_span("other", trace=trace * 2**96 + trace))
    decided = f"{SAMPLER}global_count_traces_sampled"
    wait_until(lambda: half.own_metric(decided) == 400, half.read_log)
    kept = half.own_metric(decided, decision="sampled")
    assert 100 < kept < 300
    wait_until(lambda: len(capture.spans()) == 1 + kept, half.read_log)


def test_all_spans_of_a_trace_come_to_the_same_gateway(start: Start) -> None:
    """Two gateways share 30 traces, none is in both, and the error that comes last keeps the spans before it.

    The metrics and logs of a process all go to one gateway.
    """
    with ExitStack() as stack:
        captures = [stack.enter_context(Capture()) for _ in range(2)]
        settings = {"OTELCOL_SAMPLING_PERCENT": "0", "OTELCOL_SAMPLING_WAIT": "60s"}
        gateways = [start("base", "redaction", "gateway", capture=one, **settings) for one in captures]
        addresses = ", ".join(f'"127.0.0.1:{gateway.grpc_port}"' for gateway in gateways)
        front = start(
            "base",
            "redaction",
            "load-balancing",
            GATEWAY_RESOLVER=f"{{static: {{hostnames: [{addresses}]}}}}",
        )
        traces = range(1, 31)
        for name, error in (("first", None), ("second", None), ("third", "lost")):
            for trace in traces:
                send(front.url, a_span(name, trace=trace, error=error))
        for process in map(str, range(30)):
            send(front.url, some_metrics(process))
            for _ in range(2):
                send(front.url, a_record("said", resource={"service.instance.id": process}))
        wait_until(lambda: sum(len(one.spans()) for one in captures) == 3 * len(traces), front.read_log)
        wait_until(lambda: sum(len(one.log_records()) for one in captures) == 60, front.read_log)
        wait_until(lambda: sum(len(one.metrics()) for one in captures) == 60, front.read_log)
        assert front.complaints() == []
    for kind in (span_traces, log_processes, metric_processes):
        here, there = (set(kind(one)) for one in captures)
        assert here, kind
        assert there, kind
        assert here & there == set(), kind


def span_traces(capture: Capture) -> set[bytes]:
    """The traces of the spans that came."""
    return {span.trace_id for span in capture.spans()}


def log_processes(capture: Capture) -> set[str]:
    """The processes of the log records that came."""
    return {resource["service.instance.id"] for resource in capture.resources("logs")}


def metric_processes(capture: Capture) -> set[str]:
    """The processes of the metrics that came."""
    return {resource["service.instance.id"] for resource in capture.resources("metrics")}


def some_metrics(process: str) -> ExportMetricsServiceRequest:
    """Two gauges of a process."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(attributes({"service.name": "train", "service.instance.id": process}))
    scope = resource.scope_metrics.add()
    for name in ("ml.training.loss", "ml.training.epoch"):
        scope.metrics.add(name=name).gauge.data_points.add(as_double=0.5, time_unix_nano=1)
    return request
