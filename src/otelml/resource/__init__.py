"""The resource of this process. Its SDK part loads at first use: how the process was started is asked without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otelml.resource.detector import MLResourceDetector, create_resource, default_service_name

__all__ = ["MLResourceDetector", "create_resource", "default_service_name"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otelml.resource import detector

    return getattr(detector, name)
