"""References as JSON: a format with a name and a version, written whole, and read with a close look."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from otelml.drift.bins import ClassBins, NumericBins
from otelml.drift.features import (
    CATEGORICAL,
    EMBEDDING,
    KINDS,
    PERFORMANCE,
    Distribution,
    Feature,
    Part,
    Performance,
)
from otelml.drift.projection import Projection

FORMAT = "otelml.drift.reference"
VERSION = 1

_MAX_COUNT = 2**53
"""Counts are exact up to here as the floats that they become."""


class DriftReferenceError(ValueError):
    """A file is no reference, is broken, or was written by a newer version."""


# -- writing


def dumps(reference: Mapping[str, Feature]) -> str:
    """The document of a reference: one line a feature, for people and for version control."""
    lines = ",\n".join(json.dumps(_describe(feature), allow_nan=False) for feature in reference.values())
    return f'{{"format": "{FORMAT}", "version": {VERSION}, "features": [\n{lines}\n]}}\n'


def write(path: Path, text: str) -> None:
    """Write `text` beside `path` and move it there in one step."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(path)) from None
    finally:
        scratch.unlink(missing_ok=True)


def _describe(feature: Feature) -> dict[str, Any]:
    head: dict[str, Any] = {"name": feature.name, "kind": feature.kind}
    tail = {"thresholds": dict(feature.thresholds)} if feature.thresholds else {}
    if isinstance(feature, Performance):
        keys = ("mean", "variance", "count", "origin", "lower_is_better")
        return head | {key: getattr(feature, key) for key in keys} | tail
    assert isinstance(feature, Distribution), "there are two classes of features"  # noqa: S101
    if feature.projection is not None:
        about = feature.projection
        head |= {"dimensions": about.dimensions, "projections": about.count, "seed": about.seed}
    return head | {"parts": [_describe_part(part) for part in feature.parts]} | tail


def _describe_part(part: Part) -> dict[str, Any]:
    bins = part.bins
    kept = {"classes": bins.classes} if isinstance(bins, ClassBins) else {"edges": bins.edges}
    return ({"name": part.name} if part.name else {}) | kept | {"counts": part.counts}


# -- reading


def loads(data: bytes, source: str) -> list[Feature]:
    """The features of a document; `source` is its name in messages.

    Raises:
        DriftReferenceError: it is no reference, is broken, or was written by a newer version.
    """
    try:
        found = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise DriftReferenceError(f"{source} is no drift reference: it is not JSON ({problem})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DriftReferenceError(f"{source} is no drift reference: it does not say format {FORMAT!r}")
    version = found.get("version")
    if type(version) is not int or version < 1:
        raise DriftReferenceError(f"{source} is broken: version is {version!r}")
    if version > VERSION:
        raise DriftReferenceError(
            f"{source} was written by a newer otelml: it has version {version}, this one reads up to {VERSION}"
        )
    return _read_features(found.get("features"), source)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _read_features(rows: Any, source: str) -> list[Feature]:
    if not isinstance(rows, list) or not rows:
        raise DriftReferenceError(f"{source} is broken: it has no features")
    features: list[Feature] = []
    for number, row in enumerate(rows):
        try:
            features.append(_read_feature(row))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            what = f"{problem} is missing" if isinstance(problem, KeyError) else str(problem)
            raise DriftReferenceError(f"{source} is broken: feature {number}: {what}") from None
    if len({feature.name for feature in features}) < len(features):
        raise DriftReferenceError(f"{source} is broken: two features have the same name")
    return features


def _read_feature(row: Any) -> Feature:
    name, kind = _text(row, "name"), _text(row, "kind")
    _check(kind in KINDS, f"kind is {kind!r}")
    thresholds = {str(method): _finite(value) for method, value in row.get("thresholds", {}).items()}
    if kind == PERFORMANCE:
        return _read_performance(name, row, thresholds)
    parts = tuple(_read_part(part, kind) for part in row["parts"])
    projection = _read_projection(row, len(parts)) if kind == EMBEDDING else None
    wanted = projection.names if projection is not None else ("",)
    _check(tuple(part.name for part in parts) == wanted, "its parts are not what its kind has")
    return Distribution(name, kind, parts, projection, thresholds)


def _read_projection(row: Any, parts: int) -> Projection:
    dimensions, count = _count(row["dimensions"]), _count(row["projections"])
    _check(dimensions >= 1, "it has no dimensions")
    # Before names are made of numbers that may be huge.
    _check(parts == (count + 1 if count else dimensions), "its parts are not what its kind has")
    _check(type(row["seed"]) is int, f"seed is {row['seed']!r}")
    return Projection(dimensions, count, row["seed"])


def _read_performance(name: str, row: Any, thresholds: Mapping[str, float]) -> Performance:
    mean, variance, origin = (_finite(row[key]) for key in ("mean", "variance", "origin"))
    _check(variance >= 0, "variance is negative")
    return Performance(
        name, mean, variance, _count(row["count"]), origin, bool(row["lower_is_better"]), thresholds
    )


def _read_part(row: Any, kind: str) -> Part:
    bins: NumericBins | ClassBins
    if kind == CATEGORICAL:
        classes = tuple(_each(row["classes"], _is_text, "classes are not text"))
        _check(len(set(classes)) == len(classes), "a class stands there twice")
        bins = ClassBins(classes)
    else:
        edges = tuple(_finite(edge) for edge in row["edges"])
        _check(
            len(edges) >= 1 and all(a < b for a, b in zip(edges, edges[1:], strict=False)),
            "edges do not increase",
        )
        bins = NumericBins(edges)
    counts = tuple(_count(count) for count in row["counts"])
    _check(len(counts) == bins.size, f"there are {len(counts)} counts for {bins.size} bins")
    _check(sum(counts) > 0, "it has counted nothing")
    return Part(row.get("name", ""), bins, counts)


def _check(fine: bool, problem: str) -> None:
    if not fine:
        raise ValueError(problem)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _each(values: Iterable[Any], test: Callable[[Any], bool], problem: str) -> list[Any]:
    found = list(values)
    _check(all(map(test, found)), problem)
    return found


def _text(row: Any, key: str) -> str:
    value = row[key]
    _check(isinstance(value, str), f"{key} is {value!r}")
    return str(value)


def _finite(value: Any) -> float:
    _check(type(value) in (int, float) and math.isfinite(value), f"{value!r} is no finite number")
    return float(value)


def _count(value: Any) -> int:
    _check(type(value) is int and value >= 0, f"{value!r:.100} is no count")
    _check(value <= _MAX_COUNT, "a count is larger than 2^53")
    return int(value)
