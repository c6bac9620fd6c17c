"""Behaviour from handwritten digits: a plain machine-learning program, from raw images to served predictions.

Telemetry takes two things here: `otelml.stage` around the pieces of work worth timing, and the standard
`logging` module with an event name in `extra`. Nothing else in this file knows where either goes.

    python examples/behaviour_pipeline.py                             # just the program
    opentelemetry-instrument python examples/behaviour_pipeline.py    # the same, recorded

The data come with scikit-learn. A recording is a live sequence of digits in which one digit lasts for a while,
as a behaviour does, before another takes its place.
"""

from __future__ import annotations

import argparse
import logging
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

log = logging.getLogger("behaviour")


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
        self.codebook_size = int(np.prod(levels))

    @otelml.stage("quantize")
    def encode(self, latent: Floats) -> Ints:
        """Codes in 0..codebook_size-1 for latents (n, len(levels))."""
        squashed = (np.tanh(latent / self.scale) + 1.0) / 2.0
        return (np.rint(squashed * self.steps).astype(np.int64) * self.radix).sum(axis=1)

    def health(self, codes: Ints) -> tuple[float, float]:
        """Perplexity of the codes (1 .. codebook_size), and the share of the codebook that they use."""
        counts = np.unique(codes, return_counts=True)[1]
        share = counts / len(codes)
        return float(np.exp(-(share * np.log(share)).sum())), len(counts) / self.codebook_size


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


def train_classifier(x: Floats, y: Ints, config: Config, rng: np.random.Generator) -> SoftmaxClassifier:
    """Train on fused frames; one event an epoch."""
    model = SoftmaxClassifier(x.shape[1], 10, config.learning_rate)
    log.info("Training on %d frames", len(x), extra={"event": "training_start", "samples": len(x)})
    for epoch in range(1, config.epochs + 1):
        with otelml.stage("train_epoch", items=len(x), epoch=epoch):
            batches = np.array_split(rng.permutation(len(x)), len(x) // config.batch_size)
            loss = float(np.mean([model.step(x[rows], y[rows]) for rows in batches]))
        accuracy = float((model.predict(x).argmax(axis=1) == y).mean())
        fields = {"event": "epoch_complete", "epoch": epoch, "loss": loss, "accuracy": accuracy}
        log.info("Epoch %d: loss %.3f, accuracy %.3f", epoch, loss, accuracy, extra=fields)
    log.info("Trained", extra={"event": "training_complete", "epochs": config.epochs})
    return model


@dataclass
class Models:
    """What training leaves behind."""

    encoder: PCA
    quantizer: FiniteScalarQuantizer
    clusters: GaussianMixture
    classifier: SoftmaxClassifier


@otelml.stage("fit")
def fit(images: Floats, targets: Ints, config: Config, rng: np.random.Generator) -> Models:
    """Encoder, quantizer, clusters and classifier from the training images."""
    fused = fuse(images)
    encoder = PCA(config.embedding_dim, random_state=config.seed).fit(fused)
    features = encoder.transform(fused)
    quantizer = FiniteScalarQuantizer(config.fsq_levels, features[:, : len(config.fsq_levels)].std(axis=0))
    fields = {"event": "fsq_config", "levels": config.fsq_levels, "codebook_size": quantizer.codebook_size}
    log.info("FSQ levels %s: %d codes", config.fsq_levels, quantizer.codebook_size, extra=fields)
    with otelml.stage("fit_clusters", items=len(features)) as timed:
        clusters = GaussianMixture(config.clusters, n_init=8, reg_covar=1e-4, random_state=config.seed)
        labels = clusters.fit_predict(features)
    silhouette = float(silhouette_score(features, labels))
    fields = {"event": "clustering", "k_clusters": config.clusters, "silhouette_score": silhouette}
    log.info("Clustered in %.1f s, silhouette %.2f", timed.duration_s, silhouette, extra=fields)
    return Models(encoder, quantizer, clusters, train_classifier(fused, targets, config, rng))


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
def serve_batch(images: Floats, models: Models) -> tuple[Ints, Ints, Ints]:
    """Codes, cluster labels and predicted digits of one batch of frames."""
    fused = fuse(images)
    with otelml.stage("encode", items=len(fused)):
        features = models.encoder.transform(fused)
    codes = models.quantizer.encode(features[:, : len(models.quantizer.steps)])
    with otelml.stage("cluster", items=len(features)):
        labels = models.clusters.predict(features)
    with otelml.stage("classify", items=len(fused)):
        return codes, labels, models.classifier.predict(fused).argmax(axis=1)


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
    served, answers = [], []
    for batch in live_batches(len(images), config):
        try:
            served.append(serve_batch(images[batch], models))
            answers.append(targets[batch])
        except ValueError as error:
            fields = {"event": "qa_exception", "check": "finite_pixels", "affected_rows": 1}
            log.warning("Batch at frame %d dropped: %s", batch.start, error, extra=fields)
    codes, labels, predicted = (np.concatenate(part) for part in zip(*served, strict=True))
    with otelml.stage("postprocess", items=len(labels)):
        perplexity, usage = models.quantizer.health(codes)
        smoothed = smooth(labels, config.window_size, config.min_dwell)
        before, after = (int(np.count_nonzero(np.diff(sequence))) for sequence in (labels, smoothed))
        accuracy = float((predicted == np.concatenate(answers)).mean())
    fields = {"event": "fsq_encoding", "perplexity": perplexity, "code_usage_percent": 100 * usage}
    log.info("Recording %d: code perplexity %.0f", number, perplexity, extra=fields)
    fields = {"event": "temporal_smoothing", "transitions_before": before, "transitions_after": after}
    log.info("Recording %d: %d of %d transitions are left", number, after, before, extra=fields)
    fields = {"event": "batch_complete", "batch_size": len(labels), "accuracy": accuracy}
    log.info("Recording %d: accuracy %.3f", number, accuracy, extra=fields)


def run(config: Config) -> None:
    """Train on one part of the digits, then serve recordings made of the rest; half-way the camera moves."""
    rng = np.random.default_rng(config.seed)
    log.info("Seed %d", config.seed, extra={"event": "config", **asdict(config)})
    digits = load_digits()
    train, rest = np.split(rng.permutation(len(digits.images)), [config.train_size])
    models = fit(digits.images[train], digits.target[train], config, rng)
    for number in range(config.recordings):
        frames, answers = record(digits.images[rest], digits.target[rest], config, rng)
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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        with threadpool_limits(1):  # the matrices are so small that a second core only makes them slower
            run(config)
    except KeyboardInterrupt:
        log.warning("Interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
