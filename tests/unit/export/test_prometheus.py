"""The Prometheus endpoint: names, labels, content negotiation, concurrent scrapes, forks."""

from __future__ import annotations

import gzip
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otelml.export import prometheus
from otelml.export.prometheus import PrometheusEndpoint
from otelml.instruments import internal
from otelml.semconv._generated import METRICS
from otelml.semconv.prometheus import prometheus_name

RESOURCE = Resource(
    {"service.name": "train", "host.name": "node1", "ml.distributed.rank": 2, "ml.run.id": "run-1"}
)
PROMOTED = {"service_name": "train", "host_name": "node1", "ml_distributed_rank": "2"}


class Served:
    """An endpoint on a free port, and its provider."""

    def __init__(self, **kwargs: Any) -> None:
        self.endpoint = PrometheusEndpoint(port=0)
        self.provider = MeterProvider([self.endpoint], RESOURCE, shutdown_on_exit=False, **kwargs)
        self.meter = self.provider.get_meter("test")
        assert self.endpoint.start()

    def get(self, path: str = "/metrics", **headers: str) -> tuple[str, dict[str, str]]:
        """Body and headers of a request."""
        assert self.endpoint.url is not None
        request = urllib.request.Request(
            self.endpoint.url.replace("/metrics", path),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            body = response.read()
            if response.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            return body.decode(), dict(response.headers)

    def scrape(self, path: str = "/metrics") -> dict[str, Metric]:
        """The metric families of a scrape, by name."""
        families = list(parse_text(self.get(path)[0]))
        assert len({family.name for family in families}) == len(families)
        return {family.name: family for family in families}


@pytest.fixture
def served() -> Iterator[Served]:
    """An endpoint that is up."""
    one = Served()
    yield one
    one.provider.shutdown()


def test_names_and_labels_are_those_of_the_conventions(served: Served) -> None:
    """Kind, unit suffix, `_ratio`, `_total`, and the promoted resource attributes on every sample."""
    served.meter.create_counter("ml.drift.alerts", "{alert}").add(3, {"ml.drift.kind": "confidence"})
    served.meter.create_gauge("ml.model.size", "By").set(7)
    served.meter.create_gauge("ml.training.progress", "1").set(0.5)
    served.meter.create_gauge("ml.training.loss", "{loss}").set(2)
    served.meter.create_up_down_counter("hw.status", "1").add(1)
    served.meter.create_histogram(
        "ml.stage.duration", "s", explicit_bucket_boundaries_advisory=[2.5e-06, 1.0]
    ).record(0.5)
    families = served.scrape()
    target = families.pop("target_info")
    assert {name: family.type for name, family in families.items()} == {
        "ml_drift_alerts": "counter",
        "ml_model_size_bytes": "gauge",
        "ml_training_progress_ratio": "gauge",
        "ml_training_loss": "gauge",
        "hw_status": "gauge",
        "ml_stage_duration_seconds": "histogram",
    }
    (alerts,) = families["ml_drift_alerts"].samples
    assert (alerts.name, alerts.value) == ("ml_drift_alerts_total", 3)
    assert alerts.labels == {"ml_drift_kind": "confidence", **PROMOTED}
    buckets = [s for s in families["ml_stage_duration_seconds"].samples if s.name.endswith("_bucket")]
    assert [(s.labels["le"], s.value) for s in buckets] == [("2.5e-06", 0), ("1.0", 1), ("+Inf", 1)]
    assert target.samples[0].labels == {**PROMOTED, "ml_run_id": "run-1"}


def test_every_metric_of_the_registry_has_its_name(served: Served) -> None:
    """What the endpoint says is what `prometheus_name` says, which the dashboards rely on."""
    for spec in METRICS.values():
        if spec.kind == "counter":
            served.meter.create_counter(spec.name, spec.unit, spec.brief).add(1)
        elif spec.kind == "updowncounter":
            served.meter.create_up_down_counter(spec.name, spec.unit, spec.brief).add(1)
        elif spec.kind == "gauge":
            served.meter.create_gauge(spec.name, spec.unit, spec.brief).set(1)
        else:
            served.meter.create_histogram(spec.name, spec.unit, spec.brief).record(1)
    sample_names = {s.name for family in served.scrape().values() for s in family.samples}
    expected = {prometheus_name(spec) for spec in METRICS.values()}
    histograms = {prometheus_name(spec) for spec in METRICS.values() if spec.kind == "histogram"}
    suffixed = {f"{name}{suffix}" for name in histograms for suffix in ("_bucket", "_sum", "_count")}
    assert sample_names == expected - histograms | suffixed | {"target_info"}


def test_content_is_negotiated(served: Served) -> None:
    """Plain text by default, OpenMetrics and gzip where they are asked for, one metric where one is named."""
    served.meter.create_counter("ml.stage.items", "{item}").add(1)
    served.meter.create_gauge("ml.model.size", "By").set(7)
    _, headers = served.get()
    assert headers["Content-Type"].startswith("text/plain")
    text, headers = served.get(Accept="application/openmetrics-text; version=1.0.0", Accept_Encoding="gzip")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert headers["Content-Encoding"] == "gzip"
    assert {f.name for f in parse_openmetrics(text)} == {"ml_stage_items", "ml_model_size_bytes", "target"}
    assert set(served.scrape("/metrics?name[]=ml_model_size_bytes")) == {"ml_model_size_bytes"}


def test_other_paths_are_short(served: Served) -> None:
    """`/` links to the metrics, everything else is not found, and nothing is collected for either."""
    assert "/metrics" in served.get("/")[0]
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.get("/favicon.ico")
    assert refused.value.code == 404
    refused.value.close()


def test_a_flush_does_not_show_everything_twice(served: Served) -> None:
    """Flushes and collections between two scrapes leave no trace in the next."""
    served.meter.create_counter("ml.stage.items", "{item}").add(1)
    for _ in range(3):
        served.provider.force_flush()
        served.endpoint.collect()
    assert len(served.scrape()["ml_stage_items"].samples) == 1


def test_exponential_histograms_are_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """They would make the whole scrape fail; one line names the metric, the others are there."""
    view = View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())
    served = Served(views=[view])
    served.meter.create_histogram("exponential").record(1)
    served.meter.create_counter("ml.stage.items", "{item}").add(1)
    for _ in range(2):
        assert set(served.scrape()) == {"ml_stage_items", "target_info"}
    (said,) = [record.message for record in caplog.records if "exponential" in record.message]
    assert said.startswith("otelml: exponential has an exponential histogram")
    served.provider.shutdown()


def test_nothing_recorded_yet_is_an_empty_answer(served: Served) -> None:
    """A scrape before the first metric is no error."""
    assert served.scrape() == {}


def test_concurrent_scrapes_are_whole(served: Served) -> None:
    """Each of many scrapes at once sees every series exactly once, also while values are recorded."""
    counter = served.meter.create_counter("ml.stage.items", "{item}")
    for i in range(50):
        counter.add(1, {"ml.stage.name": f"stage{i}"})
    stop = threading.Event()

    def record() -> None:
        while not stop.wait(0.001):
            counter.add(1, {"ml.stage.name": "stage0"})

    recorder = threading.Thread(target=record)
    recorder.start()
    counts: list[int] = []
    scrapers = [
        threading.Thread(target=lambda: counts.append(len(served.scrape()["ml_stage_items"].samples)))
        for _ in range(16)
    ]
    for thread in scrapers:
        thread.start()
    for thread in scrapers:
        thread.join()
    stop.set()
    recorder.join()
    assert counts == [50] * 16


def test_a_scrape_during_shutdown_is_whole_or_refused(served: Served) -> None:
    """No client is ever given a part."""
    counter = served.meter.create_counter("ml.stage.items", "{item}")
    for i in range(200):
        counter.add(1, {"ml.stage.name": f"stage{i}"})
    outcomes: list[int] = []
    started = threading.Barrier(9)

    def scrape() -> None:
        started.wait()
        for _ in range(5):
            try:
                outcomes.append(len(served.scrape()["ml_stage_items"].samples))
            except (OSError, AssertionError):  # refused, or the endpoint has no URL any more
                return

    scrapers = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in scrapers:
        thread.start()
    started.wait()
    served.endpoint.shutdown()
    for thread in scrapers:
        thread.join()
    assert set(outcomes) <= {200}
    assert served.endpoint.url is None


def test_a_callback_that_raises_costs_its_own_metric_only(served: Served) -> None:
    """The SDK contains it; the scrape goes on."""

    def observe(_: CallbackOptions) -> list[Observation]:
        raise ZeroDivisionError

    served.meter.create_observable_gauge("broken", [observe])
    served.meter.create_counter("ml.stage.items", "{item}").add(1)
    assert "ml_stage_items" in served.scrape()


def test_a_scrape_that_fails_says_so_and_the_next_works(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with a word of explanation, counted, nothing on stderr."""
    served.meter.create_counter("ml.stage.items", "{item}").add(1)
    with monkeypatch.context() as broken:
        broken.setattr(prometheus, "prepared", lambda _: 1 / 0)
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.get()
    assert refused.value.code == 503
    assert refused.value.read() == b"collection failed: ZeroDivisionError\n"
    refused.value.close()
    assert internal.totals() == {("errors", "export.prometheus", "ZeroDivisionError"): 1}
    assert "ml_stage_items" in served.scrape()


def test_an_endpoint_that_cannot_be_bound_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The program goes on without one."""
    endpoint = PrometheusEndpoint(host="203.0.113.7")
    assert [endpoint.start(), endpoint.start()] == [False, False]
    assert endpoint.url is None
    assert internal.totals() == {("errors", "export.prometheus", "bind"): 2}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    endpoint.shutdown()


def test_starting_twice_and_stopping_twice_is_harmless(served: Served) -> None:
    """Both do what is left to do."""
    url = served.endpoint.url
    assert served.endpoint.start()
    assert served.endpoint.url == url
    served.endpoint.shutdown()
    served.endpoint.shutdown()
    assert served.endpoint.url is None


def fork(served: Served, *, silent: bool) -> None:
    """What happens in a child, where the server's thread does not exist."""
    served.endpoint._server._server.shutdown()  # type: ignore[union-attr]
    served.endpoint.after_fork_in_child(silent=silent)


def test_a_silent_child_serves_nothing(served: Served) -> None:
    """Nor does it collect when somebody asks it to flush."""
    fork(served, silent=True)
    assert served.endpoint.url is None


def test_an_exporting_child_serves_at_a_port_of_its_own(served: Served) -> None:
    """A scrape that the fork cut off does not show up in the child's first."""
    served.meter.create_counter("ml.stage.items", "{item}").add(1)
    # As a fork in the middle of a scrape leaves it: collected, not yet shown.
    served.endpoint.registry._scraping_thread = threading.get_ident()
    served.endpoint.collect()
    fork(served, silent=False)
    assert len(served.scrape()["ml_stage_items"].samples) == 1


def test_healthz_beside_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form of the report: 200 unless the program cannot go on like this, then 503."""
    import json

    from otelml import health

    served = Served()
    body, headers = served.get("/healthz")
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["status"] in ("healthy", "degraded")
    monkeypatch.setattr(health, "check", lambda **_: health.Report("unhealthy", ("the disk is full",)))
    with pytest.raises(urllib.error.HTTPError) as answer:
        served.get("/healthz")
    assert answer.value.code == 503
    assert json.loads(answer.value.read()) == {
        "status": "unhealthy",
        "reasons": ["the disk is full"],
        "resources": {},
    }
    answer.value.close()
    served.endpoint.shutdown()


def test_an_empty_page_is_no_good_scrape() -> None:
    """Before there is a provider, and after it went, the answer is 503: an empty page would make every series stale."""
    endpoint = PrometheusEndpoint(port=0)
    assert endpoint.start()
    assert endpoint.url is not None
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(endpoint.url, timeout=60)
    assert answer.value.code == 503
    answer.value.close()
    endpoint.shutdown()


def test_a_program_without_metrics_is_fine() -> None:
    """An empty page, then, is the truth."""
    served = Served()
    assert served.scrape() == {}
    served.meter.create_counter("a").add(1)
    assert "a_total" in served.get()[0]
    served.endpoint.shutdown()
