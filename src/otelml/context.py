"""What is to stand on every log record and span written now: the run, and how far it is.

Alone, and below the rooms that write (logs, stages), so that these need not know what a run is. While no run is open
it costs its readers one look at `opened`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from otelml.instruments import internal, timer
from otelml.semconv import _generated as semconv

_KEY = "otelml.scope"
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_FLAT_NAMES = ("run_id", "experiment", "epoch", "step")
_OTEL_NAMES = (
    semconv.ML_RUN_ID,
    semconv.ML_RUN_EXPERIMENT,
    semconv.ML_TRAINING_EPOCH,
    semconv.ML_TRAINING_STEP,
)


class Scope:
    """What one open run says of itself. `epoch` and `step` are assigned to as it goes on; None: unknown."""

    __slots__ = ("above", "epoch", "experiment", "is_open", "run_id", "step")

    def __init__(
        self,
        run_id: str,
        experiment: str | None = None,
        *,
        epoch: int | None = None,
        step: int | None = None,
    ) -> None:
        self.run_id = run_id
        self.experiment = experiment
        self.epoch = epoch
        self.step = step
        self.above: Scope | None = None
        self.is_open = True


class Token:
    """What `push` returns, for `pop`."""

    __slots__ = ("otel_token", "scope")

    def __init__(self, scope: Scope, otel_token: Any) -> None:
        self.scope = scope
        self.otel_token = otel_token


opened: list[Scope] = []
"""Open scopes of the process, the last opened last. Empty: nothing is to be added to anything."""

end_hooks: list[Callable[[str], object]] = []
"""Called with "exit" or "killed" when the process is about to end so, before the last flush."""

energy_meter: Callable[[], Any] | None = None
"""Makes a running meter with `stop(timeout_s) -> joules | None`: set by whoever can measure energy."""


def current() -> Scope | None:
    """The innermost open scope of this context; where it never had one, the last opened in the process.

    A context whose scopes are all closed has none: a thread of a run that is over does not belong to the next one.
    """
    scopes = opened[:]
    if not scopes:
        return None
    from opentelemetry.context import get_value

    scope: Any = get_value(_KEY)
    return scopes[-1] if scope is None else _open_from(scope)


def _is_within(scope: Scope, chain: Scope | None) -> bool:
    while chain is not None and chain is not scope:
        chain = chain.above
    return chain is not None


def _open_from(scope: Scope | None) -> Scope | None:
    """The nearest open scope: this one, or one above it."""
    while scope is not None and not scope.is_open:
        scope = scope.above
    return scope


def fields() -> Mapping[str, Any]:
    """`run_id`, `experiment`, `epoch` and `step` of `current()`, as in flat files; what is unknown is left out."""
    scope = current() if opened else None
    return _NOTHING if scope is None else _known(scope, _FLAT_NAMES)


def attributes() -> Mapping[str, Any]:
    """`fields()` by OpenTelemetry's names: `ml.run.id`, `ml.run.experiment`, `ml.training.epoch` and `.step`."""
    scope = current() if opened else None
    return _NOTHING if scope is None else attributes_of(scope)


def attributes_of(scope: Scope) -> dict[str, Any]:
    """`attributes()` of one scope, whichever is the current one."""
    return _known(scope, _OTEL_NAMES)


def _known(scope: Scope, names: tuple[str, str, str, str]) -> dict[str, Any]:
    run_id, experiment, epoch, step = names
    found: dict[str, Any] = {run_id: scope.run_id}
    if scope.experiment is not None:
        found[experiment] = scope.experiment
    if scope.epoch is not None:
        found[epoch] = scope.epoch
    if scope.step is not None:
        found[step] = scope.step
    return found


def push(scope: Scope) -> Token:
    """Open `scope` for this context (and what is started in it), and for threads that have none."""
    from opentelemetry.context import attach, get_value, set_value

    found: Any = get_value(_KEY)  # only this module sets it
    # Opened once more, it may still be there, closed: above itself it must not come.
    above = _open_from(found)
    scope.above = None if _is_within(scope, above) else above
    scope.is_open = True
    token = Token(scope, attach(set_value(_KEY, scope)))
    if _forget_progress not in timer.fork_hooks:
        timer.fork_hooks.append(_forget_progress)
    opened.append(scope)
    return token


def pop(token: Token) -> None:
    """Close what `push` opened: in any context, and again without harm."""
    from opentelemetry.context import attach, detach, get_value, set_value

    scope = token.scope
    scope.is_open = False
    if scope in opened:
        opened.remove(scope)
    # In another context than it was opened in, OpenTelemetry would log a failed detach.
    if get_value(_KEY) is scope:
        detach(token.otel_token)
    below: Any = get_value(_KEY)
    if (
        below is not None and not below.is_open
    ):  # closed before this one: whoever closes here is no thread left over
        attach(set_value(_KEY, _open_from(below)))


def end_all(how: str) -> None:
    """Tell everybody in `end_hooks` that the process is about to end: `how` is "exit" or "killed"."""
    for hook in end_hooks[:]:
        with internal.guard("context"):
            hook(how)


def _forget_progress() -> None:
    """In a forked child: it belongs to the run, but where that has got to it does not hear."""
    for scope in opened:
        scope.epoch = scope.step = None


def reset() -> None:
    """For tests: nothing is open, and nobody is told anything."""
    global energy_meter  # noqa: PLW0603 - one a process
    opened.clear()
    end_hooks.clear()
    energy_meter = None
    if _forget_progress in timer.fork_hooks:
        timer.fork_hooks.remove(_forget_progress)
