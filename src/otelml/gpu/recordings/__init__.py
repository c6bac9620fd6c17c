"""Recordings of GPUs: what `otelml gpu record` writes, and the one that comes with the package.

A recording is a JSON object: `system` has the answers that concern no device, `idle` and `load` those of one GPU in
these states, by call and arguments, each with the time it took (`us`) and a `value`, or an error's `code`; among
them `fields`, the field values by name. `idle_gpm` and `load_gpm` are the true activity. It may have `mig_devices`,
a list of the same for each MIG device, and `events`, XID errors: `{"after_walks": 3, "xid": 79}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

STATES = ("idle", "load")
"""The states of a GPU that a recording may have, in the order of their replay."""

_HOW_TO_RECORD = "`otelml gpu record FILE` writes a recording"


class ReplayError(ValueError):
    """A recording that cannot be replayed; the message says which, why, and what to do."""


def built_in_names() -> list[str]:
    """Names of the recordings that come with the package."""
    return sorted(
        found.name.removesuffix(".json") for found in _built_in().iterdir() if found.name.endswith(".json")
    )


def read_recording(name_or_path: str | Path) -> dict[str, Any]:
    """The built-in recording of that name, or else that of the file. Raises ReplayError."""
    try:
        recording = json.loads(_read_text(str(name_or_path)))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ReplayError(f"{name_or_path} is no JSON ({error}): {_HOW_TO_RECORD}") from None
    check_recording(recording, str(name_or_path))
    return dict(recording)


def _read_text(name: str) -> str:
    if name in built_in_names():
        return str((_built_in() / f"{name}.json").read_text(encoding="utf-8"))
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(built_in_names())
        raise ReplayError(f"{name}: no such file, and no built-in recording (these are: {known})") from None
    except OSError as error:
        raise ReplayError(f"{name} cannot be read: {error.strerror}") from None


def _built_in() -> Any:
    # From the package's root: what is asked for a namespace package differs between versions of Python.
    return resources.files("otelml") / "gpu" / "recordings"


def states_of(recording: Any) -> tuple[str, ...]:
    """The states that a recording has; none when it is no recording."""
    if not isinstance(recording, Mapping):
        return ()
    return tuple(state for state in STATES if _is_state(recording.get(state)))


def _is_state(calls: Any) -> bool:
    return (
        isinstance(calls, Mapping)
        and bool(calls)
        and all(isinstance(entry, Mapping) for entry in calls.values())
    )


def model_of(recording: Mapping[str, Any]) -> str:
    """The name of the GPU that was recorded."""
    names = (recording[state].get("nvmlDeviceGetName()", {}).get("value") for state in states_of(recording))
    return str(next((name for name in names if name is not None), "GPU without a name"))


def check_recording(recording: Any, name: str, state: str | None = None) -> None:
    """Raise ReplayError unless it is a recording, and has that state; `name` is for the message."""
    states = states_of(recording)
    if not states:
        raise ReplayError(f"{name} is no recording of a GPU: {_HOW_TO_RECORD}")
    if state is not None and state not in states:
        raise ReplayError(
            f"{name} has no state {state!r}, only {' and '.join(map(repr, states))}: leave the state open, or add it "
            f"to a recording of yours with `otelml gpu record FILE --state {state}`"
        )
