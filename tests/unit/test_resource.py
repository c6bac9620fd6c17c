"""The resource: ranks, run id, program and revision, from environments, command lines and recorded files."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from otelml._version import __version__
from otelml.resource import MLResourceDetector, create_resource
from otelml.resource.launch import (
    PARENT_RUN_ID,
    Program,
    find_program,
    find_run_id,
    is_helper_process,
    is_worker_process,
    make_run_id,
    read_launcher_run_id,
    read_parent_run_id,
)
from otelml.resource.revision import read_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.mark.parametrize(
    ("environ", "run_id"),
    [
        ({}, None),
        ({"TORCHELASTIC_RUN_ID": "none"}, None),
        ({"TORCHELASTIC_RUN_ID": "abc", "SLURM_JOB_ID": "17"}, "abc"),
        ({"TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "17"}, "17"),
        ({"PBS_JOBID": "17.server"}, "17.server"),
        ({"SLURM_JOB_ID": "  "}, None),
    ],
)
def test_the_launcher_s_run_id(environ: dict[str, str], run_id: str | None) -> None:
    """The launcher nearest to the program wins; torchrun's `none` is no id."""
    assert read_launcher_run_id(environ) == run_id


def test_a_run_id_is_made_up_once_where_there_is_no_launcher() -> None:
    """It is readable and sortable, and the same at every look."""
    made = find_run_id({})
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", made or "")
    assert find_run_id({}) == made
    assert find_run_id({"RANK": "0", "WORLD_SIZE": "1"}) == made
    assert find_run_id({}, "given") == "given"
    assert make_run_id(0.0, b"\xab\xcd\xef") < make_run_id(1e9, b"\0\0\0")


def test_ranks_do_not_make_up_different_ids() -> None:
    """Several ranks without an id: one derived from their common parent on one machine, none across machines."""
    several = {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
    assert find_run_id(several) is None
    assert find_run_id({**several, "LOCAL_WORLD_SIZE": "2"}) == read_parent_run_id(os.getppid())


def test_workers_belong_to_their_parent_s_run() -> None:
    """Only multiprocessing's workers look at it: other children are runs of their own."""
    environ = {PARENT_RUN_ID: "parents"}
    assert find_run_id(environ, is_worker=True) == "parents"
    assert find_run_id(environ) != "parents"


def test_the_parent_s_id_is_a_function_of_the_parent(tmp_path: Path) -> None:
    """Each rank reads the same from the process table; without one there is no id."""
    (tmp_path / "7").mkdir()
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1700000000\n")
    (tmp_path / "7" / "stat").write_text(f"7 (a ) b) S {' '.join(['0'] * 18)} 500 0\n")
    made = read_parent_run_id(7, tmp_path)
    assert made == read_parent_run_id(7, tmp_path)
    assert re.fullmatch(r"2023111\d-\d{6}-[0-9a-f]{6}", made or "")
    assert read_parent_run_id(8, tmp_path) is None


@pytest.mark.parametrize(
    ("arguments", "name", "folder"),
    [
        (["python", "train.py", "--lr", "1"], "train", "."),
        (["python", "-u", "-X", "dev", "-W", "error", "jobs/train.py"], "train", "jobs"),
        (["/venv/bin/python", "jobs"], "jobs", "jobs"),
        (["python", "jobs/__main__.py"], "jobs", "jobs"),
        (["python", "-m", "pkg.train", "x"], "pkg.train", "."),
        (["python", "-mpkg"], "pkg", "."),
        (["python", "-m", "pkg.__main__"], "pkg", "."),
        (["python", "-um", "pkg"], "pkg", "."),
        (["python", "-m", "elsewhere"], "elsewhere", None),
        (["python", "-c", "print()", "train.py"], None, "."),
        (["python", "-Ic", "print()"], None, "."),
        (["python"], None, "."),
        (["python", "-"], None, "."),
        (["python", "-i", "train.py"], "train", "."),
    ],
)
def test_the_program_is_read_from_the_interpreter_s_command_line(
    tmp_path: Path, arguments: list[str], name: str | None, folder: str | None
) -> None:
    """Scripts, folders and modules have a name; code from the command line or a prompt has none."""
    for path in ("train.py", "jobs/train.py", "jobs/__main__.py", "pkg/__init__.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    expected = None if folder is None else (tmp_path / folder).resolve()
    found = find_program(arguments, tmp_path)
    assert (found.name, found.folder and found.folder.resolve()) == (name, expected)


def test_a_deleted_working_directory_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program may have cleaned up behind itself."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert find_program(["python", "train.py"]).name == "train"


def test_multiprocessing_s_processes_are_told_apart() -> None:
    """Workers run code of the program, helpers do not; an ordinary program is neither."""
    worker = ["python", "-c", "from multiprocessing.spawn import spawn_main; ...", "--multiprocessing-fork"]
    loky = [
        "python",
        "-m",
        "joblib.externals.loky.backend.popen_loky_posix",
        "--process-name",
        "LokyProcess-1",
    ]
    tracker = ["python", "-c", "from multiprocessing.resource_tracker import main;main(4)"]
    server = ["python", "-c", "from multiprocessing.forkserver import main; main(3, 5)"]
    ordinary = ["python", "train.py", "--fork"]
    processes = (worker, loky, server, tracker, ordinary)
    assert [is_worker_process(it) for it in processes] == [True, True, True, False, False]
    assert [is_helper_process(it) for it in processes] == [False, False, False, True, False]


def make_repository(folder: Path) -> Path:
    """A `.git` folder on branch main, without git."""
    git = folder / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    return git


def test_the_revision_is_that_of_the_branch(tmp_path: Path) -> None:
    """HEAD names the branch, its file holds the commit; found from a folder below."""
    git = make_repository(tmp_path)
    (git / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    (tmp_path / "src" / "deep").mkdir(parents=True)
    assert read_revision(tmp_path / "src" / "deep") == COMMIT


def test_a_packed_or_detached_revision_is_found(tmp_path: Path) -> None:
    """`packed-refs` holds what has no file; a loose file wins over it; HEAD may hold the commit itself."""
    git = make_repository(tmp_path)
    (git / "packed-refs").write_text(
        f"# pack-refs with: peeled\n{OTHER} refs/heads/x\n{COMMIT} refs/heads/main\n^{OTHER}\n"
    )
    assert read_revision(tmp_path) == COMMIT
    (git / "refs" / "heads" / "main").write_text(OTHER)
    assert read_revision(tmp_path) == OTHER
    (git / "HEAD").write_text(COMMIT)
    assert read_revision(tmp_path) == COMMIT


def test_a_worktree_has_a_head_of_its_own(tmp_path: Path) -> None:
    """Its `.git` is a file that leads to a folder inside the main repository, which has the branches."""
    git = make_repository(tmp_path / "main")
    (git / "refs" / "heads" / "topic").write_text(COMMIT)
    inner = git / "worktrees" / "topic"
    inner.mkdir(parents=True)
    (inner / "HEAD").write_text("ref: refs/heads/topic\n")
    (inner / "commondir").write_text("../..\n")
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / ".git").write_text(f"gitdir: {inner}\n")
    assert read_revision(tmp_path / "topic") == COMMIT


@pytest.mark.parametrize(
    "head",
    [
        "",
        "nonsense",
        "ref: refs/heads/none",
        "ref: ../../secret",
        "ref: HEAD",
        "\udcff".encode("utf-8", "surrogateescape"),
    ],
)
def test_an_unknown_revision_is_absent(tmp_path: Path, head: str | bytes) -> None:
    """No commit yet, a broken or hostile HEAD, no repository: None, and no error."""
    git = make_repository(tmp_path)
    (git / "HEAD").write_bytes(head if isinstance(head, bytes) else head.encode())
    assert read_revision(tmp_path) is None
    (tmp_path / "file").touch()
    assert read_revision(tmp_path / "nowhere") is None


def test_git_itself_agrees(tmp_path: Path) -> None:
    """The independent source: `git rev-parse HEAD` in a real repository, loose and packed."""

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert read_revision(tmp_path) == git("rev-parse", "HEAD")
    git("pack-refs", "--all")
    assert read_revision(tmp_path) == git("rev-parse", "HEAD")


def test_the_detector_gives_exactly_what_is_known(tmp_path: Path) -> None:
    """With everything known all attributes are there, with nothing known only the distribution and a run id."""
    git = make_repository(tmp_path)
    (git / "refs" / "heads" / "main").write_text(COMMIT)
    environ = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "t1"}
    full = MLResourceDetector(environ=environ, program=Program("train", tmp_path)).detect()
    assert dict(full.attributes) == {
        "telemetry.distro.name": "otelml",
        "telemetry.distro.version": __version__,
        "service.name": "train",
        "ml.run.id": "t1",
        "ml.distributed.rank": 3,
        "ml.distributed.local_rank": 1,
        "ml.distributed.world_size": 8,
        "vcs.ref.head.revision": COMMIT,
    }
    bare = MLResourceDetector(environ={"OTELML_RUN_ID": "mine"}, program=Program()).detect()
    assert dict(bare.attributes) == {
        "telemetry.distro.name": "otelml",
        "telemetry.distro.version": __version__,
        "ml.run.id": "mine",
    }


def test_the_resource_takes_the_service_from_environment_code_and_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In that order; and never `unknown_service`."""
    assert not str(create_resource().attributes["service.name"]).startswith("unknown_service")
    assert create_resource("coded").attributes["service.name"] == "coded"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute,ml.run.id=attribute")
    assert create_resource("coded").attributes["service.name"] == "attribute"
    assert create_resource(run_id="coded").attributes["ml.run.id"] == "attribute"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named")
    assert create_resource("coded").attributes["service.name"] == "named"


def test_the_resource_has_what_becomes_labels_and_what_otel_adds() -> None:
    """Host and instance come from OpenTelemetry's own detectors."""
    attributes = create_resource("s", "r", {"extra": 1}).attributes
    assert {"service.name", "host.name", "service.instance.id", "ml.run.id", "telemetry.sdk.name"} <= set(
        attributes
    )
    assert (attributes["ml.run.id"], attributes["extra"]) == ("r", 1)
