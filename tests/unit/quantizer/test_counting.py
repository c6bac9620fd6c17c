"""What a quantizer counts: codes of every form, in a window that slides, and nothing that is no code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelml.instruments import internal
from otelml.quantizer import Quantizer
from otelml.quantizer.codebook import create_codebook
from otelml.quantizer.window import SlidingCounts

RNG = np.random.default_rng(7)


class Subclass(np.ndarray):
    def ravel(self, *args: object) -> Any:
        raise AssertionError("what a subclass does with its methods is its own affair")


def counts_of(quantizer: Quantizer) -> list[int]:
    """All counts since the start."""
    return quantizer.snapshot().since_start.tolist()


def dropped() -> dict[str, int]:
    """What was left out, by reason."""
    return {
        reason: n
        for (kind, room, reason), n in internal.totals().items()
        if (kind, room) == ("dropped", "quantizer")
    }


@pytest.mark.parametrize(
    "codes",
    [
        [0, 1, 1, 3],
        (0, 1, 1, 3),
        [[0, 1], [1, 3]],
        [[0, 1, 1], [3]],
        [0.0, 1.0, 1.0, 3.0],
        np.array([[[0, 1]], [[1, 3]]]),
        np.array([0, 1, 1, 3], np.int8),
        np.array([0, 1, 1, 3], np.uint8),
        np.array([0, 1, 1, 3], np.uint64),
        np.array([0, 1, 1, 3], ">i4"),
        np.array([0, 1, 1, 3], np.float16),
        np.array([0, 9, 1, 9, 1, 9, 3, 9])[::2],
        np.array([0, 1, 1, 3], dtype=object),
        np.array([[0, 1], [1, 3]]).T,
        np.array([0, 1, 1, 3]).view(Subclass),
        np.ma.masked_array([0, 1, 2, 1, 3], [False, False, True, False, False]),
    ],
)
def test_codes_of_every_form_are_counted(codes: Any) -> None:
    """Flat codes may have any shape, integer type, byte order and container; whole floats are codes."""
    quantizer = Quantizer("q", codebook_size=4)
    quantizer.observe(codes)
    assert counts_of(quantizer) == [1, 2, 0, 1]
    assert dropped() == {}


def test_indices_of_levels_become_codes() -> None:
    """The first dimension varies fastest, as in the paper of FSQ; the last axis is that of the levels."""
    quantizer = Quantizer("q", levels=[8, 6, 5])
    indices = RNG.integers(0, [8, 6, 5], (10, 50, 3))
    quantizer.observe(indices)
    flat = indices[..., 0] + 8 * indices[..., 1] + 48 * indices[..., 2]
    assert counts_of(quantizer) == np.bincount(flat.ravel(), minlength=240).tolist()
    flat_quantizer = Quantizer("flat", levels=[8, 6, 5])
    flat_quantizer.observe(flat)
    assert counts_of(flat_quantizer) == counts_of(quantizer)


def test_the_axis_of_levels_can_be_told() -> None:
    """One row of indices is three codes unless said otherwise, and a flat batch of width three can say what it is."""
    quantizer = Quantizer("q", levels=[8, 6, 5])
    quantizer.observe([1, 2, 3])
    quantizer.observe([[1, 2, 3]], per_level=False)
    assert np.flatnonzero(counts_of(quantizer)).tolist() == [1, 2, 3]
    quantizer.observe([1, 2, 3], per_level=True)
    assert np.flatnonzero(counts_of(quantizer)).tolist() == [1, 2, 3, 1 + 2 * 8 + 3 * 48]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([1, -1, 4, 5, 1 << 40, 10**30, -(10**30)], {"invalid_code": 6}),
        ([1, math.nan, math.inf, -math.inf, 0.5, 1e300], {"invalid_code": 5}),
        ([1, None, "2", b"3", object(), True], {"invalid_code": 5}),
        (np.array([1, -1, 127, -128], np.int8), {"invalid_code": 3}),
        (np.array([1, 2**64 - 1, 2**63], np.uint64), {"invalid_code": 2}),
        (np.array([1, np.nan, 3.5, 1e30], np.float32), {"invalid_code": 3}),
        (np.array([1, 300, 300], np.int16), {"invalid_code": 2}),
    ],
)  # fmt: skip
def test_what_is_no_code_is_counted_as_dropped(codes: Any, expected: dict[str, int]) -> None:
    """Codes outside the codebook, huge, not whole or not numbers are left out; the valid one among them counts."""
    quantizer = Quantizer("q", codebook_size=4)
    quantizer.observe(codes)
    assert counts_of(quantizer) == [0, 1, 0, 0]
    assert dropped() == expected


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], {}),
        (np.empty((0, 3)), {}),
        (np.empty((5, 0), np.int64), {}),
        (np.array([True, False]), {"no_code": 2}),
        (np.array(["1", "2"]), {"no_code": 2}),
        (np.array([1 + 0j]), {"no_code": 1}),
        (np.array(["2020-01-01"], "M8[D]"), {"no_code": 1}),
        (None, {"invalid_code": 1}),
        ({1, 2}, {"invalid_code": 1}),
        ("12", {"no_code": 1}),
    ],
)
def test_arrays_that_hold_no_codes_are_dropped(codes: Any, expected: dict[str, int]) -> None:
    """Nothing is nothing; bools, texts, complex numbers and dates are no codes, whatever their size."""
    quantizer = Quantizer("q", codebook_size=4)
    quantizer.observe(codes)
    assert counts_of(quantizer) == [0, 0, 0, 0]
    assert dropped() == expected


def test_small_types_do_not_wrap_around() -> None:
    """A negative 8-bit code is none of a codebook of 300, though its bits are those of 255."""
    quantizer = Quantizer("q", codebook_size=300)
    quantizer.observe(np.array([-1, 127], np.int8))
    quantizer.observe(np.array([255], np.uint8))
    assert np.flatnonzero(counts_of(quantizer)).tolist() == [127, 255]
    assert dropped() == {"invalid_code": 1}


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([[0, 0, 0], [8, 0, 0], [0, -1, 0], [0, 0, 5]], 3),
        ([[0, 0, 0], [0, 0.5, 0], [math.nan, 0, 0]], 2),
        (np.array([[0, 0, 0], [2**64 - 1, 0, 0]], np.uint64), 1),
        ([[0, 0, 0], [0, 0, "x"], [None, 1, 1], [10**30, 1, 1]], 3),
    ],
)
def test_rows_with_one_wrong_index_are_dropped(indices: Any, expected: int) -> None:
    """Each dimension has its own bound; a row counts or is dropped as a whole."""
    quantizer = Quantizer("q", levels=[8, 6, 5])
    quantizer.observe(indices)
    assert np.flatnonzero(counts_of(quantizer)).tolist() == [0]
    assert sum(counts_of(quantizer)) == 1
    assert dropped() == {"invalid_code": expected}


def test_a_wrong_last_axis_is_dropped() -> None:
    """Told that the last axis is that of the levels, an array where it is not has no codes at all."""
    quantizer = Quantizer("q", levels=[8, 6, 5])
    quantizer.observe(np.zeros((4, 2), int), per_level=True)
    quantizer.observe(3, per_level=True)
    quantizer.observe([[1, 2, 3], [1, 2]])
    assert sum(counts_of(quantizer)) == 0
    assert dropped() == {"no_code": 14}


def test_what_is_dropped_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first wrong code of a quantizer is named; the others only count."""
    quantizer = Quantizer("q", codebook_size=4)
    for code in (7, 8, 9):
        quantizer.observe([code])
    (record,) = caplog.records
    assert "q was given what is no code of its 4 (such as 7)" in record.getMessage()
    assert dropped() == {"invalid_code": 3}


def test_errors_of_foreign_types_are_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that raises whatever is done to it does not disturb the program, and is counted."""

    class Hostile:
        def __array__(self, *args: object, **kwargs: object) -> None:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

    monkeypatch.setattr(internal, "raise_errors", False)
    quantizer = Quantizer("q", codebook_size=4)
    quantizer.observe(Hostile())
    quantizer.observe([Hostile(), 1])
    assert counts_of(quantizer) == [0, 1, 0, 0]
    assert internal.totals() == {
        ("errors", "quantizer", "RuntimeError"): 1,
        ("dropped", "quantizer", "invalid_code"): 1,
    }


def test_the_program_may_write_over_its_array() -> None:
    """A small batch, which waits to be counted, is a copy; so nothing changes with the array it came from."""
    quantizer = Quantizer("q", codebook_size=4)
    buffer = np.zeros(8, np.int64)
    quantizer.observe(buffer)
    buffer[:] = 3
    assert counts_of(quantizer) == [8, 0, 0, 0]


@pytest.mark.parametrize("size", [2, 240, 70_000])
def test_the_window_is_the_last_codes(size: int) -> None:
    """Whatever the batches, the window holds exactly the last N codes, N from nine tenths of it to all of it."""
    window = max(1000, size)
    quantizer = Quantizer("q", codebook_size=size, window=window, min_codes=1)
    given_codes = np.empty(0, np.int64)
    for batch in (1, 17, 999, 5, 4096, 3, 20_000, 100, 7, 60_000, 2):
        codes = RNG.integers(0, size, batch)
        quantizer.observe(codes)
        given_codes = np.concatenate([given_codes, codes])
        stats = quantizer.stats()
        assert min(given_codes.size, window - window // 10) <= stats.window <= window
        expected = np.bincount(given_codes[-stats.window :], minlength=size)
        assert np.array_equal(quantizer.snapshot().in_window, expected)
    assert np.array_equal(quantizer.snapshot().since_start, np.bincount(given_codes, minlength=size))
    assert stats.codes == given_codes.size


@given(
    window=st.integers(3, 60),
    batches=st.lists(st.lists(st.integers(0, 2), max_size=30), max_size=12),
)
def test_sliding_counts_are_those_of_the_last_codes(window: int, batches: list[list[int]]) -> None:
    """For any window and batches the counts are those of the last N codes, and N is as promised."""
    counts = SlidingCounts(3, window)
    everything: list[int] = []
    for batch in batches:
        counts.add(np.array(batch, np.int64))
        everything += batch
        n = counts.window
        chunk = max(1, window // 10)
        assert min(len(everything), window - 2 * chunk + 2) <= n <= window
        last = everything[len(everything) - n :]
        assert counts.counts().tolist() == [last.count(code) for code in range(3)]
        assert counts.counts_since_start().tolist() == [everything.count(code) for code in range(3)]


def test_ready_made_counts_go_in_whole() -> None:
    """Counts of a device cannot be split: the window grows beyond its length by one such batch, and shrinks again."""
    counts = SlidingCounts(2, 20)
    counts.add_counts(np.array([3, 50]), 53)
    assert (counts.window, counts.counts().tolist()) == (53, [3, 50])
    counts.add(np.zeros(20, np.int64))
    assert (counts.window, counts.counts().tolist(), counts.total) == (20, [20, 0], 73)


@pytest.mark.parametrize(
    ("levels", "size", "expected"),
    [([8, 6, 5], None, 240), (None, 512, 512), ((8, 6, 5), 240, 240), (np.array([4, 4]), None, 16)],
)
def test_codebooks(levels: Any, size: int | None, expected: int) -> None:
    """A codebook has the product of its levels, or the size that is told."""
    assert create_codebook(levels, size).size == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs levels"),
        ({"codebook_size": 1}, "at least 2"),
        ({"codebook_size": 1 << 40}, "at most"),
        ({"levels": []}, "empty"),
        ({"levels": [8, 1, 5]}, "at least 2"),
        ({"levels": [2] * 200}, "at most"),
        ({"levels": [8, 6, 5], "codebook_size": 239}, "make 240 codes"),
        ({"codebook_size": 240, "window": 239}, "window must be at least"),
        ({"codebook_size": 240, "min_codes": 0}, "min_codes must be"),
        ({"codebook_size": 240, "window": 1000, "min_codes": 901}, "min_codes must be"),
        ({"codebook_size": 240, "min_perplexity": 241}, "min_perplexity"),
        ({"codebook_size": 240, "min_entropy_utilization": math.nan}, "min_entropy_utilization"),
        ({"codebook_size": 240, "hysteresis": -0.1}, "hysteresis"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(arguments: dict[str, Any], said: str) -> None:
    """A mistake in the set-up is a ValueError that says what is wrong; a product of levels does not overflow."""
    with pytest.raises(ValueError, match=said):
        Quantizer("q", **arguments)


@pytest.mark.parametrize("arguments", [{"codebook_size": 2.5}, {"codebook_size": True}, {"levels": ["8"]}])
def test_sizes_are_integers(arguments: dict[str, Any]) -> None:
    """A size that is no integer is a TypeError."""
    with pytest.raises(TypeError):
        Quantizer("q", **arguments)


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_quantizer_has_a_name(name: Any) -> None:
    """Its metrics would have none."""
    with pytest.raises(ValueError, match="needs a name"):
        Quantizer(name, codebook_size=2)
