"""`otelml drift`: fitting and checking files, what is printed, and how it ends."""

from __future__ import annotations

import builtins
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otelml.cli import main
from otelml.drift import DriftReference
from otelml.drift import files as drift_files

Write = Callable[..., Path]


def make_columns(seed: int, rows: int, shift: float = 0.0) -> dict[str, list[Any]]:
    """Numbers with holes, classes, and whether predictions were right."""
    random = np.random.default_rng(seed)
    ages = (round(float(age), 3) for age in random.normal(40 + 10 * shift, 10, rows))
    return {
        "age": [None if i % 50 == 0 else age for i, age in enumerate(ages)],
        "city": random.choice(["Bern", "Zürich"], rows).tolist(),
        "correct": (random.random(rows) < 0.9).astype(int).tolist(),
    }


def write_csv(path: Path, columns: dict[str, list[Any]], **dialect: Any) -> Path:
    """A file as spreadsheets write it."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, **dialect)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a file before, one alike and one that has drifted."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "before.csv", make_columns(0, 6000))
    write_csv(tmp_path / "alike.csv", make_columns(1, 3000))
    write_csv(tmp_path / "drifted.csv", make_columns(2, 3000, shift=1.0))
    return tmp_path


@pytest.fixture
def fitted(files: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The same, with a reference."""
    assert main(["drift", "fit", "before.csv", "--out", "ref.json", "--kind", "correct=performance"]) == 0
    capsys.readouterr()
    return files


def test_fit_says_what_it_found(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kinds of all columns; the reference is that of the same values in the program."""
    assert main(["drift", "fit", "before.csv", "--out", "ref.json"]) == 0
    printed = capsys.readouterr()
    assert (
        printed.out
        == "ref.json: 3 columns of before.csv\n  age: numeric\n  city: categorical\n  correct: numeric\n"
    )
    assert printed.err == ""
    assert DriftReference.load("ref.json") == DriftReference.fit(make_columns(0, 6000))


@pytest.mark.usefixtures("fitted")
def test_check_tells_by_its_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """0 for what is alike, 1 for what has drifted, with a line a column."""
    assert main(["drift", "check", "ref.json", "alike.csv"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["ok", "ok", "ok"]
    assert main(["drift", "check", "ref.json", "drifted.csv"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["column", "kind", "rows", "method", "score", "noise", "threshold"]
    assert [line.split()[:4] + line.split()[-2:] for line in lines[1:]] == [
        ["age", "numeric", "3000", "psi", "0.1000", "DRIFT"],
        ["city", "categorical", "3000", "psi", "0.1000", "ok"],
        ["correct", "performance", "3000", "difference", "0.0899", "ok"],
    ]


@pytest.mark.usefixtures("fitted")
def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """All scores; a method that does not apply to classes falls back to psi."""
    arguments = ["--json", "--method", "ks", "--threshold", "0.25", "--columns", "city,age"]
    assert main(["drift", "check", "ref.json", "drifted.csv", *arguments]) == 1
    found = json.loads(capsys.readouterr().out)
    city, age = found["columns"]
    methods = ["psi", "js", "ks", "wasserstein", "hellinger", "tv", "chi2"]
    assert (found["drifted"], [*age["scores"]]) == (True, methods)
    assert {key: age[key] for key in ("column", "kind", "observations", "method", "threshold", "drifted")} == {
        "column": "age", "kind": "numeric", "observations": 3000, "method": "ks", "threshold": 0.25, "drifted": True,
    }  # fmt: skip
    assert age["score"] == age["scores"]["ks"] > age["noise_floor"] > 0
    assert (city["method"], city["drifted"]) == ("psi", False)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_give_the_same_reference(files: Path, delimiter: str) -> None:
    """The first line tells."""
    write_csv(files / "other.csv", make_columns(0, 6000), delimiter=delimiter)
    assert main(["drift", "fit", "before.csv", "--out", "a.json"]) == 0
    assert main(["drift", "fit", "other.csv", "--out", "b.json"]) == 0
    assert (files / "a.json").read_text() == (files / "b.json").read_text()


def test_pieces_of_a_file_add_up(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are."""
    assert main(["drift", "fit", "before.csv", "--out", "a.json"]) == 0
    monkeypatch.setattr(drift_files, "ROWS", 77)
    assert main(["drift", "fit", "before.csv", "--out", "b.json"]) == 0
    assert (files / "a.json").read_text() == (files / "b.json").read_text()


@pytest.mark.parametrize("library", ["pyarrow", "pandas", "polars"])
def test_parquet_is_as_good(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], library: str
) -> None:
    """With whichever library is there."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip(library)
    parquet.write_table(pyarrow.table(make_columns(0, 6000)), files / "before.parquet")
    others = {"pyarrow": (), "pandas": ("pyarrow.parquet",), "polars": ("pyarrow.parquet", "pandas")}[library]
    found = drift_files.importlib.import_module

    def import_module(name: str) -> Any:
        if name in others:
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(drift_files.importlib, "import_module", import_module)
    assert main(["drift", "fit", "before.parquet", "--out", "a.json"]) == 0
    assert main(["drift", "fit", "before.csv", "--out", "b.json"]) == 0
    assert DriftReference.load("a.json") == DriftReference.load("b.json")


def test_parquet_without_a_library(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is said, with what to install."""
    (files / "x.parquet").write_bytes(b"PAR1")

    found = drift_files.importlib.import_module

    def refuse(name: str) -> Any:
        if name in {"pyarrow.parquet", "pandas", "polars"}:
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(drift_files.importlib, "import_module", refuse)
    assert main(["drift", "fit", "x.parquet", "--out", "r.json"]) == 2
    assert capsys.readouterr().err == (
        "otelml: x.parquet: parquet files need one of pyarrow, polars, or pandas with an engine for them\n"
    )


def test_a_broken_parquet_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is said, whatever the library raises."""
    pytest.importorskip("pyarrow")
    (files / "x.parquet").write_bytes(b"PAR1 and no more")
    assert main(["drift", "fit", "x.parquet", "--out", "r.json"]) == 2
    assert capsys.readouterr().err.startswith("otelml: x.parquet is no parquet file: ")


def test_columns_without_values_are_left_out(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And named; of a column of text each text is a class."""
    (files / "x.csv").write_text("a,b,c\n1,,x\n2,NA,y\n")
    assert main(["drift", "fit", "x.csv", "--out", "r.json"]) == 0
    assert capsys.readouterr().err == "otelml: column 'b' is left out: it has no values\n"
    (files / "y.csv").write_text("a,b\n1,inf\n2,-inf\n")
    assert main(["drift", "fit", "y.csv", "--out", "y.json"]) == 0
    assert capsys.readouterr().err == "otelml: column 'b' is left out: it has no finite value\n"
    assert {name: feature.kind for name, feature in DriftReference.load("r.json").items()} == {
        "a": "numeric", "c": "categorical",
    }  # fmt: skip


@pytest.mark.usefixtures("fitted")
def test_text_among_numbers_is_missing_and_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With how much of it there is."""
    columns = make_columns(1, 3000)
    columns["age"][1] = "old"
    write_csv(tmp_path / "x.csv", columns)
    assert main(["drift", "check", "ref.json", "x.csv"]) == 0
    assert capsys.readouterr().err == "otelml: column 'age': 1 values are no numbers; they count as missing\n"


def fit_columns(folder: Path, columns: dict[str, list[Any]], *options: str) -> dict[str, str]:
    """The kinds that a file of these columns is found to have."""
    write_csv(folder / "x.csv", columns)
    assert main(["drift", "fit", "x.csv", "--out", "r.json", *options]) == 0
    return {name: feature.kind for name, feature in DriftReference.load("r.json").items()}


@pytest.mark.parametrize(
    ("slips", "said"),
    [
        (["oops"], "otelml: column 'x': 1 values are no numbers; they count as missing\n"),
        (["-", "12%", "3,5"], "otelml: column 'x': 3 values are no numbers; they count as missing\n"),
        (["12_34"], "otelml: column 'x': 1 values are no numbers; they count as missing\n"),
        (["?", "<NA>", "-nan", "#NA", ""], ""),
    ],
)
def test_a_slip_leaves_a_column_of_numbers_one(
    files: Path, capsys: pytest.CaptureFixture[str], slips: list[str], said: str
) -> None:
    """Said with how many there are; and drift is found."""
    values = np.random.default_rng(0).normal(size=2000).tolist()
    assert fit_columns(files, {"x": [*slips, *values]}) == {"x": "numeric"}
    assert capsys.readouterr().err == said
    assert fit_columns(files, {"x": [*slips, *values]}, "--kind", "x=numeric") == {"x": "numeric"}
    assert capsys.readouterr().err == said
    assert DriftReference.load("r.json")["x"].parts[0].counts[-1] == len(slips)
    write_csv(files / "y.csv", {"x": [value + 3 for value in values]})
    assert main(["drift", "check", "r.json", "y.csv"]) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["1,5", "2,5", "3"], "it is categorical, as 2 of 3 values are no numbers: 1,5"),
        (["1,5", "2,5", "3,5"], "it is categorical, as 3 of 3 values are no numbers: 1,5"),
        (["12%", "7 %", "3.5%"], "it is categorical, as 3 of 3 values are no numbers: 12%"),
        (["55_67", "59_87"], ""),
        (["a", "b1", "c"], ""),
    ],
)
def test_a_column_that_may_have_been_numbers_is_said(
    files: Path, capsys: pytest.CaptureFixture[str], values: list[str], said: str
) -> None:
    """Where most of it cannot be read, it is categorical; plain text is no surprise."""
    assert fit_columns(files, {"x": values}) == {"x": "categorical"}
    assert capsys.readouterr().err == (f"otelml: column 'x': {said}\n" if said else "")


def test_dates_are_left_out(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless a kind is given."""
    columns = {"d": ["2024-01-01", "", "2024-01-02"], "t": ["2024-01-01 10:00:00+00:00"] * 3, "x": [1, 2, 3]}
    assert fit_columns(files, columns) == {"x": "numeric"}
    why = "it holds dates, which cannot be compared; turn them into numbers, or say --kind"
    assert capsys.readouterr().err == "".join(f"otelml: column {c!r} is left out: {why}\n" for c in "dt")
    assert fit_columns(files, columns, "--kind", "d=categorical") == {"d": "categorical", "x": "numeric"}
    capsys.readouterr()
    write_csv(files / "x.csv", {"d": columns["d"]})
    assert main(["drift", "fit", "x.csv", "--out", "r.json"]) == 2
    assert capsys.readouterr().err.endswith("otelml: x.csv has no column that can be compared\n")


@pytest.mark.parametrize("options", [[], ["--kind", "e=embedding"]])
def test_parquet_of_all_sorts(files: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    """Embeddings, decimals, dates and bools."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {
            "e": [[float(i), 1.0, -i] for i in range(500)],
            "m": [None if i == 3 else Decimal(i) / 4 for i in range(500)],
            "d": [date(2024, 1, 1)] * 500,
            "t": [datetime(2024, 1, 1, tzinfo=timezone.utc)] * 500,
            "b": [True, None] * 250,
            "r": [[1.0], [1.0, 2.0]] * 250,
        }
    )
    parquet.write_table(table, files / "x.parquet")
    assert main(["drift", "fit", "x.parquet", "--out", "r.json", *options]) == 0
    assert {name: feature.kind for name, feature in DriftReference.load("r.json").items()} == {
        "e": "embedding", "m": "numeric", "b": "categorical",
    }  # fmt: skip
    assert [line.split("'")[1] for line in capsys.readouterr().err.splitlines()] == ["d", "t", "r"]
    assert main(["drift", "check", "r.json", "x.parquet"]) == 0


def test_integers_that_became_floats_are_the_same_classes(files: Path) -> None:
    """As they do in a table where one is missing."""
    whole, holed = [1, 2, 3, 4] * 100, [1.0, 2.0, 3.0, 4.0] * 100
    assert fit_columns(files, {"x": whole}, "--kind", "x=categorical") == {"x": "categorical"}
    write_csv(files / "y.csv", {"x": [*holed, "NA"]})
    assert main(["drift", "check", "r.json", "y.csv"]) == 0
    assert DriftReference.load("r.json")["x"].parts[0].bins.classes == ("1", "2", "3", "4")


def test_delimiters_in_quotes_are_none(files: Path) -> None:
    """What stands in a name does not tell what stands between names."""
    (files / "x.csv").write_text('"a;b;""c;d",x\n1,2\n3,4\n')
    assert main(["drift", "fit", "x.csv", "--out", "r.json"]) == 0
    assert list(DriftReference.load("r.json")) == ['a;b;"c;d', "x"]
    (files / "x.csv").write_text("name, of all\tx\nb\t2\nc\t4\n")
    assert main(["drift", "fit", "x.csv", "--out", "r.json"]) == 0
    assert list(DriftReference.load("r.json")) == ["name, of all", "x"]


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "x.csv cannot be read: No such file or directory"),
        (b"", "x.csv needs a first line with names of columns that differ"),
        (b"age,age\n1,2\n", "x.csv needs a first line with names of columns that differ"),
        (b"age,city,correct\n1,a\n", "x.csv, line 2: 2 fields, and 3 names"),
        (b"age,city\n1,a\n", "x.csv has no column 'correct'"),
        (b"age,city,correct\n", "x.csv has too few rows to be compared"),
        (b"age,city,correct\n1,a,1\n", "x.csv has too few rows to be compared"),
        (b"age,city\n\xff\xfe,a\n", "x.csv is not UTF-8 text"),
        (b'age,city\n"1,a\n', "x.csv is no CSV file: unexpected end of data"),
    ],
)
def test_bad_files_end_with_status_2(
    files: Path, capsys: pytest.CaptureFixture[str], text: bytes | None, said: str
) -> None:
    """One sentence on stderr, nothing on stdout."""
    if text is not None:
        (files / "x.csv").write_bytes(text)
    assert main(["drift", "check", "ref.json", "x.csv"]) == 2
    assert tuple(capsys.readouterr()) == ("", f"otelml: {said}\n")


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "before.csv", "alike.csv"], "before.csv is no drift reference: it is not JSON"),
        (["check", "none.json", "alike.csv"], "none.json: No such file or directory"),
        (["check", "ref.json", "alike.csv", "--columns", "x"], "ref.json has no column 'x'"),
        (["fit", "before.csv", "--out", "r.json", "--columns", "x"], "before.csv has no column 'x'"),
        (["fit", "before.csv", "--out", "r.json", "--kind", "x=numeric"], "before.csv has no column 'x'"),
        (["fit", "before.csv", "--out", "none/r.json"], "No such file or directory"),
        (["fit", "before.csv", "--out", "r.json", "--kind", "city=numeric"], "feature 'city': "),
    ],
)
def test_what_cannot_be_done_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """One sentence on stderr."""
    assert main(["drift", *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fit", "x.csv"],
        ["fit", "x.csv", "--out", "r", "--bins", "0"],
        ["fit", "x.csv", "--out", "r", "--kind", "a=b"],
        ["fit", "x.csv", "--out", "r", "--columns", ","],
        ["check", "r", "x.csv", "--columns", ""],
        ["check", "r"],
        ["check", "r", "x.csv", "--method", "kl"],
        ["check", "r", "x.csv", "--threshold", "nan"],
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    """Exit status 2, as argparse has it."""
    with pytest.raises(SystemExit) as caught:
        main(["drift", *arguments])
    assert caught.value.code == 2


def test_numpy_is_needed(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that is said where it is not there."""
    found = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name == "numpy":
            raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["drift", "fit", "before.csv", "--out", "r.json"]) == 2
    assert capsys.readouterr().err == "otelml: this command needs numpy\n"


@pytest.mark.usefixtures("fitted")
def test_a_closed_pipe_is_no_error() -> None:
    """`otelml drift check ... | head -1` ends quietly, and its exit status still says that there is drift."""
    command = f"{sys.executable} -m otelml drift check ref.json drifted.csv --json"
    for reader, read in (("head -1", "{\n"), ("true", "")):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} | {reader}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, read, "")


@pytest.mark.usefixtures("files")
def test_a_reference_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own name is said, not that of what is written first."""
    assert main(["drift", "fit", "before.csv", "--out", "none/ref.json"]) == 2
    assert capsys.readouterr().err == "otelml: none/ref.json: No such file or directory\n"
