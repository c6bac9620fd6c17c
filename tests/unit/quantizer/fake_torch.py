"""What the quantizer uses of torch, with numpy inside and a device whose queue goes on only when a test says so.

Reading a tensor's values before that is an error: on a real device it would wait.
"""

# ruff: noqa: D103, D106 - the names are those of torch, and so is what they do

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

float64, int64 = np.dtype(np.float64), np.dtype(np.int64)
bool = np.dtype(np.bool_)  # noqa: A001 - torch's own name


class Device:
    def __init__(self, type: str) -> None:  # noqa: A002 - torch's own name
        self.type = type
        self.is_done = False
        self.copies = 0


class Tensor:
    def __init__(self, values: Any, device: Device) -> None:
        self.values, self.device = np.asarray(values), device

    def __array__(self, *args: object) -> Any:
        raise AssertionError("waits for the device")

    def _of(self, values: Any) -> Tensor:
        return Tensor(values, self.device)

    def detach(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        assert self.device.type == "cpu", "waits for the device"
        return self.values

    def cpu(self) -> Tensor:
        assert self.device.is_done, "waits for the device"
        self.device.copies += 1
        return Tensor(self.values.copy(), Device("cpu"))

    def record_stream(self, stream: object) -> None: ...

    def numel(self) -> int:
        return self.values.size

    def reshape(self, *shape: int) -> Tensor:
        return self._of(self.values.reshape(shape))

    def is_complex(self) -> Any:
        return self.values.dtype.kind == "c"

    def is_floating_point(self) -> Any:
        return self.values.dtype.kind == "f"

    def to(self, dtype: Any) -> Tensor:
        return self._of(self.values.astype(dtype))

    def float(self) -> Tensor:
        return self.to(np.float32)

    def floor(self) -> Tensor:
        return self._of(np.floor(self.values))

    def clamp(self, *, max: int) -> Tensor:  # noqa: A002 - torch's own name
        return self._of(self.values.clip(max=max))

    def masked_fill(self, mask: Tensor, value: int) -> Tensor:
        return self._of(np.where(mask.values, value, self.values))

    def scatter_add_(self, axis: int, index: Tensor, source: Tensor) -> None:
        np.add.at(self.values, index.values, source.values)

    def __getitem__(self, key: Any) -> Tensor:
        return self._of(self.values[key])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> Any:
        return self.values.dtype


def _operator(name: str) -> Any:
    def apply(self: Tensor, *others: Any) -> Tensor:
        plain = [other.values if isinstance(other, Tensor) else other for other in others]
        return self._of(getattr(self.values, name)(*plain))

    return apply


for _name in ("lt", "le", "gt", "ge", "eq", "and", "or", "invert", "add", "radd", "mul"):
    setattr(Tensor, f"__{_name}__", _operator(f"__{_name}__"))


def zeros(size: int, *, dtype: Any, device: Device) -> Tensor:
    return Tensor(np.zeros(size, dtype), device)


def zeros_like(tensor: Tensor) -> Tensor:
    return tensor._of(np.zeros_like(tensor.values))


def ones_like(tensor: Tensor) -> Tensor:
    return tensor._of(np.ones_like(tensor.values))


def full_like(tensor: Tensor, value: int, *, dtype: Any) -> Tensor:
    return tensor._of(np.full_like(tensor.values, value, dtype=dtype))


def where(condition: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return first._of(np.where(condition.values, first.values, second.values))


def inference_mode(on: Any) -> Any:
    return contextlib.nullcontext()


no_grad = contextlib.nullcontext


class cuda:  # noqa: N801 - torch's own name
    capturing = False

    class Event:
        def record(self, stream: Any) -> None:
            self.device = stream

        def query(self) -> Any:
            return self.device.is_done

    @staticmethod
    def is_current_stream_capturing() -> Any:
        return cuda.capturing

    @staticmethod
    def current_stream(device: Device) -> Device:
        return device

    @staticmethod
    def Stream(device: Device) -> Device:  # noqa: N802 - torch's own name
        return device

    @staticmethod
    def stream(stream: Device) -> Any:
        return contextlib.nullcontext()
