"""The quantizer that programs make: what it is told, and what it says."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable
from typing import Any

from otelml.instruments import internal
from otelml.instruments.bound import NOOP_BOUND
from otelml.quantizer import series
from otelml.quantizer.codebook import create_codebook
from otelml.quantizer.collapse import Episode, create_thresholds, emit_collapse
from otelml.quantizer.counting import Counting
from otelml.quantizer.counts import CodeCounts
from otelml.quantizer.device import is_on_device
from otelml.quantizer.reading import Refused, read_codes
from otelml.quantizer.statistics import CodebookStats, compute_stats

WINDOW_CODES = 100_000
WINDOW_PER_CODE = 50
"""The default window is the larger of these: that many codes, or so many a code of the codebook."""

MIN_PER_CODE = 10
"""Codes in the window, a code of the codebook, before there are statistics: perplexity cannot exceed their number."""


class Quantizer:
    """The health of one codebook: `observe` the codes of each step, and read `stats()` or the metrics.

        quantizer = Quantizer("behaviour_fsq", levels=[8, 6, 5])
        quantizer.observe(codes)

    The metrics `ml.quantizer.*` and the event `quantizer_collapse` come by themselves, from the drain thread and at
    collection. A quantizer stays among the metrics until `close()`, or until another one takes its name. Threads may
    share it. A forked child counts from zero; one read from a pickle has the same configuration and no counts: send
    `snapshot()` where counts are to travel.

    Args:
        name: of the quantizer, as in `ml.quantizer.name`.
        levels: values of each dimension of an FSQ quantizer; the codebook has their product of codes.
        codebook_size: codes of a plain codebook, 2 to 16 777 216.
        window: codes that the statistics are about; by default the larger of 100 000 and 50 a code. It slides by
            tenths: it holds the last N codes, N between nine tenths of `window` and all of it.
        min_codes: codes in the window before there are statistics; by default 10 a code.
        min_perplexity: below it the codebook has collapsed; not looked at by default.
        min_entropy_utilization: as above, for entropy over log(codebook size); None not to look at it.
        hysteresis: how far above, as a part of the threshold, a measure must rise to end an episode of collapse.

    Raises:
        ValueError: the codebook, window or a threshold makes no sense; the message says why.
        TypeError: a size is not an integer.
        ImportError: numpy is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        levels: Iterable[int] | None = None,
        codebook_size: int | None = None,
        window: int | None = None,
        min_codes: int | None = None,
        min_perplexity: float | None = None,
        min_entropy_utilization: float | None = 0.5,
        hysteresis: float = 0.1,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a quantizer needs a name, a string that is not empty, not {name!r}")
        codebook = create_codebook(levels, codebook_size)
        self.name = name
        self.codebook = codebook
        self.window = _checked_window(window, codebook.size)
        self.min_codes = _checked_min_codes(min_codes, codebook.size, self.window)
        self._episode = Episode(
            create_thresholds(codebook.size, min_perplexity, min_entropy_utilization, hysteresis)
        )
        self._arguments = {
            "levels": codebook.levels,
            "codebook_size": codebook.size,
            "window": self.window,
            "min_codes": self.min_codes,
            "min_perplexity": min_perplexity,
            "min_entropy_utilization": min_entropy_utilization,
            "hysteresis": hysteresis,
        }
        self._counting = Counting(codebook, self.window)
        self._judging = threading.Lock()
        self._judged_at = 0
        self._known: tuple[int, CodebookStats | None] = (0, None)
        self._counter = series.register(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.name, self._arguments)

    def __copy__(self) -> Quantizer:
        return self

    def __deepcopy__(self, _memo: Any) -> Quantizer:
        """This quantizer itself, so that the copy of a model (an average of its weights, say) has the same counts."""
        return self

    def observe(self, codes: Any, *, per_level: bool | None = None) -> None:
        """Count the codes of a step: about 2 ns a code, without waiting for a device. Never raises.

        Batches of less than 4096 codes (a quarter of a large codebook) are copied, and counted together later.

        Args:
            codes: flat codes from 0 to codebook size, of any shape; or, for a quantizer with levels, indices whose
                last axis has one for each level. Arrays of numpy, tensors of torch, lists and tuples. What is no code
                (outside the codebook, NaN, not whole, a bool, a text) is left out, counted in
                `otelml.internal.dropped` and said once.
            per_level: whether the last axis is that of the levels. By default it is where there are at least two axes
                and the last one is as long as there are levels.
        """
        with internal.guard("quantizer"):
            refused = Refused()
            if is_on_device(codes):
                why_not = self._counting.add_on_device(codes, per_level)
                refused.add("no_code", codes.numel() if why_not else 0, why_not)
            else:
                flat = read_codes(codes, self.codebook, per_level, refused)
                if flat.size:
                    self._counter.add(flat.size)
                    self._counting.add(flat)
            if refused.counts:
                self._report(refused)

    def stats(self, *, since_start: bool = False) -> CodebookStats | None:
        """The statistics of the window, or of everything since the start; None below `min_codes` codes.

        Codes on a device are in it once the device has counted them: this never waits for one.
        """
        self.settle(may_wait=False)
        if since_start:
            counts, total = self._counting.read(since_start=True)
            return compute_stats(counts, self.codebook, total) if total >= self.min_codes else None
        return self._current()

    def snapshot(self) -> CodeCounts:
        """The counts as they are now: a value to merge, pickle and send."""
        self.settle(may_wait=False)
        return CodeCounts(self.codebook, *self._counting.read_both(), min_codes=self.min_codes)

    def merge(self, other: Quantizer | CodeCounts) -> CodeCounts:
        """The counts of both added up, their windows side by side; both stay as they are.

        Raises:
            ValueError: the codebooks differ.
        """
        return self.snapshot().merge(other.snapshot() if isinstance(other, Quantizer) else other)

    def all_reduce(self, group: Any = None) -> CodeCounts:
        """The counts of all ranks added up: a collective call, so every rank makes it, for instance once an epoch.

        Unlike everything else here it waits for the other ranks, and with NCCL for the device. Without a process group
        the counts are those of this process.

        Args:
            group: of `torch.distributed`, by default all ranks; or any object with `all_reduce(array)`, which adds up
                an int64 array in place or returns the sum.
        """
        return self.snapshot().all_reduce(group)

    @property
    def collapsed(self) -> bool:
        """Whether an episode of collapse is on."""
        return self._episode.collapsed

    def close(self) -> None:
        """Take the quantizer out of the metrics; what it has counted stays readable."""
        with internal.guard("quantizer"):
            self.settle(may_wait=True)
            series.unregister(self)

    # -- for `series`, off the hot path

    def withdraw(self) -> Any:
        """Count codes into no series any more; returns the one until now."""
        counter, self._counter = self._counter, NOOP_BOUND
        return counter

    def settle(self, *, may_wait: bool) -> None:
        """Count what waits; `may_wait` also for devices that cannot be asked whether they are done."""
        codes, others = self._counting.settle(may_wait=may_wait)
        if codes:
            self._counter.add(codes)
        if others:
            refused = Refused()
            refused.add("invalid_code", others, "on a device")
            self._report(refused)

    def on_tick(self, *, is_flush: bool) -> None:
        """Count what waits, and judge when a tenth of the window is new, or somebody wants to know all there is."""
        if is_flush or self._counting.is_much_on_devices():
            self.settle(may_wait=True)
        else:
            self._counting.fold()
        new = self._counting.total - self._judged_at
        is_first = self._judged_at == 0 and new >= self.min_codes
        if is_first or new >= self._counting.chunk or (is_flush and new):
            self.judge()

    def judge(self) -> CodebookStats | None:
        """See whether an episode of collapse begins or ends; its event is written by the drain thread."""
        stats = self._current()
        if stats is None or not self._judging.acquire(blocking=False):
            return stats
        try:
            self._judged_at = stats.codes
            begun = self._episode.judge(stats)
        finally:
            self._judging.release()
        if begun is not None:
            internal.defer(lambda: emit_collapse(self.name, begun, stats))
        return stats

    def start_anew(self) -> None:
        """Forget all that was counted: for a forked child."""
        self._judging = threading.Lock()
        self._counting.start_anew()
        self._episode.collapsed = False
        self._judged_at, self._known = 0, (0, None)

    def _current(self) -> CodebookStats | None:
        """The statistics of the window, computed once for as long as nothing is counted."""
        counting = self._counting
        if counting.in_window < self.min_codes:
            return None
        if self._known[0] != counting.total:
            counts, total = counting.read()
            self._known = (total, compute_stats(counts, self.codebook, total))
        return self._known[1]

    def _report(self, refused: Refused) -> None:
        for reason, n in refused.counts.items():
            internal.count("dropped", "quantizer", reason, n)
            internal.warn_once(
                f"quantizer:{self.name}:{reason}",
                "otelml: quantizer %s was given what is no code of its %d (%s); it is left out and counted in "
                "otelml.internal.dropped",
                self.name,
                self.codebook.size,
                refused.example,
            )


def _checked_window(window: int | None, size: int) -> int:
    codes = max(WINDOW_CODES, WINDOW_PER_CODE * size) if window is None else operator.index(window)
    if codes < size:
        raise ValueError(
            f"window must be at least the codebook's size, {size}, not {codes}: fewer codes cannot show whether all of "
            "it is used"
        )
    return codes


def _checked_min_codes(min_codes: int | None, size: int, window: int) -> int:
    # The window shrinks by a tenth when it slides; statistics must not come and go with that.
    most = max(1, window - window // 10)
    codes = min(MIN_PER_CODE * size, most) if min_codes is None else operator.index(min_codes)
    if not 1 <= codes <= most:
        raise ValueError(f"min_codes must be from 1 to nine tenths of the window, {most}, not {codes}")
    return codes


def _rebuild(name: str, arguments: dict[str, Any]) -> Quantizer:
    return Quantizer(name, **arguments)
