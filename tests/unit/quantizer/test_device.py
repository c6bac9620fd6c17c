"""Tensors: those of the processor are read as they are; a device counts its own, and nobody waits for it."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otelml import testing
from otelml.instruments import internal, timer
from otelml.quantizer import Quantizer
from otelml.quantizer.codebook import Codebook, create_codebook
from otelml.quantizer.device import DeviceCounts

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def ticks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drain thread, which might be in the middle of writing what a test looks for."""
    monkeypatch.setattr(timer, "ensure_started", lambda: None)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in as the program's torch."""
    spec = importlib.util.spec_from_file_location("fake_torch", Path(__file__).with_name("fake_torch.py"))
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    monkeypatch.setitem(sys.modules, "torch", fake)
    return fake


def invalid() -> int:
    """Values that were left out as no codes."""
    return internal.totals().get(("dropped", "quantizer", "invalid_code"), 0)


def test_tensors_of_the_processor_are_counted_at_once(torch: Any) -> None:
    """Their memory is read as an array's."""
    quantizer = Quantizer("q", codebook_size=4)
    quantizer.observe(torch.Tensor([0, 1, 1, 3, 9], torch.Device("cpu")))
    assert quantizer.snapshot().since_start.tolist() == [1, 2, 0, 1]
    assert invalid() == 1


def test_nobody_waits_for_a_device(torch: Any) -> None:
    """Codes of a device come when it has counted them: to `stats()`, the metrics and the events, at the next tick."""
    gpu = torch.Device("cuda")
    with testing.capture() as telemetry:
        quantizer = Quantizer("q", levels=[8, 6, 5])
        quantizer.observe(torch.Tensor(np.zeros((2000, 3), np.int64), gpu))
        quantizer.observe(torch.Tensor(np.zeros(1000, np.int32), gpu))
        telemetry.tick()
        assert quantizer.stats() is None
        assert telemetry.value("ml.quantizer.codes", {"ml.quantizer.name": "q"}) is None
        gpu.is_done = True
        telemetry.tick(0.05)
        assert gpu.copies == 0, "few codes wait until somebody wants to know, or there are many"
        telemetry.tick()
        stats = quantizer.stats()
        assert stats is not None
        assert (stats.perplexity, stats.window, gpu.copies) == (1, 3000, 1)
        assert telemetry.value("ml.quantizer.codes", {"ml.quantizer.name": "q"}) == 3000
        assert quantizer.collapsed
        telemetry.assert_conforms()


def test_many_codes_are_fetched_while_the_program_runs(torch: Any) -> None:
    """A tenth of the window is enough for a tick to fetch them, so that the window slides."""
    gpu = torch.Device("cuda")
    gpu.is_done = True
    with testing.capture() as telemetry:
        quantizer = Quantizer("q", codebook_size=4, window=1000, min_codes=10)
        quantizer.observe(torch.Tensor(np.arange(400) % 4, gpu))
        telemetry.tick(0.05)
        assert gpu.copies == 1
        assert quantizer._counting.total == 400


def test_shapes_and_captures_that_cannot_be_counted(torch: Any) -> None:
    """A wrong last axis has no codes; in the capture of a CUDA graph nothing is computed, so nothing is counted."""
    gpu = torch.Device("cuda")
    quantizer = Quantizer("q", levels=[8, 6, 5])
    quantizer.observe(torch.Tensor(np.zeros((4, 2)), gpu), per_level=True)
    torch.cuda.capturing = True
    quantizer.observe(torch.Tensor(np.zeros(5), gpu))
    assert internal.totals() == {("dropped", "quantizer", "no_code"): 13}
    assert quantizer.snapshot().since_start.sum() == 0


def test_a_device_without_events_is_read_at_the_drain(torch: Any) -> None:
    """Where nobody can ask whether it is done, the drain thread waits, and `stats()` does not."""
    other = torch.Device("mps")
    quantizer = Quantizer("q", codebook_size=4, min_codes=1)
    quantizer.observe(torch.Tensor([1, 2], other))
    assert quantizer.stats() is None
    other.is_done = True
    quantizer.on_tick(is_flush=True)
    assert quantizer.snapshot().since_start.tolist() == [0, 1, 1, 0]


CASES: list[tuple[Codebook, Any]] = [
    (create_codebook(None, 300), RNG.integers(-5, 305, 5000)),
    (create_codebook(None, 300), RNG.integers(-128, 127, 500).astype(np.int8)),
    (create_codebook(None, 300), np.array([1, 2.5, math.nan, math.inf, -math.inf, 299, 300, 1e30, -1])),
    (create_codebook(None, 100_000), np.array([1, 2048, math.nan, 60_000], np.float16)),
    (create_codebook(None, 4), np.array([True, False])),
    (create_codebook(None, 4), np.array([1 + 0j])),
    (create_codebook(None, 4), np.empty((0,), np.int64)),
    (create_codebook([8, 6, 5], None), RNG.integers([-1, -1, -1], [9, 7, 6], (40, 50, 3))),
    (create_codebook([8, 6, 5], None), RNG.integers(-5, 245, 5000)),
]


def check_counting(torch: Any, codebook: Codebook, codes: Any, device: Any, tensor: Any) -> None:
    """The device counts as numpy does, and what is no code apart."""
    counts = DeviceCounts(codebook, device)
    assert counts.add(tensor, None) == counts.add(tensor, None) == ""
    device_counts = counts.take(may_wait=True)
    by_code, others = counts.copy(device_counts)
    is_plain = codes.dtype.kind in "iuf"
    rows = codes.real.reshape(-1, 3) if codes.ndim == 3 else codes.real.reshape(-1, 1)
    limits = codebook.levels if codes.ndim == 3 else (codebook.size,)
    fits = ((rows >= 0) & (rows < limits) & (rows == np.floor(rows))).all(axis=1) & is_plain
    assert limits is not None
    flat = np.ravel_multi_index(tuple(rows[fits].astype(np.int64).T), limits, order="F")
    assert by_code.tolist() == (2 * np.bincount(flat, minlength=codebook.size)).tolist()
    assert others == 2 * int(np.count_nonzero(~fits))
    assert counts.take(may_wait=True) is None


@pytest.mark.parametrize(("codebook", "codes"), CASES)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_device_counts_as_numpy_does(torch: Any, codebook: Codebook, codes: Any) -> None:
    """Valid codes by code, and everything else together; twice the same is twice as many."""
    device = torch.Device("mps")
    device.is_done = True
    check_counting(torch, codebook, codes, device, torch.Tensor(codes, device))


@pytest.mark.parametrize(("codebook", "codes"), CASES)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_torch_itself_counts_as_numpy_does(codebook: Codebook, codes: Any) -> None:
    """The same by torch, where there is one, in inference mode and out of it; its processor stands for a device."""
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(codes)
    check_counting(torch, codebook, codes, torch.device("cpu"), tensor)
    with torch.inference_mode():
        check_counting(torch, codebook, codes, torch.device("cpu"), tensor)


def test_tensors_of_torch_are_counted() -> None:
    """Tensors of the processor of any type, with a gradient or without."""
    torch = pytest.importorskip("torch")
    quantizer = Quantizer("q", codebook_size=4)
    for dtype in (torch.int64, torch.uint8, torch.float32, torch.bfloat16):
        quantizer.observe(torch.tensor([[0, 1], [1, 3]]).to(dtype))
    quantizer.observe(torch.tensor([3.0], requires_grad=True))
    assert quantizer.snapshot().since_start.tolist() == [4, 8, 0, 5]
