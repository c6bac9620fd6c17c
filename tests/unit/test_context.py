"""What is to stand on every log record and span: of the innermost open run, in every context that has or lacks one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from typing import Any

import pytest
from opentelemetry import trace

import otelml
from otelml import context, testing
from otelml.instruments import timer
from otelml.logs import flat
from otelml.logs.formatters import JSONFormatter


def in_thread(function: Any) -> Any:
    """What `function` returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_without_a_run_nothing_is_to_be_said() -> None:
    """An empty mapping under either kind of names."""
    assert (context.fields(), context.attributes(), context.current()) == ({}, {}, None)


def test_a_scope_says_what_it_knows_and_no_more() -> None:
    """An epoch and a step that nobody knows are absent; 0 is known."""
    token = context.push(scope := context.Scope("r1", "digits"))
    assert context.fields() == {"run_id": "r1", "experiment": "digits"}
    scope.epoch, scope.step = 0, 12
    assert context.fields() == {"run_id": "r1", "experiment": "digits", "epoch": 0, "step": 12}
    assert context.attributes() == {
        "ml.run.id": "r1",
        "ml.run.experiment": "digits",
        "ml.training.epoch": 0,
        "ml.training.step": 12,
    }
    context.pop(token)
    assert context.fields() == {}


def test_the_innermost_counts_and_the_outer_one_comes_back() -> None:
    """Nested scopes, closed in order and out of it, and twice."""
    outer, inner = context.push(context.Scope("outer")), context.push(context.Scope("inner"))
    assert context.fields() == {"run_id": "inner"}
    context.pop(inner)
    context.pop(inner)
    assert context.fields() == {"run_id": "outer"}
    second = context.push(context.Scope("second"))
    context.pop(outer)
    assert context.fields() == {"run_id": "second"}
    context.pop(second)
    assert context.fields() == {}


def test_a_thread_without_one_sees_the_last_that_was_opened() -> None:
    """And one with its own sees that, whatever was opened later."""
    tokens = [context.push(context.Scope("first"))]
    assert in_thread(context.fields) == {"run_id": "first"}
    own = contextvars.copy_context()
    tokens.append(context.push(context.Scope("second")))
    assert in_thread(context.fields) == {"run_id": "second"}
    assert own.run(context.fields) == {"run_id": "first"}
    for token in reversed(tokens):
        context.pop(token)


def test_a_scope_may_be_closed_in_another_context(caplog: pytest.LogCaptureFixture) -> None:
    """As notebooks do, whose cells are tasks of their own; OpenTelemetry has nothing to complain of."""
    token = contextvars.copy_context().run(context.push, context.Scope("cell"))
    assert context.fields() == {"run_id": "cell"}
    context.pop(token)
    assert context.fields() == {}
    assert not caplog.records


def test_tasks_have_scopes_of_their_own() -> None:
    """Two runs side by side in one event loop do not mix."""

    async def work(run_id: str) -> set[str]:
        token = context.push(context.Scope(run_id))
        seen = set()
        for _ in range(5):
            await asyncio.sleep(0)
            seen.add(context.fields()["run_id"])
        context.pop(token)
        return seen

    async def both() -> list[set[str]]:
        return await asyncio.gather(work("a"), work("b"))

    assert asyncio.run(both()) == [{"a"}, {"b"}]


def test_log_records_carry_it_in_files_and_on_the_console() -> None:
    """By OpenTelemetry's names to exporters, flat ones in JSON; what a record says itself goes first."""
    record = logging.LogRecord("app", logging.INFO, "app.py", 1, "hello", None, None)
    record.epoch = 9
    with testing.capture() as telemetry:
        token = context.push(context.Scope("r1", "digits", epoch=2, step=7))
        logging.getLogger("app").warning("hello", extra={"step": 8})
        line = JSONFormatter().format(record)
        context.pop(token)
        logging.getLogger("app").warning("after")
    inside, after = telemetry.logs
    attributes = dict(inside.log_record.attributes)
    assert {key: attributes[key] for key in attributes if key.startswith("ml.") or key == "step"} == {
        "ml.run.id": "r1",
        "ml.run.experiment": "digits",
        "ml.training.epoch": 2,
        "ml.training.step": 7,
        "step": 8,
    }
    assert not [key for key in after.log_record.attributes if key.startswith("ml.")]
    written = flat.to_flat(inside)
    assert {key: written[key] for key in ("run_id", "experiment", "epoch", "step")} == {
        "run_id": "r1",
        "experiment": "digits",
        "epoch": 2,
        "step": 8,
    }
    assert not [key for key in written if key.startswith("ml.") or key.endswith("_")]
    assert '"run_id": "r1"' in line
    assert '"epoch": 9' in line
    assert '"step": 7' in line


def test_spans_carry_it_and_metrics_never_do() -> None:
    """Those of stages, made at the start or late, with the step that it was; those of other libraries too."""
    with testing.capture(span_budget=1.0) as telemetry:
        token = context.push(scope := context.Scope("r1", "digits"))
        for step in range(3):
            scope.step = step
            with otelml.stage("forward"):
                pass
        with pytest.raises(ValueError, match="bad"), otelml.stage("forward"):
            raise ValueError("bad")
        with trace.get_tracer("theirs").start_as_current_span(
            "query", attributes={"ml.training.step": 5}
        ) as theirs:
            pass
        context.pop(token)
        points_of_all = telemetry.points()
    failed = next(span for span in telemetry.spans if span.attributes["ml.stage.kept"] == "failed")
    first = telemetry.spans[0]
    assert dict(theirs.attributes) == {
        "ml.run.id": "r1",
        "ml.run.experiment": "digits",
        "ml.training.step": 5,
    }
    assert (first.attributes["ml.run.id"], first.attributes["ml.training.step"]) == ("r1", 0)
    assert (failed.attributes["ml.run.id"], failed.attributes["ml.training.step"]) == ("r1", 2)
    for points in points_of_all.values():
        assert not [key for p in points for key in p.attributes if key.startswith(("ml.run", "ml.training"))]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_keeps_the_run_and_forgets_how_far_it_was() -> None:
    """The parent goes on without it."""
    token = context.push(scope := context.Scope("r1", epoch=1, step=2))
    for hook in timer.fork_hooks:
        hook()
    assert context.fields() == {"run_id": "r1"}
    assert scope.step is None
    context.pop(token)


def test_everybody_is_told_how_the_process_ends() -> None:
    """Also those after one that fails, where errors are contained."""
    told: list[str] = []
    context.end_hooks += [told.append]
    context.end_all("killed")
    assert told == ["killed"]


def test_a_thread_of_a_run_that_is_over_has_no_other() -> None:
    """It carries the id of its own while that is open, then none; a thread that never had one takes the last."""
    first = context.push(context.Scope("first"))
    own = contextvars.copy_context()
    assert own.run(context.fields) == {"run_id": "first"}
    context.pop(first)
    second = context.push(context.Scope("second"))
    assert (own.run(context.fields), own.run(context.attributes)) == ({}, {})
    assert in_thread(context.fields) == {"run_id": "second"}
    context.pop(second)


def test_a_scope_that_is_opened_again_is_never_above_itself() -> None:
    """However they were closed, looking for an open one comes to an end."""
    a, b = context.Scope("a"), context.Scope("b")
    first, second = context.push(a), context.push(b)
    context.pop(first)
    third = context.push(a)
    for token in (third, second):
        context.pop(token)
    assert context.fields() == {}
    assert own_fields_after_all_closed() == {}


def own_fields_after_all_closed() -> Any:
    """What a context says that still holds closed scopes, while another run is open."""
    a, b = context.Scope("a"), context.Scope("b")
    context.pop(context.push(a))
    outer = context.push(b)
    again = context.push(a)
    kept = contextvars.copy_context()
    context.pop(outer)
    context.pop(again)
    other = context.push(context.Scope("other"))
    found = kept.run(context.fields)
    context.pop(other)
    return found
