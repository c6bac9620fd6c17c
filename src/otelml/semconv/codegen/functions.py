"""Renders `events/_generated.py`: a typed function for each event whose fields are written as they are given."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otelml.semconv.codegen.registry import Registry
    from otelml.semconv.model import Event, EventField

WIDTH = 110

BY_HAND = frozenset(
    {"clustering", "config", "epoch_complete", "fsq_config", "fsq_encoding", "health", "qa_exception"}
    | {"run_params", "temporal_smoothing"}
)
"""Events that have their function in `otelml.events.derived`, because something about them is computed."""

_HEAD = '''"""A function an event, those in `derived` aside. Made by `python -m otelml.semconv.codegen`; no edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otelml.events.emission import emit
'''

_TYPES = {"string": "str", "int": "int", "double": "float", "boolean": "bool"}


def render(registry: Registry) -> str:
    """The module's source."""
    events = [event for _, event in sorted(registry.events.items()) if event.name not in BY_HAND]
    return "".join([_HEAD, *(_function(registry, event) for event in events)])


def parameter(field: str) -> str:
    """The name of the keyword for a field: dots become underscores."""
    return field.replace(".", "_")


def _function(registry: Registry, event: Event) -> str:
    # Required keywords first, as readers expect them; each group in the registry's order.
    fields = sorted(event.fields, key=lambda field: field.requirement != "required")
    return "".join(
        [
            f"\n\ndef {event.name}(\n    *,\n",
            *(f"    {_parameter(field)},\n" for field in fields),
            "    stacklevel: int = 1,\n    **more: Any,\n) -> None:\n",
            _docstring(registry, event, fields),
            "    fields = {\n",
            *(f'        "{field.name}": {parameter(field.name)},\n' for field in fields),
            f'    }}\n    emit("{event.name}", fields, stacklevel=stacklevel + 1, **more)\n',
        ]
    )


def _parameter(field: EventField) -> str:
    kind = _python_type(field.type)
    if field.requirement == "required":
        return f"{parameter(field.name)}: {kind}"
    return f"{parameter(field.name)}: {kind if kind == 'Any' else f'{kind} | None'} = None"


def _python_type(kind: str) -> str:
    if kind.endswith("[]"):
        return f"Sequence[{_TYPES[kind[:-2]]}]"
    return _TYPES.get(kind, "Any")


def _docstring(registry: Registry, event: Event, fields: list[EventField]) -> str:
    lines = [f'"""{event.brief}', "", f"Event `ml.{event.name}`, level {event.level}.", "", "Args:"]
    said = [(parameter(f.name), _brief(registry, f.name)) for f in fields]
    said.append(("stacklevel", "see `emit`."))
    said.append(("more", "further fields; `message`, `level`, `logger`, `exc_info`."))
    for name, brief in said:
        wrapped = textwrap.wrap(f"{name}: {brief}", WIDTH - 12, subsequent_indent="    ")
        lines += [f"    {line}" for line in wrapped]
    return "".join(f"    {line}\n" if line else "\n" for line in [*lines, '"""'])


def _brief(registry: Registry, key: str) -> str:
    brief = registry.attributes[key].brief.replace("\\", "\\\\")
    return brief[0].lower() + brief[1:] if not brief[:2].isupper() else brief
