"""Counting codes on a real GPU: right, and without a synchronisation, which torch is told to make an error."""

from __future__ import annotations

import numpy as np
import pytest

from otelml import testing
from otelml.quantizer import Quantizer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and torch with CUDA")


@pytest.fixture(autouse=True)
def no_synchronisation():
    """Any call of torch that waits for the device on this thread raises."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("in_inference_mode", [False, True])
def test_codes_are_counted_without_waiting(in_inference_mode: bool) -> None:
    """Flat codes and indices of levels, on a stream of the program's own, are all there after the device is done."""
    codes = np.random.default_rng(0).integers(0, [8, 6, 5], (5000, 3))
    flat = codes[:, 0] + 8 * codes[:, 1] + 48 * codes[:, 2]
    with testing.capture() as telemetry:
        quantizer = Quantizer("q", levels=[8, 6, 5])
        torch.cuda.set_sync_debug_mode("default")
        on_device, flat_on_device = torch.from_numpy(codes).cuda(), torch.from_numpy(flat).cuda()
        torch.cuda.set_sync_debug_mode("error")
        with torch.cuda.stream(torch.cuda.Stream()), torch.inference_mode(in_inference_mode):
            for _ in range(10):
                quantizer.observe(on_device)
                quantizer.observe(flat_on_device)
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        telemetry.tick()
        assert quantizer.snapshot().since_start.tolist() == (20 * np.bincount(flat, minlength=240)).tolist()
        assert telemetry.value("ml.quantizer.codes", {"ml.quantizer.name": "q"}) == 100_000
