"""A function an event, those in `derived` aside. Made by `python -m otelml.semconv.codegen`; no edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otelml.events.emission import emit


def batch_complete(
    *,
    batch_size: int,
    unique_labels: int | None = None,
    processing_time: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A batch is over.

    Event `ml.batch_complete`, level INFO.

    Args:
        batch_size: samples in a batch.
        unique_labels: different labels in the batch.
        processing_time: duration, in seconds.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "batch_size": batch_size,
        "unique_labels": unique_labels,
        "processing_time": processing_time,
    }
    emit("batch_complete", fields, stacklevel=stacklevel + 1, **more)


def batch_start(
    *,
    batch_size: int,
    input_shape: Sequence[int] | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A batch begins.

    Event `ml.batch_start`, level INFO.

    Args:
        batch_size: samples in a batch.
        input_shape: shape of the input.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "batch_size": batch_size,
        "input_shape": input_shape,
    }
    emit("batch_start", fields, stacklevel=stacklevel + 1, **more)


def drift_cleared(
    *,
    kind: str,
    method: str,
    score: float,
    threshold: float,
    noise_floor: float | None = None,
    feature: str | None = None,
    model: str | None = None,
    windows: int | None = None,
    observations: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A drift is over.

    Event `ml.drift_cleared`, level INFO.

    Args:
        kind: what has drifted: distribution, confidence or performance.
        method: how the score is computed.
        score: the drift score.
        threshold: the threshold.
        noise_floor: score that windows of this size reach without any drift.
        feature: the feature; absent where all are meant.
        model: name of the model.
        windows: windows in a row that agreed.
        observations: observations in the window.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "kind": kind,
        "method": method,
        "score": score,
        "threshold": threshold,
        "noise_floor": noise_floor,
        "feature": feature,
        "model": model,
        "windows": windows,
        "observations": observations,
    }
    emit("drift_cleared", fields, stacklevel=stacklevel + 1, **more)


def drift_detected(
    *,
    kind: str,
    method: str,
    score: float,
    threshold: float,
    noise_floor: float | None = None,
    feature: str | None = None,
    model: str | None = None,
    windows: int | None = None,
    observations: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """The data or the model has drifted from the reference; said once an episode.

    Event `ml.drift_detected`, level WARNING.

    Args:
        kind: what has drifted: distribution, confidence or performance.
        method: how the score is computed.
        score: the drift score.
        threshold: the threshold.
        noise_floor: score that windows of this size reach without any drift.
        feature: the feature; absent where all are meant.
        model: name of the model.
        windows: windows in a row that agreed.
        observations: observations in the window.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "kind": kind,
        "method": method,
        "score": score,
        "threshold": threshold,
        "noise_floor": noise_floor,
        "feature": feature,
        "model": model,
        "windows": windows,
        "observations": observations,
    }
    emit("drift_detected", fields, stacklevel=stacklevel + 1, **more)


def gpu_throttled(
    *,
    reason: str,
    hw_id: str,
    duration_seconds: float | None = None,
    hw_name: str | None = None,
    ml_gpu_index: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A GPU is being slowed down; said once an episode.

    Event `ml.gpu_throttled`, level WARNING.

    Args:
        reason: the reason, as in `ml.gpu.throttle.reason`.
        hw_id: identifies the GPU by its UUID (`GPU-...`), as other exporters do.
        duration_seconds: duration, in seconds.
        hw_name: name of the GPU.
        ml_gpu_index: index of the GPU as NVML counts, which need not be CUDA's.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "reason": reason,
        "hw.id": hw_id,
        "duration_seconds": duration_seconds,
        "hw.name": hw_name,
        "ml.gpu.index": ml_gpu_index,
    }
    emit("gpu_throttled", fields, stacklevel=stacklevel + 1, **more)


def gpu_xid(
    *,
    xid: int,
    hw_id: str,
    meaning: str | None = None,
    hw_name: str | None = None,
    ml_gpu_index: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """The driver reported an error of a GPU.

    Event `ml.gpu_xid`, level ERROR.

    Args:
        xid: the XID code.
        hw_id: identifies the GPU by its UUID (`GPU-...`), as other exporters do.
        meaning: what the code means.
        hw_name: name of the GPU.
        ml_gpu_index: index of the GPU as NVML counts, which need not be CUDA's.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "xid": xid,
        "hw.id": hw_id,
        "meaning": meaning,
        "hw.name": hw_name,
        "ml.gpu.index": ml_gpu_index,
    }
    emit("gpu_xid", fields, stacklevel=stacklevel + 1, **more)


def metrics_summary(
    *,
    counters: Any = None,
    gauges: Any = None,
    timers: Any = None,
    histograms: Any = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Statistics of everything recorded so far.

    Event `ml.metrics_summary`, level INFO.

    Args:
        counters: counters by name.
        gauges: gauges by name.
        timers: statistics of durations by name, such as count and mean_ms.
        histograms: statistics of recorded values by name, such as count, mean and p50.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "counters": counters,
        "gauges": gauges,
        "timers": timers,
        "histograms": histograms,
    }
    emit("metrics_summary", fields, stacklevel=stacklevel + 1, **more)


def non_finite(
    *,
    metric: str,
    count: int | None = None,
    step: int | None = None,
    epoch: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A recorded value was NaN or infinite; said once a series.

    Event `ml.non_finite`, level WARNING.

    Args:
        metric: name of the metric or quantity.
        count: how many.
        step: the step.
        epoch: the epoch.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "metric": metric,
        "count": count,
        "step": step,
        "epoch": epoch,
    }
    emit("non_finite", fields, stacklevel=stacklevel + 1, **more)


def progress(
    *,
    description: str,
    done: int,
    total: int | None = None,
    rate: float | None = None,
    eta_seconds: float | None = None,
    metrics: Any = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """How far a loop is; said now and then where no bar is drawn.

    Event `ml.progress`, level INFO.

    Args:
        description: what is being done.
        done: how much is done.
        total: how much there is to do.
        rate: how much is done in a second.
        eta_seconds: how long the rest takes if it goes on so, in seconds.
        metrics: values by name.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "description": description,
        "done": done,
        "total": total,
        "rate": rate,
        "eta_seconds": eta_seconds,
        "metrics": metrics,
    }
    emit("progress", fields, stacklevel=stacklevel + 1, **more)


def qa_summary(
    *,
    total_samples: int,
    interpolated: int | None = None,
    all_nan: int | None = None,
    mean_fallback: int | None = None,
    outliers_detected: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """What the quality checks of a data set came to.

    Event `ml.qa_summary`, level INFO.

    Args:
        total_samples: samples in all.
        interpolated: samples that were interpolated.
        all_nan: samples that were all NaN.
        mean_fallback: samples that were replaced by the mean.
        outliers_detected: outliers found.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "total_samples": total_samples,
        "interpolated": interpolated,
        "all_nan": all_nan,
        "mean_fallback": mean_fallback,
        "outliers_detected": outliers_detected,
    }
    emit("qa_summary", fields, stacklevel=stacklevel + 1, **more)


def quantizer_collapse(
    *,
    quantizer: str,
    measure: str,
    threshold: float,
    perplexity: float | None = None,
    entropy_utilization: float | None = None,
    code_utilization: float | None = None,
    dead_codes: int | None = None,
    codebook_size: int | None = None,
    window_codes: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A quantizer uses too few of its codes; said once an episode.

    Event `ml.quantizer_collapse`, level WARNING.

    Args:
        quantizer: name of the quantizer.
        measure: what fell below its threshold: perplexity or entropy_utilization.
        threshold: the threshold.
        perplexity: perplexity of the codes.
        entropy_utilization: entropy of the codes over the logarithm of the codebook's size.
        code_utilization: codes that were seen, over the codebook's size.
        dead_codes: codes that were not seen.
        codebook_size: codes in the codebook.
        window_codes: codes in the window.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "quantizer": quantizer,
        "measure": measure,
        "threshold": threshold,
        "perplexity": perplexity,
        "entropy_utilization": entropy_utilization,
        "code_utilization": code_utilization,
        "dead_codes": dead_codes,
        "codebook_size": codebook_size,
        "window_codes": window_codes,
    }
    emit("quantizer_collapse", fields, stacklevel=stacklevel + 1, **more)


def run_artifact(
    *,
    path: str,
    artifact_type: str | None = None,
    size_bytes: int | None = None,
    sha256: str | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A file that a run produced.

    Event `ml.run_artifact`, level INFO.

    Args:
        path: where the artifact is.
        artifact_type: what the artifact is.
        size_bytes: size of the artifact, in bytes.
        sha256: SHA-256 of the artifact, in hexadecimal.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "path": path,
        "artifact_type": artifact_type,
        "size_bytes": size_bytes,
        "sha256": sha256,
    }
    emit("run_artifact", fields, stacklevel=stacklevel + 1, **more)


def run_end(
    *,
    status: str,
    duration_seconds: float | None = None,
    final_metrics: Any = None,
    error_type: str | None = None,
    error_message: str | None = None,
    energy_joules: float | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A run is over.

    Event `ml.run_end`, level INFO.

    Args:
        status: how it ended, or how it is.
        duration_seconds: duration, in seconds.
        final_metrics: metrics in the end by name.
        error_type: type of the exception.
        error_message: text of the exception.
        energy_joules: energy that the GPUs used meanwhile, in joules.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "status": status,
        "duration_seconds": duration_seconds,
        "final_metrics": final_metrics,
        "error_type": error_type,
        "error_message": error_message,
        "energy_joules": energy_joules,
    }
    emit("run_end", fields, stacklevel=stacklevel + 1, **more)


def run_metrics(
    *,
    metrics: Any,
    step: int | None = None,
    epoch: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Metrics that a run logged.

    Event `ml.run_metrics`, level INFO.

    Args:
        metrics: values by name.
        step: the step.
        epoch: the epoch.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "metrics": metrics,
        "step": step,
        "epoch": epoch,
    }
    emit("run_metrics", fields, stacklevel=stacklevel + 1, **more)


def run_result(
    *,
    result: str,
    value: Any,
    metadata: Any = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A result of a run.

    Event `ml.run_result`, level INFO.

    Args:
        result: name of the result.
        value: the value.
        metadata: what else there is to say.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "result": result,
        "value": value,
        "metadata": metadata,
    }
    emit("run_result", fields, stacklevel=stacklevel + 1, **more)


def run_start(
    *,
    experiment: str,
    run_name: str | None = None,
    tags: Any = None,
    parent_run_id: str | None = None,
    resumed: bool | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A run begins.

    Event `ml.run_start`, level INFO.

    Args:
        experiment: the experiment that the run belongs to.
        run_name: name of the run, for people.
        tags: tags by name.
        parent_run_id: the run that this one is nested in.
        resumed: whether the run goes on from an earlier process.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "experiment": experiment,
        "run_name": run_name,
        "tags": tags,
        "parent_run_id": parent_run_id,
        "resumed": resumed,
    }
    emit("run_start", fields, stacklevel=stacklevel + 1, **more)


def run_tags(
    *,
    tags: Any,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Tags that a run got after its start.

    Event `ml.run_tags`, level INFO.

    Args:
        tags: tags by name.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "tags": tags,
    }
    emit("run_tags", fields, stacklevel=stacklevel + 1, **more)


def stage_complete(
    *,
    stage: str,
    elapsed_ms: float,
    items: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A stage is over.

    Event `ml.stage_complete`, level INFO.

    Args:
        stage: name of the stage.
        elapsed_ms: duration, in milliseconds.
        items: items that the stage worked on.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "stage": stage,
        "elapsed_ms": elapsed_ms,
        "items": items,
    }
    emit("stage_complete", fields, stacklevel=stacklevel + 1, **more)


def stage_error(
    *,
    stage: str,
    elapsed_ms: float,
    error_type: str,
    error_message: str | None = None,
    items: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A stage ended with an exception.

    Event `ml.stage_error`, level ERROR.

    Args:
        stage: name of the stage.
        elapsed_ms: duration, in milliseconds.
        error_type: type of the exception.
        error_message: text of the exception.
        items: items that the stage worked on.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "stage": stage,
        "elapsed_ms": elapsed_ms,
        "error_type": error_type,
        "error_message": error_message,
        "items": items,
    }
    emit("stage_error", fields, stacklevel=stacklevel + 1, **more)


def stage_start(
    *,
    stage: str,
    items: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A stage begins.

    Event `ml.stage_start`, level INFO.

    Args:
        stage: name of the stage.
        items: items that the stage worked on.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "stage": stage,
        "items": items,
    }
    emit("stage_start", fields, stacklevel=stacklevel + 1, **more)


def training_complete(
    *,
    total_epochs: int | None = None,
    final_accuracy: float | None = None,
    duration_seconds: float | None = None,
    metrics_summary: Any = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A training is over.

    Event `ml.training_complete`, level INFO.

    Args:
        total_epochs: epochs in all.
        final_accuracy: accuracy in the end, 0 to 1.
        duration_seconds: duration, in seconds.
        metrics_summary: statistics of everything recorded.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "total_epochs": total_epochs,
        "final_accuracy": final_accuracy,
        "duration_seconds": duration_seconds,
        "metrics_summary": metrics_summary,
    }
    emit("training_complete", fields, stacklevel=stacklevel + 1, **more)


def training_start(
    *,
    model: str | None = None,
    dataset: str | None = None,
    config_hash: str | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    total_epochs: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """A training begins.

    Event `ml.training_start`, level INFO.

    Args:
        model: name of the model.
        dataset: name of the data set.
        config_hash: hash of the configuration.
        seed: seed of the random numbers.
        batch_size: samples in a batch.
        total_epochs: epochs in all.
        stacklevel: see `emit`.
        more: further fields; `message`, `level`, `logger`, `exc_info`.
    """
    fields = {
        "model": model,
        "dataset": dataset,
        "config_hash": config_hash,
        "seed": seed,
        "batch_size": batch_size,
        "total_epochs": total_epochs,
    }
    emit("training_start", fields, stacklevel=stacklevel + 1, **more)
