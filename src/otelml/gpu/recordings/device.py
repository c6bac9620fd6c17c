"""A recorded GPU: its answers in each state, with counters that go on from walk to walk, and an identity of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otelml.gpu.library import FUNCTION_NOT_FOUND, NvmlError
from otelml.gpu.recordings import STATES, check_recording, states_of

_NOT_SUPPORTED = 3

_COUNTERS: Mapping[str, tuple[str | int, ...]] = {
    "nvmlDeviceGetMemoryErrorCounter": (),
    "nvmlDeviceGetPcieReplayCounter": (),
    "nvmlDeviceGetRemappedRows": (0, 1),
    "nvmlDeviceGetTotalEccErrors": (),
    "nvmlDeviceGetTotalEnergyConsumption": (),
    "nvmlDeviceGetViolationStatus": ("referenceTime", "violationTime"),
}
"""Calls whose answers count up: which items of the answer do; none where the answer itself is the counter."""

_COUNTER_FIELDS = frozenset(
    itertools.chain(
        range(3, 31),  # ECC errors, retired pages
        range(32, 82),  # NVLink errors and bandwidth, violation times
        (83, 94, 95),  # energy, PCIe replays
        range(96, 132),  # NVLink errors and bandwidth of further links
        range(138, 144),  # NVLink throughput, remapped rows
        range(148, 164),  # NVLink errors
        (169, *range(173, 184)),  # PCIe errors
        (191, 197, 198),  # energy, PCIe bytes
        range(201, 216),  # NVLink packets, bytes and errors
        range(269, 272),  # violation times
    )
)

_NARROW_FIELDS = frozenset({197, 198})
"""PCIe bytes, of 32 bits: one that is smaller under load has turned over in between."""

# Such integers stand for 'no reading': they come out as they were recorded.
_FIRST_SENTINEL, _ALL_ONES = 2**63 - 16, 2**32 - 1

_UUID, _SERIAL, _INDEX = "nvmlDeviceGetUUID()", "nvmlDeviceGetSerial()", "nvmlDeviceGetIndex()"
_PCI = ("nvmlDeviceGetPciInfo()", "nvmlDeviceGetPciInfo_v3()")


@dataclass(slots=True)
class RecordedState:
    """What a device answered in one state.

    An entry of a call holds a value, or an error's code, or neither if the call was wrong.
    """

    calls: dict[str, Mapping[str, Any]]
    fields: dict[int, Mapping[str, Any]]
    gpm: Mapping[str, Any]
    metrics: dict[int, Mapping[str, Any]]

    @classmethod
    def of(cls, calls: Mapping[str, Any], gpm: Mapping[str, Any]) -> RecordedState:
        """The state, with what has an id found by it."""
        return cls(
            calls={key: entry for key, entry in calls.items() if key != "fields"},
            fields={entry["id"]: entry for entry in calls.get("fields", {}).values()},
            gpm=gpm,
            metrics={entry["id"]: entry for entry in gpm.get("metrics", {}).values()},
        )


class RecordedDevice:
    """A GPU, or a MIG device of one; it is its own handle."""

    def __init__(self, recording: Mapping[str, Any], index: int, state: str | None, name: str) -> None:
        check_recording(recording, name, state)
        self.index = index
        self.states = [
            RecordedState.of(recording[each], recording.get(f"{each}_gpm") or {})
            for each in ((state,) if state else states_of(recording))
        ]
        self.mig_devices = [
            RecordedDevice(each, number, state, f"MIG device {number} of {name}")
            for number, each in enumerate(recording.get("mig_devices", ()))
        ]
        self.events: Sequence[Mapping[str, int]] = recording.get("events", ())

    def state(self, walk: int) -> RecordedState:
        """What it answers at this walk."""
        return self.states[walk % len(self.states)]

    def answer(self, walk: int, name: str, arguments: Sequence[Any]) -> Mapping[str, Any]:
        """The entry of a call, with its counters as they are at this walk."""
        key = f"{name}({','.join(map(str, arguments))})"
        entry = self.state(walk).calls.get(key)
        if entry is None:
            raise NvmlError(FUNCTION_NOT_FOUND)
        if name in _COUNTERS and "value" in entry:
            values = [state.calls.get(key, {}).get("value") for state in self.states]
            return {**entry, "value": _advance(entry["value"], values, walk, _COUNTERS[name])}
        return entry

    def field(self, walk: int, field_id: int) -> float | NvmlError:
        """A field value, or its error, at this walk."""
        entry = self.state(walk).fields.get(field_id, {})
        value = entry.get("value")
        if value is None:
            return NvmlError(entry.get("error", _NOT_SUPPORTED))
        if field_id not in _COUNTER_FIELDS:
            return value
        values: list[Any] = [state.fields.get(field_id, {}).get("value") for state in self.states]
        if field_id in _NARROW_FIELDS and None not in values and values[-1] < values[0]:
            values[-1] += 2**32  # how many times more is not known
        return _advance(value, values, walk)

    @property
    def bus_id(self) -> str:
        """The PCI bus id; nothing where it is not known."""
        info = self.recorded(_PCI[0])
        return "" if info is None else str(info.get("busId", ""))

    def recorded(self, key: str) -> Any:
        """The value of a call in the first state that has one; None when none has."""
        values = (state.calls.get(key, {}).get("value") for state in self.states)
        return next((value for value in values if value is not None), None)

    def replace(self, key: str, make: Callable[[Any], Any]) -> None:
        """Make the value of a call another one, in every state that has one."""
        for state in self.states:
            entry = state.calls.get(key, {})
            if "value" in entry:
                state.calls[key] = {**entry, "value": make(entry["value"])}


def _advance(value: Any, values: Sequence[Any], walk: int, items: Collection[str | int] = ()) -> Any:
    """`value` with its counters as they are at this walk; `values` are those of the states."""
    if len(values) < len(STATES) or None in values:
        return value
    idle, load = values
    if not items:
        return _count(value, idle, load, walk)
    advanced = value.copy()
    for item in items:
        advanced[item] = _count(value[item], idle[item], load[item], walk)
    return advanced


def _count(now: int, idle: int, load: int, walk: int) -> int:
    """A counter at the walk 0, 1, 2, ... (idle, load, idle, ...): it gains the difference whenever load begins.

    One that is smaller under load was reset in between: what it gained is not known, so it stands still.
    """
    if max(idle, load) >= _FIRST_SENTINEL or _ALL_ONES in (idle, load):
        return now
    return idle + (walk + 1) // 2 * max(0, load - idle)


def identify(device: RecordedDevice, taken: set[str]) -> None:
    """Give a GPU an identity that no other has, the same in every state; `taken` are those of the others."""
    for key in (_UUID, _SERIAL):
        _rename(device, key, taken)
    device.replace(_INDEX, lambda _: device.index)
    bus_id = device.bus_id and _first_free(device.bus_id, _move_bus, taken)
    if bus_id != device.bus_id:
        _move(device, bus_id)
    for mig_device in device.mig_devices:
        _rename(mig_device, _UUID, taken)
        # The board is its GPU's.
        mig_device.replace(_SERIAL, lambda _: device.recorded(_SERIAL))
        if bus_id:
            _move(mig_device, bus_id)


def _rename(device: RecordedDevice, key: str, taken: set[str]) -> None:
    recorded = device.recorded(key)
    if recorded is not None:
        name = _first_free(str(recorded), _number_tail, taken)
        device.replace(key, lambda _: name)


def _move(device: RecordedDevice, bus_id: str) -> None:
    for key in _PCI:
        device.replace(key, lambda info: {**info, **_pci_place(bus_id)})


def _first_free(text: str, copy: Callable[[str, int], str], taken: set[str]) -> str:
    free = next(made for number in itertools.count() if (made := copy(text, number)) not in taken)
    taken.add(free)
    return free


def _number_tail(text: str, number: int) -> str:
    """`text` as it is for the copy of that number: 2, 3, ... at the end; 0 is the original."""
    tail = str(number + 1) if number else ""
    return text[: len(text) - len(tail)] + tail


def _move_bus(bus_id: str, number: int) -> str:
    """A PCI bus id (`00000000:00:06.0`) so many buses further on."""
    domain, bus, slot = bus_id.split(":")
    place = int(domain, 16) * 256 + int(bus, 16) + number
    return f"{place // 256:08X}:{place % 256:02X}:{slot}"


def _pci_place(bus_id: str) -> dict[str, Any]:
    domain, bus, slot = bus_id.split(":")
    return {
        "busId": bus_id,
        "busIdLegacy": f"{domain[-4:]}:{bus}:{slot}",
        "domain": int(domain, 16),
        "bus": int(bus, 16),
    }
