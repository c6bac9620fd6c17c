"""Waits for XID errors on a thread of its own, because NVML has no other way to tell of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from otelml.gpu.boundary import UNINITIALIZED, Boundary
from otelml.gpu.library import NO_PERMISSION, NOT_SUPPORTED, Events, NvmlError
from otelml.instruments import internal

WAIT_S = 1.0
"""How long one wait lasts: the latest that the thread notices that it is to end."""

_PAUSE_S = 30.0
_CALL = "nvmlEventSetWait"
_logger = logging.getLogger("otelml.gpu")


class Listener:
    """Calls `on_xid(bus_id, code)` for each XID error of the GPUs, from its own thread."""

    def __init__(
        self, boundary: Boundary, handles: Sequence[Any], on_xid: Callable[[str, int], object]
    ) -> None:
        self._boundary, self._handles, self._on_xid = boundary, handles, on_xid
        self.is_listening = False
        """Whether XID errors of at least one GPU arrive."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otelml-gpu-xid", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have it end as soon as its wait is over."""
        self._stopping.set()

    def wait(self) -> bool:
        """Wait for that; whether it did end, so that nothing of NVML is in use any more."""
        self._thread.join(2 * WAIT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with internal.guard("gpu"):
            try:
                events = self._boundary.library.listen(self._handles)
            except NvmlError as error:
                self._take_error("nvmlDeviceRegisterEvents", error)
                return
            try:
                self.is_listening = True
                self._listen(events)
            finally:
                self.is_listening = False
                self._close(events)

    def _listen(self, events: Events) -> None:
        while not self._stopping.is_set():
            try:
                xid = events.wait(WAIT_S)
            except NvmlError as error:
                if self._take_error(_CALL, error):
                    return
                self._stopping.wait(_PAUSE_S)
            else:
                if xid is not None:
                    self._on_xid(*xid)

    def _take_error(self, call: str, error: NvmlError) -> bool:
        """Count it; whether there is no use in going on."""
        if error.code in NOT_SUPPORTED:
            _logger.debug("otelml: XID errors cannot be listened to here: %s", error.name)
            return True
        self._boundary.count(call, error.name)
        internal.warn_once(
            f"gpu:{call}", "otelml: NVML's %s failed with %s; XID errors may go unnoticed", call, error.name
        )
        return error.code in (NO_PERMISSION, UNINITIALIZED)

    def _close(self, events: Events) -> None:
        try:
            events.close()
        except NvmlError as error:
            _logger.debug("otelml: NVML's event set could not be freed: %s", error.name)
