"""The levels of machine learning beside those of `logging`: TRACE, PROGRESS, METRIC, EXPERIMENT, RESULT.

Alone because formatters, loggers and the set-up need the names. The four above INFO stand between it and WARNING, the
chattiest lowest: a logger at INFO shows them all, one at METRIC leaves progress out, one at WARNING shows none. Their
numbers are OpenTelemetry's INFO2, INFO3 and INFO4 (twice, there is no fifth); TRACE is its TRACE.
"""

from __future__ import annotations

import logging

TRACE = 5
PROGRESS = 21
METRIC = 22
EXPERIMENT = 23
RESULT = 24

NAMES = {"TRACE": TRACE, "PROGRESS": PROGRESS, "METRIC": METRIC, "EXPERIMENT": EXPERIMENT, "RESULT": RESULT}


def register() -> None:
    """Make the names known to `logging`, and so to `setLevel` and `logging.config`. Names in use stay what they are.

    Where somebody gave one of our numbers a name, or one of our names a number, that stands, and ours is known beside
    it. Neither `dictConfig` nor `fileConfig` forgets level names, so once is enough.
    """
    for name, number in NAMES.items():
        name_before = logging.getLevelName(number)
        number_before = logging.getLevelName(name)
        if name_before == name and number_before == number:
            continue
        logging.addLevelName(number, name)
        if isinstance(number_before, int):
            logging.addLevelName(number_before, name)
        if not name_before.startswith("Level "):
            logging.addLevelName(number, name_before)


register()
