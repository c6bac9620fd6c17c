"""What the registry declares, as plain records. It stands alone so that using a declaration costs no YAML."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of spans, metrics or resources.

    Attributes:
        key: the dotted OTel name.
        type: `string`, `int`, `double`, `boolean`, an array of these (`string[]`), or `any`.
        brief: a sentence.
        members: the well-known values of an enumeration, which stays open for others.
        cardinality: how many values to expect on metrics, where that is known.
    """

    key: str
    type: str
    brief: str
    members: tuple[str | int, ...] = ()
    cardinality: int | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: the dotted OTel name.
        kind: `counter`, `updowncounter`, `gauge` or `histogram`.
        unit: UCUM.
        brief: a sentence; the description of the instrument, and the help text in Prometheus.
        attributes: keys that its points may have.
        value_type: `int` or `double`.
        bounds: upper bounds of a histogram's buckets, in `unit`.
        cardinality: how many series to allow, where the general limit does not fit.
        required: keys that every point has.
    """

    name: str
    kind: str
    unit: str
    brief: str
    attributes: tuple[str, ...] = ()
    value_type: str = "double"
    bounds: tuple[float, ...] | None = None
    cardinality: int | None = None
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of an event.

    Attributes:
        name: as it stands in the log record.
        type: as for attributes; mappings are `any`.
        requirement: `required`, `conditionally_required`, `recommended` or `opt_in`.
    """

    name: str
    type: str
    requirement: str = "recommended"


@dataclass(frozen=True, slots=True)
class Event:
    """An event: a log record with a name and typed fields.

    Attributes:
        name: without the prefix `ml.` that it has in OTel.
        brief: a sentence.
        level: the default level of `logging`, by name.
        fields: what it says; more fields are welcome.
    """

    name: str
    brief: str
    level: str
    fields: tuple[EventField, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A kind of span.

    Attributes:
        type: identifies it; the span's name is another matter.
        brief: a sentence.
        attributes: keys that are declared for it; more are welcome.
        required: keys that every such span has.
    """

    type: str
    brief: str
    attributes: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
