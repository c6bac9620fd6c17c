"""Checks recorded telemetry against the registry. Knows the SDK's records by their looks, so that it needs no SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otelml.semconv._generated import (
    ATTRIBUTES,
    EVENTS,
    METRICS,
    ML_MODEL_NAME,
    ML_RUN_ID,
    ML_RUN_STATUS,
    ML_STAGE_KEPT,
    ML_STAGE_NAME,
    SPANS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otelml.semconv.model import Event, Metric

ROOTS = ("ml.", "otelml.")
"""What begins so is ours, and has to be declared; other names are somebody else's, and are left alone."""

EVENT_PREFIX = "ml."
STAGE, INFERENCE, RUN = "ml.stage", "ml.inference", "ml.run"
OVERFLOW = "otel.metric.overflow"
"""Marks the one series that holds what exceeded the cardinality limit, and has no other attributes."""


def assert_conforms(metrics_data: Any = None, spans: Iterable[Any] = (), logs: Iterable[Any] = ()) -> None:
    """Check telemetry, as the SDK's in-memory reader and exporters return it, against the registry.

    Raises:
        AssertionError: naming everything that the registry does not know, or knows otherwise, a line each.
    """
    found = violations(metrics_data, spans, logs)
    if found:
        raise AssertionError("\n".join((f"{len(found)} of the registry's rules are broken:", *found)))


def violations(metrics_data: Any = None, spans: Iterable[Any] = (), logs: Iterable[Any] = ()) -> list[str]:
    """What does not conform, a sentence each, in the order found, each once; the same arguments as above."""
    found = [
        *(problem for metric in _metrics(metrics_data) for problem in _of_metric(metric)),
        *(problem for span in spans for problem in _of_span(span)),
        *(problem for log in logs for problem in _of_log(getattr(log, "log_record", log))),
    ]
    return list(dict.fromkeys(found))


# -- metrics


def _metrics(metrics_data: Any) -> Iterator[Any]:
    for resource in getattr(metrics_data, "resource_metrics", ()):
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _of_metric(metric: Any) -> Iterator[str]:
    spec = METRICS.get(metric.name)
    if spec is None:
        if metric.name.startswith(ROOTS):
            yield f"metric {metric.name}: unknown to the registry"
        return
    if (metric.unit or "") != spec.unit:
        yield f"metric {spec.name}: unit is {metric.unit!r}, not {spec.unit!r}"
    kind = _kind(metric.data)
    if kind != spec.kind:
        yield f"metric {spec.name}: is a {kind}, not a {spec.kind}"
        return
    for point in metric.data.data_points:
        yield from _of_value(spec, point)
        yield from _of_point_attributes(spec, point.attributes or {})


def _kind(data: Any) -> str:
    if hasattr(data, "is_monotonic"):
        return "counter" if data.is_monotonic else "updowncounter"
    return "histogram" if hasattr(data, "aggregation_temporality") else "gauge"


def _of_value(spec: Metric, point: Any) -> Iterator[str]:
    if spec.kind == "histogram":
        # An exponential histogram, which a view may ask for, has no bounds.
        bounds = getattr(point, "explicit_bounds", None)
        if bounds is not None and spec.bounds is not None and tuple(bounds) != spec.bounds:
            yield f"metric {spec.name}: bounds are {tuple(bounds)}, not {spec.bounds}"
        is_right = spec.value_type != "int" or float(point.sum).is_integer()
        value = point.sum
    else:
        value = point.value
        is_right = spec.value_type != "int" or _is_int(value)
    if not is_right:
        yield f"metric {spec.name}: value {value!r} is not an integer"


def _of_point_attributes(spec: Metric, attributes: Mapping[str, Any]) -> Iterator[str]:
    if attributes.get(OVERFLOW) is True:
        return
    for key in spec.required:
        if key not in attributes:
            yield f"metric {spec.name}: a point lacks {key}"
    for key, value in attributes.items():
        if key not in spec.attributes:
            yield f"metric {spec.name}: attribute {key} is not declared"
        else:
            yield from _of_attribute(f"metric {spec.name}", key, value)


# -- spans


def _of_span(span: Any) -> Iterator[str]:
    attributes = span.attributes or {}
    kind = _kind_of_span(span.name, attributes)
    if kind is None:
        return
    spec, where = SPANS[kind], f"span {span.name!r}"
    for key in spec.required:
        if key not in attributes:
            yield f"{where}: lacks {key}"
    for key, value in attributes.items():
        if key.startswith((f"{kind}.", f"{STAGE}.")) and key not in spec.attributes:
            yield f"{where}: attribute {key} is not declared"
        elif key.startswith(ROOTS):
            yield from _of_attribute(where, key, value)
    for key in (ML_STAGE_KEPT, ML_RUN_STATUS):
        value, members = attributes.get(key), ATTRIBUTES[key].members
        if value is not None and value not in members:
            yield f"{where}: {key} is {value!r}, none of {', '.join(map(str, members))}"


def _kind_of_span(name: str, attributes: Mapping[str, Any]) -> str | None:
    """The type of a span of ours: the registry knows it by its name and by what only that type has."""
    if name.startswith("inference ") and ML_MODEL_NAME in attributes and ML_STAGE_NAME not in attributes:
        return INFERENCE
    if name.startswith("run ") and ML_RUN_ID in attributes and ML_STAGE_NAME not in attributes:
        return RUN
    return STAGE if any(key.startswith(f"{STAGE}.") for key in attributes) else None


# -- events


def _of_log(record: Any) -> Iterator[str]:
    name = getattr(record, "event_name", None) or ""
    if not name.startswith(EVENT_PREFIX):
        return
    event = EVENTS.get(name.removeprefix(EVENT_PREFIX))
    if event is None:
        yield f"event {name}: unknown to the registry"
    else:
        yield from _of_fields(event, record.attributes or {})


def _of_fields(event: Event, attributes: Mapping[str, Any]) -> Iterator[str]:
    for field in event.fields:
        value = attributes.get(field.name)
        if value is None:
            if field.requirement == "required":
                yield f"event {EVENT_PREFIX}{event.name}: lacks {field.name}"
        elif not _is(field.type, value):
            yield f"event {EVENT_PREFIX}{event.name}: {field.name} is {value!r}, not {field.type}"


# -- types


def _of_attribute(where: str, key: str, value: Any) -> Iterator[str]:
    attribute = ATTRIBUTES.get(key)
    if attribute is not None and not _is(attribute.type, value):
        yield f"{where}: {key} is {value!r}, not {attribute.type}"


def _is(kind: str, value: Any) -> bool:
    """Whether `value` is of the registry's type `kind`; any value is of a type that is not known here (`any`)."""
    if kind.endswith("[]"):
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        return is_list and all(_is(kind[:-2], item) for item in value)
    check = _CHECKS.get(kind)
    return check is None or check(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "int": _is_int,
    "double": lambda value: isinstance(value, float) or _is_int(value),
    "boolean": lambda value: isinstance(value, bool),
}
