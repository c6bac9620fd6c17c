"""otelml: OpenTelemetry for machine learning. The public names, each loaded at its first use."""

from __future__ import annotations

from otelml._version import __version__

# Importing typing would double the time that `import otelml` takes; type checkers know this name all the same.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from otelml import events, gpu, health, pipeline, quality, testing
    from otelml.configurator import configure, force_flush, shutdown
    from otelml.drift import DriftMonitor, DriftReference, DriftWindow, record_drift
    from otelml.inferences import (
        inference,
        model_conversion,
        record_evaluation,
        record_inference,
        record_model_size,
        record_resources,
    )
    from otelml.instruments import counter, gauge, histogram, up_down_counter
    from otelml.instruments.readout import export_prometheus, summary
    from otelml.logs.ml_logger import log_operation
    from otelml.logs.setup import get_logger, set_log_level, setup_logging
    from otelml.quantizer import Quantizer
    from otelml.settings import SettingsError
    from otelml.stages import stage
    from otelml.training import run

_HOME = {
    "configure": "otelml.configurator",
    "counter": "otelml.instruments",
    "DriftMonitor": "otelml.drift",
    "DriftReference": "otelml.drift",
    "DriftWindow": "otelml.drift",
    "events": "otelml.events",
    "export_prometheus": "otelml.instruments.readout",
    "force_flush": "otelml.configurator",
    "gauge": "otelml.instruments",
    "get_logger": "otelml.logs.setup",
    "gpu": "otelml.gpu",
    "health": "otelml.health",
    "histogram": "otelml.instruments",
    "inference": "otelml.inferences",
    "log_operation": "otelml.logs.ml_logger",
    "model_conversion": "otelml.inferences",
    "pipeline": "otelml.pipeline",
    "quality": "otelml.quality",
    "Quantizer": "otelml.quantizer",
    "record_drift": "otelml.drift",
    "record_evaluation": "otelml.inferences",
    "record_inference": "otelml.inferences",
    "record_model_size": "otelml.inferences",
    "record_resources": "otelml.inferences",
    "run": "otelml.training",
    "set_log_level": "otelml.logs.setup",
    "SettingsError": "otelml.settings",
    "setup_logging": "otelml.logs.setup",
    "shutdown": "otelml.configurator",
    "stage": "otelml.stages",
    "summary": "otelml.instruments.readout",
    "testing": "otelml.testing",
    "up_down_counter": "otelml.instruments",
}

__all__ = [
    "DriftMonitor",
    "DriftReference",
    "DriftWindow",
    "Quantizer",
    "SettingsError",
    "__version__",
    "configure",
    "counter",
    "events",
    "export_prometheus",
    "force_flush",
    "gauge",
    "get_logger",
    "gpu",
    "health",
    "histogram",
    "inference",
    "log_operation",
    "model_conversion",
    "pipeline",
    "quality",
    "record_drift",
    "record_evaluation",
    "record_inference",
    "record_model_size",
    "record_resources",
    "run",
    "set_log_level",
    "setup_logging",
    "shutdown",
    "stage",
    "summary",
    "testing",
    "up_down_counter",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'otelml' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(home)
    value = module if home == f"otelml.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
