"""One walk a period over all devices of this process, into a snapshot."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from time import monotonic

from otelml.gpu import xid
from otelml.gpu.boundary import Boundary
from otelml.gpu.device import Device
from otelml.gpu.memory import Memory
from otelml.gpu.reader import DeviceReader
from otelml.gpu.snapshot import Snapshot

SLOW_S = 15.0
"""Between two times that the slow questions are asked."""

TELL_S = 60.0
"""Between two events about the same XID of a GPU; the counter has them all."""


class Walker:
    """The devices that are there, and `memories` of those that ever were, by `hw.id`. Used by one thread."""

    def __init__(
        self,
        boundary: Boundary,
        devices: Sequence[Device],
        memories: MutableMapping[str, Memory] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.boundary = boundary
        memories = {} if memories is None else memories
        for device in devices:
            memories.setdefault(device.hw_id, Memory(boundary.library.wraps_at))
        self.readers = [DeviceReader(device, boundary, memories[device.hw_id], clock) for device in devices]
        self._clock = clock
        self._slow_s: float | None = None

    @property
    def hw_ids(self) -> list[str]:
        """The devices, by their ids."""
        return [reader.device.hw_id for reader in self.readers]

    def walk(self) -> Snapshot:
        """Ask all devices what is due. A device that is lost shows no more than that."""
        boundary, started_s = self.boundary, self._clock()
        library_s = boundary.library_s
        slow = self._is_slow_due(started_s)
        boundary.begin_walk()
        if slow:
            for reader in self.readers:
                if reader.device.hw_id in boundary.lost:
                    reader.revive()
        gpus = tuple(reader.read(slow=slow) for reader in self.readers)
        now_s = self._clock()
        return Snapshot(now_s, gpus, now_s - started_s, boundary.library_s - library_s)

    def take_xid(self, bus_id: str, code: int) -> None:
        """Count an XID error, and tell of it."""
        for reader in self.readers:
            if reader.device.bus_id == bus_id and not reader.device.is_mig:
                reader.memory.xids[code] = reader.memory.xids.get(code, 0) + 1
                self._tell(reader, code)

    def read_energy(self) -> dict[str, float | None]:
        """The energy counters now, in J, by `hw.id`; a MIG device has none of its own."""
        readers = [reader for reader in self.readers if not reader.device.is_mig]
        return {reader.device.hw_id: reader.read_energy() for reader in readers}

    def _tell(self, reader: DeviceReader, code: int) -> None:
        now_s, told_s = self._clock(), reader.memory.xids_told_s.get(code)
        if told_s is None or now_s - told_s >= TELL_S:
            reader.memory.xids_told_s[code] = now_s
            meaning = xid.describe(code)
            reader.device.tell(
                "gpu_xid", f"XID {code}, {meaning or 'unknown'}", xid=code, meaning=meaning or None
            )

    def _is_slow_due(self, now_s: float) -> bool:
        # Half a second early is on time: walks never start on the dot.
        due = self._slow_s is None or now_s - self._slow_s >= SLOW_S - 0.5
        if due:
            self._slow_s = now_s
        return due
