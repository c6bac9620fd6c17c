"""The ranks that a launcher gave to this process.

It stands among the settings because the resource and the GPUs, rooms that do not know each other, both need it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Each family is read whole or not at all: torchrun inside a Slurm job sets both, with different meanings.
# Sources: torchrun's, Open MPI's, Slurm's and MPICH's documentation of what they export.
_FAMILIES = (
    ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_STEP_TASKS_PER_NODE"),
    ("PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE", "MPI_LOCALNRANKS"),
)
# Slurm writes four tasks on each of three nodes as 4(x3); 4(x2),2 depends on the node, and stays unknown.
_ON_EACH_NODE = re.compile(r"\(x[0-9]+\)$")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of a distributed job; what is not known is None."""

    rank: int | None = None
    local_rank: int | None = None
    world_size: int | None = None
    local_world_size: int | None = None


def read_count(environ: Mapping[str, str], name: str) -> int | None:
    """The whole number that variable `name` holds."""
    return _parse_count(environ.get(name, "").strip())


def _parse_count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _read_family(environ: Mapping[str, str], family: tuple[str, str, str, str]) -> Ranks:
    rank, local_rank, world_size, on_this_node = family
    return Ranks(
        read_count(environ, rank),
        read_count(environ, local_rank),
        read_count(environ, world_size),
        _parse_count(_ON_EACH_NODE.sub("", environ.get(on_this_node, "").strip())),
    )


def read_ranks(environ: Mapping[str, str]) -> Ranks:
    """Ranks as the first launcher that gives one has set them; nothing is mixed or invented."""
    for family in _FAMILIES:
        ranks = _read_family(environ, family)
        if ranks.rank is not None:
            return ranks
    return Ranks()
