"""Clustering and temporal smoothing: what comes after a model has made codes or embeddings, as metrics and events.

The work itself is timed by stages (`cluster`, `smooth`), and `events` has the same events without metrics; here is what
it came to, in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otelml import events, instruments
from otelml.instruments import internal
from otelml.instruments.aggregate import tensor_array
from otelml.semconv import _generated as semconv

_MOST = 2**63 - 1  # the largest integer of an OTLP data point


def clustering(
    *,
    algorithm: str,
    k_clusters: int,
    n_samples: int | None = None,
    silhouette_score: float | None = None,
    merge_operations: int | None = None,
    clusters_final: int | None = None,
    hungarian_matching: bool | None = None,
    duration_s: float | None = None,
    model: str | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Samples were clustered: the event `clustering`, `ml.clustering.cluster.count`, and the silhouette as a score.

    Never raises. Values that cannot be (negative counts, a silhouette beyond -1 and 1, NaN) are left out, counted in
    `otelml.internal.dropped` and said once.

    Args:
        algorithm: such as `gmm`.
        k_clusters: clusters asked for.
        n_samples: samples clustered.
        silhouette_score: mean silhouette, -1 to 1; also `ml.evaluation.score` with the metric `silhouette`.
        merge_operations: clusters that were merged.
        clusters_final: clusters in the end; as many as were asked for when not given.
        hungarian_matching: whether labels were matched with those of the clustering before.
        duration_s: in seconds; the event has `clustering_duration_ms`.
        model: whose score it is, as `ml.model.name`; the algorithm when not given.
        stacklevel: see `events.emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    with internal.guard("pipeline"):
        found = _checked_count("clusters_final", k_clusters if clusters_final is None else clusters_final)
        silhouette = _checked("silhouette_score", silhouette_score, low=-1, high=1)
        if found is not None and algorithm is not None:
            clusters = instruments.gauge(semconv.METRIC_ML_CLUSTERING_CLUSTER_COUNT)
            clusters.set(found, {semconv.ML_CLUSTERING_ALGORITHM: algorithm})
        if silhouette is not None and (model or algorithm) is not None:
            whose = {semconv.ML_MODEL_NAME: model or algorithm, semconv.ML_EVALUATION_METRIC: "silhouette"}
            instruments.gauge(semconv.METRIC_ML_EVALUATION_SCORE).set(silhouette, whose)
        events.clustering(
            algorithm=algorithm,
            k_clusters=_checked_count("k_clusters", k_clusters),  # type: ignore[arg-type]  # missing is said there
            n_samples=_checked_count("n_samples", n_samples),
            silhouette_score=silhouette,
            merge_operations=_checked_count("merge_operations", merge_operations),
            clusters_final=found,
            hungarian_matching=hungarian_matching,
            duration_s=_checked("duration_s", duration_s),
            stacklevel=stacklevel + 1,
            **more,
        )


def temporal_smoothing(
    *,
    policy: str,
    transitions_before: int,
    transitions_after: int,
    min_dwell: int | None = None,
    window_size: int | None = None,
    duration_s: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A sequence of labels was smoothed: the event `temporal_smoothing`, and `ml.smoothing.transitions` of both sides.

    The event has `reduction_percent`, `100 * (before - after) / before`; where there was no transition before, it is
    unknown and absent. Never raises; values that cannot be are left out as in `clustering`.

    Args:
        policy: such as `median_hysteresis`.
        transitions_before: changes of label in the input; `count_transitions` counts them.
        transitions_after: changes of label in the output.
        min_dwell: shortest stay in a label, in samples.
        window_size: length of the smoothing window, in samples.
        duration_s: in seconds; the event has `smoothing_duration_ms`.
        stacklevel: see `events.emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    with internal.guard("pipeline"):
        before = _checked_count("transitions_before", transitions_before)
        after = _checked_count("transitions_after", transitions_after)
        transitions = instruments.counter(semconv.METRIC_ML_SMOOTHING_TRANSITIONS)
        for side, n in (("before", before), ("after", after)):
            if n is not None and policy is not None:
                transitions.add(n, {semconv.ML_SMOOTHING_POLICY: policy, semconv.ML_SMOOTHING_SIDE: side})
        events.temporal_smoothing(
            policy=policy,
            transitions_before=before,  # type: ignore[arg-type]  # what is missing is said there
            transitions_after=after,  # type: ignore[arg-type]
            min_dwell=_checked_count("min_dwell", min_dwell),
            window_size=_checked_count("window_size", window_size),
            duration_s=_checked("duration_s", duration_s),
            stacklevel=stacklevel + 1,
            **more,
        )


def count_transitions(labels: Any) -> int:
    """How often a label differs from the one before it, along the last axis of `labels`, summed over the others.

    Args:
        labels: an array of numpy, a tensor in the machine's memory, a sequence or an iterator, of any shape; empty ones
            have no transitions.
    """
    import numpy as np

    if hasattr(labels, "detach"):
        labels = tensor_array(labels)
    try:
        array = np.asarray(list(labels) if isinstance(labels, Iterator) else labels)
    except ValueError:  # rows of different lengths
        return sum(map(count_transitions, labels))
    if not array.ndim:
        return 0
    before, after = array[..., :-1], array[..., 1:]
    # No label beside no label is no change.
    both_missing = (before != before) & (after != after)  # noqa: PLR0124
    return int(np.count_nonzero((after != before) & ~both_missing))


def _checked_count(name: str, value: Any) -> int | None:
    """`value` as an integer, or None where it is no whole number from 0 on."""
    number = _checked(name, value)
    if number is None or number == int(number):
        return None if number is None else int(number)
    _refuse(name)
    return None


def _checked(name: str, value: Any, low: float = 0, high: float = _MOST) -> float | None:
    """`value` as a plain number, or None where it is no finite number from `low` to `high`."""
    if value is None:
        return None
    # A scalar of numpy, or of a tensor; on a device, reading it would wait.
    if getattr(value, "shape", None) == () and not getattr(value, "is_cuda", False):
        value = value.item()
    if type(value) in (int, float) and low <= value <= high:  # which NaN is not
        return value
    _refuse(name)
    return None


def _refuse(name: str) -> None:
    internal.count("dropped", "pipeline", name)
    internal.warn_once(f"pipeline:{name}", "otelml: %s was no value that it can have; it is left out", name)
