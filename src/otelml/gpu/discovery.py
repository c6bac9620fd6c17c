"""Finds the GPUs of this machine, and which of them this process reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from otelml.gpu.boundary import Boundary
from otelml.gpu.device import Device
from otelml.gpu.selection import Candidate, Chosen, MigCandidate, select
from otelml.semconv import _generated as names

if TYPE_CHECKING:
    from otelml.gpu.session import Options

_NOBODY = ""
INDEX = "index "
"""How a GPU is named while its id is not known."""


def discover(boundary: Boundary, options: Options) -> tuple[list[Device], tuple[str, ...]]:
    """The devices to report, in NVML's order, a GPU before its MIG devices; and what is to be said about the choice."""
    found = dict(_find_all(boundary))
    selection = select(options.devices, list(found), options.environ)
    common = {
        names.HW_VENDOR: "NVIDIA",
        names.HW_DRIVER_VERSION: boundary.ask(_NOBODY, "nvmlSystemGetDriverVersion"),
    }
    devices = [
        device
        for chosen in sorted(selection.chosen, key=lambda chosen: chosen.gpu.index)
        for device in _make(boundary, chosen, found[chosen.gpu], common, serial_number=options.serial_number)
    ]
    return devices, selection.notes


def _find_all(boundary: Boundary) -> Iterator[tuple[Candidate, tuple[Any, Mapping[str, Any]]]]:
    """Every GPU, with its handle and those of its MIG devices by UUID."""
    for index in range(boundary.ask(_NOBODY, "nvmlDeviceGetCount") or 0):
        # The index stands for the GPU, so that one that does not answer does not silence the others.
        whom = f"{INDEX}{index}"
        handle = boundary.ask(whom, "nvmlDeviceGetHandleByIndex", index)
        uuid = handle and boundary.ask(whom, "nvmlDeviceGetUUID", handle)
        if not uuid:
            continue  # counted and said: a GPU without a name cannot be told from others
        name = boundary.ask(whom, "nvmlDeviceGetName", handle) or "NVIDIA GPU"
        bus_id = (boundary.ask(whom, "nvmlDeviceGetPciInfo", handle) or {}).get("busId", "")
        mig = dict(_find_mig(boundary, whom, handle))
        handles = {device.uuid: mig_handle for device, mig_handle in mig.items()}
        yield Candidate(index, uuid, name, bus_id, tuple(mig)), (handle, handles)


def _find_mig(boundary: Boundary, whom: str, handle: Any) -> Iterator[tuple[MigCandidate, Any]]:
    mode = boundary.ask(whom, "nvmlDeviceGetMigMode", handle)
    if not mode or not mode[0]:
        return
    for index in range(boundary.ask(whom, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = boundary.find(whom, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        part_of = f"{whom}/{index}"
        uuid = part and boundary.ask(part_of, "nvmlDeviceGetUUID", part)
        if not uuid:
            continue
        instance = boundary.ask(part_of, "nvmlDeviceGetGpuInstanceId", part)
        compute = boundary.ask(part_of, "nvmlDeviceGetComputeInstanceId", part)
        if instance is not None:
            yield MigCandidate(uuid, instance, compute), part


def _make(
    boundary: Boundary,
    chosen: Chosen,
    handles: tuple[Any, Mapping[str, Any]],
    common: Mapping[str, Any],
    *,
    serial_number: bool,
) -> Iterator[Device]:
    gpu, (handle, mig_handles) = chosen.gpu, handles
    about = {names.ML_GPU_INDEX: gpu.index, **{key: value for key, value in common.items() if value}}
    serial = boundary.ask(f"{INDEX}{gpu.index}", "nvmlDeviceGetSerial", handle) if serial_number else None
    if serial:
        about[names.HW_SERIAL_NUMBER] = serial
    replayed = " (replayed)" if boundary.library.replayed else ""
    if chosen.mig is None:
        attributes = {
            names.HW_ID: gpu.uuid,
            names.HW_NAME: gpu.name + replayed,
            names.HW_MODEL: gpu.name,
            **about,
        }
        yield Device(gpu.uuid, handle, attributes, gpu.pci_bus_id)
    for mig in gpu.mig if chosen.mig is None else (chosen.mig,):
        mig_handle = mig_handles[mig.uuid]
        name = boundary.ask(f"name of {mig.uuid}", "nvmlDeviceGetName", mig_handle) or gpu.name
        attributes = {
            names.HW_ID: mig.uuid,
            names.HW_NAME: name + replayed,
            names.HW_MODEL: gpu.name,
            names.HW_PARENT: gpu.uuid,
            **about,
        }
        yield Device(mig.uuid, mig_handle, attributes, gpu.pci_bus_id, handle, mig.gpu_instance)
