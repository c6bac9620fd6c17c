"""OTLP over HTTP: a `requests` session that tries again, and reads what the SDK's exporters leave unread."""

from __future__ import annotations

import json
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otelml.export.rejections import read_rejected, tell_rejected
from otelml.export.wire import UndeliveredError
from otelml.settings.parsers import mask_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelml.export.wire import Wire

PASSING = frozenset({429, 502, 503, 504})
"""Those that OTLP says to try again."""
TOO_LARGE = 413
TOO_LARGE_AS_WELL = 400, b"too large"
"""What a collector answers from 20 MiB on: that status, and this in the body."""
BODY_BYTES = 64 * 2**10
"""Read of an answer at most; no server of OTLP sends a tenth of that."""
BODY_S = 5.0
"""And for so long."""


def make(exporter_class: Callable[..., Any], wire: Wire) -> Any:
    """An `exporter_class()` that sends through `wire`, and has it as an attribute."""
    exporter = exporter_class(session=Session(wire))
    exporter.wire = wire
    return exporter


class Session(requests.Session):
    """Sends each request until it is delivered, or until `wire` gives up; the exporter above then sees an error."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """As the base class; raises UndeliveredError."""
        endpoint, ask = _origin(str(url)), super().request
        return self._wire.send(
            lambda: self._attempt(lambda: ask(method, url, *args, **{**kwargs, "stream": True}), endpoint)
        )

    def _attempt(self, ask: Callable[[], requests.Response], endpoint: str) -> requests.Response:
        try:
            response = ask()
        except requests.Timeout:
            raise UndeliveredError(endpoint, "does not answer") from None
        except requests.ConnectionError as error:
            raise UndeliveredError(endpoint, "cannot be reached", _root_of(error), cut=True) from None
        body = _read(response)
        self._wire.too_large = _is_too_large(response.status_code, body)
        self._check(response, endpoint)
        if response.ok:
            self._read_answer(response, body, endpoint)
        return response

    def _check(self, response: requests.Response, endpoint: str) -> None:
        """Raise for what is not delivered, but for a plain refusal, which the exporter itself understands."""
        status = response.status_code
        if status in PASSING:
            raise UndeliveredError(endpoint, f"answers {status}", after_s=_retry_after(response))
        if 300 <= status < 400:
            target = mask_endpoint(response.headers.get("location", "somewhere else"))
            raise UndeliveredError(
                endpoint, "redirects, the endpoint should be what it names", target, passing=False
            )
        if response.ok and "html" in response.headers.get("content-type", ""):
            raise UndeliveredError(endpoint, "answers with a web page, it takes no OTLP", passing=False)

    def _read_answer(self, response: requests.Response, body: bytes, endpoint: str) -> None:
        try:
            if "json" in response.headers.get("content-type", ""):
                partial_success = json.loads(body or b"{}").get("partialSuccess", {})
                rejected = sum(int(n) for key, n in partial_success.items() if key.startswith("rejected"))
                message = str(partial_success.get("errorMessage", ""))
            else:
                rejected, message = read_rejected(ExportTraceServiceResponse.FromString(body))
        except (DecodeError, ValueError, AttributeError):
            return  # no answer of OTLP's: then all that is known is that the server is content
        self._wire.rejected = rejected
        tell_rejected(endpoint, rejected, message)


def _read(response: requests.Response) -> bytes:
    """The body, or its beginning where that is long or slow: what it says comes after the status, which counts."""
    body, end_s = b"", monotonic() + BODY_S
    with suppress(requests.RequestException):
        # One byte at a time: a read of more waits for all of them, each as long as it takes.
        for piece in response.iter_content(1):
            body += piece
            if len(body) > BODY_BYTES or monotonic() > end_s:
                response.close()
                break
    return body


def _is_too_large(status: int, body: bytes) -> bool:
    other, words = TOO_LARGE_AS_WELL
    return status == TOO_LARGE or (status == other and words in body)


def _retry_after(response: requests.Response) -> float:
    """Seconds, of a header that has them, or a date."""
    text = response.headers.get("retry-after", "0").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (TypeError, ValueError):
        return 0.0


def _root_of(error: BaseException) -> str:
    """What the operating system said, where it was that; else what went wrong."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _origin(url: str) -> str:
    """Scheme, host and port; passwords masked."""
    scheme, _, rest = mask_endpoint(url).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
