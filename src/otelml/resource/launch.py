"""How this process was started: its program, the run it belongs to, and whether it only helps.

It stands alone because it reads nothing but the environment and the command line, so each rule is a pure function.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from otelml.settings.ranks import read_count, read_ranks

# Ids that a launcher or scheduler gives to all processes of one job, the nearest to the program first.
_RUN_ID_VARIABLES = (
    "TORCHELASTIC_RUN_ID",
    "MLFLOW_RUN_ID",
    "AZUREML_RUN_ID",
    "TRAINING_JOB_NAME",
    "CLOUD_ML_JOB_ID",
    "AWS_BATCH_JOB_ID",
    "RAY_JOB_ID",
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "FLUX_JOB_ID",
    "PMIX_NAMESPACE",
    "OMPI_MCA_ess_base_jobid",
)
_NO_ID = frozenset({"", "none"})  # torchrun without --rdzv-id says "none"
PARENT_RUN_ID = "OTELML_INTERNAL_PARENT_RUN_ID"
PARENT_SERVICE = "OTELML_INTERNAL_PARENT_SERVICE"

# The fork server runs nothing itself, but its children are forked from what it has set up.
_WORKER_MARKS = (
    "--multiprocessing-fork",
    "multiprocessing.forkserver import main",
    "loky.backend.popen_loky_posix",
)
_HELPER_MARKS = (
    "multiprocessing.resource_tracker import main",
    "backend.resource_tracker import main",
    "_inductor/compile_worker/",
)
_OPTIONS_WITH_VALUE = frozenset({"-W", "-X", "--check-hash-based-pycs"})

_SUFFIXES = frozenset({".py", ".pyc", ".pyw", ".exe"})

_made_up_run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """The main program: a name for the service, and the folder its source lies in when known."""

    name: str | None = None
    folder: Path | None = None


def read_launcher_run_id(environ: Mapping[str, str]) -> str | None:
    """The id that a launcher or scheduler gave to this job."""
    for name in _RUN_ID_VARIABLES:
        value = environ.get(name, "").strip()
        if value.lower() not in _NO_ID:
            return value
    return None


def make_run_id(start: float | None = None, unique: bytes | None = None) -> str:
    """A new run id, readable and sortable: local time and six hexadecimal digits, `20251107-123456-ab12cd`."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(start))}-{(unique or os.urandom(3)).hex()[:6]}"


def read_parent_run_id(pid: int, proc: Path = Path("/proc")) -> str | None:
    """An id made of the launching process: every rank it started on this machine finds the same one."""
    try:
        started_ticks = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        boot_s = next(
            int(line.split()[1])
            for line in (proc / "stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    start_s = boot_s + started_ticks / os.sysconf("SC_CLK_TCK")
    return make_run_id(start_s, hashlib.sha256(f"{pid}:{started_ticks}:{boot_s}".encode()).digest())


def _ranks_share_machine(environ: Mapping[str, str], world_size: int | None) -> bool:
    return world_size is not None and read_count(environ, "LOCAL_WORLD_SIZE") == world_size


def find_run_id(
    environ: Mapping[str, str], given: str | None = None, *, is_worker: bool = False
) -> str | None:
    """The id of this process' run: `given`, the launcher's, or made up once where no launcher started others.

    A worker of `multiprocessing` belongs to the run of its parent. None for one of several ranks whose launcher
    gave no id and that may be on other machines: each would make up another.
    """
    inherited = environ.get(PARENT_RUN_ID) if is_worker else None
    launched = given or inherited or read_launcher_run_id(environ)
    if launched:
        return launched
    ranks = read_ranks(environ)
    if ranks.rank is None or ranks.world_size == 1:
        return _own_run_id()
    return read_parent_run_id(os.getppid()) if _ranks_share_machine(environ, ranks.world_size) else None


def make_folder_name() -> str:
    """A name for the files of a process whose run has no id: the ranks on one machine share it."""
    return read_parent_run_id(os.getppid()) or make_run_id()


def _own_run_id() -> str:
    global _made_up_run_id  # noqa: PLW0603 - made up once a process
    if _made_up_run_id is None:
        _made_up_run_id = make_run_id()
    return _made_up_run_id


def _skip_options(arguments: Sequence[str]) -> Sequence[str]:
    """What follows the interpreter's own options: `-m name ...`, `-c code ...` or `script ...`."""
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if argument in _OPTIONS_WITH_VALUE:
            index += 1
        elif argument == "-" or not argument.startswith("-"):
            return arguments[index:]
        elif not argument.startswith(("--", "-W", "-X")):
            # Flags may stand together, as in `-um module`; what follows m or c belongs to it.
            letter, value = _split_flags(argument)
            if letter:
                return [f"-{letter}", *([value] if value else []), *arguments[index + 1 :]]
        index += 1
    return []


def _split_flags(argument: str) -> tuple[str, str]:
    found = re.search(r"[mc]", argument)
    return (found[0], argument[found.end() :]) if found else ("", "")


def _module_program(module: str, folder: Path) -> Program:
    name = module.removesuffix(".__main__")
    top = folder / name.partition(".")[0]
    found = top.is_dir() or top.with_suffix(".py").is_file()
    return Program(name or None, folder if found else None)


def _script_program(script: str, folder: Path) -> Program:
    path = folder / script
    if path.name == "__main__.py":
        path = path.parent
    name = path.stem if path.suffix in _SUFFIXES else path.name
    return Program(name or None, path if path.is_dir() else path.parent)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # deleted under the program: nothing is found in it either
        return Path(os.sep)


def find_program(arguments: Sequence[str] | None = None, folder: Path | None = None) -> Program:
    """The main program, from the interpreter's own command line: `sys.argv` is not complete at start-up.

    `python train.py` and `python -m train` are `train`; code from the command line or a prompt has no name.
    """
    rest = _skip_options((sys.orig_argv if arguments is None else arguments)[1:])
    folder = folder or _current_folder()
    if not rest or rest[0] in ("-", "-c"):
        return Program(None, folder)
    if rest[0] == "-m":
        return _module_program(rest[1], folder) if len(rest) > 1 else Program(None, folder)
    return _script_program(rest[0], folder)


def is_worker_process(arguments: Sequence[str] | None = None) -> bool:
    """Whether this is a worker of `multiprocessing` (or of joblib), or the server that forks them."""
    arguments = sys.orig_argv if arguments is None else arguments
    if any(mark in argument for argument in arguments for mark in _WORKER_MARKS):
        return True
    # Imported by every worker before it runs anything of the program; never imported for this question alone.
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def find_parent_service(environ: Mapping[str, str]) -> str | None:
    """The service that a worker of `multiprocessing` works for: its own command line names no program."""
    return environ.get(PARENT_SERVICE) or None if is_worker_process() else None


def is_helper_process(arguments: Sequence[str] | None = None) -> bool:
    """Whether this is a process that runs no code of the program: a resource tracker, a compiler."""
    arguments = sys.orig_argv if arguments is None else arguments
    return any(mark in argument for argument in arguments for mark in _HELPER_MARKS)


def reset() -> None:
    """Forget the run id made up for this process; for tests."""
    global _made_up_run_id  # noqa: PLW0603
    _made_up_run_id = None
