"""Which GPUs this process reports, so that each GPU of a node is reported once: rules without a device.

`CUDA_VISIBLE_DEVICES` is read as CUDA reads it, without asking CUDA, which would start it in this process. Sources:
CUDA Programming Guide, "CUDA Environment Variables"; MIG User Guide, "Device Enumeration"; for what these leave out
(a device named twice, numbers with letters behind them) PyTorch's `torch.cuda`, which was tested against CUDA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from otelml.settings.ranks import Ranks, read_ranks

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
DEVICE_ORDER = "CUDA_DEVICE_ORDER"

_ORDER_UNKNOWN = (
    "the GPUs are of different models and CUDA_DEVICE_ORDER is not PCI_BUS_ID, so it cannot be told which GPU has "
    "which number in CUDA: all are reported, by local rank 0 where there are ranks; set "
    "CUDA_DEVICE_ORDER=PCI_BUS_ID, or list UUIDs in CUDA_VISIBLE_DEVICES"
)
_NO_LOCAL_RANK = (
    "this process has a rank, but the launcher gave no local rank: it reports all GPUs that it sees; where several "
    "ranks share a node, set LOCAL_RANK, or OTELML_GPU_DEVICES for each"
)
_OWN_GPUS = (
    "where ranks have several GPUs each, list those in the CUDA_VISIBLE_DEVICES of each rank, and set "
    "OTELML_GPU_DEVICES=visible"
)
# Ways to hide all GPUs on purpose: nothing to say about them. Slurm sets NoDevFiles.
_HIDES_ALL = frozenset({"", "nodevfiles", "none", "void"})

_NUMBER = re.compile(r"\+?([0-9]+)")  # as strtoul reads it: what follows the digits is ignored
_PCI_BUS_ID = re.compile(
    r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?", re.ASCII | re.IGNORECASE
)
_OLD_MIG = re.compile(r"MIG-(GPU-[0-9a-f-]+)/([0-9]+)/([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MigCandidate:
    """A MIG device: `MIG-...`, and the instances of its GPU that it consists of."""

    uuid: str
    gpu_instance: int
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A GPU that NVML counts as number `index`, with the MIG devices that it is divided into."""

    index: int
    uuid: str
    name: str
    pci_bus_id: str
    mig: tuple[MigCandidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to report: the whole GPU and all its MIG devices, or with `mig` only that part of it."""

    gpu: Candidate
    mig: MigCandidate | None = None

    @property
    def uuid(self) -> str:
        """Of the MIG device, or of the GPU."""
        return self.mig.uuid if self.mig else self.gpu.uuid


@dataclass(frozen=True, slots=True)
class Selection:
    """What to report, and sentences to say once."""

    chosen: tuple[Chosen, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Visible:
    """What CUDA sees: `limited` by the variable, `ordered` where it is known which number each has in CUDA."""

    chosen: tuple[Chosen, ...] = ()
    notes: tuple[str, ...] = ()
    limited: bool = True
    ordered: bool = True


def select(policy: str, devices: Sequence[Candidate], environ: Mapping[str, str]) -> Selection:
    """What this process reports of `devices`, all that NVML knows.

    `policy` is a value of the setting `gpu_devices`: `none`, `all`, `visible` (to CUDA), `rank` (the visible device
    of this local rank), or ids separated by commas, which every rank that is given them reports.
    """
    if policy == "none" or not devices:
        return Selection()
    if policy == "all":
        return Selection(_whole(devices))
    if policy == "visible":
        visible = _find_visible(devices, environ)
        return Selection(visible.chosen, visible.notes)
    if policy == "rank":
        return _select_for_rank(_find_visible(devices, environ), read_ranks(environ))
    return _select_listed(policy.split(","), devices)


def _select_for_rank(visible: _Visible, ranks: Ranks) -> Selection:
    # A process alone on its node has no one to share with: a Slurm batch script and `torchrun --nproc-per-node 1`
    # set ranks too, for programs that use several GPUs.
    if ranks.rank is None or 1 in (ranks.world_size, ranks.local_world_size) or not visible.chosen:
        return Selection(visible.chosen, visible.notes)
    if ranks.local_rank is None:
        return Selection(visible.chosen, (*visible.notes, _NO_LOCAL_RANK))
    if not visible.ordered:
        return Selection(visible.chosen, (_ORDER_UNKNOWN,)) if ranks.local_rank == 0 else Selection()
    # One visible device is that of this rank alone: launchers bind GPUs to ranks like that. Ranks that share one
    # listed GPU look the same, and all report it.
    if visible.limited and len(visible.chosen) == 1:
        return Selection(visible.chosen, visible.notes)
    return _share(visible, ranks.local_rank, ranks.local_world_size)


def _share(visible: _Visible, local_rank: int, local_world_size: int | None) -> Selection:
    count = len(visible.chosen)
    if local_rank >= count:
        note = f"local rank {local_rank} reports no GPU: the visible ones ({count}) belong to the ranks below {count}; "
        return Selection((), (*visible.notes, note + _OWN_GPUS))
    notes = visible.notes
    if local_rank == 0 and local_world_size is not None and local_world_size < count:
        note = f"of {count} visible GPUs, those from number {local_world_size} on have no local rank to report them; "
        notes = (*notes, note + _OWN_GPUS)
    return Selection((visible.chosen[local_rank],), notes)


def _whole(devices: Iterable[Candidate]) -> tuple[Chosen, ...]:
    return tuple(Chosen(device) for device in devices)


def _pci_address(text: str) -> tuple[int, ...] | None:
    found = _PCI_BUS_ID.fullmatch(text)
    return tuple(int(part or "0", 16) for part in found.groups()) if found else None


def _order_by_bus(devices: Sequence[Candidate]) -> list[Candidate]:
    return sorted(devices, key=lambda device: (_pci_address(device.pci_bus_id) or (), device.index))


def _find_visible(devices: Sequence[Candidate], environ: Mapping[str, str]) -> _Visible:
    # By default CUDA puts the fastest first, and leaves equal ones as they are on the bus.
    ordered = environ.get(DEVICE_ORDER) == "PCI_BUS_ID" or len({device.name for device in devices}) == 1
    text = environ.get(VISIBLE_DEVICES)
    if text is None:
        return _Visible(_whole(_order_by_bus(devices)), limited=False, ordered=ordered)
    found = _read_visible(text, devices)
    if ordered or not found.chosen or not _NUMBER.match(text.strip()):
        return found
    hides_some = len(found.chosen) < len(devices)
    return _Visible(_whole(devices), (_ORDER_UNKNOWN,) if hides_some else (), ordered=False)


def _read_visible(text: str, devices: Sequence[Candidate]) -> _Visible:
    """The devices that the variable names, as if CUDA's numbers followed the bus."""
    entries = [entry.strip() for entry in text.split(",")]
    kind = _kind_of(entries[0])
    chosen: list[Chosen] = []
    for entry in entries:
        matches = _find(entry, devices) if _kind_of(entry) == kind else []
        if len(matches) != 1:  # CUDA ignores this one and all behind it
            return _Visible(tuple(chosen), _explain_end(entry, matches, devices))
        if matches[0] in chosen:
            note = f"{VISIBLE_DEVICES}={text} names a device twice, so CUDA sees none: name each once"
            return _Visible((), (note,))
        chosen.append(matches[0])
    return _Visible(tuple(chosen))


def _kind_of(entry: str) -> str:
    """CUDA reads a list of numbers, of GPUs or of MIG devices; an entry of another kind ends it."""
    return "number" if _NUMBER.match(entry) else entry[:4].upper()


def _explain_end(entry: str, matches: Sequence[Chosen], devices: Sequence[Candidate]) -> tuple[str, ...]:
    if entry.startswith("-") or entry.lower() in _HIDES_ALL:
        return ()
    return (
        f"{_explain_miss(VISIBLE_DEVICES, entry, matches, devices)}; CUDA ignores it and what follows it",
    )


def _explain_miss(name: str, entry: str, matches: Sequence[Chosen], devices: Sequence[Candidate]) -> str:
    what = "fits several devices" if matches else "is no device here"
    return f"{name} names {entry!r}, which {what}: choose among {_list_devices(devices)}"


def _list_devices(devices: Iterable[Candidate]) -> str:
    return ", ".join(
        f"{device.index} = {' with '.join((device.uuid, *(mig.uuid for mig in device.mig)))} at {device.pci_bus_id}"
        for device in devices
    )


def _find(entry: str, devices: Sequence[Candidate]) -> list[Chosen]:
    """What an entry of CUDA_VISIBLE_DEVICES may mean; CUDA knows numbers along the bus and beginnings of UUIDs."""
    number = _NUMBER.match(entry)
    if number:
        return list(_whole(_order_by_bus(devices)[int(number[1]) :][:1]))
    return _find_uuid(entry, devices)


def _find_uuid(entry: str, devices: Iterable[Candidate]) -> list[Chosen]:
    if not entry.upper().startswith(("GPU-", "MIG-")):
        return []
    if entry.upper().startswith("GPU-"):
        return [Chosen(device) for device in devices if _begins(device.uuid, entry)]
    return [Chosen(device, mig) for device in devices for mig in device.mig if _is_mig(entry, device, mig)]


def _begins(uuid: str, entry: str) -> bool:
    return uuid.lower().startswith(entry.lower())


def _is_mig(entry: str, device: Candidate, mig: MigCandidate) -> bool:
    old = _OLD_MIG.fullmatch(entry)  # drivers before R470 know MIG devices by their GPU and their instances
    if old is None:
        return _begins(mig.uuid, entry)
    same_compute = mig.compute_instance in (None, int(old[3]))
    return _begins(device.uuid, old[1]) and mig.gpu_instance == int(old[2]) and same_compute


def _select_listed(entries: Iterable[str], devices: Sequence[Candidate]) -> Selection:
    chosen: dict[Chosen, None] = {}
    notes = []
    for entry in entries:
        matches = _find_listed(entry, devices)
        if len(matches) == 1:
            chosen[matches[0]] = None
        else:
            notes.append(_explain_miss("OTELML_GPU_DEVICES", entry, matches, devices))
    # A whole GPU brings its MIG devices along.
    return Selection(
        tuple(one for one in chosen if one.mig is None or Chosen(one.gpu) not in chosen), tuple(notes)
    )


def _find_listed(entry: str, devices: Sequence[Candidate]) -> list[Chosen]:
    """What an entry of our own setting may mean: NVML's index, the beginning of a UUID, or a PCI bus id."""
    if entry.isdigit():
        return [Chosen(device) for device in devices if device.index == int(entry)]
    address = _pci_address(entry)
    if address is not None:
        return [Chosen(device) for device in devices if _pci_address(device.pci_bus_id) == address]
    return _find_uuid(entry, devices)
