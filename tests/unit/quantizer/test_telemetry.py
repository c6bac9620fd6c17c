"""What a quantizer says by itself: its metrics, and one event an episode of collapse."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from otelml import testing
from otelml.instruments import internal, table, timer
from otelml.quantizer import Quantizer, series

RNG = np.random.default_rng(3)
UNIFORM = np.arange(240).repeat(50)


@pytest.fixture(autouse=True)
def ticks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drain thread, which might be in the middle of writing what a test looks for."""
    monkeypatch.setattr(timer, "ensure_started", lambda: None)


def values(telemetry: testing.Capture, name: str) -> dict[str, Any]:
    """The metrics of one quantizer by their names after `ml.quantizer.`."""
    return {
        metric.removeprefix("ml.quantizer."): point.value
        for metric, points in telemetry.points().items()
        for point in points
        if dict(point.attributes) == {"ml.quantizer.name": name}
    }


def collapses(telemetry: testing.Capture) -> list[dict[str, Any]]:
    """The fields of each event, without those of its place."""
    return [
        {k: v for k, v in log.log_record.attributes.items() if not k.startswith("code.")}
        for log in telemetry.logs
        if log.log_record.event_name == "ml.quantizer_collapse"
    ]


def test_the_metrics_of_a_quantizer() -> None:
    """All six, of the window, with the quantizer's name and nothing else; they conform to the registry."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", levels=[8, 6, 5])
        quantizer.observe(UNIFORM[:6000])
        stats = quantizer.stats()
        assert stats is not None
        assert values(telemetry, "fsq") == {
            "perplexity": stats.perplexity,
            "entropy.utilization": stats.entropy_utilization,
            "code.utilization": 0.5,
            "code.limit": 240,
            "code.dead": 120,
            "codes": 6000,
        }
        telemetry.assert_conforms()


def test_gauges_are_absent_before_there_are_enough_codes() -> None:
    """Until then only the codes and the codebook's size are known, and a collapse is not seen in a small batch."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", levels=[8, 6, 5])
        quantizer.observe(np.zeros(2399, int))
        assert values(telemetry, "fsq") == {"code.limit": 240, "codes": 2399}
        assert collapses(telemetry) == []
        quantizer.observe([0])
        assert values(telemetry, "fsq")["code.dead"] == 239


def test_a_closed_quantizer_has_no_gauges() -> None:
    """After `close()` they are absent, not frozen; the counter keeps its total, and the counts stay readable."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", levels=[8, 6, 5])
        quantizer.observe(UNIFORM)
        quantizer.close()
        quantizer.close()
        assert values(telemetry, "fsq") == {"codes": 12_000}
        assert quantizer.stats() is not None


def test_the_latest_of_a_name_has_the_metrics() -> None:
    """Another quantizer of the name takes the series over, and the codes add up; the old one has none any more."""
    with testing.capture() as telemetry:
        old = Quantizer("fsq", levels=[8, 6, 5])
        old.observe([1, 2])
        new = Quantizer("fsq", codebook_size=512)
        old.observe([1, 2])
        new.observe([3])
        old.close()
        assert values(telemetry, "fsq") == {"codes": 3, "code.limit": 512}
        new.observe([4])
        new.close()
        new.observe([5])
        assert values(telemetry, "fsq") == {"codes": 4}
        assert values(telemetry, "fsq") == {}


def test_too_many_quantizers_are_not_shown() -> None:
    """Names are bounded: further quantizers have statistics, but no series, which is counted and said."""
    with testing.capture() as telemetry:
        made = [Quantizer(f"q{i}", codebook_size=2, min_codes=1) for i in range(series.MAX_SHOWN + 2)]
        made[-1].observe([0, 1])
        assert len(telemetry.points()["ml.quantizer.code.limit"]) == series.MAX_SHOWN
        assert "ml.quantizer.codes" not in telemetry.points()
        assert internal.totals()["overflow", "quantizer", "quantizers"] == 2
        stats = made[-1].stats()
        assert stats is not None
        assert stats.perplexity == pytest.approx(2)


def test_a_thousand_quantizers_one_after_the_other() -> None:
    """The last is shown, and of the others none is left."""
    with testing.capture() as telemetry:
        for i in range(1000):
            quantizer = Quantizer(f"q{i}", codebook_size=2, min_codes=1)
            quantizer.observe([0, 1])
            if i % 100 == 0:
                assert values(telemetry, f"q{i}")["codes"] == 2
            if i < 999:
                quantizer.close()
        assert values(telemetry, "q999")["codes"] == 2
        codes = table.instruments["ml.quantizer.codes"]
        assert (len(codes.series), len(codes.released)) == (1, 0)
        assert {len(points) for name, points in telemetry.points().items() if "quantizer" in name} == {1}
        assert not internal.totals()


def test_a_collapse_is_said_once_an_episode() -> None:
    """Each episode is one event; it ends only well above the threshold, so that wavering is not many episodes."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", codebook_size=100, window=1000, min_codes=500, min_perplexity=50)
        fine, wavering, bad = np.arange(1000) % 100, np.arange(1000) % 52, np.arange(1000) % 40
        seen = []
        for codes in (fine, bad, bad, wavering, bad, fine, wavering, bad):
            quantizer.observe(codes)
            telemetry.tick()
            seen.append((quantizer.collapsed, len(collapses(telemetry))))
        assert seen == [
            (False, 0), (True, 1), (True, 1), (True, 1), (True, 1), (False, 1), (False, 1), (True, 2),
        ]  # fmt: skip
        assert collapses(telemetry)[0] == {
            "quantizer": "fsq",
            "measure": "perplexity",
            "threshold": 50,
            "perplexity": pytest.approx(40),
            "entropy_utilization": pytest.approx(np.log(40) / np.log(100)),
            "code_utilization": 0.4,
            "dead_codes": 60,
            "codebook_size": 100,
            "window_codes": 1000,
        }
        telemetry.assert_conforms()


def test_a_collapse_is_a_warning_for_people(caplog: pytest.LogCaptureFixture) -> None:
    """The event reaches the user's handlers as a WARNING that says what, by how much, and of which quantizer."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", levels=[8, 6, 5])
        quantizer.observe(np.repeat([3, 7], 5000))
        telemetry.tick()
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "otelml")
    assert record.getMessage() == (
        "Quantizer fsq has collapsed: entropy utilization 0.126 is below 0.5; 238 of 240 codes were not seen among "
        "the last 10000"
    )


def test_thresholds_can_be_turned_off() -> None:
    """Without thresholds nothing collapses; metrics come all the same."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", levels=[8, 6, 5], min_entropy_utilization=None)
        quantizer.observe(np.zeros(10_000, int))
        assert values(telemetry, "fsq")["perplexity"] == 1
        assert (collapses(telemetry), quantizer.collapsed) == ([], False)


def test_an_episode_can_end_however_high_the_threshold() -> None:
    """A tenth above 0.95 would be more than there is; half way to the best ends the episode too."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", codebook_size=100, window=1000, min_entropy_utilization=0.95)
        quantizer.observe(np.arange(1000) % 50)
        telemetry.tick()
        assert quantizer.collapsed
        quantizer.observe(np.arange(1000) % 100)
        telemetry.tick()
        assert not quantizer.collapsed


def test_threads_lose_nothing() -> None:
    """Four threads that observe small and large batches, while others read and drain, are counted to the last code."""
    with testing.capture() as telemetry:
        quantizer = Quantizer("fsq", levels=[8, 6, 5])
        done = threading.Event()

        def observe() -> None:
            for size in (1, 100, 5000) * 40:
                quantizer.observe(np.full(size, 5))

        def read() -> None:
            while not done.is_set():
                quantizer.stats()
                telemetry.tick()

        reader = threading.Thread(target=read)
        writers = [threading.Thread(target=observe) for _ in range(4)]
        for thread in (reader, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        reader.join()
        expected = 4 * 40 * 5101
        assert values(telemetry, "fsq")["codes"] == expected
        assert quantizer.snapshot().since_start[5] == expected


def test_a_signal_handler_that_reads_while_counting_does_no_harm() -> None:
    """The thread that is counting may be interrupted by a reader on itself, which leaves the counting to it."""
    quantizer = Quantizer("fsq", codebook_size=2, min_codes=1)
    counts = quantizer._counting._counts

    class Interrupted:
        chunk, total, window = counts.chunk, 0, 0

        def add(self, codes: Any) -> None:
            quantizer.observe(np.zeros(5000, int))
            quantizer.settle(may_wait=True)
            counts.add(codes)

    quantizer._counting._counts = Interrupted()
    quantizer.observe(np.ones(5000, int))
    quantizer._counting._counts = counts
    assert quantizer.snapshot().since_start.tolist() == [5000, 5000]


def test_copies() -> None:
    """A copy is the quantizer itself, so that a copied model has the same counts; a pickle is its configuration."""
    quantizer = Quantizer("fsq", levels=[8, 6, 5], min_perplexity=20)
    quantizer.observe([1])
    assert copy.copy(quantizer) is quantizer
    assert copy.deepcopy({"model": quantizer})["model"] is quantizer
    read = pickle.loads(pickle.dumps(quantizer))  # noqa: S301 - our own
    assert (read.name, read.codebook, read._arguments) == ("fsq", quantizer.codebook, quantizer._arguments)
    assert read.snapshot().since_start.sum() == 0


FORK = """
import os, threading
import numpy as np
from otelml import testing
from otelml.quantizer import Quantizer

with testing.capture() as telemetry:
    quantizer = Quantizer("fsq", codebook_size=2, min_codes=1)
    quantizer.observe([0, 0, 1])
    quantizer.observe(np.zeros(5000, int))
    holding, done = threading.Event(), threading.Event()

    def hold():
        with quantizer._counting._lock:
            holding.set()
            done.wait()

    threading.Thread(target=hold).start()
    holding.wait()
    child = os.fork()
    if child == 0:
        quantizer.observe([1])
        ok = quantizer.snapshot().since_start.tolist() == [0, 1]
        os._exit(0 if ok else 1)
    done.set()
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), quantizer.snapshot().since_start.tolist())
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_counts_from_zero() -> None:
    """Also where a thread of the parent was counting at that moment; the parent keeps what it has."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    # On stderr there may be the collapse that so many equal codes are, if the drain came to it.
    assert (done.stdout, done.returncode) == ("0 [5002, 1]\n", 0), done.stderr


def test_it_works_with_telemetry_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the SDK disabled nothing is recorded and no thread runs; what the program asks for is still answered."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    quantizer = Quantizer("fsq", codebook_size=2)
    for _ in range(100):
        quantizer.observe(np.zeros(100, int))
    stats = quantizer.stats()
    assert stats is not None
    assert stats.codes == 10_000


def test_a_large_codebook() -> None:
    """A million codes, in batches smaller and larger than that: the numbers are right."""
    size = 1_000_000
    quantizer = Quantizer("vq", codebook_size=size, window=size, min_codes=size // 2)
    for _ in range(100):
        quantizer.observe(RNG.integers(0, size, 64))
    quantizer.observe(np.arange(size))
    stats = quantizer.stats()
    assert stats is not None
    assert (stats.window <= size, stats.codes) == (True, size + 6400)
    assert stats.perplexity == pytest.approx(stats.window, rel=0.02)
