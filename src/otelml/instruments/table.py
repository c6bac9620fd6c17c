"""The process's instruments by name, and the one lock under which their buffers are drained."""

from __future__ import annotations

import importlib.util
import re
import threading
from typing import TYPE_CHECKING, Any

from otelml import settings
from otelml.instruments import internal
from otelml.instruments.instrument import Counter, Gauge, Histogram, Instrument, UpDownCounter
from otelml.instruments.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otelml.instruments.observed import Source
    from otelml.semconv.model import Metric

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}\Z")

_CLASSES: dict[str, type[Instrument]] = {
    "counter": Counter,
    "updowncounter": UpDownCounter,
    "histogram": Histogram,
    "gauge": Gauge,
}

# The SDK's own default, for histograms that state neither bounds nor seconds.
DEFAULT_BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)

MAX_UNATTACHED = 100_000
"""Values a histogram series keeps raw before any provider is set up."""

instruments: dict[str, Instrument] = {}
observed: dict[str, Observed] = {}
on_create: list[Callable[[Any], object]] = []
"""Called with each new instrument, outside the drain's lock; `drain.attach` registers itself here."""

before_drain: list[Callable[[], object]] = []
"""Called at the beginning of each drain, outside all locks: for what is kept elsewhere until then."""

drain_lock = threading.RLock()
_create_lock = threading.RLock()
_active: bool | None = None


def active() -> bool:
    """False where telemetry is off for good: `OTEL_SDK_DISABLED`, or no SDK to import. Decided once."""
    global _active  # noqa: PLW0603 - one decision a process
    if _active is None:
        _active = not settings.current().sdk_disabled and _sdk_importable()
    return _active


def _sdk_importable() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk") is not None
    except (ImportError, ValueError):
        return False


def create(
    kind: str, name_or_spec: str | Metric, *, unit: str, description: str, bounds: Sequence[float] | None
) -> Any:
    """The instrument of that name, made at the first call.

    Raises:
        ValueError: the name is not one that OTel allows, bounds do not increase, or the name is taken by an
            instrument of another kind, unit or bounds.
    """
    spec = _spec(kind, name_or_spec, unit=unit, description=description, bounds=bounds)
    with _create_lock:
        known = instruments.get(spec.name)
        if known is not None:
            return _same(known, spec)
        if spec.name in observed:
            raise ValueError(f"{spec.name} cannot be recorded to: it is observed")
        instrument = _CLASSES[kind](spec, settings.current().cardinality_limit, active=active())
        if instrument.active:
            for hook in on_create:
                hook(instrument)
        instruments[spec.name] = instrument
        return instrument


def observe(spec: Metric, source: Source) -> None:
    """From now on read the series of `spec` off `source` too.

    Raises:
        ValueError: `spec` is a histogram, or its name is taken by an instrument that is recorded to.
    """
    with _create_lock:
        if spec.kind == "histogram" or spec.name in instruments:
            raise ValueError(f"{spec.name} cannot be observed: it is a {spec.kind} that is recorded to")
        found = observed.get(spec.name)
        if found is None:
            found = observed[spec.name] = Observed(spec)
            if active():
                for hook in on_create:
                    hook(found)
        found.sources.append(source)


def _spec(
    kind: str, name_or_spec: str | Metric, *, unit: str, description: str, bounds: Sequence[float] | None
) -> Metric:
    from otelml.semconv import _generated
    from otelml.semconv.model import Metric

    registered = name_or_spec if isinstance(name_or_spec, Metric) else _generated.METRICS.get(name_or_spec)
    if registered is not None:
        if registered.kind != kind:
            raise ValueError(f"{registered.name} is a {registered.kind} in the registry, not a {kind}")
        if unit or description or bounds is not None:
            raise ValueError(
                f"{registered.name} is declared in the registry: its unit, description and bounds come from there; "
                "leave them out, or choose a name of your own"
            )
        return registered
    if not isinstance(name_or_spec, str) or not _NAME.match(name_or_spec):
        raise ValueError(
            f"{name_or_spec!r} is no instrument name: start with a letter, then letters, digits, '_', '.', '-', '/', "
            "255 characters at most"
        )
    if name_or_spec.startswith(("ml.", "otelml.")):
        internal.warn_once(
            f"unknown:{name_or_spec}",
            "otelml: %s is not in the registry, whose roots are ml. and otelml.; if it is no typing mistake, choose a "
            "root of your own, so that a later version cannot mean something else by it",
            name_or_spec,
        )
    if kind == "histogram":
        bounds = _bounds(name_or_spec, unit, bounds)
    return Metric(
        name=name_or_spec,
        kind=kind,
        unit=unit,
        brief=description,
        bounds=tuple(bounds) if bounds is not None else None,
    )


def _bounds(name: str, unit: str, bounds: Sequence[float] | None) -> Sequence[float]:
    from otelml.semconv._generated import METRICS

    if bounds is None:
        return METRICS["ml.stage.duration"].bounds or () if unit == "s" else DEFAULT_BOUNDS
    if any(b >= c for b, c in zip(bounds, bounds[1:], strict=False)):
        raise ValueError(f"the bounds of {name} must increase: {list(bounds)!r}")
    return bounds


def _same(known: Instrument, spec: Metric) -> Instrument:
    mine, theirs = known.spec, spec
    if (mine.kind, mine.unit, mine.bounds) != (theirs.kind, theirs.unit, theirs.bounds):
        raise ValueError(
            f"{mine.name} exists already as {mine.kind} in {mine.unit or 'no unit'} with bounds {mine.bounds}; "
            f"asked for {theirs.kind} in {theirs.unit or 'no unit'} with bounds {theirs.bounds}"
        )
    return known


def drain_now(*, everything: bool = False) -> int:
    """Aggregate what was recorded up to this call; returns the most values that any one series had waiting.

    Histograms that no provider has taken up yet keep their values as they are, up to a bound, because the buckets
    that the provider's views will ask for are not known; `everything=True` aggregates them too.
    """
    most = 0
    for hook in before_drain:
        with internal.guard("drain"):
            hook()
    for instrument in list(instruments.values()):
        waits = instrument.spec.kind == "histogram" and instrument.sdk is None and not everything
        for bound in instrument.all_series():
            waiting = bound.waiting()
            if waiting and not (waits and waiting < MAX_UNATTACHED):
                # One series that cannot be aggregated must not keep the others from being drained.
                with internal.guard("drain"), drain_lock:
                    most = max(most, bound.drain())
    return most


def forget(source: Source) -> None:
    """The end of `observe`: the series of `source` are absent from now on."""
    for each in list(observed.values()):
        if source in each.sources:
            each.sources.remove(source)


def clear_recorded() -> None:
    """Forget all values, keep all instruments: for a forked child (after `renew_locks`), and for tests."""
    with drain_lock:
        for instrument in list(instruments.values()):
            instrument.released.clear()
            for bound in instrument.all_series():
                bound.clear()


def renew_locks() -> None:
    """New locks after a fork: the old ones may be held by threads that the fork left behind."""
    global drain_lock, _create_lock  # noqa: PLW0603
    drain_lock = threading.RLock()
    _create_lock = threading.RLock()


def reset() -> None:
    """Forget every instrument: for tests only, as bound series held elsewhere go on into nowhere."""
    global _active  # noqa: PLW0603
    instruments.clear()
    observed.clear()
    _active = None
