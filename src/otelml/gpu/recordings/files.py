"""Files of recordings: JSON with a call a line, written in whole or not at all, and one state added to another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from otelml.gpu.recordings import ReplayError, model_of, read_recording, states_of


class RecordError(ValueError):
    """A recording that cannot be written where it was to go; the message says why and what to do."""


def merge(into: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`into` with the states of `new` added or replaced. Raises RecordError when they are not of one model."""
    if model_of(into) != model_of(new):
        raise RecordError(f"it is a recording of one {model_of(into)}, not of one {model_of(new)}")
    states = states_of(new)
    if set(states_of(into)) <= set(states):
        return dict(new)
    merged = _replace_states(into, new, states)
    parts, new_parts = into.get("mig_devices", ()), new.get("mig_devices", ())
    if len(parts) != len(new_parts):
        raise RecordError(f"it has {len(parts)} MIG devices, and the GPU now has {len(new_parts)}")
    if parts:
        merged["mig_devices"] = [
            _replace_states(*pair, states) for pair in zip(parts, new_parts, strict=True)
        ]
    return {**merged, "note": into.get("note", new["note"])}


def _replace_states(into: Mapping[str, Any], new: Mapping[str, Any], states: Sequence[str]) -> dict[str, Any]:
    stale = {*states, *(f"{state}_gpm" for state in states)}
    return {key: value for key, value in into.items() if key not in stale} | dict(new)


def save(path: str | os.PathLike[str], recording: Mapping[str, Any]) -> dict[str, Any]:
    """Write a recording, or add its states to the one that the file holds; returns what the file then holds.

    The file is there in whole, old or new, at any moment. Raises RecordError when it holds anything else, or a GPU
    of another model, and OSError when it cannot be written.
    """
    # A link stays one: what it points to is replaced.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise RecordError(f"{target} is no file; choose another one")
    if target.exists():
        recording = _merge_file(target, recording)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        scratch.write_text(write_json(recording), encoding="utf-8")
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return dict(recording)


def _merge_file(target: Path, recording: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return merge(read_recording(target), recording)
    except (ReplayError, RecordError) as error:
        raise RecordError(f"{target} is left as it is: {error}; choose another file") from None


def write_json(recording: Mapping[str, Any]) -> str:
    """A recording as JSON with one call a line."""
    return "\n".join(_json_lines(recording, "")) + "\n"


def _json_lines(value: Any, indent: str) -> Iterator[str]:
    items = _parts(value)
    if items is None:
        yield json.dumps(value, ensure_ascii=False)
        return
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    yield opening
    inner = indent + " "
    for position, (name, item) in enumerate(items):
        first, *rest = _json_lines(item, inner)
        lines = [f"{inner}{name}{first}", *rest]
        lines[-1] += "," if position < len(items) - 1 else ""
        yield from lines
    yield f"{indent}{closing}"


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """What stands on lines of its own; None for what fits on one: an answer, or a plain value."""
    if isinstance(value, Mapping) and "value" not in value:
        parts = [(f"{json.dumps(name)}: ", item) for name, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [("", item) for item in value]
    else:
        return None
    return parts if any(isinstance(item, Mapping) for _, item in parts) else None
