"""Ids of runs: the process' for the first, the same with a number for others, so that all ranks agree without a word.

Read off the resource of the providers: what finds the process' id belongs to a layer above.
"""

from __future__ import annotations

import os
import time
from typing import Any

from otelml import settings
from otelml.instruments import timer
from otelml.semconv import _generated as semconv

_count = 0
_made_up: str | None = None
_suffix = ""


def new_run_id() -> str:
    """The id of the next run of this process."""
    global _count  # noqa: PLW0603 - runs of the process
    if _mark_child not in timer.fork_hooks:
        timer.fork_hooks.append(_mark_child)
    _count += 1
    process = process_run_id()
    return process + _suffix if _count == 1 else f"{process}{_suffix}-{_count}"


def process_run_id() -> str:
    """`ml.run.id` of the resource, else `OTELML_RUN_ID`, else one made up once."""
    global _made_up  # noqa: PLW0603 - made up once a process
    found = _resource_run_id() or settings.current().run_id or _made_up
    if not found:
        found = _made_up = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
    return found


def _resource_run_id() -> str | None:
    from opentelemetry import trace
    from opentelemetry._logs import get_logger_provider

    providers: tuple[Any, ...] = (trace.get_tracer_provider(), get_logger_provider())
    for provider in providers:
        attributes = getattr(getattr(provider, "resource", None), "attributes", None) or {}
        if attributes.get(semconv.ML_RUN_ID):
            return str(attributes[semconv.ML_RUN_ID])
    return None


def _mark_child() -> None:
    """Runs that forked children open are others than their parent's, and than each other's."""
    global _suffix  # noqa: PLW0603 - of this process
    _suffix = f"-p{os.getpid()}"


def reset() -> None:
    """For tests: the next run is the first."""
    global _count, _made_up, _suffix
    _count, _made_up, _suffix = 0, None, ""
    if _mark_child in timer.fork_hooks:
        timer.fork_hooks.remove(_mark_child)
