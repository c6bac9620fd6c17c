"""Stages: measured always and exactly, with whole traces within a budget, in every form a piece of code can take."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import pickle
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import otelml
from otelml import testing
from otelml.instruments import internal
from otelml.stages import failures, marks
from otelml.stages import names as stage_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

stage_module = sys.modules["otelml.stages"]


def count(telemetry: testing.Capture, name: str, **more: Any) -> int:
    """How many stages of that name were measured."""
    return telemetry.value("ml.stage.duration", {"ml.stage.name": name, **more}) or 0


def kept(telemetry: testing.Capture) -> Counter[tuple[str, str]]:
    """How many spans each name has, by why they were kept."""
    return Counter((span.name, span.attributes["ml.stage.kept"]) for span in telemetry.spans)


def parent_name(telemetry: testing.Capture, name: str) -> str | None:
    """The name of the span above the only one of that name."""
    by_id = {span.context.span_id: span for span in telemetry.spans}
    (span,) = [s for s in telemetry.spans if s.name == name]
    return by_id[span.parent.span_id].name if span.parent else None


@pytest.mark.parametrize(
    ("items", "said"), [(np.int64(4), 4), (np.float32(4), 4), (4.5, None), ("a", None), (True, None)]
)
def test_a_span_has_whole_numbers_of_items(
    items: Any, said: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of numpy as well; OpenTelemetry is handed nothing that it complains about."""
    with testing.capture() as telemetry:
        with otelml.stage("work", items=items):
            pass
        (span,) = telemetry.spans
    assert span.attributes.get("ml.stage.items") == said
    assert [record.name for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_a_block_is_measured_counted_and_traced() -> None:
    """One block gives a duration, its items, and a span with its attributes; `duration_s` is what was recorded."""
    with testing.capture() as telemetry:
        with otelml.stage("encode", items=32, layer="conv1", shape=[3, 224]) as stage:
            assert stage.duration_s is None
        point = telemetry.point("ml.stage.duration", {"ml.stage.name": "encode"})
        assert (point.count, point.sum) == (1, stage.duration_s)
        assert telemetry.value("ml.stage.items", {"ml.stage.name": "encode"}) == 32
        (span,) = telemetry.spans
        assert dict(span.attributes) == {
            "layer": "conv1",
            "shape": (3, 224),
            "ml.stage.name": "encode",
            "ml.stage.items": 32,
            "ml.stage.kept": "first",
        }
        assert internal.totals() == {}
        telemetry.assert_conforms()


def test_items_may_be_set_inside() -> None:
    """How many items there were is often known only at the end."""
    with testing.capture() as telemetry:
        with otelml.stage("load") as stage:
            stage.items = 7
        assert telemetry.value("ml.stage.items", {"ml.stage.name": "load"}) == 7


def test_an_exception_is_recorded_and_goes_on_as_it_is() -> None:
    """`error.type` on the metric, status and exception on the span, and the very same exception for the caller."""
    problem = KeyError("missing")
    with testing.capture() as telemetry:
        with pytest.raises(KeyError) as caught, otelml.stage("load"):
            raise problem
        assert caught.value is problem
        assert count(telemetry, "load", **{"error.type": "KeyError"}) == 1
        assert count(telemetry, "load") == 0
        (span,) = telemetry.spans
        assert span.status.status_code is trace.StatusCode.ERROR
        assert [event.name for event in span.events] == ["exception"]
        telemetry.assert_conforms()


def test_an_exception_without_a_text_harms_nothing() -> None:
    """An exception whose `str()` raises is recorded like any other."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with testing.capture() as telemetry:
        with pytest.raises(Mute), otelml.stage("load", log=True):
            raise Mute
        assert len(telemetry.spans) == 1


def test_stages_nest() -> None:
    """An inner stage's span is a child of the outer one's, and of spans made with OpenTelemetry itself."""
    with testing.capture() as telemetry:
        tracer = trace.get_tracer("user")
        with otelml.stage("outer"), tracer.start_as_current_span("middle"), otelml.stage("inner"):
            pass
        names = {span.context.span_id: span.name for span in telemetry.spans}
        assert {s.name: names.get(s.parent.span_id) if s.parent else None for s in telemetry.spans} == {
            "outer": None,
            "middle": "outer",
            "inner": "middle",
        }


class TestDecorator:
    """`@otelml.stage(...)` on everything that can be called."""

    def test_function(self) -> None:
        """Arguments, result, name and docstring are the function's own; an exception is recorded."""

        @otelml.stage("work", kind="test")
        def work(a: int, *, b: int = 2) -> int:
            """Add."""
            return a // b

        with testing.capture(span_budget=1) as telemetry:
            assert [work(4), work(9, b=3)] == [2, 3]
            with pytest.raises(ZeroDivisionError):
                work(1, b=0)
            assert (work.__name__, work.__doc__) == ("work", "Add.")
            assert count(telemetry, "work") == 2
            assert count(telemetry, "work", **{"error.type": "ZeroDivisionError"}) == 1
            assert kept(telemetry) == {("work", "first"): 1, ("work", "failed"): 1}

    def test_items_are_counted_at_each_call(self) -> None:
        """A constant number of items is added by every call, with a span or without."""

        @otelml.stage("work", items=10)
        def work() -> None:
            pass

        with testing.capture(span_budget=1) as telemetry:
            for _ in range(5):
                work()
            assert telemetry.value("ml.stage.items", {"ml.stage.name": "work"}) == 50

    def test_coroutine(self) -> None:
        """A coroutine function is measured until it has finished."""

        @otelml.stage("fetch")
        async def fetch(x: int) -> int:
            await asyncio.sleep(0.01)
            return x

        with testing.capture() as telemetry:
            assert asyncio.run(fetch(3)) == 3
            assert telemetry.point("ml.stage.duration", {"ml.stage.name": "fetch"}).sum >= 0.01

    def test_generator(self) -> None:
        """One stage from the first item to the end; values sent, returned and thrown pass through."""

        @otelml.stage("batches")
        def batches() -> Iterator[Any]:
            got = yield 1
            try:
                yield got
            except LookupError:
                yield "thrown"
            return "done"

        with testing.capture() as telemetry:
            generator = batches()
            assert next(generator) == 1
            assert generator.send("sent") == "sent"
            assert generator.throw(LookupError()) == "thrown"
            with pytest.raises(StopIteration) as stop:
                next(generator)
            assert stop.value.value == "done"
            assert count(telemetry, "batches") == 1

    def test_generator_counts_its_own_time_only(self) -> None:
        """What the consumer does between two items is neither in the duration nor inside the stage."""

        @otelml.stage("batches")
        def batches() -> Iterator[int]:
            with otelml.stage("read"):
                pass
            yield 1

        with testing.capture() as telemetry:
            with otelml.stage("train"):
                for _ in batches():
                    with otelml.stage("step"):
                        threading.Event().wait(0.05)
            assert telemetry.point("ml.stage.duration", {"ml.stage.name": "batches"}).sum < 0.05
            assert {name: parent_name(telemetry, name) for name in ("read", "step", "batches")} == {
                "read": "batches",
                "step": "train",
                "batches": "train",
            }

    def test_generator_given_up_early(self) -> None:
        """A generator that is closed before its end is measured and is no failure."""

        @otelml.stage("batches")
        def batches() -> Iterator[int]:
            yield from range(10)

        with testing.capture() as telemetry:
            generator = batches()
            next(generator)
            generator.close()
            assert count(telemetry, "batches") == 1

    def test_async_generator(self) -> None:
        """Asynchronous generators are measured like generators, and failures pass through."""

        @otelml.stage("stream")
        async def stream(n: int) -> AsyncIterator[int]:
            for i in range(n):
                await asyncio.sleep(0)
                yield i
            raise LookupError("end")

        async def consume() -> list[int]:
            got = []
            with pytest.raises(LookupError):
                async for i in stream(3):
                    got.append(i)  # noqa: PERF401 - a comprehension would lose what came before the failure
            return got

        with testing.capture() as telemetry:
            assert asyncio.run(consume()) == [0, 1, 2]
            assert count(telemetry, "stream", **{"error.type": "LookupError"}) == 1


class TestHeld:
    """One object used again and again, also where its uses overlap."""

    def test_in_a_row_and_recursively(self) -> None:
        """Each use is measured for itself, also when it happens inside another use of the same object."""
        stage = otelml.stage("work")

        def recurse(depth: int) -> None:
            with stage:
                if depth:
                    recurse(depth - 1)

        with testing.capture() as telemetry:
            stage = otelml.stage("work")
            for _ in range(3):
                with stage:
                    pass
            recurse(3)
            with stage:
                pass
            assert count(telemetry, "work") == 8

    @pytest.mark.parametrize("budget", [0, float("inf")], ids=["refused", "with spans"])
    def test_in_interleaved_tasks(self, budget: float) -> None:
        """Tasks that hold the object open at the same time each measure their own time."""
        durations: dict[float, float] = {}

        async def wait(stage: otelml.stage, seconds: float) -> None:
            async with stage:
                await asyncio.sleep(seconds)
            durations[seconds] = stage.duration_s

        async def main() -> None:
            stage = otelml.stage("wait")
            await asyncio.gather(*(wait(stage, s) for s in (0.30, 0.02, 0.15, 0.08)))

        with testing.capture(span_budget=budget) as telemetry:
            asyncio.run(main())
            assert count(telemetry, "wait") == 4
        assert all(duration >= seconds * 0.95 for seconds, duration in durations.items())
        assert durations[0.02] < durations[0.15] < durations[0.30]
        assert marks.open_task_mark() is None

    def test_in_threads(self) -> None:
        """Threads that use one object at the same time lose nothing and leave nothing marked."""
        with testing.capture(span_budget=5) as telemetry:
            stage = otelml.stage("work", items=1)

            def work(_: int) -> int:
                for _ in range(2000):
                    with stage:
                        pass
                return marks.own_cell().refused

            with ThreadPoolExecutor(8) as pool:
                assert list(pool.map(work, range(8))) == [0] * 8
            assert count(telemetry, "work") == 16_000
            assert telemetry.value("ml.stage.items", {"ml.stage.name": "work"}) == 16_000

    def test_in_threads_that_run_copies_of_one_context(self) -> None:
        """Copies of a context in other threads, new ones all the time, leave nothing marked in any of them."""
        with testing.capture(span_budget=5) as telemetry:
            stage = otelml.stage("work")

            def work(_: int) -> int:
                with stage, otelml.stage("inner"):
                    pass
                return marks.current_cell().refused

            work(0)
            with ThreadPoolExecutor(8) as pool:
                done = [pool.submit(contextvars.copy_context().run, work, i) for i in range(4000)]
                assert len([future.result() for future in done]) == 4000
            assert count(telemetry, "work") == count(telemetry, "inner") == 4001
            assert marks.current_cell().refused == 0

    def test_overlapping_in_a_generator(self) -> None:
        """A block that a suspended generator holds open does not disturb blocks around it."""

        def holds_open() -> Iterator[None]:
            with otelml.stage("inside"):
                threading.Event().wait(0.01)
                yield

        with testing.capture(span_budget=0) as telemetry:
            generator = holds_open()
            with otelml.stage("outer") as outer:
                next(generator)
            generator.close()
            assert (count(telemetry, "inside"), count(telemetry, "outer")) == (1, 1)
            assert outer.duration_s >= 0.01
            assert marks.own_cell().refused == 0

    def test_entered_here_and_left_there(self) -> None:
        """A stage opened in one thread and closed in another is measured."""
        with testing.capture() as telemetry:
            stage = otelml.stage("request")
            for target, args in ((stage.__enter__, ()), (stage.__exit__, (None, None, None))):
                thread = threading.Thread(target=target, args=args)
                thread.start()
                thread.join()
            assert count(telemetry, "request") == 1

    def test_left_without_being_entered(self) -> None:
        """That is counted as an error of use and harms nothing."""
        with testing.capture() as telemetry:
            otelml.stage("x").__exit__(None, None, None)
            assert count(telemetry, "x") == 0
            assert internal.totals()["errors", "stage", "exit_without_enter"] == 1


class TestBudget:
    """Metrics are exact; spans are few, and the ones that tell something."""

    def test_a_million_stages(self) -> None:
        """Exact counts, a bounded number of spans, failed ones and the slowest among them, whole traces, none lost."""
        with testing.capture(span_budget=50) as telemetry:
            step, inner = otelml.stage("step"), otelml.stage("inner")
            for i in range(500_000):
                with step:
                    if i % 100_000 == 99_999:
                        try:
                            with otelml.stage("inner"):
                                raise ValueError(i)
                        except ValueError:
                            pass
                    else:
                        with inner:
                            if i == 345_678:
                                threading.Event().wait(0.2)
            assert count(telemetry, "step") == 500_000
            assert count(telemetry, "inner") == 499_995
            assert count(telemetry, "inner", **{"error.type": "ValueError"}) == 5
            spans = telemetry.spans
            measured_s = telemetry.point("ml.stage.duration", {"ml.stage.name": "step"}).sum
            assert len(spans) < 2 * 3 * 50 * (measured_s * 3 + 2)
            ids = {span.context.span_id for span in spans}
            assert [s.name for s in spans if s.parent and s.parent.span_id not in ids] == []
            assert sum(1 for s in spans if s.attributes.get("error.type") == "ValueError") == 5
            longest = max(s.end_time - s.start_time for s in spans if s.name == "inner")
            assert longest >= 0.2e9
            left_out = internal.totals()["dropped", "stage", "span_budget"]
            assert left_out + len(spans) == 1_000_000

    def test_a_refused_stage_has_no_spans_inside(self) -> None:
        """Where a stage has no span, what is inside has none by budget either: no trace without its top."""
        with testing.capture(span_budget=1) as telemetry:
            refused, rare = stage_names.of("refused"), stage_names.of("rare")
            refused.kept = rare.kept = 1

            def inside() -> None:
                refused.tokens, rare.tokens = 0, 1
                with otelml.stage("rare"):
                    pass

            async def task() -> None:
                with otelml.stage("lets the thread know that it runs a loop"):
                    pass
                async with otelml.stage("refused"):
                    await asyncio.create_task(asyncio.to_thread(inside))

            refused.tokens = 0
            with otelml.stage("refused"):
                inside()
            otelml.stage("refused")(inside)()
            asyncio.run(task())
            assert kept(telemetry)["rare", "budget"] == 0
            inside()
            assert kept(telemetry)["rare", "budget"] == 1

    def test_a_copied_context_is_told_apart_from_its_origin(self) -> None:
        """What is refused in a thread with a copy of this context takes no span away here, and has none inside."""
        with testing.capture(span_budget=1) as telemetry:
            refused, rare = stage_names.of("refused"), stage_names.of("rare")
            refused.kept = rare.kept = 1

            def run_rare() -> int:
                rare.tokens = 1
                with otelml.stage("rare"):
                    pass
                return kept(telemetry)["rare", "budget"]

            def hold(opened: threading.Event, done: threading.Event) -> int:
                refused.tokens = 0
                with otelml.stage("refused"):
                    before, inside = kept(telemetry)["rare", "budget"], run_rare()
                    opened.set()
                    assert done.wait(10)
                return inside - before

            assert run_rare() == 1  # this context has its cell
            with ThreadPoolExecutor(1) as pool:
                assert (
                    pool.submit(contextvars.copy_context().run, run_rare).result() == 2
                )  # and a copy is noticed
                opened, done = threading.Event(), threading.Event()
                held = pool.submit(contextvars.copy_context().run, hold, opened, done)
                assert opened.wait(10)
                assert run_rare() == 3
                done.set()
                assert held.result() == 0

    @pytest.mark.parametrize("budget", [1.0, 3.0])
    def test_the_budget_refills_with_time(self, budget: float) -> None:
        """`OTELML_SPAN_BUDGET` spans a second a name, and no more is saved up than a second's worth."""
        with testing.capture(span_budget=budget) as telemetry:
            stage = otelml.stage("work")
            for _ in range(4):
                for _ in range(20):
                    with stage:
                        pass
                telemetry.tick(1.0)
            telemetry.tick(100.0)
            by_budget = sum(n for (_, why), n in kept(telemetry).items() if why in ("budget", "first"))
            assert by_budget == 4 * budget

    def test_zero_makes_none(self) -> None:
        """With a budget of 0 there are no spans at all, and every stage is measured."""
        with testing.capture(span_budget=0) as telemetry:
            for _ in range(3):
                with pytest.raises(ValueError), otelml.stage("work"):
                    raise ValueError
            assert not telemetry.spans
            assert count(telemetry, "work", **{"error.type": "ValueError"}) == 3

    def test_an_outlier_gets_its_span_at_its_end(self) -> None:
        """A stage far slower than its name's own percentile is kept, with its true start and duration, as a leaf."""
        with testing.capture(span_budget=1) as telemetry:
            stage = otelml.stage("work")
            for _ in range(300):
                with stage:
                    pass
            telemetry.tick(1.5)
            with stage:
                pass
            with stage:
                threading.Event().wait(0.05)
            telemetry.tick(1.0)
            slow = [s for s in telemetry.spans if s.attributes["ml.stage.kept"] == "outlier"]
            assert max(s.end_time - s.start_time for s in slow) == pytest.approx(
                stage.duration_s * 1e9, rel=0.01
            )

    def test_the_users_sampler_is_obeyed(self) -> None:
        """A sampler that says no gets no span, and the metric is exact."""
        with testing.capture(sampler=ALWAYS_OFF) as telemetry:
            for _ in range(3):
                with otelml.stage("work"):
                    pass
            assert not telemetry.spans
            assert count(telemetry, "work") == 3

    def test_a_million_names_are_bounded(self) -> None:
        """Names made of data are measured together beyond the limit, and counted; memory stays flat."""
        with testing.capture(cardinality_limit=20, span_budget=50) as telemetry:
            for i in range(1_000_000):
                with otelml.stage(f"step-{i}"):
                    pass
            assert len(stage_names.names) == 20
            assert len(telemetry.points()["ml.stage.duration"]) == 21
            assert telemetry.value("ml.stage.duration", {"otel.metric.overflow": True}) == 1_000_000 - 20
            where = {"otelml.component": "stage", "otelml.reason": "ml.stage.name"}
            assert telemetry.value("otelml.internal.overflow", where) == 1_000_000 - 20


def test_a_name_must_be_a_string() -> None:
    """Anything else raises where the stage is made, with an example."""
    with pytest.raises(TypeError, match=r"otelml\.stage\('encode'\)"):
        otelml.stage(5)


class TestLogPair:
    """`log=True` writes the start and the end as events."""

    def test_the_pair(self) -> None:
        """Both events carry the attributes, the second the elapsed time, and both the trace of the stage."""
        with testing.capture() as telemetry:
            with otelml.stage("multimodal_fusion", items=4, log=True, batch_size=4) as stage:
                pass
            (span,) = telemetry.spans
            records = [log.log_record for log in telemetry.logs]
            assert [(r.event_name, r.body) for r in records] == [
                ("ml.stage_start", "Starting multimodal_fusion"),
                ("ml.stage_complete", "Completed multimodal_fusion"),
            ]
            assert [r.attributes["batch_size"] for r in records] == [4, 4]
            assert records[1].attributes["elapsed_ms"] == pytest.approx(stage.duration_s * 1e3)
            assert {r.span_id for r in records} == {span.context.span_id}
            telemetry.assert_conforms()

    def test_a_failure(self) -> None:
        """A failed stage ends with `stage_error` at level ERROR instead."""
        with testing.capture() as telemetry:
            with pytest.raises(OSError), otelml.stage("load", log=True):
                raise OSError("disk")
            records = [log.log_record for log in telemetry.logs]
            assert [r.event_name for r in records] == ["ml.stage_start", "ml.stage_error"]
            assert records[1].severity_text == "ERROR"
            assert (records[1].attributes["error_type"], records[1].attributes["error_message"]) == (
                "OSError",
                "disk",
            )

    def test_everywhere_by_setting(self) -> None:
        """`OTELML_STAGE_LOGS` turns the pair on for every stage, decorated ones too."""
        with testing.capture(stage_logs=True) as telemetry:
            stage_module.reset()
            otelml.stage("work")(lambda: None)()
            assert len(telemetry.logs) == 2
        stage_module.reset()

    def test_to_a_logger_of_ones_own(self, caplog: pytest.LogCaptureFixture) -> None:
        """`log=logger` writes the pair there, with the caller's place."""
        logger = logging.getLogger("robocache")
        with (
            testing.capture(),
            caplog.at_level(logging.INFO, "robocache"),
            otelml.stage("fusion", log=logger),
        ):
            pass
        assert [(r.name, r.getMessage()) for r in caplog.records] == [
            ("robocache", "Starting fusion"),
            ("robocache", "Completed fusion"),
        ]
        assert {(r.module, r.funcName) for r in caplog.records} == {
            ("test_stages", "test_to_a_logger_of_ones_own")
        }

    def test_attributes_named_like_arguments_of_a_logging_call(self) -> None:
        """Attributes called `level` or `message` reach the events under their own names."""
        with testing.capture() as telemetry:
            with otelml.stage("work", log=True, level="high", message="hello"):
                pass
            record = telemetry.logs[0].log_record
            assert (record.attributes["level"], record.attributes["message"]) == ("high", "hello")


class TestWhatProgramsDo:
    """Uses that a review found to break."""

    def test_copies_and_pickles(self) -> None:
        """A model that holds a stage may be copied and sent to a worker, open or not; the copy is a stage like it."""
        with testing.capture() as telemetry:
            stage = otelml.stage("held", items=2, kind="x")
            with stage:
                copies = [copy.deepcopy(stage), copy.copy(stage), pickle.loads(pickle.dumps(stage))]  # noqa: S301
            for other in copies:
                with other:
                    pass
            assert count(telemetry, "held") == 4
            assert (copies[0].items, copies[0].attributes) == (2, {"kind": "x"})

    def test_opened_and_closed_in_other_contexts(self) -> None:
        """Uses of one object that begin in one thread and end in another are all measured; nothing stays marked."""
        with testing.capture(span_budget=0) as telemetry:
            stage = otelml.stage("request")
            with ThreadPoolExecutor(1) as opening, ThreadPoolExecutor(1) as closing:
                for pool, call in (
                    (opening, stage.__enter__),
                    (closing, lambda: stage.__exit__(None, None, None)),
                ):
                    for future in [pool.submit(contextvars.copy_context().run, call) for _ in range(20)]:
                        future.result()
                left = [pool.submit(lambda: marks.own_cell().refused).result() for pool in (opening, closing)]
            assert count(telemetry, "request") == 20
            assert left == [0, 0]

    def test_an_async_generator_left_early_marks_nobody(self) -> None:
        """A refused stage that is closed in another context leaves no mark on the task that consumed it."""

        async def numbers() -> AsyncIterator[int]:
            async with otelml.stage("read"):
                for i in range(3):
                    yield i

        async def main() -> None:
            with otelml.stage("lets the thread know that it runs a loop"):
                pass
            async for _ in numbers():
                break
            await asyncio.sleep(0.01)
            assert marks.open_task_mark() is None

        with testing.capture(span_budget=0):
            asyncio.run(main())

    def test_it_is_fast_again_after_a_recursion(self) -> None:
        """An object that was open twice at a time goes back to keeping its use on itself."""
        with testing.capture(span_budget=0):
            stage = otelml.stage("work")
            with stage, stage:
                pass
            with stage:
                assert stage._cell is marks.own_cell()

    def test_methods_of_every_kind(self) -> None:
        """Static and class methods are measured; a class is refused with advice."""

        class Model:
            @otelml.stage("static")
            @staticmethod
            def static() -> int:
                return 1

            @otelml.stage("cls")
            @classmethod
            def cls(cls) -> str:
                return cls.__name__

        with testing.capture() as telemetry:
            assert (Model.static(), Model().static(), Model.cls()) == (1, 1, "Model")
            assert (count(telemetry, "static"), count(telemetry, "cls")) == (2, 1)
        with pytest.raises(TypeError, match=r"not the class .*Model"):
            otelml.stage("model")(Model)

    def test_less_than_one_span_a_second(self) -> None:
        """A budget below one saves up for a whole span."""
        with testing.capture(span_budget=0.5) as telemetry:
            for _ in range(4):
                with otelml.stage("work"):
                    pass
                telemetry.tick(2.0)
            assert sum(n for (_, why), n in kept(telemetry).items() if why in ("first", "budget")) == 4

    def test_a_late_span_has_the_attributes_of_its_time(self) -> None:
        """Attributes that change from use to use are those of the use that was slow."""
        with testing.capture(span_budget=1) as telemetry:
            stage = otelml.stage("work")
            for i in range(5):
                stage.attributes["i"] = i
                with stage:
                    threading.Event().wait(0.05 if i == 2 else 0)
            telemetry.tick(1.0)
            late = max(telemetry.spans, key=lambda span: span.end_time - span.start_time)
            assert (late.attributes["ml.stage.kept"], late.attributes["i"]) == ("outlier", 2)

    def test_an_interrupt_in_a_logging_handler(self) -> None:
        """A Ctrl-C while the start is being logged leaves no mark and no span open."""

        class Interrupting(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise KeyboardInterrupt

        logger = logging.getLogger("interrupted")
        logger.setLevel(logging.INFO)
        handler = Interrupting()
        logger.addHandler(handler)
        try:
            for budget in (0, 1):
                with (
                    testing.capture(span_budget=budget),
                    pytest.raises(KeyboardInterrupt),
                    otelml.stage("work", log=logger),
                ):
                    pass
                assert marks.own_cell().refused == 0
                assert not trace.get_current_span().is_recording()
        finally:
            logger.removeHandler(handler)


def test_who_listens_is_told_of_each_failure() -> None:
    """What failed, what it was given, its exception and its span, from every form and whatever the budget."""
    told: list[failures.Failure] = []
    failures.listeners.append(told.append)

    @otelml.stage("called")
    def called() -> None:
        raise ValueError("called")

    @otelml.stage("generated")
    def generated() -> Iterator[int]:
        yield 1
        raise ValueError("generated")

    with testing.capture(span_budget=1) as telemetry:
        for _ in range(2):
            with pytest.raises(ValueError, match="block"), otelml.stage("block", items=3, layer=7):
                raise ValueError("block")
        for work in (called, lambda: list(generated())):
            with pytest.raises(ValueError):
                work()
        spans = {span.context.span_id: span.attributes["ml.stage.kept"] for span in telemetry.spans}
    assert [(failure.name, str(failure.error)) for failure in told] == [
        ("block", "block"), ("block", "block"), ("called", "called"), ("generated", "generated"),
    ]  # fmt: skip
    assert told[0].identity == {"ml.stage.name": "block", "ml.stage.items": 3}
    assert told[0].attributes == {"layer": 7}
    assert [spans[failure.span.get_span_context().span_id] for failure in told] == [
        "first", "failed", "first", "first",
    ]  # fmt: skip


def test_a_failure_is_told_before_the_exception_goes_on_and_a_generator_that_is_closed_has_not_failed() -> (
    None
):
    """Once, from the thread that fails, while the exception is being handled."""
    told: list[Any] = []
    failures.listeners.append(
        lambda failure: told.append((failure.error, sys.exc_info()[1], threading.get_ident()))
    )

    @otelml.stage("generated")
    def generated() -> Iterator[int]:
        yield 1

    with testing.capture():
        generator = generated()
        next(generator)
        generator.close()
        with pytest.raises(ValueError) as caught, otelml.stage("block"):
            raise ValueError("x")
    assert told == [(caught.value, caught.value, threading.get_ident())]


def test_what_is_around_a_failure_is_known_where_it_has_spans() -> None:
    """Stage and model, the inner ones first; also in tasks, generators and between spans of others; nothing after."""
    failures.listeners.append(lambda _: None)
    seen: list[Any] = []

    @otelml.stage("generated")
    def generated() -> Iterator[int]:
        yield 1
        seen.append(dict(failures.within()))
        yield 2

    async def task() -> None:
        with otelml.stage("task"):
            await asyncio.sleep(0)
            seen.append(dict(failures.within()))

    with testing.capture(), otelml.inference("encoder", version=2), otelml.stage("outer"):
        with trace.get_tracer("x").start_as_current_span("of others"), otelml.stage("inner"):
            seen.append(dict(failures.within()))
        list(generated())
        asyncio.run(task())
    encoder = {"ml.model.name": "encoder", "ml.model.version": "2"}
    assert seen == [encoder | {"ml.stage.name": name} for name in ("inner", "generated", "task")]
    assert failures.within() == {}
