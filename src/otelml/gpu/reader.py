"""Reads one GPU or MIG device: asks what is due, keeps what is not, and makes series of the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from otelml.gpu import readings, xid
from otelml.gpu.activity import Activity
from otelml.gpu.boundary import Boundary
from otelml.gpu.device import Device
from otelml.gpu.memory import Memory
from otelml.gpu.processes import own_memory
from otelml.gpu.readings import Point, Question
from otelml.gpu.snapshot import GpuReading
from otelml.gpu.status import Evidence, State, state_of, worst
from otelml.instruments import internal
from otelml.instruments.observed import Reading
from otelml.semconv import _generated as names

_REASONS = "nvmlDeviceGetCurrentClocksEventReasons"
_OLD_REASONS = "nvmlDeviceGetCurrentClocksThrottleReasons"
_SUPPORTED_REASONS = "nvmlDeviceGetSupportedClocksEventReasons"
_OLD_SUPPORTED_REASONS = "nvmlDeviceGetSupportedClocksThrottleReasons"
_PROCESSES = "nvmlDeviceGetComputeRunningProcesses_v3"
_OLD_OLD_SUPPORTED_REASONS = "nvmlDeviceGetSupportedClocksThrottleReasons"
_OLD_PROCESSES = "nvmlDeviceGetComputeRunningProcesses"


class DeviceReader:
    """Asks one device what is due, and keeps what is not. Used by one thread."""

    def __init__(
        self, device: Device, boundary: Boundary, memory: Memory, clock: Callable[[], float] = monotonic
    ) -> None:
        self.device = device
        self.memory = memory
        self.hears_xids = False
        """Whether somebody listens, so that none means that none came."""
        self._boundary = boundary
        self._clock = clock
        self._kept: dict[Question, list[Point]] = {}
        self._answers: dict[tuple[str, tuple[Any, ...]], Any] = {}
        self._merged: dict[tuple[tuple[str, str], ...], Mapping[str, Any]] = {}
        self._activity: Activity | None = None
        self._fans: tuple[Question, ...] = ()
        self._supported_reasons = 0
        self._recovery_action: int | None = None

    def _prepare(self) -> None:
        """Ask what the device has; again each time, until it has answered or never will."""
        device = self.device
        if not device.is_mig and not self._fans:
            self._fans = readings.fan_questions(_as_int(self._ask("nvmlDeviceGetNumFans")) or 0)
        if not device.is_mig and not self._supported_reasons:
            bits = self._ask_either(_SUPPORTED_REASONS, _OLD_SUPPORTED_REASONS)
            self._supported_reasons = _as_int(bits) or 0
        if self._activity is None:
            gpu = device.gpu_handle if device.is_mig else device.handle
            support = self._boundary.ask(device.hw_id, "nvmlGpmQueryDeviceSupport", gpu)
            if support and support["isSupportedDevice"]:
                self._activity = Activity(device.hw_id, gpu, device.gpu_instance, self._clock)

    def read(self, *, slow: bool) -> GpuReading:
        """Ask what is due (with `slow`, also what is seldom asked); what fails is absent."""
        if slow:
            with internal.guard("gpu"):
                self._prepare()
        points: list[Point] = []
        for part in (self._answered(slow=slow), self._measured(), self._clocks(), self._processes()):
            with internal.guard("gpu"):
                points += part
        if self.device.hw_id in self._boundary.lost:
            self._forget()
            points = []
        for code, count in self.memory.xids.items():
            points += readings.error_points(f"xid_{code}", count)
        state = self._state()
        if state is not None:
            points += readings.status_points(state)
        return GpuReading(self.device.attributes, self._series(points), state)

    def revive(self) -> None:
        """Ask a lost GPU whether it is back."""
        self._boundary.revive(self.device.hw_id, "nvmlDeviceGetPowerUsage", self.device.handle)

    def read_energy(self) -> float | None:
        """The energy counter now, in J."""
        return readings.from_thousandths(self._ask("nvmlDeviceGetTotalEnergyConsumption"))

    def _ask(self, call: str, *arguments: Any) -> Any | None:
        return self._boundary.ask(self.device.hw_id, call, self.device.handle, *arguments)

    def _ask_either(self, call: str, old: str) -> Any | None:
        answer = self._ask(call)
        given_up = answer is None and self._boundary.has_given_up(self.device.hw_id, call)
        return self._ask(old) if given_up else answer

    def _answered(self, *, slow: bool) -> Iterable[Point]:
        questions = readings.MIG_QUESTIONS if self.device.is_mig else (*readings.QUESTIONS, *self._fans)
        for question in questions:
            known = self._kept.get(question)
            due = (
                known is None
                or question.pace == "each walk"
                or (slow and (question.pace == "slow" or not known))
            )
            if due:
                known = self._kept[question] = []
                with internal.guard("gpu"):
                    known += self._put(question)
            yield from known or ()

    def _put(self, question: Question) -> list[Point]:
        answer = self._ask(question.call, *question.arguments)
        self._answers[question.call, question.arguments] = answer
        if answer is not None:
            return list(question.points(answer))
        given_up = self._boundary.has_given_up(self.device.hw_id, question.call, *question.arguments)
        return self._put(question.otherwise) if question.otherwise is not None and given_up else []

    def _measured(self) -> Iterable[Point]:
        values = self._activity.read(self._boundary) if self._activity is not None else {}
        for metric, value in values.items():
            yield from readings.GPM[metric](value)
        if self.device.is_mig:
            return
        now_s = self._clock()
        fields = self._boundary.fields(self.device.hw_id, self.device.handle, readings.FIELDS)
        self._recovery_action = _as_int(fields.get(readings.FIELD_RECOVERY_ACTION))
        yield from readings.memory_temperature_points(fields)
        for direction, (field, metric) in readings.PCIE.items():
            reading = _as_int(fields.get(field))
            total = self._pcie_total(direction, reading, now_s, values.get(metric))
            yield from readings.pcie_points(direction, total)

    def _pcie_total(
        self, direction: str, reading: int | None, now_s: float, rate: float | None
    ) -> int | None:
        """Bytes so far; those of a window that is too short for a rate are counted with the next one."""
        pcie = self.memory.pcie
        if self._activity is not None and self._activity.is_too_soon:
            return pcie.total(direction)
        return None if reading is None else pcie.add(direction, reading, now_s, readings.from_mib(rate))

    def _clocks(self) -> Iterable[Point]:
        if self.device.is_mig:
            return
        bits = readings.number(self._ask_either(_REASONS, _OLD_REASONS))
        if bits is not None:
            points = list(readings.throttle_points(int(bits), self._supported_reasons))
            self.memory.episodes.notice(
                self.device, {p.attributes[0][1] for p in points if p.value}, self._clock()
            )
            yield from points

    def _processes(self) -> Iterable[Point]:
        processes = self._ask_either(_PROCESSES, _OLD_PROCESSES)
        return readings.one(names.METRIC_ML_GPU_PROCESS_MEMORY_USAGE, own_memory(processes or ()))

    def _state(self) -> State | None:
        if self.device.is_mig:
            return None  # its health is its GPU's
        ecc = self._answers.get(("nvmlDeviceGetTotalEccErrors", (1, 0)))
        rows = self._answers.get(("nvmlDeviceGetRemappedRows", ())) or (None,) * 4
        _, rows_uncorrected, pending, failed = map(_as_int, rows)
        # That no XID came proves something only of a GPU that can still be asked.
        is_heard = self.hears_xids and self.device.hw_id in self._boundary.answering
        return state_of(
            Evidence(
                lost=self.device.hw_id in self._boundary.lost,
                xid=worst("ok" if is_heard else None, *(xid.severity(code) for code in self.memory.xids)),
                ecc_uncorrected=_as_int(ecc),
                rows_uncorrected=rows_uncorrected,
                remap_pending=None if pending is None else bool(pending),
                remap_failed=None if failed is None else bool(failed),
                recovery_action=self._recovery_action,
            )
        )

    def _forget(self) -> None:
        self._kept.clear()
        self._answers.clear()
        self._recovery_action = None

    def _series(self, points: Iterable[Point]) -> Mapping[str, tuple[Reading, ...]]:
        series: dict[str, list[Reading]] = defaultdict(list)
        for metric, value, attributes in points:
            total = (
                self.memory.totals.add((metric.name, attributes), value)
                if metric.kind == "counter"
                else value
            )
            series[metric.name].append((total, self._with_own(attributes)))
        return {name: tuple(found) for name, found in series.items()}

    def _with_own(self, attributes: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
        merged = self._merged.get(attributes)
        if merged is None:
            merged = self._merged[attributes] = {**self.device.attributes, **dict(attributes)}
        return merged


def _as_int(value: Any) -> int | None:
    found = readings.number(value)
    return None if found is None else int(found)
