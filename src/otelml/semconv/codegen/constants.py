"""Renders `_generated.py`: the same text for the same registry, laid out as ruff would lay it out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otelml.semconv.codegen.registry import Registry
    from otelml.semconv.model import Attribute, Event, Metric, Span

WIDTH = 110

_HEAD = '''"""Constants and specs of the registry. Made by `python -m otelml.semconv.codegen`; do not edit."""

from __future__ import annotations

from otelml.semconv.model import Attribute, Event, EventField, Metric, Span

'''


def constant(name: str) -> str:
    """The Python name made from a dotted one."""
    return name.replace(".", "_").upper()


def render(registry: Registry) -> str:
    """The module's source."""
    attributes = [a for key, a in sorted(registry.attributes.items()) if "." in key]
    metrics = [metric for _, metric in sorted(registry.metrics.items())]
    events = [event for _, event in sorted(registry.events.items())]
    spans = [span for _, span in sorted(registry.spans.items())]
    bounds = _name_bounds(metrics)
    parts = [
        _HEAD,
        *(f"{constant(a.key)} = {_text(a.key)}\n" for a in attributes),
        "\n",
        *(f"{name} = {_sequence(list(map(repr, values)), '')}\n" for values, name in bounds.items()),
        "\n",
        *(f"METRIC_{constant(metric.name)} = {_metric(metric, bounds)}\n" for metric in metrics),
        "\n",
        *(f"EVENT_{constant(event.name)} = {_event(event)}\n" for event in events),
        "\n",
        *(f"SPAN_{constant(span.type)} = {_span(span)}\n" for span in spans),
        "\n",
        _table("ATTRIBUTES", "Attribute", "key", [_attribute(attribute) for attribute in attributes]),
        _table("METRICS", "Metric", "name", [f"METRIC_{constant(metric.name)}" for metric in metrics]),
        _table("EVENTS", "Event", "name", [f"EVENT_{constant(event.name)}" for event in events]),
        _table("SPANS", "Span", "type", [f"SPAN_{constant(span.type)}" for span in spans]),
    ]
    return "".join(parts)


def _name_bounds(metrics: Iterable[Metric]) -> dict[tuple[float, ...], str]:
    """A constant for each set of bounds, named after the first metric that has it, so that equal ones are one."""
    names: dict[tuple[float, ...], str] = {}
    for metric in metrics:
        if metric.bounds:
            names.setdefault(metric.bounds, f"_BOUNDS_{constant(metric.name)}")
    return names


def _attribute(attribute: Attribute) -> str:
    arguments = [constant(attribute.key), _text(attribute.type), _text(attribute.brief)]
    if attribute.members:
        arguments.append(f"members={_sequence([_text(m) for m in attribute.members], ' ' * 8)}")
    if attribute.cardinality is not None:
        arguments.append(f"cardinality={attribute.cardinality}")
    return _call("Attribute", arguments, "    ")


def _metric(metric: Metric, bounds: dict[tuple[float, ...], str]) -> str:
    arguments = [
        f"name={_text(metric.name)}",
        f"kind={_text(metric.kind)}",
        f"unit={_text(metric.unit)}",
        f"brief={_text(metric.brief)}",
        *_keys("attributes", metric.attributes),
        f"value_type={_text(metric.value_type)}",
        *([f"bounds={bounds[metric.bounds]}"] if metric.bounds else ()),
        *([f"cardinality={metric.cardinality}"] if metric.cardinality is not None else ()),
        *_keys("required", metric.required),
    ]
    return _call("Metric", arguments, "", explode=True)


def _event(event: Event) -> str:
    fields = [f"EventField({_text(f.name)}, {_text(f.type)}, {_text(f.requirement)})" for f in event.fields]
    arguments = [
        f"name={_text(event.name)}",
        f"brief={_text(event.brief)}",
        f"level={_text(event.level)}",
        *([f"fields={_sequence(fields, '    ')}"] if fields else ()),
    ]
    return _call("Event", arguments, "", explode=True)


def _span(span: Span) -> str:
    arguments = [
        f"type={_text(span.type)}",
        f"brief={_text(span.brief)}",
        *_keys("attributes", span.attributes),
        *_keys("required", span.required),
    ]
    return _call("Span", arguments, "", explode=True)


def _keys(name: str, keys: Sequence[str]) -> list[str]:
    constants = [constant(key) for key in keys]
    return [f"{name}={_sequence(constants, '    ', before=len(name) + 1)}"] if keys else []


def _table(name: str, kind: str, key: str, rows: list[str]) -> str:
    variable = kind.lower()
    listed = "".join(f"    {row},\n" for row in rows)
    return (
        f"\n_{name} = (\n{listed})\n"
        f"{name}: dict[str, {kind}] = {{{variable}.{key}: {variable} for {variable} in _{name}}}\n"
    )


def _call(name: str, arguments: Sequence[str], indent: str, *, explode: bool = False) -> str:
    line = f"{name}({', '.join(arguments)})"
    if not explode and len(indent) + len(line) + 1 <= WIDTH and "\n" not in line:
        return line
    inner = "".join(f"{indent}    {argument},\n" for argument in arguments)
    return f"{name}(\n{inner}{indent})"


def _sequence(items: Sequence[str], indent: str, *, before: int = 40) -> str:
    """A tuple, on one line where it fits behind `before` characters."""
    line = f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if len(indent) + before + len(line) + 1 <= WIDTH and (len(items) > 1 or len(line) < WIDTH):
        return line
    inner = "".join(f"{indent}    {item},\n" for item in items)
    return f"(\n{inner}{indent})"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
