"""The supervisor: starts in order, stops in the opposite one, and tells of a server that does not do its part."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import fakeserver
import pytest
from serverkit import free_ports

from otelml.stack.servers import ports, service, supervisor
from otelml.stack.servers.service import Running, Service

NAMES = ("store", "collector")


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake servers write what happens to them."""
    fakeserver.install(tmp_path, *NAMES)
    monkeypatch.setenv("FAKE_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


def create_services(folder: Path) -> list[Service]:
    """Two fake servers on free ports."""
    numbers = free_ports(len(NAMES))
    return [
        Service(
            name=name.capitalize(),
            command=(str(folder / name), f"--listen=127.0.0.1:{number}"),
            folder=folder / "stack" / name,
            files={folder / "stack" / name / "config": "text"},
            ports={ports.PROMETHEUS: number},
        )
        for name, number in zip(NAMES, numbers, strict=True)
    ]


def ask(number: signal.Signals) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_stops_all_in_the_opposite_order(
    tmp_path: Path, journal: Path, number: signal.Signals
) -> None:
    """Each listens before the next one starts; the handlers are as before afterwards."""
    before = signal.getsignal(number)
    services, said, ready = create_services(tmp_path), [], []

    def tell_ready() -> None:
        ready.extend(ports.listens(n) for one in services for n in one.ports.values())
        ask(number)

    assert supervisor.run(services, tell_ready, said.append) == 0
    assert (ready, said) == ([True, True], [])
    assert fakeserver.read_journal(journal) == [
        ("store", "started"), ("collector", "started"), ("collector", "ended"), ("store", "ended"),
    ]  # fmt: skip
    assert signal.getsignal(number) is before
    assert (tmp_path / "stack" / "store" / "config").read_text() == "text"


def test_one_that_dies_is_named_and_the_others_are_stopped(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its exit status and the end of its log."""
    monkeypatch.setenv("FAKE_DYING", "store")
    monkeypatch.setenv("FAKE_CUE", str(tmp_path / "cue"))
    said = []
    status = supervisor.run(create_services(tmp_path), (tmp_path / "cue").touch, said.append)
    assert status == 1
    assert len(said) == 1
    assert said[0].startswith(
        f"Store has ended with exit status 3. The end of its log, {tmp_path}/stack/store.log:"
    )
    assert said[0].endswith("\n  store: the disk is on fire")
    assert fakeserver.read_journal(journal)[-1] == ("collector", "ended")


def test_one_that_is_killed_is_named_with_the_signal(tmp_path: Path, journal: Path) -> None:
    """As the kernel does where memory is short."""
    said = []

    def kill() -> None:
        os.kill(fakeserver.read_pids(journal)[1], signal.SIGKILL)

    assert supervisor.run(create_services(tmp_path), kill, said.append) == 1
    assert said[0].startswith("Collector has ended by SIGKILL. ")


def test_one_that_dies_at_its_start_is_told_with_its_log(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that all is ready."""
    monkeypatch.setenv("FAKE_DYING", "collector")
    monkeypatch.setenv("FAKE_SILENT", "collector")
    monkeypatch.setenv("FAKE_CUE", str(tmp_path))
    said, ready = [], []
    assert supervisor.run(create_services(tmp_path), lambda: ready.append(1), said.append) == 1
    assert "Collector has ended with exit status 3" in said[0]
    assert ready == []
    assert fakeserver.read_journal(journal)[-1] == ("store", "ended")


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path, journal: Path) -> None:
    """For example one for another kind of machine; what had started before is stopped."""
    store, collector = create_services(tmp_path)
    (tmp_path / "collector").write_bytes(b"\x00no program")
    said = []
    assert supervisor.run([store, collector], pytest.fail, said.append) == 1
    assert said == [f"Collector cannot be started: [Errno 8] Exec format error: '{tmp_path}/collector'"]
    assert fakeserver.read_journal(journal)[-1] == ("store", "ended")


def test_one_that_never_listens_is_told(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, with its log."""
    monkeypatch.setenv("FAKE_SILENT", "store")
    monkeypatch.setattr(supervisor, "READY_PATIENCE_S", 0.5)
    said = []
    assert supervisor.run(create_services(tmp_path), pytest.fail, said.append) == 1
    assert said[0].startswith("Store does not listen after 0 s. ")


def test_one_that_does_not_end_is_killed(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time; the others end as they should."""
    monkeypatch.setenv("FAKE_DEAF", "collector")
    monkeypatch.setattr(supervisor, "STOP_PATIENCE_S", 0.5)
    said = []
    assert supervisor.run(create_services(tmp_path), lambda: ask(signal.SIGINT), said.append) == 0
    assert said == ["Collector has not ended yet, and is killed"]
    assert fakeserver.read_journal(journal)[-1] == ("store", "ended")
    assert [pid for pid in fakeserver.read_pids(journal) if fakeserver.is_alive(pid)] == []


def test_a_second_request_kills_at_once(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much time a server may have."""

    class AskedAgain(Running):
        def ask_to_end(self) -> None:
            super().ask_to_end()
            ask(signal.SIGINT)

    monkeypatch.setenv("FAKE_DEAF", "collector")
    monkeypatch.setattr(supervisor, "STOP_PATIENCE_S", float("inf"))
    monkeypatch.setattr(supervisor, "Running", AskedAgain)
    said = []
    assert supervisor.run(create_services(tmp_path), lambda: ask(signal.SIGTERM), said.append) == 0
    assert "Collector has not ended yet, and is killed" in said
    assert [pid for pid in fakeserver.read_pids(journal) if fakeserver.is_alive(pid)] == []


def test_a_request_while_starting_ends_it(tmp_path: Path, journal: Path) -> None:
    """What has not started then does not start any more."""
    services = create_services(tmp_path)
    starting = iter([None])

    class Asking(Running):
        def is_ready(self) -> bool:
            ask(signal.SIGINT) if next(starting, True) is None else None
            return super().is_ready()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "Running", Asking)
        assert supervisor.run(services, pytest.fail, pytest.fail) == 0
    assert {name for name, _ in fakeserver.read_journal(journal)} <= {"store"}


def test_a_log_is_kept_within_its_bound(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One older part stays beside it; the server goes on writing at its start."""
    monkeypatch.setattr(service, "LOG_MAX_BYTES", 10)
    store, _ = create_services(tmp_path)
    running = Running(store)
    try:
        while not running.is_ready() or not store.log.read_text().endswith("\n"):
            assert running.status is None
        before = store.log.read_text()
        running.limit_log()
        assert store.log.read_text() == ""
        assert store.log.with_suffix(".log.1").read_text() == before
    finally:
        running.kill()
