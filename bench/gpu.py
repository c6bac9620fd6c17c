"""What the GPU plugin costs: a walk's own time, what it takes from a thread that runs flat out, and a scrape."""

from __future__ import annotations

import gzip
import urllib.request
from statistics import median
from time import perf_counter, sleep

from opentelemetry.sdk.metrics import MeterProvider

from otelml import gpu, settings
from otelml.export.prometheus import PrometheusEndpoint
from otelml.gpu.boundary import Boundary
from otelml.gpu.discovery import discover
from otelml.gpu.plugin import Plugin
from otelml.gpu.recordings import read_recording
from otelml.gpu.replay import ReplayLibrary
from otelml.gpu.session import Options
from otelml.gpu.walker import Walker
from otelml.instruments import drain

OWN_LIMIT_MS = 1.0
LOSS_LIMIT = 0.001
SCRAPE_LIMIT_MS = 20.0
INTERVAL_S = 5.0
SLICE_S = 1.0
SLICES = 40
OFTEN_S = 0.25


def run() -> bool:
    """Measure and print each; whether all limits hold."""
    return all([_own_time(), _loss(), _scrape()])


class _Clock:
    """Runs ahead by an interval a walk, so that the slow questions come as often as in life, and GPM has a window."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return perf_counter() + self.ahead_s


def _walker(clock) -> Walker:
    boundary = Boundary(ReplayLibrary([read_recording("h200")]), clock)
    devices, _ = discover(boundary, gpu.options_of(settings.load({}, gpu_devices="all")))
    return Walker(boundary, devices, clock=clock)


def _own_time() -> bool:
    """A walk over one GPU less the time of the library's answers."""
    clock, own = _Clock(), []
    walker = _walker(clock)
    for _ in range(300):
        snapshot = walker.walk()
        clock.ahead_s += INTERVAL_S
        own.append(1e3 * (snapshot.walk_s - snapshot.library_s))
    fine = median(own) <= OWN_LIMIT_MS
    print(
        f"\na walk over one GPU: {median(own):.2f} ms beside the calls (median of {len(own)}); "
        f"limit {OWN_LIMIT_MS:g} ms  {_verdict(fine)}"
    )
    return fine


def _loss() -> bool:
    """What a thread that only counts loses to the plugin: slices with it on, walking often, beside slices with it off.

    The recording answers after the time that the GPU took, without the interpreter's lock, as the library does.
    """
    on, off, walks = [], [], 0
    for _ in range(SLICES):
        off.append(_count())
        library = ReplayLibrary([read_recording("h200")], sleep=sleep)
        plugin = Plugin(Options(lambda library=library: library, print, interval_s=OFTEN_S))
        plugin.start()
        while plugin.current() is None:
            sleep(0.01)
        before = library._begun
        on.append(_count())
        walks += library._begun - before
        plugin.stop()
    lost_s = SLICE_S * SLICES * median(a - b for a, b in zip(off, on, strict=True)) / median(off) / walks
    loss = lost_s / INTERVAL_S
    fine = loss <= LOSS_LIMIT
    print(
        f"a thread that runs flat out loses {1e3 * lost_s:.2f} ms by a walk, {loss:.3%} with one in {INTERVAL_S:g} s "
        f"(median of {SLICES} pairs of slices, {walks} walks); limit {LOSS_LIMIT:.1%}  {_verdict(fine)}"
    )
    return fine


def _count() -> int:
    end, count = perf_counter() + SLICE_S, 0
    while perf_counter() < end:
        count += 1
    return count


def _scrape() -> bool:
    """`/metrics` over HTTP, with eight replayed GPUs."""
    endpoint = PrometheusEndpoint(port=0)
    drain.attach(MeterProvider([endpoint], shutdown_on_exit=False))
    endpoint.start()
    gpu.start(settings.load({}, nvml_replay=["h200"] * 8))
    while gpu.current() is None or not gpu.current().series("ml.gpu.sm.utilization"):
        sleep(0.1)
    took, body = [], b""
    for _ in range(30):
        start = perf_counter()
        with urllib.request.urlopen(str(endpoint.url), timeout=10) as answer:  # noqa: S310 - our own endpoint
            body = answer.read()
        took.append(1e3 * (perf_counter() - start))
    text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    gpu.stop()
    fine = median(took) <= SCRAPE_LIMIT_MS
    print(
        f"/metrics with 8 GPUs ({series} lines): {median(took):.1f} ms (median of {len(took)}); "
        f"limit {SCRAPE_LIMIT_MS:g} ms  {_verdict(fine)}"
    )
    return fine


def _verdict(fine: bool) -> str:
    return "ok" if fine else "OVER"
