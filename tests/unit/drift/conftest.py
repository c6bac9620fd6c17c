"""Data with and without drift, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

KINDS = {"confidence": "confidence", "accuracy": "performance"}


def create_batch(seed: int, rows: int = 5000, shift: float = 0.0) -> dict[str, Any]:
    """A batch with a feature of each kind; `shift` moves all of them."""
    random = np.random.default_rng(seed)
    return {
        "age": random.normal(40 + 10 * shift, 10, rows),
        "city": random.choice(["Bern", "Oslo", "Zürich"], rows, p=[0.5 - shift / 4, 0.3 + shift / 4, 0.2]),
        "embedding": random.normal(shift, 1, (rows, 16)),
        "confidence": random.beta(8, 2 + 4 * shift, rows),
        "accuracy": (random.random(rows) < 0.9 - shift / 3).astype(float),
    }


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., dict[str, Any]]:
    """Makes batches by seed, rows and shift."""
    return create_batch


@pytest.fixture(scope="session")
def reference() -> Any:
    """A reference with a feature of each kind."""
    from otelml.drift import DriftReference

    return DriftReference.fit(create_batch(0, 20_000), kinds=KINDS)
