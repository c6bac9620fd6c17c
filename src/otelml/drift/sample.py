"""A sample of rows that stands for all of them, drawn while they go by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def sample_columns(batches: Iterable[Mapping[str, Any]], size: int) -> dict[str, Any]:
    """At most `size` rows, each as likely as any other, as columns; the same ones for the same input.

    Every row gets a random number, and those with the smallest ones are kept, a batch at a time: twice `size` rows and
    a batch are all that is held, and once there are enough, few new ones are looked at.
    """
    import numpy as np

    random = np.random.default_rng(0)
    kept: dict[str, Any] = {}
    keys = np.empty(0)
    limit = 1.0
    for batch in filter(None, batches):
        drawn = random.random(len(next(iter(batch.values()))))
        wanted = drawn < limit
        keys = np.concatenate([keys, drawn[wanted]])
        kept = {name: _joined(kept.get(name), np.asarray(column)[wanted]) for name, column in batch.items()}
        if len(keys) > size:
            chosen = np.sort(np.argpartition(keys, size)[:size])
            keys = keys[chosen]
            limit = float(keys.max())
            kept = {name: column[chosen] for name, column in kept.items()}
    return kept


def _joined(before: Any, column: Any) -> Any:
    import numpy as np

    return column if before is None else np.concatenate([before, column])
