"""Inference: requests, what comes out of them, and what is known of models, in every form a program has it."""

from __future__ import annotations

import asyncio
import copy
import enum
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace

import otelml
from otelml import testing
from otelml.inferences import (
    identity,
    inference,
    labels,
    model_conversion,
    record_evaluation,
    record_inference,
    record_model_size,
    record_resources,
)
from otelml.instruments import internal
from otelml.semconv import conformance

RESNET = {"ml.model.name": "resnet"}
DURATION, ACTIVE = "ml.inference.duration", "ml.inference.active"


def dropped(reason: str) -> int:
    """How much was left out for that reason."""
    return internal.totals().get(("dropped", "inference", reason), 0)


def classes(telemetry: testing.Capture) -> dict[str, int]:
    """Predictions by class; those beyond the bound under an empty name."""
    return {
        point.attributes.get("ml.prediction.class", ""): point.value
        for point in telemetry.points().get("ml.inference.predictions", ())
    }


class DeviceTensor:
    """A tensor on a device, as far as the library looks; reading it on the thread that made it is a mistake."""

    def __init__(self, values: Any, kind: str = "cuda") -> None:
        self.values = np.array(values)
        self.device = SimpleNamespace(type=kind)
        self.copied = False

    def detach(self) -> DeviceTensor:
        return self

    def clone(self) -> DeviceTensor:
        made = DeviceTensor(self.values, self.device.type)
        made.copied = True
        return made

    def cpu(self) -> Any:
        assert self.copied
        return self.values


class TestRequests:
    """Duration, batch size, requests in flight and the span, as a block."""

    def test_a_request_is_measured_counted_and_traced(self) -> None:
        """One block gives a duration, its batch size, no request left in flight, and a span with its attributes."""
        with testing.capture() as telemetry:
            with inference("resnet", version=3, device="cuda:0", batch_size=32, tenant="a") as request:
                assert telemetry.value(ACTIVE, RESNET) == 1
            where = {**RESNET, "ml.model.version": "3", "ml.device.name": "cuda:0"}
            point = telemetry.point(DURATION, where)
            assert (point.count, point.sum) == (1, request.duration_s)
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 32
            assert telemetry.point(ACTIVE, RESNET).value == 0
            (span,) = telemetry.spans
            assert (span.name, dict(span.attributes)) == (
                "inference resnet",
                {**where, "ml.inference.batch.size": 32, "ml.stage.kept": "first", "tenant": "a"},
            )
            assert set(telemetry.points()) == {DURATION, ACTIVE, "ml.inference.batch.size"}
            assert internal.totals() == {}
            telemetry.assert_conforms()

    def test_an_exception_is_recorded_and_goes_on_as_it_is(self) -> None:
        """`error.type` on the metric, status on the span, nothing left in flight, and the very same exception."""
        problem = KeyError("missing")
        with testing.capture() as telemetry:
            with pytest.raises(KeyError) as caught, inference("resnet"):
                raise problem
            assert caught.value is problem
            assert telemetry.value(DURATION, {**RESNET, "error.type": "KeyError"}) == 1
            assert telemetry.point(DURATION, RESNET) is None
            assert telemetry.point(ACTIVE, RESNET).value == 0
            (span,) = telemetry.spans
            assert span.status.status_code is trace.StatusCode.ERROR
            telemetry.assert_conforms()

    def test_a_batch_size_known_inside_goes_to_the_metric_and_the_span(self) -> None:
        """`batch` records at once, and is on the span that was made at the start, and on one made at the end."""
        with testing.capture(span_budget=1) as telemetry:
            for size in (3, 5):
                with pytest.raises(ValueError), inference("resnet") as request:
                    request.batch(size)
                    raise ValueError
            point = telemetry.point("ml.inference.batch.size", RESNET)
            assert (point.count, point.sum) == (2, 8)
            keys = ("ml.stage.kept", "ml.inference.batch.size")
            assert [tuple(map(span.attributes.get, keys)) for span in telemetry.spans] == [
                ("first", 3),
                ("failed", 5),
            ]
            telemetry.assert_conforms()

    def test_a_batch_size_of_one_use_is_not_that_of_the_next(self) -> None:
        """A held object forgets what was said inside its last block."""
        with testing.capture() as telemetry:
            held = inference("resnet")
            with held as request:
                request.batch(3)
            with held:
                pass
            held.batch(4)  # outside: recorded, on no span
            assert [s.attributes.get("ml.inference.batch.size") for s in telemetry.spans] == [3, None]
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 7

    def test_without_budget_every_request_is_still_measured(self) -> None:
        """Metrics are exact whatever the span budget; what was left out is counted as inferences."""
        with testing.capture(span_budget=1) as telemetry:
            held = inference("resnet", batch_size=2)
            for _ in range(1000):
                with held:
                    pass
            telemetry.tick()
            assert telemetry.value(DURATION, RESNET) == 1000
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 2000
            spans = telemetry.spans
            assert dropped("span_budget") + len(spans) == 1000
            assert 1 <= len(spans) <= 3
            assert telemetry.point(ACTIVE, RESNET).value == 0

    def test_requests_and_stages_nest(self) -> None:
        """A request inside a stage is its child, and a stage inside a request the request's; refused ones refuse."""
        with testing.capture() as telemetry:
            with otelml.stage("serve"), inference("resnet"), otelml.stage("forward"):
                pass
            names = {span.context.span_id: span.name for span in telemetry.spans}
            assert {s.name: names.get(s.parent.span_id) if s.parent else None for s in telemetry.spans} == {
                "serve": None,
                "inference resnet": "serve",
                "forward": "inference resnet",
            }
        with testing.capture(span_budget=0) as telemetry:
            with inference("resnet"), otelml.stage("forward"):
                pass
            assert not telemetry.spans

    def test_the_devices_name_may_be_an_object(self) -> None:
        """A `torch.device` or the like is taken by its text, and means the same as that; so is what cannot be a key."""

        class Device:
            __hash__ = None

            def __str__(self) -> str:
                return "cuda:1"

        with testing.capture() as telemetry:
            for device in (Device(), "cuda:1"):
                with inference("resnet", device=device):
                    pass
            assert telemetry.value(DURATION, {**RESNET, "ml.device.name": "cuda:1"}) == 2
            telemetry.assert_conforms()

    @pytest.mark.parametrize(
        "call", [inference, lambda m: record_inference(m, 1.0), record_evaluation, model_conversion]
    )
    def test_a_models_name_must_be_a_string(self, call: Any) -> None:
        """Anything else raises where it is said, with an example."""
        with pytest.raises(TypeError, match=r"otelml\.inference\('resnet50'\)"):
            call(5)

    def test_many_models_are_bounded(self) -> None:
        """Names made of data are measured together beyond the limit, and counted."""
        with testing.capture(cardinality_limit=20) as telemetry:
            for i in range(10_000):
                with inference(f"model-{i}", batch_size=1) as request:
                    request.confidence(0.5)
                    request.predicted("a")
            overflow = {"otel.metric.overflow": True}
            for name in (DURATION, "ml.inference.batch.size", "ml.inference.confidence"):
                assert len(telemetry.points()[name]) == 21
                assert telemetry.value(name, overflow) == 10_000 - 20
            assert telemetry.value("ml.inference.predictions", overflow) == 10_000 - 20
            assert telemetry.point(ACTIVE, overflow).value == 0
            assert internal.totals()["overflow", "inference", "ml.model.name"] == 10_000 - 20
            assert len(identity.identities) == 20
            telemetry.assert_conforms()

    def test_many_objects_with_one_name_are_bounded(self) -> None:
        """Versions and devices made anew for each request are looked up by what they are called, and are not kept."""

        class Device:
            def __str__(self) -> str:
                return "npu"

        class Listed(Device):
            __hash__ = None  # type: ignore[assignment]

        with testing.capture(cardinality_limit=20) as telemetry:
            for _ in range(1000):
                for device in (Device(), Listed()):
                    with inference("m", version=Device(), device=device):
                        pass
            known = {"ml.model.name": "m", "ml.model.version": "npu", "ml.device.name": "npu"}
            assert telemetry.value(DURATION, known) == 2000
            assert len(identity.identities["m"]) == 4 * 20

    def test_unicode_is_kept_and_what_cannot_be_sent_is_replaced(self) -> None:
        """Names in any script stand as they are; half a surrogate pair becomes a question mark."""
        with testing.capture() as telemetry:
            with inference("模型", version="β\ud800") as request:
                request.predicted(["猫", "\udfff", "😀"])
            assert telemetry.value(DURATION, {"ml.model.name": "模型", "ml.model.version": "β?"}) == 1
            assert classes(telemetry) == {"猫": 1, "?": 1, "😀": 1}

    def test_copies_and_pickles_are_of_the_same_model(self) -> None:
        """They are not open, and record where the original does."""
        with testing.capture() as telemetry:
            held = inference("resnet", version="3", batch_size=2, tenant="a")
            with held:
                for other in (copy.copy(held), copy.deepcopy(held), pickle.loads(pickle.dumps(held))):  # noqa: S301
                    with other:
                        pass
            assert telemetry.value(DURATION, {**RESNET, "ml.model.version": "3"}) == 4
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 8
            assert telemetry.point(ACTIVE, RESNET).value == 0


class TestAtOnce:
    """One object in several threads and tasks at once, and what ends them."""

    def test_threads_share_an_object(self) -> None:
        """Counts are exact, the batch sizes are each request's own, and nothing is left in flight."""
        barrier = threading.Barrier(4)

        def serve(size: int) -> None:
            for _ in range(200):
                with held as request:
                    request.batch(size)
            barrier.wait()

        with testing.capture() as telemetry, ThreadPoolExecutor(4) as pool:
            held = inference("resnet")
            list(pool.map(serve, range(1, 5)))
            assert telemetry.value(DURATION, RESNET) == 800
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 200 * (1 + 2 + 3 + 4)
            assert telemetry.point(ACTIVE, RESNET).value == 0
            sizes = Counter(span.attributes["ml.inference.batch.size"] for span in telemetry.spans)
            assert sizes == dict.fromkeys(range(1, 5), 200)

    def test_interleaved_tasks_have_each_its_own(self) -> None:
        """Tasks that begin and end in any order: as many in flight as are open, each span its own batch size."""

        async def serve(number: int) -> None:
            async with held as request:
                await asyncio.sleep(0.001 * (number * 7 % 5))
                request.batch(number)

        async def serve_all() -> int:
            tasks = [asyncio.create_task(serve(number)) for number in range(20)]
            await asyncio.sleep(0)
            open_now = telemetry.value(ACTIVE, RESNET)
            await asyncio.gather(*tasks)
            return open_now

        with testing.capture() as telemetry:
            held = inference("resnet")
            assert asyncio.run(serve_all()) == 20
            assert telemetry.point(ACTIVE, RESNET).value == 0
            assert sorted(s.attributes["ml.inference.batch.size"] for s in telemetry.spans) == list(range(20))
            telemetry.assert_conforms()

    def test_a_cancelled_request_is_an_error_and_not_in_flight(self) -> None:
        """Cancellation is recorded under its type, and goes on."""

        async def cancel() -> None:
            async def serve() -> None:
                async with inference("resnet"):
                    await asyncio.sleep(60)

            task = asyncio.create_task(serve())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with testing.capture() as telemetry:
            asyncio.run(cancel())
            where = {**RESNET, "error.type": "asyncio.exceptions.CancelledError"}
            assert telemetry.value(DURATION, where) == 1
            assert telemetry.point(ACTIVE, RESNET).value == 0

    def test_functions_coroutines_and_generators_are_decorated(self) -> None:
        """Every call is a request with the function's own result; a generator's ends with it, also when left early."""
        made = inference("resnet", batch_size=1)

        @made
        def predict(x: int) -> int:
            return predict(x - 1) + 1 if x else 0

        @made
        async def predict_later(x: int) -> int:
            await asyncio.sleep(0)
            return x

        @made
        def stream() -> Any:
            yield from "abc"

        @made
        async def stream_later() -> Any:
            for token in "abc":
                yield token

        async def consume() -> list[Any]:
            return [await predict_later(2), *[token async for token in stream_later()]]

        with testing.capture() as telemetry:
            assert predict(3) == 3
            assert list(stream()) == ["a", "b", "c"]
            assert next(stream()) == "a"
            assert asyncio.run(consume()) == [2, "a", "b", "c"]
            assert telemetry.value(DURATION, RESNET) == 4 + 2 + 2
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 8
            assert telemetry.point(ACTIVE, RESNET).value == 0

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    def test_a_forked_child_counts_from_zero(self) -> None:
        """A request open at the fork is not in the child's count, when it begins nor when it ends there."""
        program = """
            import os
            from otelml import testing
            from otelml.inferences import inference
            with testing.capture() as telemetry:
                held = inference("resnet")
                with held:
                    child = os.fork()
                    if child == 0:
                        with held:
                            inside = telemetry.value("ml.inference.active", {"ml.model.name": "resnet"})
                after = telemetry.point("ml.inference.active", {"ml.model.name": "resnet"}).value
                if child == 0:
                    os._exit(10 * inside + abs(after))
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), after)
        """
        code = "\n".join(line[12:] for line in program.splitlines())
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.stdout, done.stderr) == ("10 0\n", "")


class TestConfidence:
    """Confidences: how they are handed in, and what is none."""

    @pytest.mark.parametrize(
        ("given", "count", "total"),
        [
            (0.5, 1, 0.5),
            (1, 1, 1.0),
            (np.float32(0.5), 1, 0.5),
            (Fraction(1, 4), 1, 0.25),
            ([0.25, [0.5, (1.0,)]], 3, 1.75),
            (np.full((2, 3), 0.5), 6, 3.0),
            (np.array([0.5], dtype=np.float16), 1, 0.5),
            (np.ma.array([0.25, 0.5], mask=[True, False]), 1, 0.5),
            ((x / 4 for x in range(5)), 5, 2.5),
            (1.005, 1, 1.0),
            ([0.5, 1.005], 2, 1.5),
            (np.array([0.5, 1.005]), 2, 1.5),
        ],
    )
    def test_any_form_is_recorded(self, given: Any, count: int, total: float) -> None:
        """Numbers, arrays and sequences of any shape; a rounding error above 1 is 1."""
        with testing.capture() as telemetry:
            inference("resnet").confidence(given)
            point = telemetry.point("ml.inference.confidence", RESNET)
            assert (point.count, point.sum) == (count, pytest.approx(total))
            assert internal.totals() == {}
            telemetry.assert_conforms()

    @pytest.mark.parametrize("given", [[], np.array([]), np.zeros((0, 3)), ()])
    def test_nothing_is_recorded_of_nothing(self, given: Any) -> None:
        """An empty batch has no confidences and is no mistake."""
        with testing.capture() as telemetry:
            inference("resnet").confidence(given)
            assert telemetry.value("ml.inference.confidence", RESNET) is None
            assert internal.totals() == {}

    @pytest.mark.parametrize("form", [list, np.array])
    def test_what_is_no_fraction_is_left_out_and_counted(
        self, form: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Percentages and logits are out of range, NaN and infinities not finite; the others are recorded."""
        with testing.capture() as telemetry:
            inference("resnet").confidence(form([92.0, -3.5, float("nan"), float("inf"), 0.25, 0.5]))
            point = telemetry.point("ml.inference.confidence", RESNET)
            assert (point.count, point.sum) == (2, 0.75)
            assert dropped("confidence_out_of_range") == 2
            assert internal.totals()["dropped", "instruments", "non_finite_value"] == 2
            assert "a confidence of 92 is left out" in caplog.text
            assert [log.log_record.event_name for log in telemetry.logs if log.log_record.event_name] == [
                "ml.non_finite"
            ]

    def test_what_is_no_number_is_left_out_and_counted(self) -> None:
        """Strings and None are no confidences."""
        with testing.capture() as telemetry:
            inference("resnet").confidence(["high", None, 0.5])
            inference("resnet").confidence("0.9")
            assert telemetry.value("ml.inference.confidence", RESNET) == 1
            assert internal.totals() == {("dropped", "instruments", "invalid_value"): 3}

    def test_a_device_tensor_is_read_by_the_drain(self) -> None:
        """It is copied where it is and read at collection: with what it held then, off the caller's thread."""
        with testing.capture() as telemetry:
            request = inference("resnet")
            request.confidence(DeviceTensor([0.25, 0.5, 7.0], "xpu"))
            request.predicted(DeviceTensor([1, 2, 2], "xpu"))
            assert telemetry.point("ml.inference.confidence", RESNET).sum == 0.75
            assert classes(telemetry) == {"1": 1, "2": 2}
            assert dropped("confidence_out_of_range") == 1

    def test_a_cuda_tensor_is_read_after_the_stream_that_made_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event of the caller's stream is waited for before the copy is read; a graph's capture is left alone."""
        seen: list[str] = []

        class Event:
            def record(self, stream: str) -> None:
                seen.append(f"record {stream}")

            def synchronize(self) -> None:
                seen.append("wait")

        cuda = SimpleNamespace(
            Event=Event, current_stream=lambda _: "mine", is_current_stream_capturing=lambda: False
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        with testing.capture() as telemetry:
            inference("resnet").predicted(DeviceTensor([3]))
            assert classes(telemetry) == {"3": 1}
            assert seen == ["record mine", "wait"]
            cuda.is_current_stream_capturing = lambda: True
            inference("resnet").predicted(DeviceTensor([3]))
            assert classes(telemetry) == {"3": 1}
            assert dropped("graph_capture") == 1


class Colour(enum.Enum):
    RED = "red"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class TestPredictions:
    """Predicted classes: how they are handed in, what is none, and how many there may be."""

    @pytest.mark.parametrize(
        ("given", "counts"),
        [
            ("cat", {"cat": 1}),
            (7, {"7": 1}),
            (-1, {"-1": 1}),
            (True, {"True": 1}),
            (3.0, {"3": 1}),
            (b"cat", {"cat": 1}),
            (Colour.RED, {"red": 1}),
            (np.str_("cat"), {"cat": 1}),
            (np.int64(7), {"7": 1}),
            ("x" * 5000, {"x" * 1024: 1}),
            (["cat", "dog", "cat"], {"cat": 2, "dog": 1}),
            ([["cat"], ("dog", 3)], {"cat": 1, "dog": 1, "3": 1}),
            ([1, True], {"1": 1, "True": 1}),  # a list counts what Python takes for equal together
            (np.array(["cat", "dog", "cat"]), {"cat": 2, "dog": 1}),
            (np.array(["cat", 1, None], dtype=object), {"cat": 1, "1": 1}),
            (np.array([[2, 0], [2, 70_000]]), {"2": 2, "0": 1, "70000": 1}),
            (np.array([-1, -1], dtype=np.int8), {"-1": 2}),
            (np.array([True, False]), {"True": 1, "False": 1}),
            (np.array([1.0, 2.0, 2.0]), {"1": 1, "2": 2}),
            (np.array([1, 2, 2, np.inf], np.float16), {"1": 1, "2": 2}),
            ({"cat": 3, "dog": np.int64(2), "cow": -1, "hen": 0.5}, {"cat": 3, "dog": 2}),
            ([], {}),
        ],
    )
    def test_any_form_is_counted(self, given: Any, counts: dict[str, int]) -> None:
        """Labels of any type by their text, alone, in arrays and sequences of any shape, or counted already."""
        with testing.capture() as telemetry:
            inference("resnet").predicted(given)
            assert classes(telemetry) == counts
            telemetry.assert_conforms()

    @pytest.mark.parametrize(
        "given",
        [
            None,
            float("nan"),
            0.7,
            [0.7],
            np.array([0.7]),
            np.array([np.nan]),
            np.array([np.inf]),
            np.array([None]),
            Mute(),
            [Mute()],
        ],
    )
    def test_what_is_no_class_is_left_out_and_counted(self, given: Any) -> None:
        """None, NaN, scores, and what has no text."""
        with testing.capture() as telemetry:
            inference("resnet").predicted(given)
            assert classes(telemetry) == {}
            assert dropped("no_class") == 1

    def test_true_and_one_are_two_classes(self) -> None:
        """Whichever came first."""
        with testing.capture() as telemetry:
            for label in (1, True, 1, True, "1"):
                inference("resnet").predicted(label)
            assert classes(telemetry) == {"1": 3, "True": 2}

    def test_labels_that_cannot_be_keys_are_counted_too(self) -> None:
        """By their text."""
        with testing.capture() as telemetry:
            inference("resnet").predicted([SimpleNamespace(x=1), SimpleNamespace(x=1)])
            assert classes(telemetry) == {"namespace(x=1)": 2}

    @pytest.mark.parametrize("form", ["array", "list", "each", "text"])
    def test_millions_of_classes_do_no_harm(self, form: str) -> None:
        """A model has series for so many classes; further ones are counted together, and none is lost."""
        n = 20_000 if form == "each" else 1_000_000
        with testing.capture() as telemetry:
            request = inference("resnet")
            if form == "array":
                request.predicted(np.arange(n))
            elif form == "list":
                request.predicted(list(range(n)))
            elif form == "text":
                request.predicted([f"class {i}" for i in range(n)])
            else:
                for i in range(n):
                    request.predicted(i)
            found = classes(telemetry)
            assert len(found) == labels.MAX_CLASSES + 1
            assert found[""] == n - labels.MAX_CLASSES
            assert sum(found.values()) == n
            assert internal.totals()["overflow", "inference", "ml.prediction.class"] == n - labels.MAX_CLASSES
            request.predicted(5 if form != "text" else "class 5")
            assert classes(telemetry)["5" if form != "text" else "class 5"] == 2

    def test_an_error_of_ours_reaches_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What breaks while labels are read is contained and counted."""

        class Broken:
            def tolist(self) -> Any:
                raise RuntimeError("no list")

        monkeypatch.setattr(internal, "raise_errors", False)
        with testing.capture():
            inference("resnet").predicted(Broken())
            inference("resnet").confidence(Broken())
            assert internal.totals() == {("errors", "inference", "RuntimeError"): 2}


class TestModels:
    """What is recorded without a block around it."""

    def test_a_request_that_was_timed_elsewhere(self) -> None:
        """The same metrics, no span, nothing in flight, nothing counted as left out."""
        with testing.capture(span_budget=1) as telemetry:
            record_inference(
                "resnet", 0.2345, device="cpu", batch_size=2, confidence=[0.92, 0.5], predicted="technology"
            )
            for error in ("timeout", TimeoutError("no answer"), TimeoutError):
                record_inference("resnet", 1.0, device="cpu", error=error)
            where = {**RESNET, "ml.device.name": "cpu"}
            point = telemetry.point(DURATION, where)
            assert (point.count, point.sum) == (1, 0.2345)
            assert telemetry.value(DURATION, {**where, "error.type": "timeout"}) == 1
            assert telemetry.value(DURATION, {**where, "error.type": "TimeoutError"}) == 2
            assert telemetry.point("ml.inference.batch.size", RESNET).sum == 2
            assert telemetry.point("ml.inference.confidence", RESNET).count == 2
            assert classes(telemetry) == {"technology": 1}
            assert not telemetry.spans
            telemetry.tick()
            assert internal.totals() == {}
            telemetry.assert_conforms()

    @pytest.mark.parametrize("duration_s", [float("nan"), float("inf"), -1.0, "0.2", None])
    def test_a_duration_that_is_none_is_left_out_and_counted(self, duration_s: Any) -> None:
        """It reaches no histogram."""
        with testing.capture() as telemetry:
            record_inference("resnet", duration_s)
            assert telemetry.value(DURATION, RESNET) is None
            assert sum(internal.totals().values()) == 1

    def test_evaluations_are_gauges_by_metric(self) -> None:
        """Keywords or a mapping; None is unknown, and a score that is not finite makes its series absent."""
        with testing.capture() as telemetry:
            record_evaluation("digits", {"top-5": 0.99}, accuracy=0.97, f1=np.float32(0.5), auc=None)
            record_evaluation("digits", f1=float("nan"))
            where = {"ml.model.name": "digits"}
            found = {
                p.attributes["ml.evaluation.metric"]: p.value
                for p in telemetry.points()["ml.evaluation.score"]
            }
            assert found == {"top-5": 0.99, "accuracy": 0.97}
            record_evaluation("digits", accuracy=0.98)
            assert (
                telemetry.value("ml.evaluation.score", {**where, "ml.evaluation.metric": "accuracy"}) == 0.98
            )
            telemetry.assert_conforms()

    def test_a_models_size_is_given_or_read(self, tmp_path: Any) -> None:
        """Bytes, a file's size, or the sum of a folder's files, without what links lead to."""
        (tmp_path / "model.mlpackage" / "weights").mkdir(parents=True)
        (tmp_path / "model.onnx").write_bytes(b"x" * 1000)
        (tmp_path / "model.mlpackage" / "a").write_bytes(b"x" * 10)
        (tmp_path / "model.mlpackage" / "weights" / "b").write_bytes(b"x" * 20)
        with testing.capture() as telemetry:
            record_model_size("m", 412.5e6, format="coreml")
            record_model_size("m", tmp_path / "model.onnx", format="onnx")
            record_model_size("m", str(tmp_path / "model.mlpackage"))
            found = {
                p.attributes.get("ml.model.format"): p.value for p in telemetry.points()["ml.model.size"]
            }
            assert found == {"coreml": 412_500_000, "onnx": 1000, None: 30}
            telemetry.assert_conforms()

    @pytest.mark.parametrize("size", ["/no/such/file", "\0", -1, float("nan"), float("inf"), None, object()])
    def test_a_size_that_is_not_known_is_absent_and_counted(self, size: Any) -> None:
        """Said once, never raised."""
        with testing.capture() as telemetry:
            record_model_size("m", size)
            assert "ml.model.size" not in telemetry.points()
            assert dropped("model_size") == 1

    def test_a_conversion_is_a_stage_with_a_histogram(self) -> None:
        """Its duration by model and format, its span and its log pair; an exception under its type goes on."""
        problem = ValueError("unsupported")
        with testing.capture() as telemetry:
            with model_conversion("digits", "coreml", log=True, opset=17) as conversion:
                pass
            with pytest.raises(ValueError) as caught, model_conversion("digits", "onnx"):
                raise problem
            assert caught.value is problem
            name, where = "ml.model.conversion.duration", {"ml.model.name": "digits"}
            point = telemetry.point(name, {**where, "ml.model.format": "coreml"})
            assert (point.count, point.sum) == (1, conversion.duration_s)
            assert (
                telemetry.value(name, {**where, "ml.model.format": "onnx", "error.type": "ValueError"}) == 1
            )
            assert telemetry.value("ml.stage.duration", {"ml.stage.name": "convert"}) == 1
            assert dict(telemetry.spans[0].attributes) == {
                **where,
                "ml.model.format": "coreml",
                "ml.stage.name": "convert",
                "ml.stage.kept": "first",
                "opset": 17,
            }
            events = [log.log_record.event_name for log in telemetry.logs]
            assert events == ["ml.stage_start", "ml.stage_complete"]
            telemetry.assert_conforms()

    def test_a_conversion_decorates(self) -> None:
        """Functions, and copies of it record the same."""
        with testing.capture() as telemetry:
            made = model_conversion("digits", "onnx")
            convert = made(lambda model: model + 1)
            assert convert(1) == 2
            with pickle.loads(pickle.dumps(made)):  # noqa: S301
                pass
            where = {"ml.model.name": "digits", "ml.model.format": "onnx"}
            assert telemetry.value("ml.model.conversion.duration", where) == 2
            assert not telemetry.logs

    def test_resources_are_gauges(self) -> None:
        """Fractions and bytes, of the one GPU, by index or by name."""
        with testing.capture() as telemetry:
            record_resources(
                cpu=0.452, memory=2147483648.0, gpu={0: 0.785, "npu": 0.5}, gpu_memory={"1": 4 << 30}
            )
            record_resources(gpu=0.25)
            found = {
                (name, *point.attributes.values()): point.value
                for name, points in telemetry.points().items()
                for point in points
            }
            assert found == {
                ("ml.resource.cpu.utilization",): 0.452,
                ("ml.resource.memory.usage",): 2147483648,
                ("ml.resource.gpu.utilization", 0): 0.785,
                ("ml.resource.gpu.utilization", "npu"): 0.5,
                ("ml.resource.gpu.utilization",): 0.25,
                ("ml.resource.gpu.memory.usage", 1): 4294967296,
            }
            telemetry.assert_conforms()

    @pytest.mark.parametrize("value", [45.2, -0.1, float("nan"), "half"])
    def test_a_resource_out_of_range_is_absent(self, value: Any) -> None:
        """A percentage is no fraction: the gauge is absent from then on, not frozen at what it last was."""
        with testing.capture() as telemetry:
            record_resources(cpu=0.5)
            assert telemetry.value("ml.resource.cpu.utilization") == 0.5
            record_resources(cpu=value)
            assert telemetry.point("ml.resource.cpu.utilization") is None
            assert sum(internal.totals().values()) == 1


def test_the_registry_knows_spans_of_inferences() -> None:
    """A span that lacks what the registry requires, or has what it does not know, is found out."""
    span = SimpleNamespace(name="inference m", attributes={"ml.model.name": "m", "ml.inference.x": 1})
    assert conformance.violations(spans=[span]) == [
        "span 'inference m': lacks ml.stage.kept",
        "span 'inference m': attribute ml.inference.x is not declared",
    ]


def test_disabled_it_does_nothing() -> None:
    """With the SDK disabled everything can be called, functions are what they were, and nothing is kept."""
    program = """
        import asyncio
        from otelml import inferences
        from otelml.inferences import *
        from otelml.inferences import identity, inference
        with inference("m", batch_size=3) as request:
            request.confidence(0.5), request.predicted("a"), request.batch(3)
        async def serve():
            async with inference("m") as request:
                request.confidence([0.5])
        asyncio.run(serve())
        def function(): pass
        assert inference("m")(function) is function
        assert inference("a") is inference("b") and request.duration_s is None
        record_inference("m", 1.0, predicted="a")
        record_evaluation("m", accuracy=1)
        record_model_size("m", 5)
        record_resources(cpu=0.5)
        with model_conversion("m", "onnx"): pass
        assert not identity.identities
    """
    code = "\n".join(line[8:] for line in program.splitlines())
    environ = {**os.environ, "OTEL_SDK_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


class Unprintable:
    """An object whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


def test_a_version_that_nothing_can_be_done_with_loses_no_request() -> None:
    """It has no text and cannot be a key: the requests are those of the model, with their spans."""
    with testing.capture() as captured:
        for _ in range(3):
            with inference("m", version=Unprintable(), device=Unprintable()):
                pass
            record_inference("m", 0.1, version=Unprintable())
        assert captured.value(DURATION, {"ml.model.name": "m"}) == 6
        assert [span.name for span in captured.spans] == ["inference m"] * 3
        captured.assert_conforms()


@pytest.mark.parametrize(
    ("size", "said"), [(np.int64(4), 4), (np.float32(4), 4), (4.5, None), ("a", None), (True, None)]
)
def test_a_span_has_whole_batch_sizes(size: Any, said: int | None, caplog: pytest.LogCaptureFixture) -> None:
    """Those of numpy as well; OpenTelemetry is handed nothing that it complains about."""
    with testing.capture() as captured:
        with inference("m", batch_size=size):
            pass
        with inference("m") as request:
            request.batch(size)
        captured.tick()
        sizes = [span.attributes.get("ml.inference.batch.size") for span in captured.spans]
        captured.assert_conforms()
    assert sizes == [said, said]
    assert [record.name for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_a_score_without_a_name_is_none() -> None:
    """A series lacks no attribute."""
    with testing.capture() as captured:
        record_evaluation("m", {None: 0.5, "top-5": 0.9})  # type: ignore[dict-item]
        (point,) = captured.points()["ml.evaluation.score"]
    assert point.attributes["ml.evaluation.metric"] == "top-5"


def test_an_error_without_a_text_loses_no_request() -> None:
    """Its class says what it was."""
    with testing.capture() as captured:
        otelml.record_inference("m", 0.1, error=Unprintable())
        (point,) = captured.points()["ml.inference.duration"]
    assert (point.count, point.attributes["error.type"]) == (1, "Unprintable")


def test_classes_that_are_equal_and_not_the_same() -> None:
    """1 and True are two classes, 1.0 is the class 1; one object that cannot be a key costs no other."""
    with testing.capture() as captured:
        otelml.record_inference("m", 0.1, predicted=[1, True, 1.0, Unprintable(), "a"])
        found = {
            point.attributes["ml.prediction.class"]: point.value
            for point in captured.points()["ml.inference.predictions"]
        }
    assert found == {"1": 2, "True": 1, "a": 1}


def test_missing_values_of_pandas_are_no_class() -> None:
    """As None and NaN are none."""
    pandas = pytest.importorskip("pandas")
    with testing.capture() as captured:
        otelml.record_inference("m", 0.1, predicted=[pandas.NA, pandas.NaT, "a"])
        assert [
            dict(p.attributes)["ml.prediction.class"] for p in captured.points()["ml.inference.predictions"]
        ] == ["a"]


def test_numbers_too_large_for_an_export() -> None:
    """They are sent as floats, and the export goes on."""
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    with testing.capture() as captured:
        otelml.record_inference("m", 0.1, predicted={"a": 2**63})
        otelml.record_model_size("m", 1e30)
        otelml.record_resources(gpu_memory=1e19)
        assert encode_metrics(captured.metrics_data()).resource_metrics
