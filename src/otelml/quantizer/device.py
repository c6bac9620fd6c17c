"""Counts of codes on an accelerator, for tensors of torch: nothing here waits for the device on the caller's thread.

torch is never imported, only found where the program has imported it. Its own `bincount` cannot be used: it waits for
the device to learn the largest value.
"""

from __future__ import annotations

import sys
from typing import Any

from otelml.quantizer.codebook import Codebook
from otelml.quantizer.reading import is_per_level


def is_on_device(codes: Any) -> bool:
    """Whether `codes` is a tensor of torch whose memory is not the processor's."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(codes, torch.Tensor) and codes.device.type != "cpu"


class DeviceCounts:
    """Counts on one device since they were last taken. Not thread-safe: its owner holds a lock for `add`, `take`."""

    __slots__ = ("_codebook", "_counts", "_device", "_event", "_is_adding", "_stream", "waiting")

    def __init__(self, codebook: Codebook, device: Any) -> None:
        self._codebook = codebook
        self._device = device
        # One slot more than codes: what is no code is counted there, as whoever looks before counting has to wait.
        self._counts: Any = None
        self._event: Any = None
        self._stream: Any = None
        self._is_adding = False
        self.waiting = 0

    def add(self, tensor: Any, per_level: bool | None) -> str:
        """Queue the counting of `tensor` on its device; returns why it cannot be counted, or nothing.

        Some ten launches on the current stream, and memory there for as many codes. The program may write over the
        tensor after that, as over any that it has used on that stream.
        """
        torch = sys.modules["torch"]
        if self._device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return "in the capture of a CUDA graph, where nothing is computed"
        self._is_adding = True
        try:
            # Tensors made in inference mode cannot be written to outside of it, and counts outlive it.
            with torch.inference_mode(False), torch.no_grad():
                flat = self._slots(torch, tensor.detach(), per_level)
                if flat is None:
                    return f"shape {tuple(tensor.shape)}"
                if self._counts is None:
                    size = self._codebook.size + 1
                    self._counts = torch.zeros(size, dtype=torch.int64, device=self._device)
                self._counts.scatter_add_(0, flat, torch.ones_like(flat))
                self._mark(torch)
        finally:
            self._is_adding = False
        self.waiting += flat.shape[0]
        return ""

    def take(self, *, may_wait: bool) -> Any | None:
        """The device's own counts, for `copy`; None where there are none, or while the device is not done.

        Waits for the device never where it has events (CUDA), else in `copy`, and only if it `may_wait`.
        """
        if self._counts is None or self._is_adding:
            return None
        is_done = may_wait if self._event is None else self._event.query()
        if not is_done:
            return None
        counts, self._counts, self.waiting = self._counts, None, 0
        return counts

    def copy(self, counts: Any) -> tuple[Any, int]:
        """What `take` gave, as an array of shape (codebook size,), and the number of values that were no codes.

        Waits for this copy, by a stream of our own: nothing that the program has queued stands before it.
        """
        torch = sys.modules["torch"]
        if self._device.type == "cuda":
            if self._stream is None:
                self._stream = torch.cuda.Stream(self._device)
            with torch.inference_mode(False), torch.cuda.stream(self._stream):
                counts.record_stream(self._stream)
                here = counts.cpu().numpy()
        else:
            here = counts.cpu().numpy()
        return here[:-1], int(here[-1])

    def _mark(self, torch: Any) -> None:
        """Remember where the device's queue is now, to be asked later without waiting."""
        if self._device.type == "cuda":
            if self._event is None:
                self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(self._device))

    def _slots(self, torch: Any, codes: Any, per_level: bool | None) -> Any | None:
        """Where each code is counted, shape (codes,); None for a shape that is none of per-level indices."""
        size, levels = self._codebook.size, self._codebook.levels or ()
        if not is_per_level(tuple(codes.shape), self._codebook, per_level):
            return _slot(torch, codes.reshape(-1), size, size)
        if tuple(codes.shape[-1:]) != (len(levels),):
            return None
        rows, flat, stride = codes.reshape(-1, len(levels)), 0, 1
        for dimension, level in enumerate(levels):
            # Too large an index becomes one so large that the sum is beyond the codebook, whatever the others are.
            flat = flat + _slot(torch, rows[:, dimension], level, size) * stride
            stride *= level
        return flat.clamp(max=size)  # type: ignore[attr-defined]  # a tensor: there is a level at least


def _slot(torch: Any, values: Any, size: int, otherwise: int) -> Any:
    """`values` as 64-bit integers, `otherwise` where one is not a whole number from 0 to `size`."""
    if values.dtype == torch.bool or values.is_complex():
        return torch.full_like(values, otherwise, dtype=torch.int64)
    if values.is_floating_point():
        # Half precision cannot hold every size to compare with.
        values = values if values.dtype == torch.float64 else values.float()
        fits = (values >= 0) & (values < size) & (values == values.floor())
        return (
            torch.where(fits, values, torch.zeros_like(values)).to(torch.int64).masked_fill(~fits, otherwise)
        )
    values = values.to(torch.int64)
    return values.masked_fill((values < 0) | (values >= size), otherwise)
