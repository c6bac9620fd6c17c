"""OTLP over gRPC against servers that answer in every way: what is delivered, tried again, lost, and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from serverkit import PATIENCE_S, free_ports, wait_until

from otelml.export import otlp_grpc, wire
from otelml.export.delivery import span_queue
from otelml.export.otlp import with_wire
from otelml.instruments import internal


class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans; `answer` gets the call's context, the number of spans, and that of earlier requests."""

    def __init__(self, answer: Callable[[Any, int, int], Any]) -> None:
        self.sizes: list[int] = []
        self._answer = answer

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name for it
        """Note the size, and answer."""
        n = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        self.sizes.append(n)
        answer = self._answer(context, n, len(self.sizes) - 1)
        return answer or trace_service_pb2.ExportTraceServiceResponse()


class Sending:
    """A server, and a queue of spans that leads to it."""

    def __init__(self, answer: Callable[[Any, int, int], Any], limit_s: float = PATIENCE_S) -> None:
        self.servicer = Servicer(answer)
        (self._port,) = free_ports(1)
        self.start_server()
        self.queue = span_queue(
            with_wire(self._exporter_class(), limit_s), destination="otlp", schedule_delay_s=3600
        )
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.queue)

    def start_server(self) -> None:
        """Start it, again on the same port."""
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self.servicer, self._server)
        self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def stop_server(self) -> None:
        """End it at once."""
        self._server.stop(None).wait(PATIENCE_S)

    def _exporter_class(self) -> Any:
        endpoint = f"http://127.0.0.1:{self._port}"

        class Exporter(OTLPSpanExporter):
            def __init__(self, **how: Any) -> None:
                super().__init__(endpoint, **how)

        Exporter.__module__ = OTLPSpanExporter.__module__
        return Exporter

    def send(self, n: int, text: str = "") -> bool:
        """End `n` spans, and flush; whether all were delivered."""
        for _ in range(n):
            self._provider.get_tracer("test").start_span("x", attributes={"text": text}).end()
        return self.queue.force_flush()

    @property
    def outcome(self) -> tuple[int, int]:
        """Delivered and lost."""
        return self.queue.ledger.delivered, self.queue.ledger.lost

    def close(self) -> None:
        """End both."""
        self._provider.shutdown()
        self.stop_server()


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sending]]:
    """Makes pairs that end with the test; pauses are short."""
    monkeypatch.setattr(wire, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(wire, "LAST_PAUSE_S", 0.001)
    made: list[Sending] = []

    def make(answer: Callable[[Any, int, int], Any], **how: Any) -> Sending:
        made.append(Sending(answer, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def dropped() -> dict[str, int]:
    """What was dropped, by reason."""
    return {reason: n for (kind, _, reason), n in internal.totals().items() if kind == "dropped"}


@pytest.mark.parametrize("code", sorted(otlp_grpc.PASSING, key=str))
def test_what_may_pass_is_sent_until_it_does(sending: Any, code: grpc.StatusCode) -> None:
    """Each code that OTLP names, with no span lost."""
    sender = sending(lambda context, _, before: before < 3 and context.abort(code, "not now"))
    assert sender.send(5)
    assert (sender.servicer.sizes, sender.outcome, dropped()) == ([5] * 4, (5, 0), {})


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_what_a_server_refuses_is_lost_and_counted(sending: Any, code: grpc.StatusCode) -> None:
    """One attempt: without a word of when to come again, RESOURCE_EXHAUSTED too."""
    sender = sending(lambda context, *_: context.abort(code, "no"))
    assert not sender.send(5)
    assert (sender.servicer.sizes, sender.outcome, dropped()) == ([5], (0, 5), {"spans_undelivered": 5})


def ask_for(context: Any, seconds: int) -> None:
    """Say that all is well again after so long."""
    detail = Packed()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    status = Status(code=code.value[0], message="later", details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, "later")


def test_a_server_that_says_when_to_come_again_is_asked_then(sending: Any) -> None:
    """At once for 0 s; not at all where that is after the limit."""
    sender = sending(lambda context, _, before: before < 2 and ask_for(context, 0))
    assert sender.send(5)
    assert sender.servicer.sizes == [5] * 3
    sender = sending(lambda context, *_: ask_for(context, 3600))
    assert not sender.send(5)
    assert sender.servicer.sizes == [5]


def test_what_was_rejected_from_a_request_is_counted(sending: Any) -> None:
    """The rest is delivered, and nothing is sent again."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    sender = sending(lambda *_: response)
    assert not sender.send(5)
    assert (sender.servicer.sizes, sender.outcome, dropped()) == ([5], (3, 2), {"spans_rejected": 2})


def test_a_request_over_the_servers_limit_is_sent_in_halves(sending: Any) -> None:
    """4 MiB is what gRPC servers take by default; one span that is larger is lost alone."""
    sender = sending(lambda *_: None)
    assert sender.send(10, "x" * 2**20)
    assert sender.outcome == (10, 0)
    assert len(sender.servicer.sizes) > 1
    assert not sender.send(1, "x" * 5 * 2**20)
    assert (sender.outcome, dropped()) == ((10, 1), {"spans_undelivered": 1})


def test_a_server_that_comes_back_gets_what_waits(sending: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the channel thinks of it; and the user is told, once."""
    sender = sending(lambda *_: None)
    assert sender.send(1)
    sender.stop_server()
    flushing = threading.Thread(target=sender.send, args=(3,))
    flushing.start()
    wait_until(lambda: "UNAVAILABLE" in caplog.text)
    sender.start_server()
    flushing.join(PATIENCE_S)
    assert (sender.outcome, len(caplog.records)) == ((4, 0), 1)


def test_without_the_sdks_method_the_exporter_is_as_it_was() -> None:
    """A version to come may have none: then nothing of ours is in the way."""

    class Other:
        """An exporter of that version."""

    assert isinstance(otlp_grpc.make(Other, wire.Wire()), Other)
