"""When a request is tried again, when at once, and when no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.context import Context, attach, detach, set_value
from serverkit import PATIENCE_S, wait_until

from otelml import testing
from otelml.export import wire
from otelml.export.wire import UndeliveredError, Wire, wire_of
from otelml.logs.bridge import EXPORTING


def failing(*problems: UndeliveredError) -> Callable[[], str]:
    """An attempt that fails so, and then succeeds; it counts in `attempt.made`."""
    left: Iterator[UndeliveredError] = iter(problems)

    def attempt() -> str:
        attempt.made += 1  # type: ignore[attr-defined]
        if (problem := next(left, None)) is not None:
            raise problem
        return "delivered"

    attempt.made = 0  # type: ignore[attr-defined]
    return attempt


def down(**how: object) -> UndeliveredError:
    """A failure of one kind."""
    return UndeliveredError("http://c:4318", "answers 503", **how)  # type: ignore[arg-type]


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who pauses, pauses for longer than any test."""
    monkeypatch.setattr(wire, "FIRST_PAUSE_S", 10 * PATIENCE_S)


def test_what_may_pass_is_tried_until_it_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is the last attempt's."""
    monkeypatch.setattr(wire, "FIRST_PAUSE_S", 0.001)
    attempt = failing(*[down() for _ in range(5)])
    assert Wire().send(attempt) == "delivered"
    assert attempt.made == 6


def test_pauses_grow_to_a_limit_and_differ() -> None:
    """1, 2, 4, 5, 5 s, each spread by a fifth."""
    pauses_s = [pause_s for pause_s, _ in zip(wire._pauses_s(), range(6), strict=False)]
    for pause_s, middle_s in zip(pauses_s, (1, 2, 4, 5, 5, 5), strict=True):
        assert 0.8 * middle_s <= pause_s <= 1.2 * middle_s
    assert len(set(pauses_s)) == 6


@pytest.mark.usefixtures("long_pauses")
def test_a_connection_that_was_cut_is_tried_again_at_once_and_only_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server had closed one that was kept open: nothing to speak of."""
    attempt = failing(down(cut=True))
    assert Wire().send(attempt) == "delivered"
    assert caplog.records == []
    attempt = failing(down(cut=True), down(cut=True))
    with pytest.raises(UndeliveredError):
        Wire(limit_s=PATIENCE_S).send(attempt)
    assert attempt.made == 2


def test_what_will_not_pass_is_not_tried_again() -> None:
    """One attempt, and its error."""
    attempt = failing(down(passing=False))
    with pytest.raises(UndeliveredError, match=r"http://c:4318 answers 503"):
        Wire().send(attempt)
    assert attempt.made == 1


def test_it_is_given_up_when_the_next_attempt_would_come_too_late() -> None:
    """Also where the server wants to be left alone for longer than that."""
    for limited, problem in ((Wire(0), down()), (Wire(), down(after_s=3600))):
        attempt = failing(problem)
        with pytest.raises(UndeliveredError):
            limited.send(attempt)
        assert attempt.made == 1


@pytest.mark.usefixtures("long_pauses")
def test_hurrying_tries_at_once_and_the_last_call_ends_it() -> None:
    """Each wakes what pauses; after the last call the next failure is final, for later requests too."""
    line = Wire(limit_s=1e9)
    attempt = failing(*[down() for _ in range(100)])
    ended: list[UndeliveredError] = []

    def send() -> None:
        with pytest.raises(UndeliveredError) as caught:
            line.send(attempt)
        ended.append(caught.value)

    thread = threading.Thread(target=send)
    thread.start()
    for made in (1, 2):
        wait_until(lambda made=made: attempt.made == made)
        line.hurry()
    wait_until(lambda: attempt.made == 3)
    line.last_call()
    thread.join(PATIENCE_S)
    assert len(ended) == 1
    assert attempt.made == 4
    later = failing(down())
    with pytest.raises(UndeliveredError):
        line.send(later)
    assert later.made == 1


def test_each_kind_of_trouble_is_said_once_an_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """However long it lasts, whatever the details, for whichever signal."""
    for detail in ("a", "b"):
        for kind in ("cannot be reached", "answers 503"):
            with pytest.raises(UndeliveredError):
                Wire(0).send(failing(UndeliveredError("http://c:4318", kind, detail)))
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "otelml: http://c:4318 cannot be reached (a)",
        "otelml: http://c:4318 answers 503 (a)",
    ]


def test_an_exporter_without_a_wire_has_one_that_knows_nothing() -> None:
    """So that queues treat all alike."""
    line = wire_of(object())
    assert (line.rejected, line.too_large) == (0, False)


def test_what_is_said_becomes_a_record() -> None:
    """Also within an export, whose own words never do: who looks for the gap later finds the reason."""
    with testing.capture() as telemetry, pytest.raises(UndeliveredError):
        token = attach(set_value(EXPORTING, True, Context()))
        try:
            Wire(0).send(failing(down()))
        finally:
            detach(token)
    (record,) = telemetry.logs
    assert record.log_record.body.startswith("otelml: http://c:4318 answers 503;")
