"""Instruments of the distribution: bind once, record in about 20 ns, drained exactly into the OTel SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelml.instruments.instrument import Counter, Gauge, Histogram, UpDownCounter
    from otelml.instruments.observed import Source
    from otelml.semconv.model import Metric


def counter(name: str | Metric, *, unit: str = "", description: str = "") -> Counter:
    """A counter: `name` from the registry (a name or its spec), or one of your own.

    Args:
        name: a dotted OTel name such as `my.requests`; neither unit nor `total` belongs in it.
        unit: UCUM (`By`, `s`, `{request}`); for names of your own only.
        description: a sentence; for names of your own only.

    Raises:
        ValueError: the name is malformed, or taken by an instrument of another kind.
    """
    return _create("counter", name, unit, description)


def up_down_counter(name: str | Metric, *, unit: str = "", description: str = "") -> UpDownCounter:
    """A counter that may also go down. Arguments and errors as for `counter`."""
    return _create("updowncounter", name, unit, description)


def histogram(
    name: str | Metric, *, unit: str = "", description: str = "", bounds: Sequence[float] | None = None
) -> Histogram:
    """A histogram. Arguments and errors as for `counter`.

    Args:
        bounds: increasing upper bounds of the buckets; by default 1, 2.5, 5 a decade from 1e-6 to 100 where the
            unit is `s`, else OTel's default (0, 5, 10, 25, ... 10000).
    """
    return _create("histogram", name, unit, description, bounds)


def gauge(name: str | Metric, *, unit: str = "", description: str = "") -> Gauge:
    """A gauge: the last value wins. Arguments and errors as for `counter`."""
    return _create("gauge", name, unit, description)


def observe(spec: Metric, source: Source) -> None:
    """Read the series of `spec` off `source` at each collection: for what only its owner can count, such as a GPU.

    Args:
        spec: a counter, updowncounter or gauge of the registry.
        source: returns pairs of value (of a counter: its total) and attributes, one a series; a series that is not
            among them is absent. It must not block. Its errors are contained and counted.

    Raises:
        ValueError: `spec` is a histogram, or its name is taken by an instrument that is recorded to.
    """
    from otelml.instruments import table

    table.observe(spec, source)


def stop_observing(source: Source) -> None:
    """The end of `observe`: the series of `source` are absent from now on."""
    from otelml.instruments import table

    table.forget(source)


def _create(
    kind: str, name: str | Metric, unit: str, description: str, bounds: Sequence[float] | None = None
) -> Any:
    from otelml.instruments import table, timer

    instrument = table.create(kind, name, unit=unit, description=description, bounds=bounds)
    if instrument.active:
        timer.ensure_started()
    return instrument


def active() -> bool:
    """Whether anything is recorded at all: False with `OTEL_SDK_DISABLED=true`, or without the SDK."""
    from otelml.instruments import table

    return table.active()
