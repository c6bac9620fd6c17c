"""Replaying files: which, in what order, in what requests, and what is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from otelml.stack import replay as module
from otelml.stack.otlp_http import Answer, UnreachableError
from otelml.stack.replay import Batch, Broken, Recorded, find_files, read_batches, replay

SPANS = {"resourceSpans": [{"scopeSpans": [{"spans": [{}, {}]}, {"spans": [{}]}]}, {"scopeSpans": []}]}
POINTS = {
    "resourceMetrics": [
        {
            "scopeMetrics": [
                {
                    "metrics": [
                        {"name": "a", "gauge": {"dataPoints": [{}, {}]}},
                        {"name": "b", "sum": {"dataPoints": [{}], "isMonotonic": True}},
                        {"name": "c", "histogram": {"dataPoints": [{}]}},
                        {"name": "d"},
                    ]
                }
            ]
        }
    ]
}


class FakeEndpoint:
    """Gives one answer after another, then takes everything."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, Any]] = []
        self.is_closed = False

    def post(self, signal: str, request: dict[str, Any]) -> Answer:
        answer = self.answers.pop(0) if self.answers else Answer(taken=True)
        if isinstance(answer, Exception):
            raise answer
        self.got.append((signal, request))
        return answer

    def close(self) -> None:
        self.is_closed = True


def flat_line(number: int, **more: Any) -> str:
    """A flat log record."""
    record = {"timestamp": "2025-11-07T12:34:56.123456Z", "level": "INFO", "message": "said", "n": number}
    return json.dumps(record | more)


def write(path: Path, *lines: str) -> Path:
    """A file of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_files_are_found_oldest_first(tmp_path: Path) -> None:
    """Rotated ones by their number from the highest; each process of a rank or a pid by itself; nothing else."""
    names = """a/run-1/logs.10.jsonl a/run-1/logs.2.jsonl a/run-1/logs.jsonl a/run-1/metrics.jsonl
    a/run-1/traces.1.jsonl a/run-1/traces.jsonl a/run-1/logs.pid47-0a1b2c3d.1.jsonl a/run-1/logs.pid47-0a1b2c3d.jsonl
    a/run-1/logs.rank3.1.jsonl a/run-1/logs.rank3.jsonl a/run-1/traces.rank3.pid12.jsonl b/run-2/logs.jsonl""".split()
    others = "a/run-1/.writer.lock a/notes.jsonl a/logs.txt a/logs.jsonl.gz a/logs.1.2.jsonl a/mylogs.jsonl".split()
    for name in (*names, *others):
        write(tmp_path / name)
    (tmp_path / "a" / "traces.jsonl").mkdir()
    assert [str(file.path.relative_to(tmp_path)) for file in find_files([tmp_path])] == names
    assert {file.signal for file in find_files([tmp_path])} == {"logs", "metrics", "traces"}
    twice = [tmp_path / "b", tmp_path / "b" / "run-2" / "logs.jsonl"]
    assert [file.path.name for file in find_files(twice)] == ["logs.jsonl"]


@pytest.mark.parametrize("name", ["nothing", "notes.jsonl", "logs.jsonl"])
def test_a_path_that_is_no_such_file_is_named(tmp_path: Path, name: str) -> None:
    """One that is not there, and one of another kind."""
    write(tmp_path / "notes.jsonl")
    with pytest.raises(ValueError, match=name):
        find_files([tmp_path / name])


def test_a_line_of_otlp_is_a_request(tmp_path: Path) -> None:
    """As it stands, with the number of its spans or data points."""
    traces = write(tmp_path / "traces.jsonl", json.dumps(SPANS), "", json.dumps({"resourceSpans": []}))
    assert list(read_batches(Recorded(traces, "traces"))) == [
        Batch("traces", SPANS, 3, f"{traces}:1"),
        Batch("traces", {"resourceSpans": []}, 0, f"{traces}:3"),
    ]
    metrics = write(tmp_path / "metrics.jsonl", json.dumps(POINTS))
    assert list(read_batches(Recorded(metrics, "metrics"))) == [Batch("metrics", POINTS, 4, f"{metrics}:1")]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "5",
        "{}",
        json.dumps(POINTS),
        '{"resourceSpans": 5}',
        '{"resourceSpans": [5]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": 5}]}]}',
        '{"resourceSpans": null}',
        "[" * 100_000,
        f'{{"resourceSpans": {"9" * 5000}}}',
        "\ufffd\x00",
    ],
    ids=lambda line: line[:20],
)
def test_a_broken_line_costs_itself(tmp_path: Path, line: str) -> None:
    """The lines around it are read."""
    path = write(tmp_path / "traces.jsonl", json.dumps(SPANS), line, json.dumps(SPANS))
    found = list(read_batches(Recorded(path, "traces")))
    assert [type(part) for part in found] == [Batch, Broken, Batch]
    assert found[1] == Broken(f"{path}:2")


def test_a_torn_last_line_is_broken_and_a_whole_one_without_its_end_is_not(tmp_path: Path) -> None:
    """What a killed program leaves behind."""
    path = tmp_path / "logs.jsonl"
    path.write_text(flat_line(1) + "\n" + flat_line(2))
    (batch,) = read_batches(Recorded(path, "logs"))
    assert batch.items == 2
    path.write_text(flat_line(1) + "\n" + flat_line(2)[:-5])
    assert [type(part) for part in read_batches(Recorded(path, "logs"))] == [Broken, Batch]


def test_a_line_beyond_all_bounds_is_skipped_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as one, however many pieces it is read in."""
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 200)
    path = write(tmp_path / "logs.jsonl", flat_line(1), flat_line(2, text="x" * 1000), flat_line(3))
    broken, batch = read_batches(Recorded(path, "logs"))
    assert broken == Broken(f"{path}:2")
    assert batch.items == 2
    exactly = write(tmp_path / "traces.jsonl", "x" * 199, "y" * 200, "z" * 400)
    assert list(read_batches(Recorded(exactly, "traces"))) == [Broken(f"{exactly}:{n}") for n in (1, 2, 3)]


def test_log_records_are_put_together_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many, and no further than the one that reaches so many bytes; each request names its first line."""
    monkeypatch.setattr(module, "MAX_LOG_RECORDS", 3)
    monkeypatch.setattr(module, "MAX_LOG_BYTES", 2000)
    lines = [flat_line(1), flat_line(2), flat_line(3), flat_line(4, text="x" * 2000), flat_line(5)]
    path = write(tmp_path / "logs.jsonl", *lines)
    batches = list(read_batches(Recorded(path, "logs")))
    assert [(batch.items, batch.where) for batch in batches] == [
        (3, f"{path}:1"),
        (1, f"{path}:4"),
        (1, f"{path}:5"),
    ]


def test_everything_taken_is_complete(tmp_path: Path) -> None:
    """Counted by what it is."""
    write(tmp_path / "traces.jsonl", json.dumps(SPANS))
    write(tmp_path / "metrics.jsonl", json.dumps(POINTS))
    write(tmp_path / "logs.jsonl", flat_line(1))
    endpoint = FakeEndpoint()
    tally = replay(find_files([tmp_path]), endpoint)
    assert [signal for signal, _ in endpoint.got] == ["logs", "metrics", "traces"]
    assert tally.sent == {"log records": 1, "data points": 4, "spans": 3}
    assert (tally.files, tally.is_complete, tally.problems, endpoint.is_closed) == (3, True, [], True)


def test_what_is_refused_is_counted_and_named(tmp_path: Path) -> None:
    """A whole request, and a part of one; more rejected than there was is not believed."""
    path = write(tmp_path / "traces.jsonl", *[json.dumps(SPANS)] * 4)
    answers = [Answer(taken=False, reason="400 no"), Answer(True, 2, "late"), Answer(True, 99, "odd")]
    tally = replay(find_files([path]), FakeEndpoint(*answers))
    assert (tally.sent, tally.refused) == (Counter(spans=4), Counter(spans=8))
    assert not tally.is_complete
    assert tally.problems == [
        f"{path}:1: 3 spans refused: 400 no",
        f"{path}:2: 2 spans refused: late",
        f"{path}:3: 3 spans refused: odd",
    ]


def test_it_ends_where_nobody_takes_anything(tmp_path: Path) -> None:
    """And says where, so that the rest can be sent later."""
    first = write(tmp_path / "logs.jsonl", flat_line(1))
    second = write(tmp_path / "traces.jsonl", json.dumps(SPANS), json.dumps(SPANS), json.dumps(SPANS))
    write(tmp_path / "z" / "logs.jsonl", flat_line(1))
    endpoint = FakeEndpoint(Answer(taken=True), Answer(taken=True), UnreachableError("503 busy"))
    tally = replay(find_files([tmp_path]), endpoint)
    assert (tally.stopped_at, tally.files, tally.sent) == (f"{second}:2", 2, {"log records": 1, "spans": 3})
    assert (tally.is_complete, tally.problems) == (False, [f"{second}:2: 503 busy"])
    assert first.exists()


def test_a_file_that_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    """It may have been rotated away since it was found."""
    gone = Recorded(tmp_path / "logs.1.jsonl", "logs")
    kept = Recorded(write(tmp_path / "logs.jsonl", flat_line(1)), "logs")
    tally = replay([gone, kept], FakeEndpoint())
    assert (tally.unreadable, tally.sent, tally.is_complete) == (1, {"log records": 1}, False)
    assert tally.problems == [f"{gone.path}: No such file or directory"]


def test_only_the_first_problems_are_named(tmp_path: Path) -> None:
    """The others are counted."""
    path = write(tmp_path / "logs.jsonl", *["{"] * 30)
    tally = replay(find_files([path]), FakeEndpoint())
    assert (tally.broken, len(tally.problems), tally.problems_left_out) == (30, 20, 10)
