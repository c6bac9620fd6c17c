"""Counts of codes as a value: what adds up exactly across ranks, workers and quantizers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from otelml.quantizer.codebook import Codebook
from otelml.quantizer.statistics import CodebookStats, compute_stats


@dataclass(frozen=True, eq=False)
class CodeCounts:
    """How often each code occurred, in the window and since the start. It can be pickled and sent.

    `in_window` and `since_start` are integer arrays of shape (codebook size,), which belong to it alone. `min_codes` is
    the number of codes below which there are no statistics.
    """

    codebook: Codebook
    in_window: Any
    since_start: Any
    min_codes: int

    def merge(self, other: CodeCounts) -> CodeCounts:
        """Both added up, as if one quantizer had observed the codes of both; the windows stand side by side.

        Raises:
            ValueError: the codebooks differ.
        """
        if self.codebook != other.codebook:
            raise ValueError(
                f"counts of different codebooks do not add up: {self.codebook}, {other.codebook}"
            )
        return CodeCounts(
            self.codebook,
            self.in_window + other.in_window,
            self.since_start + other.since_start,
            max(self.min_codes, other.min_codes),
        )

    def all_reduce(self, group: Any = None) -> CodeCounts:
        """The sum over all processes of a group, in each of them; see `Quantizer.all_reduce`."""
        import numpy as np

        vector = np.concatenate([self.in_window, self.since_start])
        reduced = _all_reduce(vector, group)
        if reduced is None:
            return self
        size = self.codebook.size
        return CodeCounts(self.codebook, reduced[:size], reduced[size:], self.min_codes)

    def stats(self, *, since_start: bool = False) -> CodebookStats | None:
        """The statistics of the window, or of everything; None below `min_codes` codes."""
        counts = self.since_start if since_start else self.in_window
        if int(counts.sum()) < self.min_codes:
            return None
        return compute_stats(counts, self.codebook, int(self.since_start.sum()))


def _all_reduce(vector: Any, group: Any) -> Any | None:
    """The sum of `vector`, a numpy array, over the group; None where there is no group to ask."""
    import numpy as np

    if hasattr(group, "all_reduce"):
        returned = group.all_reduce(vector)
        return np.asarray(vector if returned is None else returned)
    # Only what the program has imported: whoever uses process groups has.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    torch = sys.modules["torch"]
    is_nccl = distributed.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")
    tensor = torch.from_numpy(vector).to(device)
    distributed.all_reduce(tensor, group=group)
    return tensor.cpu().numpy()
