"""Which exceptions are failures, and which of them have been reported: one failure is one issue, wherever it passes.

An exception carries the mark itself. A memory of ids would take a new exception for an old one at the same address,
and one of references would keep alive what hangs on tracebacks, tensors on a GPU among it.
"""

from __future__ import annotations

import builtins
from typing import Any

_MARK = "__otelml_reported__"
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
