"""Numbers as Grafana writes them: by its units, with the prefix that keeps them short."""

from __future__ import annotations

import math

_SHORT = ((1e12, " Tri"), (1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1, ""))
_BINARY = ((2**40, " TiB"), (2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B"))
_TIMES = ((86400, " d"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns"))
_SCALES = {
    "s": _TIMES,
    "bytes": _BINARY,
    "binBps": tuple((size, f"{text}/s") for size, text in _BINARY),
    "cps": tuple((size, f"{text} c/s") for size, text in _SHORT),
    "reqps": tuple((size, f"{text} req/s") for size, text in _SHORT),
    "watt": ((1e6, " MW"), (1e3, " kW"), (1, " W")),
    "joule": ((1e9, " GJ"), (1e6, " MJ"), (1e3, " kJ"), (1, " J")),
    "hertz": ((1e9, " GHz"), (1e6, " MHz"), (1e3, " kHz"), (1, " Hz")),
    "celsius": ((1, " °C"),),
    "short": _SHORT,
}


def text_of(value: float, unit: str) -> str:
    """`1.5 GiB`, `12.3 ms`, `45 %`; a dash for what is no number."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "∞"
    if unit == "locale":
        return f"{value:,.0f}"
    if unit == "percentunit":
        return f"{_digits(value * 100)}%"
    scale = _SCALES.get(unit, _SHORT)
    size, text = next((each for each in scale if abs(value) >= each[0]), scale[-1])
    if value == 0:
        text = dict(scale).get(1, text)
    return f"{_digits(value / size if value else 0.0)}{text}"


def _digits(value: float) -> str:
    """Three of them, without zeros behind the point, and without a power of ten."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    places = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{places}f}".rstrip("0").rstrip(".")
