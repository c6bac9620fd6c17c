"""One walk a period over all devices of this process, into a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from otelml.gpu import xid
from otelml.gpu.boundary import Boundary
from otelml.gpu.device import Device
from otelml.gpu.reader import DeviceReader
from otelml.gpu.snapshot import Snapshot

SLOW_S = 15.0
"""Between two times that the slow questions are asked."""


class Walker:
    """The devices, and what is known of each from walk to walk. Used by one thread."""

    def __init__(
        self, boundary: Boundary, devices: Sequence[Device], clock: Callable[[], float] = monotonic
    ) -> None:
        self.boundary = boundary
        self.readers = [DeviceReader(device, boundary, clock) for device in devices]
        self._clock = clock
        self._slow_s: float | None = None

    def walk(self) -> Snapshot:
        """Ask all devices what is due. Never raises; a device that is lost shows no more than that."""
        boundary, started_s = self.boundary, self._clock()
        library_s = boundary.library_s
        slow = self._is_slow_due(started_s)
        boundary.library.begin_walk()
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
                reader.xids[code] = reader.xids.get(code, 0) + 1
                meaning = xid.describe(code)
                reader.device.tell(
                    "gpu_xid", f"XID {code}, {meaning or 'unknown'}", xid=code, meaning=meaning or None
                )

    def read_energy(self) -> dict[str, float | None]:
        """The energy counters now, in J, by `hw.id`."""
        return {reader.device.hw_id: reader.read_energy() for reader in self.readers}

    def _is_slow_due(self, now_s: float) -> bool:
        # Half a second early is on time: walks never start on the dot.
        due = self._slow_s is None or now_s - self._slow_s >= SLOW_S - 0.5
        if due:
            self._slow_s = now_s
        return due
