"""Forks of a process that records, is scraped and logs: nobody hangs, nothing is counted twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

LOADED = """
    configurator.configure(service_name="fork")
    (url,) = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
    import urllib.request
    stop = threading.Event()
    recorded = [0] * 4

    def record(i):
        counter = instruments.counter("work.done").bind(thread=str(i))
        histogram = instruments.histogram("work.duration", unit="s").bind(thread=str(i))
        while not stop.is_set():
            for _ in range(200):
                counter.add(1)
                histogram.record(0.01)
                recorded[i] += 1
            time.sleep(0.0005)

    def scrape():
        while not stop.is_set():
            urllib.request.urlopen(url).read()

    def log(i):
        logger = logging.getLogger(f"app{i}")
        logger.setLevel(logging.INFO)
        while not stop.wait(0.002):
            logger.info("message")

    threads = [threading.Thread(target=record, args=(i,)) for i in range(4)]
    threads += [threading.Thread(target=scrape)]
    threads += [threading.Thread(target=log, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
"""

# Waits for a child, but not for ever: a hang is reported as None.
WAIT = """
    def wait_for(pid, limit_s=60):
        ended = time.monotonic() + limit_s
        while time.monotonic() < ended:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
"""

WORKERS = """
    from concurrent.futures import ProcessPoolExecutor
    configurator.configure(service_name="fork")
    context = multiprocessing.get_context("fork")
    counter = instruments.counter("work.done").bind(kind="test")

    def work(n):
        counter.add(n)
        logging.getLogger("app").warning("working")
        urls = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
        return os.getpid(), lifecycle.is_silenced(), urls

    counter.add(100)
    process = context.Process(target=work, args=(1,))
    process.start()
    process.join()
    with context.Pool(2) as pool:
        results = pool.map(work, [1] * 4)
        pool.close()
        pool.join()
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        results += executor.map(work, [1] * 4)
    print(json.dumps(results))
"""


def test_200_forks_under_load(program: Any) -> None:
    """Each child ends at once, exports exactly what it recorded under an identity of its own; so does the parent."""
    done = program.run(
        LOADED
        + WAIT
        + """
    counter = instruments.counter("child.done").bind(kind="test")
    codes = []
    for _ in range(200):
        pid = os.fork()
        if not pid:
            counter.add(1)
            os._exit(0 if lifecycle.flush(30) == () else 1)
        codes.append(wait_for(pid))
    stop.set()
    for thread in threads:
        thread.join()
    print(codes.count(0), sum(recorded))
    """
    )
    children, recorded = map(int, done.stdout.split())
    assert children == 200
    totals = program.totals()
    parent = totals.pop("metrics.jsonl")
    assert parent.values["work.done"] == parent.values["work.duration"] == recorded
    assert len(totals) == 200
    assert {tuple(child.values.items()) for child in totals.values()} == {(("child.done", 1.0),)}
    assert len(set().union(parent.instances, *(child.instances for child in totals.values()))) == 201


def test_workers_of_multiprocessing_under_load_neither_hang_nor_export(program: Any) -> None:
    """Started and ended while the parent records and is scraped, as a data loader does each epoch."""
    done = program.run(
        LOADED
        + """
    context = multiprocessing.get_context("fork")
    counter = instruments.counter("child.done").bind(kind="test")

    def load(indices, batches):
        while (index := indices.get()) is not None:
            counter.add(1)
            logging.getLogger("loader").warning("batch %s", index)
            batches.put(index)

    codes = []
    for epoch in range(15):
        indices, batches = context.SimpleQueue(), context.SimpleQueue()
        workers = [context.Process(target=load, args=(indices, batches), daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        for index in range(8):
            indices.put(index)
        assert sorted(batches.get() for _ in range(8)) == list(range(8))
        for worker in workers:
            indices.put(None)
        for worker in workers:
            worker.join(60)
            codes.append(worker.exitcode)
    stop.set()
    for thread in threads:
        thread.join()
    print(codes.count(0), sum(recorded))
    """
    )
    ended, recorded = map(int, done.stdout.split())
    assert ended == 30
    (parent,) = program.totals().values()
    assert dict(parent.values) == {"work.done": recorded, "work.duration": recorded}
    assert len(parent.instances) == 1
    assert {line["logger"] for line in program.lines("logs")} == {"app0", "app1"}


def test_workers_of_multiprocessing_are_silent(program: Any) -> None:
    """Processes, pools and executors: no file, no port, no number beside the parent's."""
    results = json.loads(program.run("    import json" + WORKERS).stdout)
    assert {(silenced, *urls) for _, silenced, urls in results} == {(True, None)}
    assert {name: dict(totals.values) for name, totals in program.totals().items()} == {
        "metrics.jsonl": {"work.done": 100}
    }
    assert program.lines("logs") == []


def test_workers_export_when_asked_to(program: Any) -> None:
    """With OTELML_FORK=export each has files, a port and an identity of its own, and keeps its record to its end."""
    done = program.run("    import json" + WORKERS, OTELML_FORK="export")
    results = json.loads(done.stdout)
    assert {silenced for _, silenced, _ in results} == {False}
    assert all(url for _, _, (url,) in results)
    totals = program.totals()
    assert totals.pop("metrics.jsonl").values["work.done"] == 100
    assert {f"metrics.pid{pid}.jsonl" for pid, *_ in results} <= set(totals)
    assert sum(child.values["work.done"] for child in totals.values()) == 9
    assert all(len(child.instances) == 1 for child in totals.values())
    assert len(program.lines("logs")) == 9


def test_a_worker_that_exports_keeps_its_record_when_it_is_terminated(program: Any) -> None:
    """`Process.terminate()`, which pools use too, is a SIGTERM: flushed first, then it dies of it."""
    done = program.run(
        """
    configurator.configure(service_name="fork")
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def work():
        instruments.counter("work.done").bind(kind="test").add(7)
        ready.set()
        time.sleep(1000)

    process = context.Process(target=work)
    process.start()
    ready.wait()
    process.terminate()
    process.join()
    print(process.exitcode)
    """,
        OTELML_FORK="export",
    )
    assert int(done.stdout) == -signal.SIGTERM
    totals = program.totals()
    assert totals.pop("metrics.jsonl").values == {}
    assert [child.values["work.done"] for child in totals.values()] == [7]


def scrape(url: str) -> tuple[str, dict[str, float]]:
    """The instance id and the samples at `url`."""
    with urllib.request.urlopen(url, timeout=60) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    samples = {s.name: s for family in families for s in family.samples}
    instance = samples.pop("target_info").labels["service_instance_id"]
    return instance, {name: sample.value for name, sample in samples.items()}


def test_a_pre_fork_servers_children_are_servers_of_their_own(program: Any) -> None:
    """Each serves from zero under its own identity and port; the dead master's port is free though they live on."""
    process = program.start(
        """
    import json
    configurator.configure(service_name="fork")
    (endpoint,) = [reader for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
    counter = instruments.counter("work.done").bind(kind="test")
    counter.add(100)
    pids = []
    for n in (1, 2):
        pid = os.fork()
        if not pid:
            counter.add(n)
            print(json.dumps([n, os.getpid(), endpoint.url]), flush=True)
            time.sleep(1000)
        pids.append(pid)
    print(json.dumps([100, os.getpid(), endpoint.url]), flush=True)
    time.sleep(1000)
    """
    )
    assert process.stdout is not None
    servers = [json.loads(process.stdout.readline()) for _ in range(3)]
    try:
        scraped = {n: scrape(url) for n, _, url in servers}
        assert {n: values["work_done_total"] for n, (_, values) in scraped.items()} == {1: 1, 2: 2, 100: 100}
        assert len({instance for instance, _ in scraped.values()}) == 3
        assert len({url for _, _, url in servers}) == 3
        (master_url,) = [url for n, _, url in servers if n == 100]
        process.kill()
        process.wait()
        with socket.create_server(("127.0.0.1", int(master_url.split(":")[2].split("/")[0]))):
            pass
        assert {n: scrape(url)[1]["work_done_total"] for n, _, url in servers if n != 100} == {1: 1, 2: 2}
    finally:
        process.kill()
        for n, pid, _ in servers:
            if n != 100:
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("unhelpful", ["200"], indirect=True)
def test_children_send_over_connections_of_their_own(program: Any, unhelpful: Any) -> None:
    """Over OTLP a child's requests do not mix with its parent's on one socket; both arrive."""
    done = program.run(
        WAIT
        + """
    configurator.configure(service_name="fork")
    counter = instruments.counter("work.done").bind(kind="test")
    codes = []
    for _ in range(10):
        counter.add(1)
        assert lifecycle.flush(60) == ()
        pid = os.fork()
        if not pid:
            counter.add(1)
            os._exit(0 if lifecycle.flush(60) == () else 1)
        counter.add(1)
        assert lifecycle.flush(60) == ()
        codes.append(wait_for(pid))
    print(codes.count(0))
    """,
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
    )
    assert (done.stdout, done.stderr) == ("10\n", "")
    assert unhelpful.requests >= 30


@pytest.mark.parametrize("unhelpful", ["hangs"], indirect=True)
def test_an_export_that_hangs_does_not_hold_up_forks(program: Any, unhelpful: Any) -> None:
    """Fifty forks, each far from the exporter's timeout of 10 s."""
    done = program.run(
        WAIT
        + """
    configurator.configure(service_name="fork")
    counter = instruments.counter("work.done").bind(kind="test")
    counter.add(1)
    logging.getLogger("app").warning("working")
    assert lifecycle.flush(0.2)
    started = time.monotonic()
    codes = []
    for _ in range(50):
        pid = os.fork()
        if not pid:
            os._exit(0)
        codes.append(wait_for(pid))
    print(codes.count(0), time.monotonic() - started)
    """,
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
        OTELML_EXIT_TIMEOUT="0.1",
    )
    ended, took_s = done.stdout.split()
    assert int(ended) == 50
    assert float(took_s) < 30
