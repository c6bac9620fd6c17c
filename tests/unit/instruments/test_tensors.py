"""Tensors in the machine's memory, as every room reads them; `tests/unit/quantizer` has them on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from otelml import Quantizer, pipeline, quality, testing
from otelml.drift import DriftMonitor, DriftReference
from otelml.inferences import inference
from otelml.quality import RowCounts

if TYPE_CHECKING:
    from collections.abc import Callable


class Wide:
    """A tensor of float32 that belongs to no graph."""

    def __init__(self, values: list[float]) -> None:
        self._array = np.array(values, np.float32)

    def numpy(self) -> Any:
        return self._array


class Brief:
    """A tensor of a type that numpy lacks, such as bfloat16, which has to leave its graph before it can be read."""

    def __init__(self, values: list[float], *, in_graph: bool = True) -> None:
        self._values = values
        self._in_graph = in_graph
        self.shape = (len(values),)

    def detach(self) -> Brief:
        return Brief(self._values, in_graph=False)

    def float(self) -> Wide:
        return Wide(self._values)

    def numpy(self) -> Any:
        raise RuntimeError("it requires grad") if self._in_graph else TypeError("no such type")

    __array__ = numpy


def torch_tensor(values: list[float]) -> Any:
    """The same of torch."""
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=torch.bfloat16, requires_grad=True)


@pytest.mark.parametrize("create", [Brief, torch_tensor])
def test_every_room_reads_them(create: Callable[[list[float]], Any]) -> None:
    """Whatever their type, and whether or not a gradient goes through them."""
    with testing.capture() as captured:
        request = inference("m")
        request.confidence(create([0.5, 0.25]))
        request.predicted(create([1.0, 1.0, 2.0]))
        assert captured.point("ml.inference.confidence", {"ml.model.name": "m"}).sum == 0.75
        assert sorted(p.value for p in captured.points()["ml.inference.predictions"]) == [1, 2]
    quantizer = Quantizer("q", codebook_size=4, min_codes=1)
    quantizer.observe(create([1.0, 3.0]))
    assert quantizer.snapshot().since_start.tolist() == [0, 1, 0, 1]
    monitor = DriftMonitor(DriftReference.fit(create([1.0, 2.0, 3.0])))
    monitor.observe(create([1.0, 2.0]))
    assert monitor.total.observations("value") == 2
    assert quality.count_rows(create([1.0, 1.0])) == RowCounts(2, 0, 0, 0, None, 1, {"duplicated": 1})
    assert pipeline.count_transitions(create([1.0, 2.0, 2.0, 1.0])) == 2
