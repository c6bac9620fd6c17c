"""Behaviour from handwritten digits: a plain machine-learning program, from raw images to served predictions.

Telemetry is a line where something is known: a stage around work worth timing, a training run, an inference, the codes
of a quantizer, what a check has found. Nothing in this file knows where any of it goes.

    python examples/behaviour_pipeline.py                             # just the program
    opentelemetry-instrument python examples/behaviour_pipeline.py    # the same, recorded

The data come with scikit-learn. A recording is a live sequence of digits in which one digit lasts for a while,
as a behaviour does, before another takes its place. Half-way the camera moves, which is there to be found.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import median_filter
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import otelml
from otelml import events, pipeline, quality

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

classify = otelml.inference("digits", version="1", device="cpu")


@dataclass(frozen=True)
class Config:
    """Everything that decides the result."""

    seed: int = 42
    train_size: int = 1200
    fsq_levels: tuple[int, ...] = (8, 6, 5)
    embedding_dim: int = 24
    clusters: int = 10
    epochs: int = 12
    learning_rate: float = 0.5
    batch_size: int = 32
    recordings: int = 16
    frames: int = 960
    frames_per_second: int = 1600
    window_size: int = 7
    min_dwell: int = 5


@otelml.stage("preprocess")
def preprocess(images: Floats) -> tuple[Floats, Floats]:
    """Two modalities of each 8x8 image: its pixels (n, 64) in 0..1 and its gradient field (n, 128)."""
    pixels = images / 16.0
    down, across = np.gradient(pixels, axis=(1, 2))
    gradient = np.stack((down, across), axis=1)
    return pixels.reshape(len(images), -1), gradient.reshape(len(images), -1)


def fuse(images: Floats) -> Floats:
    """Both modalities side by side (n, 192), each of unit length; frame by frame, as a camera delivers them."""
    fused = np.empty((len(images), 192))
    for row, pixels, gradient in zip(fused, *preprocess(images), strict=True):
        with otelml.stage("multimodal_fusion", items=1):
            if not np.isfinite(pixels).all():
                raise ValueError("a frame has pixels that are not finite")
            row[:64] = pixels / (np.linalg.norm(pixels) + 1e-9)
            row[64:] = gradient / (np.linalg.norm(gradient) + 1e-9)
    return fused


class FiniteScalarQuantizer:
    """FSQ: each dimension is squashed to 0..1 and rounded to one of its levels; the code numbers the combination."""

    def __init__(self, levels: tuple[int, ...], scale: Floats) -> None:
        self.scale = scale
        self.steps = np.array(levels) - 1
        self.radix = np.cumprod((1, *levels[:-1]))
        self.codebook = otelml.Quantizer("behaviour_fsq", levels=levels, window=4800)

    @otelml.stage("quantize")
    def encode(self, latent: Floats) -> Ints:
        """Codes in 0..codebook_size-1 for latents (n, len(levels))."""
        squashed = (np.tanh(latent / self.scale) + 1.0) / 2.0
        codes = (np.rint(squashed * self.steps).astype(np.int64) * self.radix).sum(axis=1)
        self.codebook.observe(codes)
        return codes


class SoftmaxClassifier:
    """Multinomial logistic regression, trained by gradient descent on mini-batches."""

    def __init__(self, features: int, classes: int, learning_rate: float) -> None:
        self.weights = np.zeros((features + 1, classes))
        self.learning_rate = learning_rate

    @otelml.stage("forward")
    def predict(self, x: Floats) -> Floats:
        """Class probabilities (n, classes)."""
        logits = x @ self.weights[:-1] + self.weights[-1]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def step(self, x: Floats, y: Ints) -> float:
        """One update; returns the mean cross-entropy before it."""
        probabilities = self.predict(x)
        with otelml.stage("backward"):
            error = probabilities - np.eye(probabilities.shape[1])[y]
            gradient = np.vstack((x.T @ error, error.sum(axis=0))) / len(y)
        with otelml.stage("optimizer"):
            self.weights -= self.learning_rate * gradient
        return float(-np.log(probabilities[np.arange(len(y)), y]).mean())


def batches(x: Floats, y: Ints, size: int, rng: np.random.Generator) -> Iterator[tuple[Floats, Ints]]:
    """Everything once, in random order: at least `size` at a time."""
    for rows in np.array_split(rng.permutation(len(x)), len(x) // size):
        yield x[rows], y[rows]


def train_classifier(x: Floats, y: Ints, config: Config, rng: np.random.Generator) -> SoftmaxClassifier:
    """Train on fused frames: a run with its epochs and steps, each step timed apart from the wait for its batch."""
    model = SoftmaxClassifier(x.shape[1], 10, config.learning_rate)
    with otelml.run("behaviour", "softmax", params=asdict(config), tags={"data": "digits"}) as run:
        for epoch in run.epochs(config.epochs):
            losses = [model.step(*batch) for batch in epoch.steps(batches(x, y, config.batch_size, rng))]
            accuracy = float((model.predict(x).argmax(axis=1) == y).mean())
            learning = {"learning_rate": config.learning_rate}
            epoch.update({"loss": float(np.mean(losses)), "accuracy": accuracy, **learning})
        run.result("accuracy", accuracy, samples=len(x))
    return model


def describe(images: Floats, features: Floats, odds: Floats, targets: Ints) -> dict[str, Floats]:
    """What is watched for drift, a row for each frame: the input, its embedding, and how sure and how right we are."""
    return {
        "brightness": images.mean(axis=(1, 2)),
        "embedding": features,
        "confidence": odds.max(axis=1),
        "accuracy": (odds.argmax(axis=1) == targets).astype(float),
    }


@otelml.stage("fit_drift")
def fit_drift(known: dict[str, Floats]) -> otelml.DriftMonitor:
    """A monitor that compares with the training images.

    A recording has some two dozen bouts, so its share of each digit is not theirs. That alone makes a PSI of up to
    0.17 in ten bins, in a hundred recordings of other seeds; the threshold is above it.
    """
    kinds = {"confidence": "confidence", "accuracy": "performance"}
    reference = otelml.DriftReference.fit(known, kinds=kinds, bins=10)
    threshold = {"psi": 0.2, "difference": 0.1}
    return otelml.DriftMonitor(reference, model="digits", threshold=threshold, patience=2)


@dataclass
class Models:
    """What training leaves behind."""

    encoder: PCA
    quantizer: FiniteScalarQuantizer
    clusters: GaussianMixture
    classifier: SoftmaxClassifier
    drift: otelml.DriftMonitor


@otelml.stage("fit")
def fit(images: Floats, targets: Ints, config: Config, rng: np.random.Generator) -> Models:
    """Encoder, quantizer, clusters and classifier from the training images."""
    quality.inspect(images, severity="error")
    fused = fuse(images)
    encoder = PCA(config.embedding_dim, random_state=config.seed).fit(fused)
    features = encoder.transform(fused)
    quantizer = FiniteScalarQuantizer(config.fsq_levels, features[:, : len(config.fsq_levels)].std(axis=0))
    events.fsq_config(levels=config.fsq_levels, embedding_dim=config.embedding_dim)
    with otelml.stage("fit_clusters", items=len(features)) as timed:
        clusters = GaussianMixture(config.clusters, n_init=8, reg_covar=1e-4, random_state=config.seed)
        labels = clusters.fit_predict(features)
    pipeline.clustering(
        algorithm="gmm",
        k_clusters=config.clusters,
        n_samples=len(features),
        silhouette_score=float(silhouette_score(features, labels)),
        duration_s=timed.duration_s,
    )
    classifier = train_classifier(fused, targets, config, rng)
    drift = fit_drift(describe(images, features, classifier.predict(fused), targets))
    return Models(encoder, quantizer, clusters, classifier, drift)


def record(images: Floats, targets: Ints, config: Config, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """A recording: bouts of 20 to 60 frames, each of one digit, made of images that the models have not seen."""
    rows: list[int] = []
    while len(rows) < config.frames:
        rows.extend(rng.choice(np.flatnonzero(targets == rng.integers(10)), rng.integers(20, 60)))
    chosen = np.array(rows[: config.frames])
    return images[chosen], targets[chosen]


def move_camera(images: Floats, rng: np.random.Generator) -> Floats:
    """The shift in the input: the camera is a pixel aside, in less light, with more noise."""
    return np.clip(np.roll(images, 1, axis=2) * 0.6 + rng.normal(0.0, 1.5, images.shape), 0.0, 16.0)


def live_batches(frames: int, config: Config) -> Iterator[slice]:
    """Batches of frames as they come in at the camera's rate; the stage `data` is the wait for them."""
    due = time.monotonic()
    for start in range(0, frames, config.batch_size):
        due += config.batch_size / config.frames_per_second
        with otelml.stage("data", items=config.batch_size):
            time.sleep(max(0.0, due - time.monotonic()))
        yield slice(start, start + config.batch_size)


@otelml.stage("serve_batch")
def serve_batch(images: Floats, models: Models) -> tuple[Floats, Ints, Ints, Floats]:
    """Features, codes, cluster labels and class probabilities of one batch of frames."""
    fused = fuse(images)
    with otelml.stage("encode", items=len(fused)):
        features = models.encoder.transform(fused)
    codes = models.quantizer.encode(features[:, : len(models.quantizer.steps)])
    with otelml.stage("cluster", items=len(features)):
        labels = models.clusters.predict(features)
    with classify as request:
        odds = models.classifier.predict(fused)
        request.batch(len(odds))
        request.confidence(odds.max(axis=1))
        request.predicted(odds.argmax(axis=1))
    return features, codes, labels, odds


@otelml.stage("smooth")
def smooth(labels: Ints, window_size: int, min_dwell: int) -> Ints:
    """Labels without flicker: the median of each label's indicator over a window (so a majority), then hysteresis.

    A new label is taken once it has held for `min_dwell` frames; where none has the majority, the old one stays.
    """
    indicator = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.uint8)
    majority = median_filter(indicator, size=(window_size, 1), mode="nearest")
    current = candidate = labels[0]
    dwell, smoothed = 0, np.empty_like(labels)
    for frame, row in enumerate(majority):
        label = row.argmax() if row.any() else current
        dwell = dwell + 1 if label == candidate else 1
        candidate = label
        current = candidate if dwell >= min_dwell else current
        smoothed[frame] = current
    return smoothed


def serve_recording(number: int, images: Floats, targets: Ints, models: Models, config: Config) -> None:
    """Serve one recording batch by batch; a batch that cannot be used is dropped and said, the rest goes on."""
    served = []
    events.batch_start(batch_size=len(images), input_shape=images.shape, recording=number)
    for batch in live_batches(len(images), config):
        try:
            served.append((images[batch], targets[batch], *serve_batch(images[batch], models)))
        except ValueError as error:
            dropped = len(images[batch])
            quality.issue("finite_pixels", "warning", dropped, len(images), str(error), action="dropped")
    parts = (np.concatenate(part) for part in zip(*served, strict=True))
    frames, answers, features, codes, labels, odds = parts
    with otelml.stage("postprocess", items=len(labels)) as timed:
        smoothed = smooth(labels, config.window_size, config.min_dwell)
        before, after = (pipeline.count_transitions(sequence) for sequence in (labels, smoothed))
        accuracy = float((odds.argmax(axis=1) == answers).mean())
        models.drift.observe(describe(frames, features, odds, answers))
        models.drift.close_window()  # a recording is a window
    stats = models.quantizer.codebook.stats()
    print(f"Recording {number:2}: accuracy {accuracy:.3f}, {after} of {before} transitions left")
    if stats is not None:  # enough codes to say
        events.fsq_encoding(batch_size=len(codes), perplexity=stats.perplexity, usage=stats.code_utilization)
    pipeline.temporal_smoothing(
        policy="median_hysteresis",
        min_dwell=config.min_dwell,
        window_size=config.window_size,
        transitions_before=before,
        transitions_after=after,
    )
    otelml.record_evaluation("digits", accuracy=accuracy)
    events.batch_complete(
        batch_size=len(labels), unique_labels=len(set(smoothed)), processing_time=timed.duration_s
    )


def run(config: Config) -> None:
    """Train on one part of the digits, then serve recordings made of the rest; half-way the camera moves."""
    rng = np.random.default_rng(config.seed)
    events.config(config=config, model_name="softmax", random_seed=config.seed)
    digits = load_digits()
    train, rest = np.split(rng.permutation(len(digits.images)), [config.train_size])
    models = fit(digits.images[train], digits.target[train], config, rng)
    for number in range(config.recordings):
        frames, answers = record(digits.images[rest], digits.target[rest], config, rng)
        if number == config.recordings // 2:
            events.emit("camera_moved", recording=number)  # an event of our own
        if number >= config.recordings // 2:
            frames = move_camera(frames, rng)
        if number == 0:
            frames[500, 3, 3] = np.nan  # damaged on the way: its batch fails, and that is handled
        serve_recording(number, frames, answers, models, config)


def main() -> int:
    """Command line: how many recordings to serve."""
    parser = argparse.ArgumentParser(description="Find behaviour in recordings made of handwritten digits.")
    parser.add_argument("--recordings", type=int, default=Config.recordings, help="how many to serve")
    config = Config(recordings=parser.parse_args().recordings)
    try:
        with threadpool_limits(1):  # the matrices are so small that a second core only makes them slower
            run(config)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
