"""Events: log records with a name and typed fields. `emit` writes any; each event of the registry has a function.

`events.fsq_encoding(batch_size=32, perplexity=125.6, usage=0.75, duration_s=0.023)` computes what follows from what it
is given, has the event's level, and the place of whoever calls it. Every function also takes `message`, `level`,
`logger`, `stacklevel` and `exc_info` as `emit` does, and any further fields by their names.
"""

from __future__ import annotations

from otelml.events._generated import (
    batch_complete,
    batch_start,
    drift_cleared,
    drift_detected,
    gpu_throttled,
    gpu_xid,
    metrics_summary,
    non_finite,
    progress,
    qa_summary,
    quantizer_collapse,
    run_artifact,
    run_end,
    run_metrics,
    run_result,
    run_start,
    run_tags,
    stage_complete,
    stage_error,
    stage_start,
    training_complete,
    training_start,
)
from otelml.events.derived import (
    clustering,
    config,
    epoch_complete,
    fsq_config,
    fsq_encoding,
    health,
    qa_exception,
    run_params,
    temporal_smoothing,
)
from otelml.events.emission import FIELDS, LOGGER, emit, own_level
from otelml.events.masking import config_hash, mask
from otelml.events.secrets import MASK

__all__ = [
    "FIELDS",
    "LOGGER",
    "MASK",
    "batch_complete",
    "batch_start",
    "clustering",
    "config",
    "config_hash",
    "drift_cleared",
    "drift_detected",
    "emit",
    "epoch_complete",
    "fsq_config",
    "fsq_encoding",
    "gpu_throttled",
    "gpu_xid",
    "health",
    "mask",
    "metrics_summary",
    "non_finite",
    "own_level",
    "progress",
    "qa_exception",
    "qa_summary",
    "quantizer_collapse",
    "run_artifact",
    "run_end",
    "run_metrics",
    "run_params",
    "run_result",
    "run_start",
    "run_tags",
    "stage_complete",
    "stage_error",
    "stage_start",
    "temporal_smoothing",
    "training_complete",
    "training_start",
]
