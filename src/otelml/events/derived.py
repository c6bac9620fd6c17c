"""The events whose fields follow from others: percentages, rates, verdicts, hashes. The rest are in `_generated`.

What cannot be computed (no duration, a duration of 0, a value that is not finite) is absent. A field that the caller
gives is written as given. Nothing here waits for a device: what lives on one is no number here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from otelml.events.emission import complain, emit
from otelml.events.masking import hash_plain, mask, plain
from otelml.instruments import internal

GOOD_USAGE, FAIR_USAGE = 0.7, 0.3
"""Shares of the codebook from which its use is good, or fair."""

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_HEALTH_LEVELS = {"healthy": logging.INFO, "degraded": logging.WARNING, "unhealthy": logging.ERROR}
_LIFTED = ("model_name", "fsq_levels", "embedding_dim", "codebook_size", "random_seed")


def config(
    *,
    config: Any = None,
    config_hash: str | None = None,
    model_name: str | None = None,
    fsq_levels: Sequence[int] | None = None,
    embedding_dim: int | None = None,
    codebook_size: int | None = None,
    random_seed: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """The configuration of the program, with secrets masked. Event `ml.config`, level INFO.

    Args:
        config: mapping, dataclass, namespace, ... of any depth; written as a whole, masked by `events.mask`.
        config_hash: `events.config_hash(config)` when not given.
        model_name, fsq_levels, embedding_dim, codebook_size, random_seed: taken from the top level of `config`
            when not given; the codebook's size also from the levels.
        stacklevel: see `emit`.
        more: further fields, masked too; `message`, `level`, `logger`, `exc_info`.
    """
    given = (model_name, fsq_levels, embedding_dim, codebook_size, random_seed)
    fields: dict[str, Any] = dict(zip(_LIFTED, given, strict=True))
    with internal.guard("events"):
        shown = plain(config) if config is not None else None
        if isinstance(shown, Mapping):
            fields = {name: shown.get(name) if value is None else value for name, value in fields.items()}
        if config_hash is None and config is not None:
            config_hash = hash_plain(shown)
        fields["config"] = shown
    if fields["codebook_size"] is None:
        fields["codebook_size"] = _product(fields["fsq_levels"])
    emit("config", {"config_hash": config_hash, **fields}, stacklevel=stacklevel + 1, **_mask_fields(more))


def fsq_config(
    *,
    levels: Sequence[int],
    codebook_size: int | None = None,
    embedding_dim: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """The configuration of a finite scalar quantizer. Event `ml.fsq_config`, level INFO.

    Args:
        levels: levels of each dimension.
        codebook_size: their product when not given.
        embedding_dim: dimensions of the embedding.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    if codebook_size is None:
        codebook_size = _product(levels)
    fields = {"levels": levels, "codebook_size": codebook_size, "embedding_dim": embedding_dim}
    emit("fsq_config", fields, stacklevel=stacklevel + 1, **more)


def epoch_complete(
    *,
    epoch: int,
    loss: float | None = None,
    accuracy: float | None = None,
    learning_rate: float | None = None,
    duration_seconds: float | None = None,
    samples: int | None = None,
    samples_per_second: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    energy_joules: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """An epoch is over. Event `ml.epoch_complete`, level INFO.

    Args:
        epoch: its number.
        loss, accuracy, learning_rate: at its end.
        duration_seconds: duration, in seconds.
        samples: samples processed in it.
        samples_per_second: `samples / duration_seconds` when not given.
        metrics: further values by name.
        energy_joules: energy that the GPUs used, in joules.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    if samples_per_second is None:
        samples_per_second = _ratio(samples, duration_seconds)
    fields = {
        "epoch": epoch,
        "loss": loss,
        "accuracy": accuracy,
        "learning_rate": learning_rate,
        "duration_seconds": duration_seconds,
        "samples": samples,
        "samples_per_second": samples_per_second,
        "metrics": metrics,
        "energy_joules": energy_joules,
    }
    emit("epoch_complete", fields, stacklevel=stacklevel + 1, **more)


def fsq_encoding(
    *,
    batch_size: int,
    perplexity: float | None = None,
    usage: float | None = None,
    code_usage_percent: float | None = None,
    codebook_utilization: str | None = None,
    duration_s: float | None = None,
    encoding_duration_ms: float | None = None,
    codes: int | None = None,
    codes_per_second: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A batch was encoded by a finite scalar quantizer. Event `ml.fsq_encoding`, level INFO.

    Args:
        batch_size: samples in the batch.
        perplexity: of the codes.
        usage: share of the codebook's codes that were used, 0 to 1.
        code_usage_percent: 100 x `usage` when not given.
        codebook_utilization: "good" from 0.7 of the codes, "fair" from 0.3, "poor" below, when not given.
        duration_s: of the encoding, in seconds.
        encoding_duration_ms: the same in milliseconds, when that is what is known.
        codes: codes produced; one a sample when not given.
        codes_per_second: `codes / duration_s` when not given.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    if code_usage_percent is None:
        code_usage_percent = _percent(usage)
    encoding_duration_ms, seconds = _both_durations(duration_s, encoding_duration_ms)
    if codes_per_second is None:
        codes_per_second = _ratio(batch_size if codes is None else codes, seconds)
    fields = {
        "batch_size": batch_size,
        "perplexity": perplexity,
        "code_usage_percent": code_usage_percent,
        "codebook_utilization": codebook_utilization or _verdict(code_usage_percent, usage),
        "encoding_duration_ms": encoding_duration_ms,
        "codes_per_second": codes_per_second,
    }
    emit("fsq_encoding", fields, stacklevel=stacklevel + 1, **more)


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
    clustering_duration_ms: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Samples were clustered. Event `ml.clustering`, level INFO.

    Args:
        algorithm: its name, such as "gmm".
        k_clusters: clusters asked for.
        n_samples: samples clustered.
        silhouette_score: -1 to 1.
        merge_operations: clusters that were merged.
        clusters_final: clusters in the end; what is not known is left out.
        hungarian_matching: whether labels were matched with the ones before.
        duration_s: duration, in seconds.
        clustering_duration_ms: the same in milliseconds, when that is what is known.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "algorithm": algorithm,
        "k_clusters": k_clusters,
        "n_samples": n_samples,
        "silhouette_score": silhouette_score,
        "merge_operations": merge_operations,
        "clusters_final": clusters_final,
        "hungarian_matching": hungarian_matching,
        "clustering_duration_ms": _both_durations(duration_s, clustering_duration_ms)[0],
    }
    emit("clustering", fields, stacklevel=stacklevel + 1, **more)


def temporal_smoothing(
    *,
    policy: str,
    transitions_before: int,
    transitions_after: int,
    reduction_percent: float | None = None,
    min_dwell: int | None = None,
    window_size: int | None = None,
    duration_s: float | None = None,
    smoothing_duration_ms: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A sequence of labels was smoothed. Event `ml.temporal_smoothing`, level INFO.

    Args:
        policy: its name, such as "median_hysteresis".
        transitions_before, transitions_after: changes of the label in the input and in the output.
        reduction_percent: 100 x (before - after) / before when not given; negative where smoothing added some.
        min_dwell: shortest stay in a label, in samples.
        window_size: length of the window, in samples.
        duration_s: duration, in seconds.
        smoothing_duration_ms: the same in milliseconds, when that is what is known.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    if reduction_percent is None:
        kept = _ratio(transitions_after, transitions_before)
        reduction_percent = None if kept is None else 100 * (1 - kept)
    fields = {
        "policy": policy,
        "min_dwell": min_dwell,
        "window_size": window_size,
        "transitions_before": transitions_before,
        "transitions_after": transitions_after,
        "reduction_percent": reduction_percent,
        "smoothing_duration_ms": _both_durations(duration_s, smoothing_duration_ms)[0],
    }
    emit("temporal_smoothing", fields, stacklevel=stacklevel + 1, **more)


def qa_exception(
    *,
    check: str,
    severity: str,
    affected_rows: int | None = None,
    total_rows: int | None = None,
    affected_percent: float | None = None,
    details: str | None = None,
    action_taken: str | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A quality check found something in the data. Event `ml.qa_exception`, at the level that `severity` names.

    Args:
        check: the check that found it.
        severity: "debug", "info", "warning", "error" or "critical"; WARNING is the level for any other.
        affected_rows, total_rows: rows that have the problem, and rows in all.
        affected_percent: 100 x affected / total when not given.
        details: what was found.
        action_taken: what was done about it.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    if affected_percent is None:
        affected_percent = _ratio(affected_rows, total_rows, times=100)
    if isinstance(severity, str) and more.get("level") is None:
        more["level"] = _LEVELS.get(severity.lower())
    fields = {
        "check": check,
        "severity": severity,
        "affected_rows": affected_rows,
        "total_rows": total_rows,
        "affected_percent": affected_percent,
        "details": details,
        "action_taken": action_taken,
    }
    emit("qa_exception", fields, stacklevel=stacklevel + 1, **more)


def run_params(*, params: Any, stacklevel: int = 1, **more: Any) -> None:
    """Parameters of a run, with secrets masked. Event `ml.run_params`, level INFO.

    Args:
        params: by name, of any depth; masked by `events.mask`.
        stacklevel: see `emit`.
        more: further fields, masked too; `message`, `level`, `logger`, `exc_info`.
    """
    shown: Any = None
    with internal.guard("events"):
        shown = plain(params)
    emit("run_params", {"params": shown}, stacklevel=stacklevel + 1, **_mask_fields(more))


def health(
    *,
    status: str,
    reasons: Sequence[str] | None = None,
    dependencies: Any = None,
    resources: Any = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """The state of program and machine. Event `ml.health`: INFO when healthy, WARNING degraded, ERROR unhealthy.

    Args:
        status: "healthy", "degraded" or "unhealthy".
        reasons: why it is not healthy.
        dependencies: libraries by name with what is known of each.
        resources: memory, disk and CPU of the machine.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    if isinstance(status, str) and more.get("level") is None:
        more["level"] = _HEALTH_LEVELS.get(status)
    fields = {"status": status, "reasons": reasons, "dependencies": dependencies, "resources": resources}
    emit("health", fields, stacklevel=stacklevel + 1, **more)


_HOW = frozenset({"message", "level", "logger", "exc_info"})


def _mask_fields(more: dict[str, Any]) -> dict[str, Any]:
    """`more` with the fields masked; what says how to write the event stays."""
    return {key: value if key in _HOW else mask({key: value})[key] for key, value in more.items()}


def _number(value: object) -> float | None:
    """`value` as a finite float; None for what is none, or could only be read by waiting for a device."""
    kind = type(value)
    is_plain = kind is int or kind is float
    if not is_plain and (kind is bool or not hasattr(kind, "__float__") or _is_on_device(value)):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_on_device(value: object) -> bool:
    device = getattr(value, "device", None)
    return device is not None and getattr(device, "type", str(device)) != "cpu"


def _ratio(part: object, whole: object, *, times: float = 1.0) -> float | None:
    above, below = _number(part), _number(whole)
    if above is None or below is None or below <= 0:
        return None
    ratio = times * above / below
    return ratio if math.isfinite(ratio) else None


def _percent(usage: object) -> float | None:
    share = _number(usage)
    if share is None:
        return None
    if not 0 <= share <= 1:
        with internal.guard("events"):
            complain("range", f"usage is a share of the codes, 0 to 1, not {share:g}")
        return None
    return 100 * share


def _verdict(percent: object, usage: object) -> str | None:
    """From the share itself where it is known: 100 x 0.7 / 100 need not be 0.7 again."""
    share = _number(usage)
    if share is None or not 0 <= share <= 1:
        share = _ratio(percent, 100)
    if share is None:
        return None
    return "good" if share >= GOOD_USAGE else "fair" if share >= FAIR_USAGE else "poor"


def _both_durations(seconds: Any, milliseconds: Any) -> tuple[Any, float | None]:
    """The duration in milliseconds, as given or computed, and in seconds; None where it is unknown."""
    if milliseconds is None:
        number = _number(seconds)
        return (None if number is None else 1e3 * number), number
    return milliseconds, _ratio(milliseconds, 1e3) if seconds is None else _number(seconds)


def _product(levels: Any) -> int | None:
    try:
        whole = [int(level) for level in levels if level == int(level) and level > 0]
        return math.prod(whole) if whole and len(whole) == len(levels) else None
    except (TypeError, ValueError, OverflowError):
        return None
