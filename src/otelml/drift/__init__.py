"""Drift: what the model sees now, how sure it is, and how well it does, against a reference of when all was well."""

from otelml.drift.monitor import DriftMonitor
from otelml.drift.pushed import record_drift
from otelml.drift.reference import DriftReference, DriftReferenceError
from otelml.drift.scores import Score
from otelml.drift.window import DriftWindow

__all__ = ["DriftMonitor", "DriftReference", "DriftReferenceError", "DriftWindow", "Score", "record_drift"]
