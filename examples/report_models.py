"""The part of the demo's report that is about models: training, inference, codebooks, drift, quality of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from readback import (
    MissingTelemetryError,
    quantile,
    read_buckets,
    read_events,
    read_final_points,
    read_value,
    read_values,
)
from tables import show_seconds, show_table

if TYPE_CHECKING:
    from readback import Scrape

    Scrapes = list[tuple[float, Scrape]]
    Records = list[dict[str, Any]]

TRAIN = {"ml_training_phase": "train"}


def show_training(now: Scrape, records: Records) -> None:
    """The run: its steps apart from their wait for data, from the endpoint; its epochs, from the log."""
    first, *_, last = read_events(records, "epoch_complete")
    (end,) = read_events(records, "run_end")
    print(
        f"\nTraining, run {end['run_id']} of {end['experiment']}: {end['status']} in {end['duration_seconds']:.2f} s"
    )
    step, wait = (
        read_buckets(now, f"ml_training_{part}_duration_seconds", **TRAIN) for part in ("step", "data_wait")
    )
    times = [show_seconds(quantile(q, buckets)) for buckets in (step, wait) for q in (0.5, 0.95)]
    counts = [f"{read_value(now, f'ml_training_{part}_total', **TRAIN):.0f}" for part in ("steps", "samples")]
    losses = f"{first['loss']:.2f} to {last['loss']:.2f}"
    accuracies = f"{first['accuracy']:.2f} to {last['accuracy']:.2f}"
    header = ["epochs", "steps", "samples", "step p50", "p95", "data wait p50", "p95", "loss", "accuracy"]
    show_table(header, [[str(last["epoch"] + 1), *counts, *times, losses, accuracies]])


def show_inference(now: Scrape) -> None:
    """The requests to each model, and what it answered."""
    name = "ml_inference_duration_seconds"
    models = {labels["ml_model_name"]: labels for labels, _ in read_values(now, f"{name}_count")}
    print("\nInference, from the endpoint")
    rows = []
    for model, labels in models.items():
        buckets = read_buckets(now, name, ml_model_name=model)
        requests, confidence, samples = (
            read_value(now, f"ml_inference_{what}", ml_model_name=model)
            for what in ("duration_seconds_count", "confidence_sum", "confidence_count")
        )
        classes = read_values(now, "ml_inference_predictions_total", ml_model_name=model)
        top = sorted(classes, key=lambda one: -one[1])[:3]
        rows.append([
            f"{model} {labels.get('ml_model_version', '')}", labels.get("ml_device_name", ""), f"{requests:.0f}",
            *(show_seconds(quantile(q, buckets)) for q in (0.5, 0.95)), f"{samples / requests:.0f}",
            f"{confidence / samples:.3f}", str(len(classes)),
            ", ".join(f"{labels['ml_prediction_class']} ({n / samples:.0%})" for labels, n in top),
        ])  # fmt: skip
    show_table(
        ["model", "device", "requests", "p50", "p95", "batch", "confidence", "classes", "most often"], rows
    )


def show_codes(now: Scrape) -> None:
    """Codebooks; and what clusters and smoothing made of the frames."""
    print("\nCodebook, clusters, smoothing, from the endpoint")
    rows = [
        [labels["ml_quantizer_name"], f"{codes:.0f}", *codebook_cells(now, labels["ml_quantizer_name"])]
        for labels, codes in read_values(now, "ml_quantizer_codes_total")
    ]
    show_table(["quantizer", "codes", "perplexity", "entropy use", "codes in use", "dead codes"], rows)
    ((clustering, clusters),) = read_values(now, "ml_clustering_cluster_count")
    silhouette = read_value(now, "ml_evaluation_score", ml_evaluation_metric="silhouette")
    before, after = (
        read_value(now, "ml_smoothing_transitions_total", ml_smoothing_side=side)
        for side in ("before", "after")
    )
    print(
        f"  {clustering['ml_clustering_algorithm']}: {clusters:.0f} clusters, silhouette {silhouette:.2f};",
        end=" ",
    )
    print(f"smoothing left {after:.0f} of {before:.0f} transitions, {after / before:.0%}.")


def codebook_cells(now: Scrape, name: str) -> list[str]:
    """How much of a codebook is in use."""
    perplexity, entropy, used, dead, size = (
        read_value(now, f"ml_quantizer_{what}", ml_quantizer_name=name)
        for what in (
            "perplexity",
            "entropy_utilization_ratio",
            "code_utilization_ratio",
            "code_dead",
            "code_limit",
        )
    )
    return [f"{perplexity:.1f}", f"{entropy:.2f}", f"{used:.0%}", f"{dead:.0f} of {size:.0f}"]


def show_drift(scrapes: Scrapes, records: Records, began_at_s: float) -> None:
    """Each feature's score before and after the shift, which must be found, and not before it is there."""
    (moved,) = read_events(records, "camera_moved")
    detected = read_events(records, "drift_detected")
    early = [one["feature"] for one in detected if one["at_s"] <= moved["at_s"]]
    if early:
        raise MissingTelemetryError(f"drift of {early} was detected before there was any")
    moved_s = moved["at_s"] - began_at_s
    found_s = {one["feature"]: one["at_s"] - began_at_s for one in reversed(detected)}
    print(
        f"\nDrift, from the endpoint; the camera moved with recording {moved['recording']}, at {moved_s:.1f} s"
    )
    rows = []
    for labels, score in read_values(scrapes[-1][1], "ml_drift_score"):
        if labels["ml_drift_method"] in {"psi", "difference"}:  # those that alerts go by
            rows.append(drift_row(scrapes, labels, moved_s, found_s.get(labels["ml_feature_name"])))
            if rows[-1][-1] != "no" and score <= read_drift(scrapes[-1][1], "threshold", labels):
                raise MissingTelemetryError(
                    f"{rows[-1][0]} has drifted, but its score at the endpoint is {score}"
                )
    show_table(["feature", "kind", "method", "before", "after", "threshold", "noise floor", "found"], rows)


def drift_row(scrapes: Scrapes, labels: dict[str, str], moved_s: float, found_s: float | None) -> list[str]:
    """The highest score before the shift, that of the last scrape, and when it was found, if it was."""
    now = scrapes[-1][1]
    before = [
        read_drift(scrape, "score", labels)
        for at_s, scrape in scrapes
        if at_s < moved_s and "ml_drift_score" in scrape
    ]
    numbers = [read_drift(now, what, labels) for what in ("score", "threshold", "noise_floor")]
    return [
        labels["ml_feature_name"], labels["ml_drift_kind"], labels["ml_drift_method"],
        f"{max(before):.3f}" if before else "-", *(f"{number:.3f}" for number in numbers),
        "no" if found_s is None else f"at {found_s:.1f} s",
    ]  # fmt: skip


def read_drift(scrape: Scrape, what: str, labels: dict[str, str]) -> float:
    """The score, threshold or noise floor of a feature by a method."""
    this = {key: labels[key] for key in ("ml_feature_name", "ml_drift_method")}
    return read_value(scrape, f"ml_drift_{what}", **this)


def show_quality(last: dict[str, Any], records: Records) -> None:
    """What checks of the data have found: rows as counted, and what the log says of the last one."""
    issues = {one["check"]: one for one in read_events(records, "qa_exception")}
    counted = list(read_final_points(last, "ml.data.rows"))
    if not counted:
        raise MissingTelemetryError("no ml.data.rows in metrics.jsonl")
    print("\nData quality, from metrics.jsonl and logs.jsonl")
    rows = []
    for attributes, number in counted:
        issue = issues[attributes["ml.data.check"]]
        rows.append([
            issue["check"], attributes.get("ml.data.action", ""), f"{number:.0f}", issue["severity"], issue["details"],
        ])  # fmt: skip
    show_table(["check", "action", "rows", "severity", "details"], rows)
