"""References: what they are made from, and that a file gives back exactly what was saved, or says what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections import deque
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from otelml.drift import DriftReference, DriftReferenceError, DriftWindow
from otelml.drift.features import Distribution, Performance
from otelml.drift.projection import Projection
from otelml.drift.sample import sample_columns


def kinds_of(reference: DriftReference) -> dict[str, str]:
    """Names and kinds."""
    return {name: feature.kind for name, feature in reference.items()}


# -- what they are made from


def test_kinds_are_found_out() -> None:
    """Numbers are numeric, rows of numbers embeddings, everything else categorical, unless it is said."""
    reference = DriftReference.fit(
        {
            "f": np.arange(50.0),
            "i": list(range(50)),
            "with_none": [None, 1.5] * 25,
            "b": [True, False] * 25,
            "s": ["a", None] * 25,
            "e": np.ones((50, 3)),
            "rows": [[1.0, 2.0]] * 50,
            "code": [7, 8] * 25,
        },
        kinds={"code": "categorical"},
    )
    assert kinds_of(reference) == {
        "f": "numeric", "i": "numeric", "with_none": "numeric", "b": "categorical", "s": "categorical",
        "e": "embedding", "rows": "embedding", "code": "categorical",
    }  # fmt: skip


def test_arrays_have_features_by_position() -> None:
    """One dimension is one feature, two are columns, or an embedding where that is said."""
    assert kinds_of(DriftReference.fit(np.arange(30.0))) == {"value": "numeric"}
    assert kinds_of(DriftReference.fit(np.ones((30, 2)))) == {"x0": "numeric", "x1": "numeric"}
    assert kinds_of(DriftReference.fit(np.ones((30, 2)), kinds="embedding")) == {"value": "embedding"}
    assert kinds_of(DriftReference.fit(["a", "b"])) == {"value": "categorical"}


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars"])
def test_tables_have_features_by_name(library: str) -> None:
    """Those of pandas, polars and pyarrow, with nulls, give the same reference as the same lists."""
    module = pytest.importorskip(library)
    columns = {"n": [1, None, 3, 4], "x": [0.5, 1.5, None, 2.5], "s": ["a", "b", None, "b"]}
    table = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    assert DriftReference.fit(table) == DriftReference.fit(columns)
    assert DriftReference.fit(table["x"]) == DriftReference.fit(columns["x"])


def test_pandas_own_types() -> None:
    """Nullable integers and categories."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "n": pandas.array([1, None, 3], dtype="Int64"),
            "c": pandas.Categorical(["a", "b", None]),
            "s": pandas.array(["x", None, "y"], dtype="string"),
        }
    )
    assert DriftReference.fit(table) == DriftReference.fit(
        {"n": [1.0, None, 3.0], "c": ["a", "b", None], "s": ["x", None, "y"]}
    )


def test_rows_as_json_has_them() -> None:
    """A key that a row lacks is missing there."""
    assert DriftReference.fit([{"a": 1, "b": "x"}, {"a": 2}]) == DriftReference.fit(
        {"a": [1, 2], "b": ["x", None]}
    )


def test_structured_and_masked_arrays() -> None:
    """Fields are features, and what is masked is missing."""
    fields = np.array([(1, 0.5), (2, 1.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert DriftReference.fit(fields) == DriftReference.fit({"a": [1, 2], "b": [0.5, 1.5]})
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    assert DriftReference.fit(masked) == DriftReference.fit([1, None, 3])


def test_a_performance_reference_may_be_a_number_alone() -> None:
    """Then nothing is known of its spread; scores give that too."""
    reference = DriftReference.fit(
        {"accuracy": 0.93, "loss": [0.25, 0.75]},
        kinds={"accuracy": "performance", "loss": "performance"},
        lower_is_better=["loss"],
    )
    assert reference["accuracy"] == Performance("accuracy", 0.93, origin=0.93)
    assert reference["loss"] == Performance("loss", 0.5, 0.0625, 2, origin=0.5, lower_is_better=True)


def test_embeddings_are_projected_onto_directions_that_never_change() -> None:
    """Signs off a hash, whatever the version of numpy; the norm comes along."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 6))
    feature = DriftReference.fit(rows, kinds="embedding", projections=2, seed=5)["value"]
    assert isinstance(feature, Distribution)
    assert [part.name for part in feature.parts] == ["p0", "p1", "norm"]
    digest = hashlib.shake_256(b"otelml.drift.projection:5").digest(2)
    bits = [(byte >> (7 - i)) & 1 for byte in digest for i in range(8)][:12]
    signs = np.array([1 if bit else -1 for bit in bits]).reshape(2, 6).T / np.sqrt(6)
    p0, p1, norm = Projection(6, 2, 5).apply(rows)
    assert np.allclose([p0, p1], (rows @ signs).T)
    assert np.allclose(norm, np.linalg.norm(rows, axis=1))
    more = Projection(6, 4, 5).apply(rows)
    assert np.allclose(more[:2], [p0, p1])


def test_embeddings_by_dimension() -> None:
    """Each dimension is a part."""
    feature = DriftReference.fit(
        np.random.default_rng(0).normal(size=(50, 3)), kinds="embedding", projections=0
    )
    assert [part.name for part in feature["value"].parts] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ({}, {}, "at least one feature"),
        ({"x": []}, {}, "feature 'x': "),
        ({"x": [np.nan, np.inf]}, {}, "feature 'x': it has no finite value"),
        ({"x": [None, None]}, {"kinds": {"x": "categorical"}}, "feature 'x': all of its values are missing"),
        ({"x": np.ones((2, 2, 2))}, {}, "feature 'x': its shape is (2, 2, 2)"),
        (np.ones((2, 2, 2)), {}, "an array of shape (2, 2, 2) is no table"),
        ({"x": np.array(["2020-01-01"], "M8[D]")}, {}, "feature 'x': datetime64[D] cannot be compared"),
        ({"x": np.array([1j])}, {}, "feature 'x': complex128 cannot be compared"),
        ({"x": [date(2024, 1, 1), None]}, {}, "feature 'x': a column of dates cannot be compared"),
        ({"x": ["a", "b"]}, {"kinds": {"x": "numeric"}}, "feature 'x': it holds object, not real numbers"),
        (
            {"x": [1]},
            {"kinds": {"x": "number"}},
            "'x' cannot be of kind 'number': one of numeric, categorical",
        ),
        ({"x": [1]}, {"bins": 0}, "bins must be at least 1, not 0"),
        ({"x": [1, 2]}, {"chunks": 4}, "at least 5 chunks, not 4"),
        (
            {"x": list(range(100))},
            {"chunks": 5},
            "feature 'x': a chunk has 20 observations, and a score needs 200",
        ),
        ({"x": [[1, 2], [3]]}, {}, "its rows are not all of the same length"),
    ],
)
def test_what_cannot_be_a_reference_is_said(values: Any, options: dict[str, Any], said: str) -> None:
    """Which feature, and why."""
    with pytest.raises(ValueError) as caught:
        DriftReference.fit(values, **options)
    assert said in str(caught.value)


def test_chunks_may_be_of_any_column() -> None:
    """What can be fitted can be calibrated: a score alone, an index of its own, what is read once."""
    pandas = pytest.importorskip("pandas")
    numbers = np.random.default_rng(0).normal(size=2000)
    plain = DriftReference.fit({"x": numbers}, chunks=5)
    series = pandas.Series(numbers, index=numbers[::-1])
    for column in (series, deque(numbers.tolist()), (n for n in numbers.tolist())):
        assert DriftReference.fit({"x": column}, chunks=5) == plain
    kinds = {"accuracy": "performance"}
    for score in (0.9, np.float64(0.9), [0.9]):
        both = DriftReference.fit({"x": numbers, "accuracy": score}, kinds=kinds, chunks=5)
        assert both["accuracy"] == Performance("accuracy", 0.9, origin=0.9)
        assert both["x"] == plain["x"]


def test_numbers_as_objects_are_numbers() -> None:
    """Those of numpy and decimals too; bools are not."""
    columns = {
        "numpy": np.array([np.int64(1), np.float32(2)] * 20, dtype=object),
        "decimal": [Decimal("1.5"), None] * 20,
        "bool": np.array([True, None] * 20, dtype=object),
    }
    assert kinds_of(DriftReference.fit(columns)) == {
        "numpy": "numeric", "decimal": "numeric", "bool": "categorical",
    }  # fmt: skip


def test_thresholds_come_from_chunks() -> None:
    """Mean and three standard deviations of what the reference's chunks score against all others."""
    values = np.random.default_rng(0).normal(size=20_000)
    feature = DriftReference.fit(values, chunks=10)["value"]
    edges = feature.parts[0].bins.edges
    scores = []
    for i, chunk in enumerate(np.split(values, 10)):
        rest = np.concatenate([values[: 2000 * i], values[2000 * i + 2000 :]])
        scores.append(ks_2samp(np.digitize(rest, edges), np.digitize(chunk, edges)).statistic)
    assert feature.thresholds["ks"] == pytest.approx(np.mean(scores) + 3 * np.std(scores, ddof=1))
    assert set(feature.thresholds) == {"psi", "js", "ks", "wasserstein", "hellinger", "tv", "chi2"}
    steady = DriftReference.fit(np.ones(100), chunks=5)["value"]
    assert set(steady.thresholds.values()) == {0.01}


@pytest.mark.parametrize("chunks", [5, 10])
def test_calibrated_thresholds_are_hardly_ever_exceeded(chunks: int) -> None:
    """By windows as large as the chunks, without drift, whatever the noise limit says."""
    random = np.random.default_rng(4)
    exceeded: list[bool] = []
    for _ in range(40):
        window = DriftWindow(DriftReference.fit(random.normal(size=500 * chunks), chunks=chunks))
        for _ in range(10):
            window = DriftWindow(window.reference)
            window.observe(random.normal(size=500))
            exceeded += [s.value > s.threshold for s in window.scores()["value"].values()]
    assert np.mean(exceeded) < 0.06


def test_the_calibrated_threshold_of_a_performance_has_its_unit() -> None:
    """Losses around a thousandth: nothing is below the least threshold of the other methods."""
    losses = np.random.default_rng(0).exponential(1e-3, 20_000)
    options = {"kinds": {"loss": "performance"}, "lower_is_better": ["loss"]}
    calibrated, plain = (DriftReference.fit({"loss": losses}, chunks=n, **options) for n in (20, 0))
    chunks = losses.reshape(20, -1)
    off = [chunk.mean() - np.delete(chunks, i, 0).mean() for i, chunk in enumerate(chunks)]
    assert calibrated["loss"].thresholds["difference"] == pytest.approx(3 * np.std(off, ddof=1), rel=1e-6)
    for reference in (calibrated, plain):
        for factor, found in ((1, False), (2, True)):
            window = DriftWindow(reference)
            window.observe({"loss": np.random.default_rng(1).exponential(factor * 1e-3, 2000)})
            assert window.scores()["loss"]["difference"].drifted is found


def test_batches_give_the_reference_of_the_whole() -> None:
    """Where the sample holds all rows it is the same; where it does not, every row is counted all the same."""
    random = np.random.default_rng(0)
    columns = {"x": random.normal(size=3000), "c": random.choice(list("abc"), 3000)}

    def batches() -> Any:
        for start in range(0, 3000, 700):
            yield {name: column[start : start + 700] for name, column in columns.items()}

    assert DriftReference.fit_batches(batches) == DriftReference.fit(columns)
    sampled = DriftReference.fit_batches(batches, sample=1000)
    assert [sum(feature.parts[0].counts) for feature in sampled.values()] == [3000, 3000]
    with pytest.raises(ValueError, match="there are no rows"):
        DriftReference.fit_batches(list)


def test_a_sample_is_of_all_rows() -> None:
    """Of the given size, in order, without one twice, and from everywhere."""
    batches = ({"x": np.arange(start, start + 1000)} for start in range(0, 10_000, 1000))
    drawn = sample_columns(batches, 500)["x"]
    assert (len(drawn), len(set(drawn.tolist()))) == (500, 500)
    assert np.all(np.diff(drawn) > 0)
    assert abs(drawn.mean() - 5000) < 500


# -- files


def test_a_file_gives_back_what_was_saved(reference: DriftReference, tmp_path: Path) -> None:
    """All kinds, exactly, thresholds too; small, and with nothing left beside it."""
    calibrated = DriftReference.fit(
        {"x": np.random.default_rng(0).normal(size=9000), "ü\ud800": ["ß"] * 9000}, chunks=5
    )
    for each in (reference, calibrated):
        each.save(tmp_path / "reference.json")
        loaded = DriftReference.load(str(tmp_path / "reference.json"))
        assert (loaded, loaded.fingerprint, hash(loaded)) == (each, each.fingerprint, hash(each))
        assert [entry.name for entry in tmp_path.iterdir()] == ["reference.json"]
        assert (tmp_path / "reference.json").stat().st_size < 20_000
    assert pickle.loads(pickle.dumps(reference)) == reference  # noqa: S301 - our own


def test_saving_is_all_or_nothing(
    reference: DriftReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure half-way leaves the old file, and nothing beside it."""
    path = tmp_path / "reference.json"
    path.write_text("the old one")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        reference.save(path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [
        ("reference.json", "the old one")
    ]


GOOD = {"name": "x", "kind": "numeric", "parts": [{"edges": [0.0, 1.0], "counts": [0, 5, 0, 0]}]}


def document(*features: Any, **other: Any) -> str:
    """A document with these features."""
    return json.dumps({"format": "otelml.drift.reference", "version": 1, "features": features} | other)


def changed(**part: Any) -> str:
    """A document whose one feature has another part."""
    return document(GOOD | {"parts": [GOOD["parts"][0] | part]})


def embedding(**changes: Any) -> str:
    """A document with an embedding of one dimension."""
    parts = [GOOD["parts"][0] | {"name": "0"}]
    about = {"name": "e", "kind": "embedding", "dimensions": 1, "projections": 0, "seed": 0, "parts": parts}
    return document(about | changes)


def test_the_good_document_is_good(tmp_path: Path) -> None:
    """So that the broken ones below are broken by what they say."""
    (tmp_path / "r").write_text(document(GOOD))
    assert kinds_of(DriftReference.load(tmp_path / "r")) == {"x": "numeric"}
    (tmp_path / "r").write_text(embedding(seed=-1), encoding="utf-8-sig")
    assert kinds_of(DriftReference.load(tmp_path / "r")) == {"e": "embedding"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r is no drift reference: it is not JSON"),
        ("\x00\xff", "r is no drift reference: it is not JSON"),
        ("[" * 100_000, "r is no drift reference: it is not JSON"),
        ("[]", "r is no drift reference: it does not say format 'otelml.drift.reference'"),
        (document(GOOD)[:60], "r is no drift reference: it is not JSON"),
        (
            document(GOOD, version=2),
            "r was written by a newer otelml: it has version 2, this one reads up to 1",
        ),
        (document(GOOD, version="1"), "r is broken: version is '1'"),
        (document(), "r is broken: it has no features"),
        (document(GOOD, GOOD), "r is broken: two features have the same name"),
        (document(3), "r is broken: feature 0: "),
        (document({"kind": "numeric"}), "r is broken: feature 0: 'name' is missing"),
        (document(GOOD | {"kind": "new"}), "r is broken: feature 0: kind is 'new'"),
        (document(GOOD | {"parts": []}), "r is broken: feature 0: its parts are not what its kind has"),
        (document(GOOD | {"thresholds": {"psi": None}}), "r is broken: feature 0: None is no finite number"),
        (changed(edges=[1.0, 0.0]), "r is broken: feature 0: edges do not increase"),
        (changed(edges=[0.0, 1e400]), "Infinity is no number"),
        (changed(counts=[1, 2]), "r is broken: feature 0: there are 2 counts for 4 bins"),
        (changed(counts=[0, 0, 0, 0]), "r is broken: feature 0: it has counted nothing"),
        (changed(counts=[0, -1, 5, 0]), "r is broken: feature 0: -1 is no count"),
        (changed(counts=[0, 1.5, 0, 0]), "r is broken: feature 0: 1.5 is no count"),
        (changed(counts=[0, 10**400, 0, 0]), "r is broken: feature 0: a count is larger than 2^53"),
        (embedding(dimensions=0), "r is broken: feature 0: it has no dimensions"),
        (embedding(dimensions=0, projections=1), "r is broken: feature 0: it has no dimensions"),
        (embedding(parts=[]), "r is broken: feature 0: its parts are not what its kind has"),
        (embedding(projections=2**53), "r is broken: feature 0: its parts are not what its kind has"),
        (embedding(seed=0.5), "r is broken: feature 0: seed is 0.5"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    """In one sentence, with the file's name."""
    (tmp_path / "r").write_text(text, encoding="latin-1")
    with pytest.raises(DriftReferenceError) as caught:
        DriftReference.load(tmp_path / "r")
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is the operating system's error."""
    with pytest.raises(FileNotFoundError):
        DriftReference.load(tmp_path / "none")
