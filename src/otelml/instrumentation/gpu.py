"""The instrumentor `otelml_gpu`: GPU metrics without a line of code."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otelml import context, gpu, settings
from otelml.instruments import drain


class GpuInstrumentor(BaseInstrumentor):
    """Starts and stops the GPU plugin; `instrument(meter_provider=...)` without `otelml.configure()`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if kwargs.get("meter_provider") is not None:
            drain.attach(kwargs["meter_provider"])
        in_force = settings.current()
        # Without a place for metrics there is no reason to wake up every few seconds.
        if drain.attached_provider() is not None and not in_force.sdk_disabled:
            gpu.start(in_force)
            context.energy_meter = gpu.energy_meter

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 - the base class' signature
        context.energy_meter = None
        gpu.stop()
