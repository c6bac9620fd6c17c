"""Who is told when an exception ends a stage, an inference or a run, as it does.

Apart from the stage because whoever reports errors stands in a layer above. Nothing here runs while nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

_WITHIN = "otelml.within"


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed.

    Attributes:
        name: as its span is called: `encode`, `inference encoder`, `run behaviour`.
        error: the exception; None for a run that says that it failed, and not why.
        identity: what it is, by OpenTelemetry's names: `ml.stage.name`, `ml.model.name`, ...
        attributes: what the program has given it.
        span: its span, which may have ended; None where it has none.
    """

    name: str
    error: BaseException | None
    identity: Mapping[str, Any]
    attributes: Mapping[str, Any]
    span: Span | None


listeners: list[Callable[[Failure], object]] = []
"""Called on the thread that fails, before the exception goes on. Must not raise."""


def tell(
    name: str,
    error: BaseException | None,
    identity: Mapping[str, Any],
    attributes: Mapping[str, Any],
    span: Span | None,
) -> None:
    """Tell everybody who listens."""
    failure = Failure(name, error, _known(identity), attributes, span)
    for listener in listeners:
        listener(failure)


def remember(context: Context, identity: Mapping[str, Any]) -> Context:
    """`context` in which `within()` also says `identity`: of an open stage or inference that has a span."""
    from opentelemetry.context import get_value, set_value

    above: Any = get_value(_WITHIN, context)  # only this module sets it
    return set_value(_WITHIN, {**(above or {}), **_known(identity)}, context)


def within() -> Mapping[str, Any]:
    """The identities of the open stages and inferences around the caller that have spans, the inner ones first."""
    from opentelemetry.context import get_value

    found: Any = get_value(_WITHIN)
    return found or {}


def _known(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if value is not None}


def reset() -> None:
    """For tests: nobody listens."""
    listeners.clear()
