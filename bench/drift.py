"""What `DriftMonitor.observe` costs beside bare numpy, and the whole question beside evidently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from time import perf_counter_ns

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelml.drift import DriftMonitor, DriftReference
from otelml.instruments import drain

ROWS = 100_000
NUMPY_LIMIT = 3.0
EVIDENTLY_LIMIT = 20.0
ROUNDS = 40

# Its own process: it takes seconds to import. The reference and the data are those below.
EVIDENTLY = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
rows = int(sys.argv[1])
random = np.random.default_rng(0)
definition = DataDefinition(numerical_columns=["x"])
before, after = (
    Dataset.from_pandas(pd.DataFrame({"x": random.normal(shift, 1, rows)}), definition) for shift in (0, 0.2)
)
took = []
for _ in range(5):
    start = time.perf_counter_ns()
    Report([ValueDrift(column="x", method="psi")]).run(after, before).dict()
    took.append(time.perf_counter_ns() - start)
print(json.dumps(min(took)))
"""


def run() -> bool:
    """Measure and print each; whether all limits hold."""
    drain.attach(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    random = np.random.default_rng(0)
    before, after = random.normal(0, 1, ROWS), random.normal(0.2, 1, ROWS)
    classes = random.integers(0, 50, ROWS)
    return all([_numbers(before, after), _classes(classes), _whole_question(before, after)])


def _numbers(before, after) -> bool:
    reference = DriftReference.fit(before)
    monitor = DriftMonitor(reference, name="numbers", window=10 * ROWS)
    edges = np.array(reference["value"].parts[0].bins.edges)
    contenders = {
        "observe": lambda: monitor.observe(after),
        "bare": lambda: np.bincount(np.searchsorted(edges, after, side="right"), minlength=edges.size + 1),
    }
    return _show(f"observe of {ROWS} numbers", *_race(contenders), "searchsorted + bincount")


def _classes(classes) -> bool:
    """Against the same two calls, which is what integer classes would take; text takes a dictionary."""
    monitor = DriftMonitor(
        DriftReference.fit(classes, kinds="categorical", top=50), name="classes", window=10 * ROWS
    )
    known = np.unique(classes)
    contenders = {
        "observe": lambda: monitor.observe(classes),
        "bare": lambda: np.bincount(np.searchsorted(known, classes), minlength=known.size),
    }
    return _show(f"observe of {ROWS} classes", *_race(contenders), "searchsorted + bincount")


def _race(contenders) -> tuple[float, float]:
    """Least time of each in ns, measured in turns."""
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            start = perf_counter_ns()
            work()
            best[name] = min(best[name], perf_counter_ns() - start)
    return best["observe"], best["bare"]


def _show(title: str, ours_ns: float, bare_ns: float, beside: str) -> bool:
    fine = ours_ns <= NUMPY_LIMIT * bare_ns
    print(
        f"\n{title}: {ours_ns / 1e6:.2f} ms, {ours_ns / bare_ns:.2f} x {beside} ({bare_ns / 1e6:.2f} ms); "
        f"limit {NUMPY_LIMIT:g} x  {_verdict(fine)}"
    )
    return fine


def _whole_question(before, after) -> bool:
    """Have these 100 000 values drifted: observe, judge and all scores, beside a report of evidently with one."""
    if find_spec("evidently") is None:
        print("\nevidently is not installed: not compared")
        return True
    monitor = DriftMonitor(DriftReference.fit(before), name="question", window=ROWS)

    def ask() -> None:
        monitor.observe(after)
        monitor.scores()

    ours_ns, _ = _race({"observe": ask, "bare": lambda: None})
    environ = {**os.environ, "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-c", EVIDENTLY, str(ROWS)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    theirs_ns = json.loads(done.stdout.splitlines()[-1])
    fine = theirs_ns >= EVIDENTLY_LIMIT * ours_ns
    print(
        f"\nhave {ROWS} values drifted: {ours_ns / 1e6:.2f} ms with all scores; evidently {theirs_ns / 1e6:.1f} ms "
        f"with psi, {theirs_ns / ours_ns:.0f} x; limit {EVIDENTLY_LIMIT:g} x  {_verdict(fine)}"
    )
    return fine


def _verdict(fine: bool) -> str:
    return "ok" if fine else "OVER"
