"""Which exceptions are failures, which of them have been reported, and in which span each was raised.

An exception carries these marks itself. A memory of ids would take a new exception for an old one at the same address,
and one of references would keep alive what hangs on tracebacks, tensors on a GPU among it. They are plain values, so
that an exception can be pickled for a process that knows nothing of telemetry.
"""

from __future__ import annotations

import builtins
from typing import Any

Ids = tuple[int, int]
"""Of a trace and a span."""

_MARK = "__otelml_reported__"
_PLACE = "__otelml_span__"
_GROUP: Any = getattr(builtins, "ExceptionGroup", ())  # from Python 3.11 on


def is_failure(error: BaseException) -> bool:
    """Whether `error` is one: Ctrl-C, `sys.exit`, a cancelled task, the end of an iterator are ways to go on."""
    if not isinstance(error, Exception) or isinstance(error, (StopIteration, StopAsyncIteration)):
        return False
    if any(kind.__name__ == "CancelledError" for kind in type(error).__mro__):
        return False
    # What command-line libraries raise to leave a program that is done.
    return str(getattr(error, "exit_code", None)) != "0"


def is_reported(error: BaseException, *, sent: bool = False) -> bool:
    """Whether it was reported, or is a group of exceptions that all were; with `sent`: and the limit let it pass."""
    mark = vars(error).get(_MARK)
    if mark is not None:
        return bool(mark) or not sent
    return isinstance(error, _GROUP) and all(is_reported(each, sent=sent) for each in error.exceptions)


def mark(error: BaseException, *, sent: bool) -> None:
    """Note that `error`, and what it groups, was reported; `sent` is False where the rate limit left it out."""
    vars(error)[_MARK] = sent
    if isinstance(error, _GROUP):
        for each in error.exceptions:
            mark(each, sent=sent)


def place(error: BaseException, ids: Ids) -> None:
    """Note that `error` was raised in that span, unless another is known."""
    vars(error).setdefault(_PLACE, ids)


def place_of(error: BaseException) -> Ids | None:
    """The span that it was raised in, as far as that is known."""
    found: Ids | None = vars(error).get(_PLACE)
    return found
