"""Trains a small network on handwritten digits with numpy: one file that reads from top to bottom.

    python examples/training_loop.py                             # bars on a terminal
    opentelemetry-instrument python examples/training_loop.py    # the same, recorded
    opentelemetry-instrument python examples/training_loop.py --epochs 3 --lr 0.1

The data come with scikit-learn; it takes a few seconds, and ends with about 97 % of the unseen digits right.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import otelml

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# -----------------------------------------------------------------------------
# what decides the result; every one is an option of the command line


@dataclass
class Config:
    """The parameters of the run."""

    epochs: int = 30
    batch_size: int = 32
    hidden: int = 64
    lr: float = 0.5
    warmup_steps: int = 100
    clip: float = 2.0
    seed: int = 42


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for field, default in asdict(Config()).items():
    parser.add_argument(f"--{field.replace('_', '-')}", type=type(default), default=default)
config = Config(**vars(parser.parse_args()))

# -----------------------------------------------------------------------------
# data: 1797 images of 8 x 8 pixels

images, labels = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(images / 16.0, labels, random_state=config.seed)
rng = np.random.default_rng(config.seed)


def batches(x: Floats, y: Ints) -> Iterator[tuple[Floats, Ints]]:
    """Everything once in random order: images (n, 64) and labels (n,), at most `batch_size` at a time."""
    order = rng.permutation(len(x))
    for start in range(0, len(x), config.batch_size):
        index = order[start : start + config.batch_size]
        yield x[index], y[index]


# -----------------------------------------------------------------------------
# model: one hidden layer

w1 = rng.normal(0, np.sqrt(2 / 64), (64, config.hidden))
b1 = np.zeros(config.hidden)
w2 = rng.normal(0, np.sqrt(2 / config.hidden), (config.hidden, 10))
b2 = np.zeros(10)
weights = (w1, b1, w2, b2)


def forward(x: Floats) -> tuple[Floats, Floats]:
    """The hidden activations (n, hidden), and the probability of each digit (n, 10)."""
    h = np.maximum(x @ w1 + b1, 0)
    z = h @ w2 + b2
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return h, e / e.sum(axis=1, keepdims=True)


def loss_of(p: Floats, y: Ints) -> float:
    """Mean cross-entropy."""
    return float(-np.log(p[np.arange(len(y)), y] + 1e-12).mean())


def gradients(x: Floats, y: Ints, h: Floats, p: Floats) -> list[Floats]:
    """Of the loss by each of `weights`."""
    dz = p.copy()
    dz[np.arange(len(y)), y] -= 1
    dz /= len(y)
    dh = (dz @ w2.T) * (h > 0)
    return [x.T @ dh, dh.sum(axis=0), h.T @ dz, dz.sum(axis=0)]


# -----------------------------------------------------------------------------
# training

steps_per_epoch = -(-len(train_x) // config.batch_size)
total_steps = config.epochs * steps_per_epoch


def learning_rate(step: int) -> float:
    """Up in a line, then down along a cosine."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + float(np.cos(np.pi * done)))


with otelml.run("digits", name=f"mlp-{config.hidden}", params=config, tags={"data": "digits"}) as run:
    step = 0
    for epoch in run.epochs(config.epochs):
        # Each step is timed apart from the wait for its batch; samples are counted by the batches' first dimension.
        for x, y in epoch.steps(batches(train_x, train_y), total=steps_per_epoch):
            lr = learning_rate(step)
            with otelml.stage("forward", items=len(x)):
                h, p = forward(x)
            with otelml.stage("backward"):
                grads = gradients(x, y, h, p)
            norm = float(np.sqrt(sum(np.square(g).sum() for g in grads)))
            with otelml.stage("optimizer"):
                for weight, grad in zip(weights, grads, strict=True):
                    np.subtract(weight, lr * min(1.0, config.clip / (norm + 1e-12)) * grad, out=weight)
            # Gauges and bars only: an event for each step would be a long log.
            epoch.update({"loss": loss_of(p, y), "lr": lr, "grad_norm": norm})
            step += 1

        _, p = forward(test_x)
        run.log({"val_loss": loss_of(p, test_y), "accuracy": float((p.argmax(axis=1) == test_y).mean())})

    accuracy = float((forward(test_x)[1].argmax(axis=1) == test_y).mean())
    run.result("accuracy", accuracy, test_samples=len(test_y))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.npz"
        np.savez(checkpoint, w1=w1, b1=b1, w2=w2, b2=b2)
        run.artifact(checkpoint, type="model")

summary = run.summary()
print(f"{summary['steps']} steps over {summary['samples']} samples in {summary['duration_s']:.1f} s")
print(f"accuracy {accuracy:.3f}, loss {summary['metrics']['loss']['last']:.4f}, run {run.id}: {run.status}")
