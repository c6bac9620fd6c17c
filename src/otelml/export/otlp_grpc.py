"""OTLP over gRPC: an interceptor that tries again, and reads what the SDK's exporters leave unread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from otelml.export.rejections import read_rejected, tell_rejected
from otelml.export.wire import LAST_PAUSE_S, UndeliveredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelml.export.wire import Wire

PASSING = frozenset({
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
})  # fmt: skip
"""Those that OTLP says to try again; RESOURCE_EXHAUSTED only where the server says when."""
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
_DETAILS = "grpc-status-details-bin"
_NEVER = frozenset({grpc.StatusCode.OK})
# Left alone a channel waits two minutes before it tries to connect again.
_OPTIONS = (("grpc.max_reconnect_backoff_ms", int(LAST_PAUSE_S * 1000)),)


def make(exporter_class: Any, wire: Wire) -> Any:
    """An `exporter_class()` that sends through `wire`, and has it as an attribute.

    The SDK offers no way to see what a server answers but the method that makes its channel. Without that method, in a
    version to come, the exporter is as the SDK made it.
    """
    if not hasattr(exporter_class, "_initialize_channel_and_stub"):
        return exporter_class()

    class WithWire(exporter_class):
        def __init__(self) -> None:
            self.wire = wire
            super().__init__(channel_options=_OPTIONS, retryable_error_codes=_NEVER)

        def _initialize_channel_and_stub(self) -> None:
            super()._initialize_channel_and_stub()
            self._client = self._stub(
                grpc.intercept_channel(self._channel, Interceptor(wire, self._endpoint))
            )

    return WithWire()


class Interceptor(grpc.UnaryUnaryClientInterceptor):
    """Sends each request until it is delivered, or until `wire` gives up; the exporter above then sees the error."""

    def __init__(self, wire: Wire, endpoint: str) -> None:
        self._wire = wire
        self._endpoint = endpoint

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """The call that succeeded, or the last."""
        calls: list[Any] = []

        def attempt() -> Any:
            calls[:] = [continuation(client_call_details, request)]
            self._check(calls[0])
            return calls[0]

        try:
            return self._wire.send(attempt)
        except UndeliveredError:
            return calls[0]

    def _check(self, call: Any) -> None:
        code = call.code()
        if code is grpc.StatusCode.OK:
            self._wire.rejected, message = read_rejected(call.result())
            tell_rejected(self._endpoint, self._wire.rejected, message)
            return
        wait_s = _read_retry_info(call) if code is EXHAUSTED else None
        passing = code in PASSING or wait_s is not None
        self._wire.too_large = (
            code is EXHAUSTED and not passing and "larger than max" in (call.details() or "")
        )
        raise UndeliveredError(
            self._endpoint,
            f"answers {code.name}",
            call.details() or "",
            passing=passing,
            cut=code is grpc.StatusCode.UNAVAILABLE,
            after_s=wait_s or 0.0,
        )


def _read_retry_info(call: Any) -> float | None:
    """Seconds that the server wants to be left alone; None where it does not say that it will be well again."""
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS:
            status, info = Status(), RetryInfo()
            try:
                status.ParseFromString(value)
                if any(detail.Unpack(info) for detail in status.details):
                    return float(info.retry_delay.ToTimedelta().total_seconds())
            except DecodeError:
                return None
    return None
