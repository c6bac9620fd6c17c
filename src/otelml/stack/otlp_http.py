"""OTLP/JSON to one endpoint: a connection that is kept, tries again where OTLP says so, and an answer in numbers.

Alone because what a network does has nothing to do with what is sent.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_TIMEOUT_S = 30
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
_REASON_CHARACTERS = 200


class UnreachableError(Exception):
    """The endpoint took nothing for as long as one was willing to try."""


@dataclass(frozen=True)
class Answer:
    """What became of a request: whether it was taken, how many of its items were not all the same, and why."""

    taken: bool
    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True)
class _TryAgain:
    reason: str
    wait_s: float | None = None


class Endpoint:
    """Where OTLP/HTTP is taken. Raises ValueError for a `url` that is none.

    Args:
        url: with its scheme; `/v1/<signal>` is added.
        patience_s: how long one request is tried again.
        clock: seconds that only go forward.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = 60,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connection, self._path = _connection(url), urlsplit(url).path.rstrip("/")
        self._patience_s, self._clock, self._sleep = patience_s, clock, sleep

    def post(self, signal: str, request: dict[str, Any]) -> Answer:
        """Send one request. Raises UnreachableError when it was tried for `patience_s` in vain."""
        body = json.dumps(request, separators=(",", ":")).encode()
        end = self._clock() + self._patience_s
        wait_s = _FIRST_WAIT_S
        while isinstance(answer := self._try(signal, body), _TryAgain):
            left_s = end - self._clock()
            if left_s <= 0:
                raise UnreachableError(answer.reason)
            self._sleep(min(left_s, wait_s if answer.wait_s is None else answer.wait_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return answer

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()

    def _try(self, signal: str, body: bytes) -> Answer | _TryAgain:
        try:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", f"{self._path}/v1/{signal}", body, headers)
            response = self._connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return _TryAgain(str(error) or type(error).__name__)
        if response.status in _TRY_AGAIN:
            return _TryAgain(_reason(response, said), _retry_after_s(response))
        if not 200 <= response.status < 300:
            return Answer(taken=False, reason=_reason(response, said))
        return _read_answer(said)


def _connection(url: str) -> http.client.HTTPConnection:
    """To the server of `url`; nothing is sent yet."""
    with suppress(ValueError):  # of a port that is no number
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.hostname and parts.scheme in kinds:
            return kinds[parts.scheme](parts.hostname, parts.port, timeout=_TIMEOUT_S)
    raise ValueError(f"{url} is no address such as http://localhost:4318")


def _reason(response: http.client.HTTPResponse, said: bytes) -> str:
    text = said.decode(errors="replace").strip()[:_REASON_CHARACTERS]
    return f"{response.status} {text or response.reason}"


def _retry_after_s(response: http.client.HTTPResponse) -> float | None:
    given = response.getheader("Retry-After", "")
    return float(given) if given.isdecimal() else None


def _read_answer(said: bytes) -> Answer:
    """A success, of which a part may have been rejected."""
    with suppress(ValueError, AttributeError, TypeError):
        partial = dict(json.loads(said or b"{}").get("partialSuccess") or {})
        reason = str(partial.pop("errorMessage", ""))
        return Answer(taken=True, rejected=sum(int(count) for count in partial.values()), reason=reason)
    return Answer(taken=True)
