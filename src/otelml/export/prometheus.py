"""The Prometheus endpoint: a metric reader with its own registry and server, giving the names that `semconv` gives."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import ExponentialHistogram, Gauge, MetricsData, Sum
from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import InfoMetricFamily

from otelml.export.server import ScrapeServer
from otelml.instruments import internal
from otelml.semconv.model import Metric as Declaration
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from opentelemetry.sdk.metrics.export import Metric as SdkMetric
    from opentelemetry.sdk.metrics.export import ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from prometheus_client.registry import Collector

HOST = "127.0.0.1"
PORT = 9464
SCRAPE_TIMEOUT_S = 10.0
"""How long a scrape waits for the one before it."""

_COMPONENT = "export.prometheus"
_INDEX = (
    b'<!doctype html><title>otelml</title><a href="/metrics">/metrics</a> <a href="/healthz">/healthz</a>\n'
)


class PrometheusEndpoint(PrometheusMetricReader):
    """Serves the metrics of its provider at `url`, computed anew for each request.

    Goes into `MeterProvider(metric_readers=...)` and `Pipeline.readers`.

    Args:
        host: address to listen on.
        port: wanted port; a taken one moves to the next free one, 0 lets the system choose.
        promoted: resource attributes that become labels of every metric.
    """

    is_pulled = True
    """Nothing to flush: a scrape collects."""

    def __init__(
        self,
        host: str = HOST,
        port: int = PORT,
        *,
        promoted: Collection[str] = PROMOTED_RESOURCE_ATTRIBUTES,
    ) -> None:
        # While the program starts there is no provider yet, and while it ends no more.
        self.registry = ScrapeRegistry(lambda: self._collect is None or self._resource is not None)
        super().__init__(
            disable_target_info=True,  # it would keep the parent's in a forked child
            scope_info_enabled=False,
            resource_attribute_filter=frozenset(promoted).__contains__,
            registry=self.registry,
        )
        self._resource: Resource | None = None
        self.registry.register(_TargetInfo(lambda: self._resource))
        self._host, self._port = host, port
        self._server: ScrapeServer | None = None

    @property
    def url(self) -> str | None:
        """Where the metrics are, None while nothing is served."""
        return f"{self._server.origin}/metrics" if self._server is not None else None

    def start(self) -> bool:
        """Start serving, unless it does. False when nothing can be bound, which is said once and counted."""
        if self._server is None:
            try:
                self._server = ScrapeServer(self._host, self._port, create_app(self.registry))
            except OSError as problem:
                internal.count("errors", _COMPONENT, "bind")
                internal.warn_once(
                    f"prometheus:{self._host}",
                    "otelml: no Prometheus endpoint: cannot listen on %s (%s); the program is unharmed",
                    self._host,
                    problem,
                )
        return self._server is not None

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        """Nothing to do: scrapes collect, and a collection between two would show everything twice in the next."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:  # noqa: ARG002
        """Stop serving and free the port. Later calls do nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def after_fork_in_child(self, *, silent: bool) -> None:
        """`lifecycle` calls this: close the parent's sockets; unless silent, serve on the next free port."""
        server, self._server = self._server, None
        self.registry = self.registry.renewed()
        if server is not None:
            server.abandon()
            self._host = server.address
            if not silent:
                self.start()

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        if metrics_data is None or not self.registry.is_scraping():
            return
        metrics_data = prepared(metrics_data)
        if metrics_data.resource_metrics:
            self._resource = metrics_data.resource_metrics[0].resource
        super()._receive_metrics(metrics_data, timeout_millis, **kwargs)


def prepared(metrics_data: MetricsData) -> MetricsData:
    """`metrics_data` as OTel's exporter has to see it for the right names, without what it cannot show."""

    def of_scope(scope: ScopeMetrics) -> ScopeMetrics:
        shown = [_named_right(metric) for metric in scope.metrics if _can_be_shown(metric)]
        return dataclasses.replace(scope, metrics=shown)

    def of_resource(resource: ResourceMetrics) -> ResourceMetrics:
        return dataclasses.replace(resource, scope_metrics=[of_scope(s) for s in resource.scope_metrics])

    return dataclasses.replace(
        metrics_data, resource_metrics=[of_resource(r) for r in metrics_data.resource_metrics]
    )


def _can_be_shown(metric: SdkMetric) -> bool:
    if not isinstance(metric.data, ExponentialHistogram):
        return True
    internal.warn_once(
        f"prometheus:exponential:{metric.name}",
        "otelml: %s has an exponential histogram, which the Prometheus endpoint cannot show; OTLP exports have it",
        metric.name,
    )
    return False


def _named_right(metric: SdkMetric) -> SdkMetric:
    """`metric` with its final name, and no unit from which OTel's exporter would make another one."""
    spec = Declaration(metric.name, _kind(metric.data), metric.unit or "", "")
    return dataclasses.replace(metric, name=prometheus_name(spec).removesuffix("_total"), unit="")


def _kind(data: Any) -> str:
    if isinstance(data, Sum):
        return "counter" if data.is_monotonic else "updowncounter"
    return "gauge" if isinstance(data, Gauge) else "histogram"


class ScrapeRegistry(CollectorRegistry):
    """A registry that collects for one scrape at a time, and whole before the first line is answered.

    OTel's collector passes what it collected through a queue that two scrapes at once would share.
    """

    def __init__(self, is_amiss: Callable[[], bool] = lambda: False, *, leftovers: bool = False) -> None:
        super().__init__()
        self._is_amiss = is_amiss
        self._collectors: list[Collector] = []
        self._one_at_a_time = threading.Lock()
        self._scraping_thread: int | None = None
        self._leftovers = leftovers

    def register(self, collector: Collector) -> None:
        """Add a collector."""
        super().register(collector)
        self._collectors.append(collector)

    def collect(self) -> Iterable[Metric]:
        """All metrics. Raises TimeoutError when the scrape before takes too long.

        Raises RuntimeError when there is nothing and should be, as `is_amiss` says: to Prometheus an empty page is a
        scrape that went well, after which every series is stale.
        """
        if not self._one_at_a_time.acquire(timeout=SCRAPE_TIMEOUT_S):
            raise TimeoutError("another scrape is still being answered")
        try:
            self._scraping_thread = threading.get_ident()
            if self._leftovers:
                list(super().collect())
                self._leftovers = False
            found = list(super().collect())
        finally:
            self._scraping_thread = None
            self._one_at_a_time.release()
        if not found and self._is_amiss():
            raise RuntimeError("nothing was collected")
        return found

    def is_scraping(self) -> bool:
        """Whether this thread is inside `collect`."""
        return self._scraping_thread == threading.get_ident()

    def restricted_registry(self, names: Iterable[str]) -> _Restricted:  # type: ignore[override]
        """What `?name[]=...` asks for."""
        return _Restricted(self, frozenset(names))

    def renewed(self) -> ScrapeRegistry:
        """For a forked child: the same collectors under new locks; a scrape cut off by the fork is thrown away."""
        fresh = type(self)(self._is_amiss, leftovers=True)
        for collector in self._collectors:
            fresh.register(collector)
        return fresh


class _Restricted:
    def __init__(self, registry: ScrapeRegistry, names: frozenset[str]) -> None:
        self._registry = registry
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            wanted = [s for s in metric.samples if s.name in self._names]
            if wanted:
                part = Metric(metric.name, metric.documentation, metric.type, metric.unit)
                part.samples = wanted
                yield part


class _TargetInfo:
    """`target_info`: the resource's attributes as labels, once."""

    def __init__(self, get_resource: Callable[[], Resource | None]) -> None:
        self._get_resource = get_resource

    def collect(self) -> Iterator[Metric]:
        resource = self._get_resource()
        if resource is not None and resource.attributes:
            labels = {label_name(key): _label_value(value) for key, value in resource.attributes.items()}
            yield InfoMetricFamily("target", "Target metadata", value=labels)


def _label_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def create_app(registry: CollectorRegistry) -> Callable[..., Iterable[bytes]]:
    """The WSGI application: `/metrics` with prometheus_client's content negotiation, `/healthz`, a page of links."""
    metrics_app = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").rstrip("/")
        if path == "/metrics":
            return _answer_scrape(metrics_app, environ, start_response)
        if path == "/healthz":
            return _answer_health(start_response)
        if not path:
            return _answer(start_response, "200 OK", _INDEX, "text/html; charset=utf-8")
        return _answer(start_response, "404 Not Found", b"not found; metrics are at /metrics\n")

    return app


def _answer_scrape(
    metrics_app: Callable[..., Any], environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    try:
        return metrics_app(environ, start_response)
    except Exception as problem:  # noqa: BLE001 - whatever a callback or a collector raises fails this scrape only
        internal.contain(_COMPONENT, problem, problem.__traceback__)
        message = f"collection failed: {type(problem).__name__}\n".encode()
        return _answer(start_response, "503 Service Unavailable", message)


def _answer_health(start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The short form: without asking the network or the driver, as probes come every few seconds."""
    from otelml import health

    found = health.check(reach=False)
    status = "503 Service Unavailable" if found.status == "unhealthy" else "200 OK"
    body = json.dumps({"status": found.status, "reasons": found.reasons, "resources": dict(found.resources)})
    return _answer(start_response, status, f"{body}\n".encode(), "application/json")


def _answer(
    start_response: Callable[..., Any], status: str, body: bytes, content_type: str = "text/plain"
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]
