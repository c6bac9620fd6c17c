"""Secrets out of an event, as the last thing that happens to it before it is sent.

Personal data are not collected in the first place: no local variables, no command line, no requests, no users.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otelml import events
from otelml.events.secrets import mask_text

_SOURCE_LINES = ("pre_context", "post_context")


def mask_event(event: dict[str, Any]) -> dict[str, Any]:
    """`event`, whose texts have their secrets masked: messages, extra, breadcrumbs, exceptions, lines of source."""
    for name in ("extra", "contexts", "tags"):
        if name in event:
            event[name] = events.mask(event[name])
    _mask_values(event.get("logentry"))
    for crumb in _values(event, "breadcrumbs"):
        crumb.update(events.mask(crumb))
    for exception in _values(event, "exception"):
        _mask_text(exception, "value")
    for frame in _frames(event):
        _mask_text(frame, "context_line")
        for name in _SOURCE_LINES:
            if frame.get(name):
                frame[name] = [mask_text(line) for line in frame[name]]
    _mask_text(event, "message")
    return event


def _mask_values(holder: dict[str, Any] | None) -> None:
    if holder:
        holder.update(events.mask(holder))


def _mask_text(holder: dict[str, Any], name: str) -> None:
    if isinstance(holder.get(name), str):
        holder[name] = mask_text(holder[name])


def _values(event: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return (event.get(name) or {}).get("values") or []


def _frames(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (*_values(event, "exception"), *_values(event, "threads")):
        yield from (holder.get("stacktrace") or {}).get("frames") or []
