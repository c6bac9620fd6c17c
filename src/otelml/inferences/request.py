"""An inference request: a stage with metrics of its own, which also says how many are open and what came out."""

from __future__ import annotations

from time import perf_counter_ns as _clock
from typing import TYPE_CHECKING, Any, ClassVar

from otelml.inferences.labels import text_of
from otelml.instruments import internal
from otelml.instruments.attributes import whole_number
from otelml.semconv import _generated as semconv
from otelml.stages import NoopStage, decorators, marks
from otelml.stages.core import SHARED, F, Stage, entry_of

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span

    from otelml.inferences.identity import Identity
    from otelml.stages.core import Open

_current_cell = marks.current_cell


class Inference(Stage):
    """What `otelml.inference(...)` returns: a context manager (`with`, `async with`) and a decorator.

    Attributes:
        name: of the model, as given.
        version: as given.
        device: as given.
        items: the batch size, as given.
        attributes: go to the span; may be added to inside the block.
    """

    __slots__ = ("_batch", "device", "version")

    _items_key: ClassVar[str] = semconv.ML_INFERENCE_BATCH_SIZE

    version: Any
    device: Any
    _state: Identity
    # The last size given to `batch`, with the start of the use that it was given in.
    _batch: tuple[int, Any]

    # The two below are those of a stage, with the count of open requests: a call to the base would double their cost.
    # Called as a method, what a slot holds takes 8 ns longer than by way of a variable.

    def __enter__(self) -> Inference:
        cell = _current_cell()
        state = self._state
        if state.tokens >= 1.0 or cell.is_shared:
            return self._enter_slowly()  # type: ignore[return-value]  # itself
        now = _clock()
        if self._start is not None:
            return self._enter_slowly()  # type: ignore[return-value]
        self._start = now
        self._cell = cell
        cell.refused += 1
        add_active = state.add_active
        add_active(1)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        now = _clock()
        cell = self._cell
        if cell is None:
            self._exit_slowly(now, exc)
            return
        start: int = self._start  # type: ignore[assignment]  # open, as it has a cell
        self._elapsed_ns = elapsed_ns = now - start
        self._cell = self._start = None
        cell.refused -= 1
        state = self._state
        forked_ns = state.forked_ns
        if exc is None and elapsed_ns < state.slow_ns and (forked_ns is None or start > forked_ns):
            record_ns = state.record_ns
            record_ns(elapsed_ns)
            items = self.items
            if items is not None:
                record_batch = state.record_batch
                record_batch(items)
            add_active = state.add_active
            add_active(-1)
            return
        self._finish(start, elapsed_ns, None, exc)

    async def __aenter__(self) -> Inference:
        return self.__enter__()

    def __call__(self, function: F) -> F:
        """Make every call of `function` a request: functions, coroutines, generators, asynchronous generators."""
        return decorators.decorate(self, function, always_enter=True)

    # -- results

    def confidence(self, values: Any) -> None:
        """Record confidences into `ml.inference.confidence`: fractions from 0 to 1.

        Args:
            values: a number, or an array, tensor or (nested) list of any shape. What is on a GPU is copied there, and
                read by the drain thread: the caller does not wait. What is not in 0..1 (percent, logits,
                log-probabilities), NaN and what is no number is left out, counted in `otelml.internal.dropped`, and
                said once.
        """
        self._state.model.confidence(values)

    def predicted(self, classes: Any) -> None:
        """Count predicted classes into `ml.inference.predictions`.

        Args:
            classes: a class (a string, an integer, an enum's member, ...), an array, tensor or (nested) list of them,
                or a mapping of classes to how many. Not scores: take `argmax` first. What is on a GPU is copied there
                and counted by the drain thread. Beyond 1000 classes a model, new ones are counted together under
                `otel.metric.overflow`. None and NaN are no class; they are left out and counted.
        """
        self._state.model.predicted(classes)

    def batch(self, size: int) -> None:
        """Record how many samples this request has, where that is known only inside: instead of `batch_size=`.

        Args:
            size: goes into `ml.inference.batch.size` at once, and to the span of this use.
        """
        self._state.record_batch(size)
        with internal.guard("inference"):
            opened = self._opened_here()
            if opened is not None and opened[2] is not None:
                _set_batch(opened[2][0], size)
            elif opened is not None:
                self._batch = (opened[0], size)

    def _opened_here(self) -> Open | None:
        """How the use is open that the caller is in; None outside of any."""
        start, cell = self._start, self._cell
        if start is None:
            return None
        if start == SHARED:
            entry = entry_of(self) or next(iter(self._shared), None)
            return None if entry is None else entry.opened
        return (start, cell, None) if cell is not None else self._span

    # -- a stage's, with the count of open requests

    def _open(self) -> Open:
        opened = super()._open()
        self._state.add_active(1)
        return opened

    def _finish(
        self, start_ns: int, elapsed_ns: int, span: tuple[Span, Any] | None, exc: BaseException | None
    ) -> None:
        # What was opened before a fork is still open in the parent, and never was in the child's count.
        forked_ns = self._state.forked_ns
        if forked_ns is None or start_ns > forked_ns:
            self._state.add_active(-1)
        super()._finish(start_ns, elapsed_ns, span, exc)

    def _span_name(self) -> str:
        return f"inference {self.name}"

    def _span_identity(self, start_ns: int | None) -> dict[str, Any]:
        batch_start_ns, size = getattr(self, "_batch", (None, None))
        given_inside = start_ns is not None and batch_start_ns == start_ns
        return {
            semconv.ML_MODEL_NAME: self.name,
            semconv.ML_MODEL_VERSION: text_of(self.version),
            semconv.ML_DEVICE_NAME: text_of(self.device),
            self._items_key: whole_number(size if given_inside else self.items),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        from otelml import inferences

        return inferences.rebuild, (self.name, self.version, self.device, self.items, self.attributes)


def _set_batch(span: Span, size: Any) -> None:
    known = whole_number(size)
    if known is not None:
        span.set_attribute(semconv.ML_INFERENCE_BATCH_SIZE, known)


class NoopInference(NoopStage):
    """Every inference while telemetry is off: one shared object that does nothing."""

    __slots__ = ()
    version = device = None

    def __enter__(self) -> NoopInference:
        return self

    async def __aenter__(self) -> NoopInference:
        return self

    def confidence(self, values: Any) -> None:
        """Accepted and forgotten."""

    predicted = batch = confidence
