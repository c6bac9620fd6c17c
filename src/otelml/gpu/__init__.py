"""GPUs: what NVML knows of them, read on a thread of its own and shown as metrics and events.

The instrumentor `otelml_gpu` starts it; programs only use `energy_meter`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otelml.gpu.library import NAMES
from otelml.instruments import internal

if TYPE_CHECKING:
    from otelml.gpu.energy import Counters, EnergyMeter
    from otelml.gpu.library import Library, NvmlError
    from otelml.gpu.plugin import Plugin
    from otelml.gpu.recordings import ReplayError
    from otelml.gpu.session import Options
    from otelml.gpu.snapshot import Snapshot
    from otelml.settings import Settings

_logger = logging.getLogger("otelml.gpu")
_plugin: Plugin | None = None


def start(settings: Settings) -> None:
    """Start the plugin as `settings` say; nothing if it runs, or is not wanted (`OTELML_GPU_DEVICES=none`)."""
    global _plugin  # noqa: PLW0603 - one a process
    if _plugin is not None or settings.gpu_devices == "none":
        return
    from otelml.gpu.plugin import Plugin

    _preload(settings)
    _plugin = Plugin(options_of(settings))
    _plugin.start()


def _preload(settings: Settings) -> None:
    """Import here what the plugin's thread needs: a fork while it imports would leave the child a lock for ever."""
    if settings.nvml_replay:
        from otelml.gpu import replay  # noqa: F401
    else:
        from otelml.gpu import nvml

        nvml.preload()
    from otelml.gpu import processes

    processes.preload()


def stop() -> None:
    """Stop the plugin: its metrics are absent from now on."""
    global _plugin
    plugin, _plugin = _plugin, None
    if plugin is not None:
        plugin.stop()


def reset() -> None:
    """For tests: `stop`."""
    stop()


def current() -> Snapshot | None:
    """What the last walk found; None while there is nothing that says something about now."""
    return _plugin.current() if _plugin is not None else None


def energy_meter() -> EnergyMeter:
    """A meter of the energy that this process's GPUs use from now on, as `with` block or until its `stop()`.

        with gpu.energy_meter() as meter:
            train()
        print(meter.joules)

    `joules` is None where it is not known: no GPU, no plugin, a GPU that does not tell, MIG. The counters are read on
    the plugin's thread; the end waits for its reading, a second at most. The driver updates them about every 0.1 s.
    """
    from otelml.gpu.energy import EnergyMeter

    return EnergyMeter(_plugin.read_energy if _plugin is not None else _no_energy)


def _no_energy() -> Future[Counters]:
    from otelml.gpu.energy import no_counters

    return no_counters()


def options_of(settings: Settings) -> Options:
    """What the plugin needs to know of the settings."""
    from otelml.gpu.session import Options

    return Options(
        open_library=partial(open_library, settings),
        say_no_library=partial(_say_no_library, settings),
        devices=settings.gpu_devices,
        interval_s=settings.gpu_interval_s,
        serial_number=settings.gpu_serial_number,
    )


def open_library(settings: Settings) -> Library:
    """NVML, or the recordings of `OTELML_NVML_REPLAY`.

    Raises:
        NvmlError: there is no driver, or it refuses.
        ReplayError: a recording cannot be used.
    """
    if settings.nvml_replay:
        from otelml.gpu import replay

        return replay.load(settings.nvml_replay, settings.nvml_replay_state)
    from otelml.gpu.nvml import NvmlLibrary

    return NvmlLibrary()


_ADVICE = {
    "library_not_found": "the NVIDIA driver's library, libnvidia-ml.so.1, was not found",
    "driver_not_loaded": "the NVIDIA driver is not loaded",
    "no_permission": "the NVIDIA driver refuses this user; its device files are /dev/nvidia*",
    "lib_rm_version_mismatch": "the NVIDIA driver was updated; its library and kernel module differ until a reboot",
}


def explain(error: NvmlError | ReplayError) -> str:
    """Why there is no library to ask, in words."""
    if isinstance(error.__cause__, ImportError):
        return "pynvml is not installed; it comes with `pip install nvidia-ml-py`"
    known = {name: f"NVML cannot be initialised: {name}" for name in NAMES.values()} | _ADVICE
    return known.get(str(error), str(error))


def is_expected(environ: Mapping[str, str]) -> bool:
    """Whether something hints at a GPU here: the user's environment, or the driver's device files."""
    return (
        environ.get("OTELML_GPU_DEVICES", "none").strip().lower() != "none"
        or bool(environ.get("OTELML_NVML_REPLAY"))
        or environ.get("CUDA_VISIBLE_DEVICES", "-1") not in ("", "-1")
        or Path("/dev/nvidiactl").exists()
    )


def look(settings: Settings) -> tuple[Snapshot | None, str | None]:
    """Ask NVML once, in this thread, without the plugin: what it says, or why it says nothing."""
    from otelml.gpu.boundary import Boundary
    from otelml.gpu.discovery import discover
    from otelml.gpu.library import NvmlError
    from otelml.gpu.recordings import ReplayError
    from otelml.gpu.walker import Walker

    try:
        library = open_library(settings)
    except (NvmlError, ReplayError) as error:
        return None, explain(error)
    boundary = Boundary(library)
    devices, notes = discover(boundary, options_of(settings))
    snapshot = Walker(boundary, devices).walk()
    with suppress(NvmlError):
        library.close()
    return snapshot, None if devices else "; ".join(notes) or "NVML knows none that this process reports"


def _say_no_library(
    settings: Settings, error: NvmlError | ReplayError, environ: Mapping[str, str] = os.environ
) -> None:
    """A warning where a GPU is to be expected; machines without one are told only if they listen."""
    chosen = settings.source("gpu_devices") != "default" or settings.nvml_replay
    expected = chosen or str(error) != "library_not_found" or is_expected(environ)
    say = internal.warn_once if expected else internal.inform_once
    say("gpu:nvmlInit", "otelml: no GPU metrics: %s", explain(error))
