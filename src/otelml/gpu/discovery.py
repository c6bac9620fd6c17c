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

_NOBODY = ""  # no GPU's id yet: it is what is being asked for


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
        handle = _ask_by_index(boundary, index)
        uuid = handle and boundary.ask(_NOBODY, "nvmlDeviceGetUUID", handle)
        if not uuid:
            continue  # counted and said: a GPU without a name cannot be told from others
        name = boundary.ask(uuid, "nvmlDeviceGetName", handle) or "NVIDIA GPU"
        bus_id = (boundary.ask(uuid, "nvmlDeviceGetPciInfo", handle) or {}).get("busId", "")
        mig = dict(_find_mig(boundary, uuid, handle))
        handles = {device.uuid: mig_handle for device, mig_handle in mig.items()}
        yield Candidate(index, uuid, name, bus_id, tuple(mig)), (handle, handles)


def _ask_by_index(boundary: Boundary, index: int) -> Any | None:
    # The index stands for the GPU, so that one that does not answer does not silence the others.
    return boundary.ask(f"index {index}", "nvmlDeviceGetHandleByIndex", index)


def _find_mig(boundary: Boundary, gpu: str, handle: Any) -> Iterator[tuple[MigCandidate, Any]]:
    mode = boundary.ask(gpu, "nvmlDeviceGetMigMode", handle)
    if not mode or not mode[0]:
        return
    for index in range(boundary.ask(gpu, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = boundary.find(gpu, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        uuid = part and boundary.ask(_NOBODY, "nvmlDeviceGetUUID", part)
        if not uuid:
            continue
        instance = boundary.ask(uuid, "nvmlDeviceGetGpuInstanceId", part)
        compute = boundary.ask(uuid, "nvmlDeviceGetComputeInstanceId", part)
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
    serial = boundary.ask(gpu.uuid, "nvmlDeviceGetSerial", handle) if serial_number else None
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
        name = boundary.ask(mig.uuid, "nvmlDeviceGetName", mig_handle) or gpu.name
        attributes = {
            names.HW_ID: mig.uuid,
            names.HW_NAME: name + replayed,
            names.HW_MODEL: gpu.name,
            names.HW_PARENT: gpu.uuid,
            **about,
        }
        yield Device(mig.uuid, mig_handle, attributes, gpu.pci_bus_id, handle, mig.gpu_instance)
