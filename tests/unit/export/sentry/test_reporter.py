"""What becomes an issue and what does not, how often, and what it says."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry import trace
from sentrykit import DSN, RESOURCE, ListTransport, Sentry

import otelml
from otelml import events, testing
from otelml.export.sentry.limit import RateLimit
from otelml.instruments import internal
from otelml.stages import failures

log = logging.getLogger("train")


class BadBatch(Exception):
    """A failure of the program's own."""


def fail(message: str = "bad batch") -> None:
    """Raise."""
    raise BadBatch(message)


@pytest.fixture(autouse=True)
def talkative() -> Iterator[None]:
    """INFO of the program is heard."""
    log.setLevel(logging.INFO)
    yield
    log.setLevel(logging.NOTSET)


def ids_of(span: Any) -> dict[str, str]:
    """A finished span's ids, as Sentry writes them."""
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


# -- the whole event


def test_a_failed_stage_is_an_issue_that_says_all(sentry: Sentry, telemetry: testing.Capture) -> None:
    """Exception, place, tags, trace, release, environment, host, what the stage was given, and what came before."""
    log.info("epoch %d", 3, extra={"loss": 0.5})
    with otelml.run("behaviour"), pytest.raises(BadBatch), otelml.stage("encode", items=32, file="a.npy"):
        fail()
    event = sentry.event
    (exception,) = event.pop("exception")["values"]
    frames = exception.pop("stacktrace")["frames"]
    crumbs = event.pop("breadcrumbs")["values"]
    (encode,) = [span for span in telemetry.spans if span.name == "encode"]
    assert exception == {
        "type": "BadBatch", "value": "bad batch", "module": __name__, "mechanism": {"type": "otelml"},
    }  # fmt: skip
    assert [frame["function"] for frame in frames] == [
        "test_a_failed_stage_is_an_issue_that_says_all",
        "fail",
    ]
    assert not any("vars" in frame for frame in frames)
    assert [(crumb["category"], crumb["message"]) for crumb in crumbs] == [
        ("train", "epoch 3"), ("ml.run_start", crumbs[1]["message"]),
    ]  # fmt: skip
    assert crumbs[0].pop("timestamp") < crumbs[1]["timestamp"] < event.pop("timestamp")
    assert crumbs[0] == {
        "type": "log", "level": "info", "category": "train", "message": "epoch 3", "data": {"loss": 0.5},
    }  # fmt: skip
    run_id = event["tags"]["run"]
    assert event["contexts"].pop("runtime")["version"] == ".".join(map(str, sys.version_info[:3]))
    for name in ("event_id", "sdk", "transaction_info"):
        del event[name]
    assert event == {
        "level": "error",
        "platform": "python",
        "release": "1.2.0",
        "environment": "production",
        "server_name": "node1",
        "transaction": "encode",
        "tags": {
            "run": run_id, "experiment": "behaviour", "stage": "encode", "rank": "2", "service": "train",
        },
        "contexts": {
            "trace": ids_of(encode),
            "ml": {
                "service.name": "train", "ml.distributed.rank": 2, "ml.run.id": run_id,
                "ml.run.experiment": "behaviour", "ml.stage.name": "encode", "ml.stage.items": 32,
            },
        },
        "extra": {"file": "a.npy"},
    }  # fmt: skip


def test_an_error_in_the_log_is_an_issue(sentry: Sentry, telemetry: testing.Capture) -> None:
    """By its message, grouped by what stands before the arguments are put in, with its fields and its place."""
    with otelml.stage("encode"):
        log.error("no model %s", "resnet", extra={"attempt": 2})
    event = sentry.event
    assert (event["level"], event["logger"]) == ("error", "train")
    assert event["logentry"] == {"message": "no model %s", "formatted": "no model resnet"}
    assert event["extra"]["attempt"] == 2
    assert event["extra"]["code.function.name"] == "test_an_error_in_the_log_is_an_issue"
    assert event["tags"]["stage"] == "encode"
    assert event["contexts"]["trace"] == ids_of(telemetry.spans[0])
    assert "exception" not in event


def test_events_at_error_are_issues_grouped_by_their_name(sentry: Sentry) -> None:
    """An XID of a GPU is one issue whatever its numbers are."""
    events.gpu_xid(xid=79, hw_id="GPU-1", gpu_index=0, message="GPU 0 fell off the bus", level="ERROR")
    assert sentry.event["fingerprint"] == ["ml.gpu_xid", "otelml"]
    assert sentry.event["extra"]["xid"] == 79


def test_events_with_an_exception_are_grouped_by_that(sentry: Sentry) -> None:
    """As any exception is."""
    try:
        fail()
    except BadBatch:
        events.emit("tuning_failed", level="ERROR", logger=log, exc_info=True)
    assert sentry.titles == ["BadBatch: bad batch"]
    assert "fingerprint" not in sentry.event


# -- what is and what is not


def test_levels(sentry: Sentry) -> None:
    """WARNING and below are breadcrumbs only; CRITICAL is fatal; DEBUG is nothing, unless it is an event."""
    log.setLevel(logging.DEBUG)
    log.debug("quiet")
    events.emit("tuned", level="DEBUG", logger=log)
    log.warning("low perplexity")
    log.critical("out of memory")
    assert sentry.titles == ["out of memory"]
    assert sentry.event["level"] == "fatal"
    crumbs = sentry.event["breadcrumbs"]["values"]
    assert [(crumb["message"], crumb["level"]) for crumb in crumbs] == [
        ("tuned", "debug"), ("low perplexity", "warning"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        StopIteration(),
        StopAsyncIteration(),
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_ways_to_go_on_are_no_issues(sentry: Sentry, error: BaseException) -> None:
    """Not from a stage, an inference, a run, a log record or the end of a thread."""
    with pytest.raises(type(error)), otelml.run("x"), otelml.inference("m"), otelml.stage("s", log=True):
        raise error
    log.error("stopped", exc_info=error)
    sentry.reporter.report_uncaught(error, "excepthook")
    assert sentry.events == []


def test_the_end_of_a_command_is_no_issue(sentry: Sentry) -> None:
    """Command-line libraries leave by an exception with exit code 0; with another one it is a failure."""
    for code in (0, 2):
        leaving = BadBatch(code)
        leaving.exit_code = code
        with pytest.raises(BadBatch), otelml.stage("main"):
            raise leaving
    assert sentry.titles == ["BadBatch: 2"]


def test_troubles_of_telemetry_are_no_issues(sentry: Sentry) -> None:
    """They are not the program's; what comes of them is counted elsewhere."""
    logging.getLogger("opentelemetry.sdk.metrics").error("callback failed")
    logging.getLogger("sentry_sdk.errors").error("queue full")
    log.error("of the program")
    assert sentry.titles == ["of the program"]


def test_failed_inferences_and_runs(sentry: Sentry) -> None:
    """With what they are; a run that only says that it failed has no exception to show."""
    with pytest.raises(BadBatch), otelml.inference("encoder", version=2, device="cuda:0"):
        fail("inference")
    otelml.record_inference("encoder", 0.1, error=BadBatch("elsewhere"))
    otelml.record_inference("encoder", 0.1, error="timeout")
    with pytest.raises(BadBatch), otelml.run("behaviour"):
        fail("run")
    otelml.run("behaviour").start().end("failed")
    assert sentry.titles == [
        "BadBatch: inference",
        "BadBatch: elsewhere",
        "BadBatch: run",
        "run behaviour failed",
    ]
    assert [event["transaction"] for event in sentry.events] == [
        "inference encoder", "inference encoder", "run behaviour", "run behaviour",
    ]  # fmt: skip
    assert [event["tags"].get("model") for event in sentry.events] == ["encoder", "encoder", None, None]
    assert sentry.events[0]["contexts"]["ml"]["ml.device.name"] == "cuda:0"
    assert [event["tags"].get("experiment") for event in sentry.events] == [
        None,
        None,
        "behaviour",
        "behaviour",
    ]


def test_a_run_that_is_ended_while_an_exception_is_handled_failed_by_it(sentry: Sentry) -> None:
    """And that exception, going on, is not another issue."""
    run = otelml.run("behaviour").start()
    try:
        fail()
    except BadBatch as error:
        run.end("failed")
        log.exception("given up")
        sentry.reporter.report_uncaught(error, "excepthook")
    assert sentry.titles == ["BadBatch: bad batch"]
    assert sentry.event["tags"]["experiment"] == "behaviour"


def test_a_run_that_sys_exit_ends_is_no_issue(sentry: Sentry) -> None:
    """At the end of the process its status is known, and no reason."""
    from otelml.training import ending

    otelml.run("behaviour").start()
    with pytest.raises(SystemExit):
        sys.exit(1)
    ending.end_open_runs("exit")
    assert sentry.events == []


# -- once


def test_one_failure_is_one_issue_wherever_it_passes(sentry: Sentry) -> None:
    """Nested stages, log records about it, the run, the end of the program, and the program's own call."""
    with pytest.raises(BadBatch) as caught, otelml.run("behaviour"):
        try:
            with (
                otelml.inference("encoder"),
                otelml.stage("outer", log=True),
                otelml.stage("inner", log=True),
            ):
                fail()
        except BadBatch as error:
            log.exception("failed")
            log.error("failed: %s", error)  # noqa: TRY400
            raise
    log.error("failed", exc_info=caught.value)
    sentry.reporter.report_uncaught(caught.value, "excepthook")
    sentry_sdk.capture_exception(caught.value)
    assert sentry.titles == ["BadBatch: bad batch"]
    assert sentry.event["tags"] | {"run": ""} == {
        "run": "", "experiment": "behaviour", "stage": "inner", "model": "encoder", "rank": "2", "service": "train",
    }  # fmt: skip


def test_what_is_logged_first_has_the_message_too(sentry: Sentry) -> None:
    """A record written while an exception is handled is about it, and what follows is no second issue."""
    with pytest.raises(BadBatch), otelml.stage("encode"):
        try:
            fail()
        except BadBatch:
            log.error("batch %d is bad", 7)  # noqa: TRY400
            raise
    assert sentry.titles == ["BadBatch: bad batch"]
    assert sentry.event["logentry"] == {"message": "batch %d is bad", "formatted": "batch 7 is bad"}
    assert sentry.event["exception"]["values"][0]["mechanism"] == {"type": "logging", "handled": True}


def test_a_stage_error_that_no_stage_has_told_of_is_an_issue(sentry: Sentry) -> None:
    """The event alone, as programs of their own kind write it."""
    said = {"error_type": "BadBatch", "error_message": "bad batch"}
    events.stage_error(stage="encode", elapsed_ms=3.0, message="Failed encode", **said)
    assert sentry.titles == ["Failed encode"]


def test_what_else_is_logged_while_an_exception_is_handled_is_not_about_it(sentry: Sentry) -> None:
    """A function that is called from the `except` block may have failures of its own to tell of."""

    def clean_up() -> None:
        log.error("disk full")

    try:
        with otelml.stage("encode"):
            fail()
    except BadBatch:
        clean_up()
    assert sentry.titles == ["BadBatch: bad batch", "disk full"]
    assert "exception" not in sentry.events[1]


def test_equal_failures_are_not_the_same(sentry: Sentry) -> None:
    """Each time that something fails counts, though the exceptions may lie at the same address."""
    for _ in range(3):
        with pytest.raises(BadBatch), otelml.stage("encode"):
            fail()
    assert sentry.titles == ["BadBatch: bad batch"] * 3


def test_what_another_failure_causes_is_another_failure(sentry: Sentry) -> None:
    """It has the first one in its chain."""
    with pytest.raises(RuntimeError), otelml.stage("outer"):
        try:
            with otelml.stage("inner"):
                fail()
        except BadBatch as error:
            raise RuntimeError("no batch") from error
    assert sentry.titles == ["BadBatch: bad batch", "RuntimeError: no batch"]
    assert [value["type"] for value in sentry.events[1]["exception"]["values"]] == [
        "BadBatch",
        "RuntimeError",
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_a_group_of_what_was_reported_is_reported(sentry: Sentry) -> None:
    """As a task group raises it; a group with something new in it is an issue, and its members are no more."""

    async def work(message: str) -> None:
        with otelml.stage("work"):
            fail(message)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work("a"))
            group.create_task(work("b"))

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 - from Python 3.11 on
        asyncio.run(main())
    sentry.reporter.report_uncaught(caught.value, "excepthook")
    assert sorted(sentry.titles) == ["BadBatch: a", "BadBatch: b"]
    fresh = BadBatch("c")
    sentry.reporter.report_uncaught(ExceptionGroup("all", [*caught.value.exceptions, fresh]), "threading")  # noqa: F821
    sentry.reporter.report_uncaught(fresh, "threading")
    assert len(sentry.events) == 3


def test_an_exception_of_another_thread_is_the_same_one(sentry: Sentry) -> None:
    """It failed there within a stage, and is raised again where its result is asked for."""

    def work() -> None:
        with otelml.stage("work"):
            fail()

    with concurrent.futures.ThreadPoolExecutor(1) as pool, pytest.raises(BadBatch) as caught:
        pool.submit(work).result()
    sentry.reporter.report_uncaught(caught.value, "excepthook")
    assert sentry.titles == ["BadBatch: bad batch"]


# -- uncaught


def test_uncaught_exceptions_of_the_program(sentry: Sentry) -> None:
    """`sys.excepthook` reports them as not handled, and hands on."""
    try:
        fail()
    except BadBatch as error:
        caught = error
    seen: list[Any] = []
    sentry.reporter._hooks._sys = lambda *given: seen.append(given)
    sys.excepthook(type(caught), caught, caught.__traceback__)
    assert sentry.event["exception"]["values"][0]["mechanism"] == {"type": "excepthook", "handled": False}
    assert seen == [(BadBatch, caught, caught.__traceback__)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_uncaught_exceptions_of_threads(sentry: Sentry) -> None:
    """With the name of the thread; what was there before ours is called as well."""
    thread = threading.Thread(target=fail, name="loader")
    thread.start()
    thread.join()
    assert sentry.event["exception"]["values"][0]["mechanism"] == {"type": "threading", "handled": False}
    assert sentry.event["extra"] == {"thread.name": "loader"}


def test_a_prompt_is_no_program(sentry: Sentry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody types, what goes wrong is in front of them."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr(sentry.reporter._hooks, "_sys", lambda *_: None)
    sys.excepthook(BadBatch, BadBatch(), None)
    assert sentry.events == []


# -- how many


def test_a_minute_holds_so_many_issues_of_a_kind(make_sentry: Callable[..., Sentry]) -> None:
    """And so many in all; the rest is counted, and comes in the next minute."""
    now = [0.0]
    sentry = make_sentry(limit=RateLimit(per_kind=2, in_all=3, clock=lambda: now[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(internal, "_say", lambda *_, **__: None)
        for minute in (0, 61):
            now[0] = minute
            for number in range(4):
                log.error("error %d", number)
                with pytest.raises(BadBatch), otelml.stage("encode"):
                    fail()
    assert sentry.titles == ["error 0", "BadBatch: bad batch", "error 1"] * 2
    assert internal.totals()["dropped", "sentry", "rate_limit"] == 10


def test_the_exception_that_ends_the_program_is_always_sent(make_sentry: Callable[..., Sentry]) -> None:
    """Though the limit had left it out when its stage failed; and only once."""
    sentry = make_sentry(limit=RateLimit(per_kind=1, clock=lambda: 0.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(internal, "_say", lambda *_, **__: None)
        for number in range(3):
            with pytest.raises(BadBatch) as caught, otelml.stage("encode"):
                fail(str(number))
    assert sentry.titles == ["BadBatch: 0"]
    for _ in range(2):
        sentry.reporter.report_uncaught(caught.value, "excepthook")
    assert sentry.titles == ["BadBatch: 0", "BadBatch: 2"]


# -- what it says


def test_without_a_span_there_is_no_trace(sentry: Sentry) -> None:
    """No ids are made up, which would lead nowhere."""
    log.error("nowhere")
    assert "trace" not in sentry.event["contexts"]


def test_a_stage_out_of_budget_has_the_ids_of_the_span_that_its_failure_gets(
    make_sentry: Callable[..., Sentry], clean_sentry: None
) -> None:
    """It had none when it started."""
    with testing.capture(span_budget=1) as telemetry:
        sentry = make_sentry()
        for number in range(3):
            with pytest.raises(BadBatch) if number == 2 else otelml.stage("x"), otelml.stage("encode"):
                if number == 2:
                    fail()
        (failed,) = [span for span in telemetry.spans if span.attributes["ml.stage.kept"] == "failed"]
    assert sentry.event["contexts"]["trace"] == ids_of(failed)


def test_an_exception_has_the_ids_of_the_span_that_it_was_raised_in(
    sentry: Sentry, telemetry: testing.Capture
) -> None:
    """The innermost one, of whatever library, though it is over when the exception is logged, or ends the program."""
    tracer = trace.get_tracer("x")
    for number in range(3):
        with pytest.raises(BadBatch) as caught, tracer.start_as_current_span(f"outer {number}"):
            try:
                with tracer.start_as_current_span(f"inner {number}"):
                    fail(str(number))
            except BadBatch:
                if number == 0:
                    log.exception("failed")
                with tracer.start_as_current_span("clean up"):
                    pass
                raise
        if number == 1:
            sentry_sdk.capture_exception(caught.value)
        sentry.reporter.report_uncaught(caught.value, "excepthook")
    inner = [span for span in telemetry.spans if span.name.startswith("inner")]
    assert [event["contexts"]["trace"] for event in sentry.events] == [ids_of(span) for span in inner]


def test_a_span_that_ends_while_another_exception_is_handled_is_not_where_that_was_raised(
    sentry: Sentry, telemetry: testing.Capture
) -> None:
    """It has recorded none, or one of another class; ways to go on are not marked at all."""
    tracer = trace.get_tracer("x")
    try:
        fail()
    except BadBatch as error:
        with pytest.raises(RuntimeError), tracer.start_as_current_span("clean up"):
            raise RuntimeError("clean up") from None
        sentry.reporter.report_uncaught(error, "excepthook")
    assert "trace" not in sentry.event["contexts"]
    leaving = SystemExit(1)
    with pytest.raises(SystemExit), tracer.start_as_current_span("main"):
        raise leaving
    assert vars(leaving) == {}


def test_the_marks_of_an_exception_are_plain(sentry: Sentry) -> None:
    """So that it can be pickled for a process that has none of this installed."""
    with pytest.raises(BadBatch) as caught, otelml.stage("encode"):
        fail()
    marks = vars(caught.value)
    assert set(marks) == {"__otelml_reported__", "__otelml_span__"}
    assert {type(mark) for mark in marks.values()} == {bool, tuple}
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    sentry.reporter.report_uncaught(copied, "excepthook")
    assert sentry.titles == ["BadBatch: bad batch"]


def test_the_program_may_report_itself(sentry: Sentry, telemetry: testing.Capture) -> None:
    """What it sends through Sentry's own functions has the surroundings too, and is reported once."""
    with otelml.run("behaviour"), trace.get_tracer("x").start_as_current_span("mine") as span:
        log.info("before")
        sentry_sdk.capture_message("look here", level="info")
    event = sentry.event
    assert event["message"] == "look here"
    assert event["tags"]["experiment"] == "behaviour"
    assert event["contexts"]["trace"] == ids_of(span)
    assert event["breadcrumbs"]["values"][-1]["message"] == "before"


def test_the_programs_tags_and_crumbs_stay(sentry: Sentry) -> None:
    """Ours stand beside them, in the order of time."""
    sentry_sdk.set_tag("service", "mine")
    log.info("first")
    sentry_sdk.add_breadcrumb(message="second", category="mine")
    log.info("third")
    log.error("x")
    assert sentry.event["tags"]["service"] == "mine"
    assert [crumb["message"] for crumb in sentry.event["breadcrumbs"]["values"]] == [
        "first",
        "second",
        "third",
    ]


def test_release_and_environment(make_sentry: Callable[..., Sentry]) -> None:
    """Their variables, else what the resource says; an unknown release is absent."""
    log_error = lambda: log.error("x")  # noqa: E731
    cases: list[tuple[dict[str, str], dict[str, Any], tuple[Any, Any]]] = [
        ({"SENTRY_RELEASE": "r", "SENTRY_ENVIRONMENT": "e"}, RESOURCE, ("r", "e")),
        ({}, {"vcs.ref.head.revision": "abc", "deployment.environment.name": "staging"}, ("abc", "staging")),
        ({}, {"service.version": 2, "vcs.ref.head.revision": "abc"}, ("2", "production")),
        ({}, {}, (None, "production")),
    ]
    for environ, resource, expected in cases:
        sentry = make_sentry(environ, resource)
        log_error()
        assert (sentry.event.get("release"), sentry.event["environment"]) == expected
        sentry.reporter.stop()


def test_secrets_are_masked_everywhere(sentry: Sentry) -> None:
    """In messages, fields, breadcrumbs, exceptions and the lines of source around them."""
    hidden = "s3" + "cr3t"  # so that the lines of source that are sent do not hold it
    log.info("connect to postgres://me:%s@db", hidden, extra={"api_key": hidden, "plain": "seen"})
    with pytest.raises(BadBatch), otelml.stage("load", password=hidden, url=f"http://u:{hidden}@h"):
        fail(f"login failed: password={hidden}")
    log.error("token=%s", hidden, extra={"credentials": {"a": hidden}})
    first, second = sentry.events
    assert hidden not in str(sentry.events)
    assert first["exception"]["values"][0]["value"] == "login failed: password=***"
    assert first["breadcrumbs"]["values"][0]["message"] == "connect to postgres://***@db"
    assert first["breadcrumbs"]["values"][0]["data"] == {"api_key": "***", "plain": "seen"}
    assert first["extra"] == {"password": "***", "url": "http://***@h"}
    assert second["logentry"] == {"message": "token=***", "formatted": "token=***"}
    assert second["extra"]["credentials"] == "***"


def test_lines_of_source_are_masked(sentry: Sentry) -> None:
    """What stands in the source behind such a name; the line itself stays."""
    with pytest.raises(BadBatch), otelml.stage("load"):
        password = "in the source"  # noqa: S105
        fail(str(len(password)))
    frame = sentry.event["exception"]["values"][0]["stacktrace"]["frames"][0]
    assert frame["pre_context"][-1].strip() == "password = ***  # noqa: S105"


def test_nothing_personal_is_collected(sentry: Sentry) -> None:
    """No user, request, command line, modules or local variables; the options that would say so are off."""
    log.error("x")
    assert not {"user", "request", "modules"} & set(sentry.event)
    assert "sys.argv" not in sentry.event["extra"]
    options = sentry_sdk.get_client().options
    assert not sentry_sdk.get_client().should_send_default_pii()
    assert options["include_local_variables"] is False
    assert sentry_sdk.get_client().integrations == {}


# -- a client of the program's own


def own_client(**options: Any) -> ListTransport:
    """Set one up, as programs do; where its events go."""
    transport = ListTransport()
    sentry_sdk.init(DSN, transport=transport, default_integrations=False, **options)
    return transport


def test_the_programs_own_client_stays(make_sentry: Callable[..., Sentry]) -> None:
    """Its events get tags, context and trace, are never dropped, and otelml reports nothing."""
    transport = own_client(release="theirs")
    client = sentry_sdk.get_client()
    sentry = make_sentry()
    assert sentry_sdk.get_client() is client
    with pytest.raises(BadBatch) as caught, otelml.inference("encoder"), otelml.stage("encode"):
        log.error("not theirs")
        with trace.get_tracer("x").start_as_current_span("mine") as span:
            for _ in range(2):
                sentry_sdk.capture_message("theirs")
        fail()
    sentry.reporter.report_uncaught(caught.value, "excepthook")
    sentry_sdk.capture_exception(caught.value)
    assert sentry.events == []
    assert [event.get("message") for event in transport.events] == ["theirs", "theirs", None]
    assert transport.events[0]["tags"] == {
        "stage": "encode", "model": "encoder", "run": "run-1", "rank": "2", "service": "train",
    }  # fmt: skip
    assert transport.events[0]["contexts"]["trace"] == ids_of(span)
    assert transport.events[0]["release"] == "theirs"
    assert transport.events[0]["breadcrumbs"]["values"] == []


def test_where_it_traces_itself_its_ids_stay(make_sentry: Callable[..., Sentry]) -> None:
    """They belong to spans of its own; and its transactions are left alone."""
    transport = own_client(traces_sample_rate=1.0)
    make_sentry()
    with (
        trace.get_tracer("x").start_as_current_span("mine") as span,
        sentry_sdk.start_transaction(name="theirs") as transaction,
    ):
        sentry_sdk.capture_message("theirs")
    message, sent = transport.events
    assert message["contexts"]["trace"]["trace_id"] == transaction.trace_id != ids_of(span)["trace_id"]
    assert message["tags"]["service"] == "train"
    assert "service" not in sent.get("tags", {})


def test_a_client_that_comes_later_takes_over(sentry: Sentry, caplog: pytest.LogCaptureFixture) -> None:
    """Ours reports no more, and that is said once."""
    caplog.set_level("INFO", "otelml.internal")
    log.error("ours")
    transport = own_client()
    log.error("not ours")
    with pytest.raises(BadBatch), otelml.stage("encode"):
        fail()
    sentry_sdk.capture_message("theirs")
    assert sentry.titles == ["ours"]
    assert [event["message"] for event in transport.events] == ["theirs"]
    assert transport.events[0]["tags"]["service"] == "train"
    said = [
        record.getMessage() for record in caplog.records if "Sentry client of its own" in record.getMessage()
    ]
    assert len(said) == 1


# -- start and end


def test_stopping_takes_everything_back(make_sentry: Callable[..., Sentry]) -> None:
    """Hooks, listeners and the client are as they were before."""
    before = sys.excepthook, threading.excepthook
    sentry = make_sentry()
    assert (sys.excepthook, threading.excepthook) != before
    sentry.reporter.stop()
    assert (sys.excepthook, threading.excepthook) == before
    assert failures.listeners == []
    assert not sentry_sdk.get_client().is_active()
    log.error("x")
    with pytest.raises(BadBatch), otelml.stage("encode"):
        fail()
    assert sentry.events == []


def test_hooks_of_others_over_ours_stay(
    make_sentry: Callable[..., Sentry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours stays below, and only hands on."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *_: seen.append("first"))
    sentry = make_sentry()
    ours = sys.excepthook

    def theirs(*given: Any) -> None:
        ours(*given)

    sys.excepthook = theirs
    sentry.reporter.stop()
    assert sys.excepthook is theirs
    sys.excepthook(BadBatch, BadBatch(), None)
    assert (seen, sentry.events) == (["first"], [])


def test_errors_of_the_reporter_are_contained(sentry: Sentry, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and the program's exception goes on as it is."""
    monkeypatch.setattr(internal, "raise_errors", False)
    monkeypatch.setattr(sentry.reporter, "_capture", lambda *_: 1 / 0)
    monkeypatch.setattr(internal, "_say", lambda *_, **__: None)
    with pytest.raises(BadBatch), otelml.stage("encode"):
        fail()
    log.error("x")
    assert internal.totals()["errors", "sentry", "ZeroDivisionError"] == 2
