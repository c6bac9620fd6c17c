"""Fit a drift reference to a file, or check a file against one.

Files are CSV with a line of names (UTF-8; comma, semicolon, tab or bar) or parquet. Large ones are read in pieces. The
exit status of `check` is 1 when a column has drifted, and 2, as for a wrong command line, when a file cannot be used
or lacks a column of the reference.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelml.cli import show

if TYPE_CHECKING:
    from otelml.drift import DriftReference, DriftWindow
    from otelml.drift.guess import Guess

_METHODS = ("psi", "js", "ks", "wasserstein", "hellinger", "tv", "chi2")
_KINDS = ("numeric", "categorical", "embedding", "confidence", "performance")
_NO_NUMBERS = ("categorical", "embedding")
_SAMPLE = 200_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="drift_command", required=True)
    _add_fit(commands.add_parser("fit", help=_FIT, description=_FIT))
    _add_check(commands.add_parser("check", help=_CHECK, description=_CHECK))


_FIT = "Freeze what a file holds into a small JSON file, the reference."
_CHECK = "Compare a file with a reference; exit status 1 when a column has drifted."


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="CSV or parquet file")
    parser.add_argument("--out", type=Path, required=True, metavar="REF", help="the reference to write")
    parser.add_argument("--bins", type=_positive, default=20, metavar="N", help="bins of numbers (20)")
    parser.add_argument("--top", type=_positive, default=20, metavar="N", help="classes told apart (20)")
    parser.add_argument("--columns", type=_names, metavar="A,B", help="these columns only")
    parser.add_argument(
        "--kind",
        type=_kind,
        action="append",
        default=[],
        metavar="COLUMN=KIND",
        help=f"what a column is: {', '.join(_KINDS)} (found out)",
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", type=Path, help="what `fit` wrote")
    parser.add_argument("data", type=Path, help="CSV or parquet file")
    parser.add_argument("--json", action="store_true", help="print JSON, with the scores of all methods")
    parser.add_argument("--method", choices=_METHODS, default="psi", help="what decides (psi)")
    parser.add_argument(
        "--threshold", type=_threshold, metavar="X", help="for every column (0.1, or as calibrated)"
    )
    parser.add_argument("--columns", type=_names, metavar="A,B", help="these columns only")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _threshold(text: str) -> float:
    number = float(text)
    if not (0 < number < math.inf):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return number


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if not names:
        raise argparse.ArgumentTypeError("must name a column")
    return names


def _kind(text: str) -> tuple[str, str]:
    name, _, kind = text.rpartition("=")
    if not name or kind not in _KINDS:
        raise argparse.ArgumentTypeError(f"must be COLUMN= and one of {', '.join(_KINDS)}")
    return name, kind


def run(arguments: argparse.Namespace) -> int:
    """Fit, or check."""
    try:
        return _fit(arguments) if arguments.drift_command == "fit" else _check(arguments)
    except ModuleNotFoundError as problem:
        if problem.name != "numpy":
            raise
        return _refuse("this command needs numpy")
    except BrokenPipeError:
        raise
    except OSError as problem:
        if problem.filename is None:  # the output
            raise
        return _refuse(f"{problem.filename}: {problem.strerror}")
    except ValueError as problem:
        return _refuse(problem)


def _refuse(reason: object) -> int:
    _tell(reason)
    return 2


def _tell(what: object) -> None:
    print(f"otelml: {what}", file=sys.stderr)


# -- fit


def _fit(arguments: argparse.Namespace) -> int:
    from otelml.drift import DriftReference
    from otelml.drift.files import convert, read_batches
    from otelml.drift.guess import guess
    from otelml.drift.sample import sample_columns

    kinds = dict(arguments.kind)
    names = arguments.columns
    sample = sample_columns(
        (_pick(batch, names, arguments.data) for batch in read_batches(arguments.data)), _SAMPLE
    )
    _require(arguments.data, sample, kinds)
    guesses = {name: guess(column, kinds.get(name)) for name, column in sample.items()}
    used = [name for name, found in guesses.items() if not found.left_out]
    _tell_guesses(guesses)
    if sample and not used:
        raise ValueError(f"{arguments.data} has no column that can be compared")
    numeric = no_numbers = {name: 0 for name in used if guesses[name].numeric}

    def batches() -> Iterator[dict[str, Any]]:
        nonlocal no_numbers
        for batch in read_batches(arguments.data):
            columns, no_numbers = convert(_pick(batch, used, arguments.data), no_numbers)
            yield columns

    reference = DriftReference.fit_batches(
        batches,
        kinds=kinds,
        bins=arguments.bins,
        top=arguments.top,
        sample=convert(_pick(sample, used, arguments.data), numeric)[0],
    )
    _tell_no_numbers(no_numbers)
    reference.save(arguments.out)
    print(f"{arguments.out}: {len(reference)} columns of {arguments.data}")
    for feature in reference.values():
        print(f"  {feature.name}: {feature.kind}")
    return 0


def _pick(batch: Mapping[str, Any], names: Sequence[str] | None, path: Path) -> dict[str, Any]:
    """The columns that were asked for, all if none were."""
    if names is None:
        return dict(batch)
    _require(path, batch, names)
    return {name: batch[name] for name in names}


def _require(path: Path, columns: Mapping[str, Any], names: Any) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}")


def _tell_guesses(guesses: Mapping[str, Guess]) -> None:
    for name, found in guesses.items():
        if found.left_out:
            _tell(f"column {name!r} is left out: {found.left_out}")
        if found.remark:
            _tell(f"column {name!r}: {found.remark}")


def _tell_no_numbers(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if count:
            _tell(f"column {name!r}: {count} values are no numbers; they count as missing")


# -- check


def _check(arguments: argparse.Namespace) -> int:
    from otelml.drift import DriftReference, DriftWindow
    from otelml.drift.files import convert, read_batches

    reference = DriftReference.load(arguments.reference)
    if arguments.columns is not None:
        _require(arguments.reference, reference, arguments.columns)
        reference = DriftReference(reference[name] for name in arguments.columns)
    window = DriftWindow(reference)
    no_numbers = {name: 0 for name, feature in reference.items() if feature.kind not in _NO_NUMBERS}
    for batch in read_batches(arguments.data):
        columns, no_numbers = convert(_pick(batch, list(reference), arguments.data), no_numbers)
        window.observe(columns)
    _tell_no_numbers(no_numbers)
    rows = describe(reference, window, arguments.method, arguments.threshold)
    if all(row["score"] is None for row in rows):
        raise ValueError(f"{arguments.data} has too few rows to be compared")
    text = json.dumps(_document(rows), indent=2) if arguments.json else "\n".join(create_table(rows))
    return show(text, 1 if any(row["drifted"] for row in rows) else 0)


def describe(
    reference: DriftReference, window: DriftWindow, method: str, threshold: float | None
) -> list[dict[str, Any]]:
    """A row a column: its score by `method`, or by the one that decides for its kind, and those of all methods.

    What is not known is None: where there are too few rows, or `method` does not apply to classes.
    """
    scores = window.scores(threshold=threshold)
    rows = []
    for name, feature in reference.items():
        found = scores.get(name, {})
        used = next((m for m in (method, "psi", "difference") if m in found), None)
        score = found[used] if used else None
        rows.append(
            {
                "column": name,
                "kind": feature.kind,
                "observations": window.observations(name),
                "method": used,
                "score": score.value if score else None,
                "noise_floor": score.noise_floor if score else None,
                "threshold": score.threshold if score else None,
                "drifted": score.drifted if score else None,
                "scores": {m: s.value for m, s in found.items()},
            }
        )
    return rows


def _document(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"drifted": any(row["drifted"] for row in rows), "columns": list(rows)}


_HEAD = ("column", "kind", "rows", "method", "score", "noise", "threshold", "")


def create_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the table: text to the left, numbers to the right; `-` for what is not known."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        texts = (
            cell.ljust(width) if i in (0, 1, 3, 7) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join(texts).rstrip()


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    verdict = {True: "DRIFT", False: "ok", None: "too few rows"}[row["drifted"]]
    numbers = (
        "-" if row[key] is None else f"{row[key]:.4f}" for key in ("score", "noise_floor", "threshold")
    )
    return (row["column"], row["kind"], str(row["observations"]), row["method"] or "-", *numbers, verdict)
