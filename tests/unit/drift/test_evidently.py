"""The scores say what `evidently` says of the same raw data, as far as bins allow; exactly, where it has the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, ks_2samp

from otelml.drift import DriftReference, DriftWindow, Score

WITHIN_BINS = {"rel": 0.15, "abs": 0.005}
"""evidently has equal widths where we have quantiles: their scores of smooth shifts are this near."""

# Apart from this process: it takes seconds to import, and warns.
PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
data = np.load(sys.argv[1])
frames = [pd.DataFrame({n: data[f"{n}_{when}"] for n in ("x", "u", "c")}) for when in ("before", "after")]
definition = DataDefinition(numerical_columns=["x", "u"], categorical_columns=["c"])
before, after = (Dataset.from_pandas(frame, definition) for frame in frames)
found = {}
for column, method in json.loads(sys.argv[2]):
    report = Report([ValueDrift(column=column, method=method)]).run(after, before)
    found[f"{column} {method}"] = float(report.dict()["metrics"][0]["value"])
print(json.dumps(found))
"""
ASKED = [
    *(("x", method) for method in ("psi", "jensenshannon", "hellinger", "ks")),
    ("u", "wasserstein"),
    *(("c", method) for method in ("psi", "jensenshannon", "hellinger", "chisquare")),
]


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """Numbers, their place among those before (u), and classes; before and after a shift."""
    random = np.random.default_rng(11)
    before, after = random.normal(0, 1, 20_000), random.normal(0.5, 1.1, 8_000)
    ordered = np.sort(before)
    return {
        "x_before": before, "x_after": after,
        "u_before": np.searchsorted(ordered, before) / before.size,
        "u_after": np.searchsorted(ordered, after) / before.size,
        "c_before": random.choice(["a", "b", "c", "d"], 20_000, p=[0.4, 0.3, 0.2, 0.1]),
        "c_after": np.resize(random.choice(["a", "b", "c", "d"], 8_000, p=[0.3, 0.3, 0.25, 0.15]), 8_000),
    }  # fmt: skip


@pytest.fixture(scope="module")
def evidently(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What evidently says, by column and method; without it these tests are skipped, or fail where CI promises it."""
    if find_spec("evidently") is None:
        reason = "no evidently: `pip install evidently 'pandas<3'`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("evidently")
    np.savez(folder / "data.npz", **data)
    environ = {**os.environ, "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "data.npz", json.dumps(ASKED)],
        env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def ours(data: dict[str, Any]) -> dict[str, dict[str, Score]]:
    """Our scores, by feature and method."""
    window = DriftWindow(DriftReference.fit({"x": data["x_before"], "c": data["c_before"]}))
    window.observe({"x": data["x_after"], "c": data["c_after"]})
    return window.scores()


def test_numbers(
    data: dict[str, Any], evidently: dict[str, float], ours: dict[str, dict[str, Score]]
) -> None:
    """Within what other bins make of them; evidently's Jensen-Shannon distance is in nats, ours in bits."""
    x = {method: score.value for method, score in ours["x"].items()}
    assert x["psi"] == pytest.approx(evidently["x psi"], **WITHIN_BINS)
    assert x["js"] * np.sqrt(np.log(2)) == pytest.approx(evidently["x jensenshannon"], **WITHIN_BINS)
    assert x["hellinger"] == pytest.approx(evidently["x hellinger"], **WITHIN_BINS)


def test_ks_is_at_most_a_bin_below_that_of_the_raw_values(
    data: dict[str, Any], evidently: dict[str, float], ours: dict[str, dict[str, Score]]
) -> None:
    """evidently gives the p-value of scipy's statistic; of the same statistic, then."""
    raw = ks_2samp(data["x_before"], data["x_after"])
    assert evidently["x ks"] == pytest.approx(raw.pvalue)
    assert raw.statistic - 1 / 20 <= ours["x"]["ks"].value <= raw.statistic + 1e-12


def test_wasserstein_is_that_of_the_quantiles(
    evidently: dict[str, float], ours: dict[str, dict[str, Score]]
) -> None:
    """evidently's, of the values' places among the reference's, times the deviation that it divides by."""
    assert ours["x"]["wasserstein"].value == pytest.approx(
        evidently["u wasserstein"] * np.sqrt(1 / 12), rel=0.1
    )


def test_classes_have_the_same_bins(evidently: dict[str, float], ours: dict[str, dict[str, Score]]) -> None:
    """And so the same scores."""
    c = {method: score.value for method, score in ours["c"].items()}
    assert c["psi"] == pytest.approx(evidently["c psi"], rel=1e-9)
    assert c["js"] * np.sqrt(np.log(2)) == pytest.approx(evidently["c jensenshannon"], rel=1e-9)
    assert c["hellinger"] == pytest.approx(evidently["c hellinger"], rel=1e-9)
    assert chi2.sf(c["chi2"] * 8_000, df=3) == pytest.approx(evidently["c chisquare"], rel=1e-6, abs=1e-300)
