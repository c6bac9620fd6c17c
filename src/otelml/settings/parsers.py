"""Readers of setting values: each turns a variable's text into a value, or says what would have been allowed.

They stand alone because they are pure, and because the same ones check what `configure(...)` is given.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from otelml.settings import components
from otelml.settings.dsn import read_dsn

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
}
_DURATION_UNITS_S = {
    "": 1.0,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
FILES_EXPORTER = "otelml_files"
"""The embedded default's files, as a name for OTEL_<SIGNAL>_EXPORTER."""
SENTRY_EXPORTER = "otelml_sentry"
"""Sentry's OTLP path, as a name for OTEL_TRACES_EXPORTER."""

GPU_POLICIES = ("rank", "visible", "all", "none")
_GPU_ID = re.compile(
    r"[0-9]+"
    r"|(?:GPU|MIG)-[0-9a-f][0-9a-f-]*"
    r"|MIG-GPU-[0-9a-f-]+/[0-9]+/[0-9]+"
    r"|(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?",
    re.IGNORECASE,
)
# What Sentry takes: https://docs.sentry.io/platforms/python/configuration/releases/ and .../environments/
_RELEASE = re.compile(r"[^\t\r\n/\\]{1,200}")
_ENVIRONMENT_NAME = re.compile(r"[^\s/]{1,64}")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def write_value(value: Any) -> str:
    """A keyword argument as the text its variable would hold: both ways in share one reader."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Mapping):
        return ",".join(f"{key}={quote(str(item), safe='')}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Path)):
        return ",".join(str(item) for item in value)
    return str(value)


def write_milliseconds(seconds: Any) -> str:
    """Seconds given to `configure(...)` as the milliseconds that the standard variables hold."""
    return write_value(round(float(seconds) * 1000, 6))


@dataclass(frozen=True, slots=True)
class Parser:
    """`read` raises ValueError for text that is not `allowed`; `write` turns a keyword argument into text.

    `explain` adds to `allowed` what is looked up only when something was wrong; `as_keyword` is what `allowed` is
    where a keyword has another unit than its variable.
    """

    read: Callable[[str], Any]
    allowed: str
    write: Callable[[Any], str] = write_value
    explain: Callable[[], str] | None = None
    as_keyword: str = ""

    def must_be(self, *, keyword: bool = False) -> str:
        """`allowed` in full, for an error message."""
        allowed = self.as_keyword if keyword and self.as_keyword else self.allowed
        return f"must be {allowed}{self.explain() if self.explain else ''}"


def _read_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _between(value: float, low: float, high: float) -> bool:
    return low <= value <= high


def _bounds_text(low: float, high: float) -> str:
    if high == math.inf:
        return f"{low:g} or more"
    return f"from {low:g} to {high:g}"


def number(low: float = 0, high: float = math.inf, unit: str = "") -> Parser:
    """A finite number within `low` and `high`, both included."""

    def read(text: str) -> float:
        value = _read_number(text)
        if not _between(value, low, high):
            raise ValueError(text)
        return value

    return Parser(read, f"a number{unit and ' of ' + unit}, {_bounds_text(low, high)}")


def integer(low: int = 0, high: float = math.inf, unit: str = "") -> Parser:
    """A whole number within `low` and `high`; `1_000` and `1e3` are whole numbers too."""

    def read(text: str) -> int:
        value = _read_number(text)
        if value != int(value) or not _between(value, low, high):
            raise ValueError(text)
        return int(value)

    return Parser(read, f"a whole number{unit and ' of ' + unit}, {_bounds_text(low, high)}")


def _read_ratio(text: str) -> float:
    text = text.strip()
    value = _read_number(text[:-1]) / 100 if text.endswith("%") else _read_number(text)
    if not _between(value, 0, 1):
        raise ValueError(text)
    return value


def _read_flag(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE


def _read_standard_flag(text: str) -> bool:
    # The specification knows these two words only, in any case.
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _split_unit(text: str) -> tuple[float, str]:
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zA-Z]*)", text)
    if match is None:
        raise ValueError(text)
    return float(match[1]), match[2].lower()


def _read_size(text: str) -> int:
    value, unit = _split_unit(text)
    size = value * _SIZE_UNITS[unit] if unit in _SIZE_UNITS else 0
    if size < 1:
        raise ValueError(text)
    return int(size)


def _write_size(value: Any) -> str:
    if isinstance(value, int) and value and value % 2**20 == 0:
        return f"{value // 2**20}MiB"
    return write_value(value)


def duration(low_s: float = 0) -> Parser:
    """A time with an optional unit, in seconds, `low_s` or more."""

    def read(text: str) -> float:
        value, unit = _split_unit(text)
        if unit not in _DURATION_UNITS_S or value * _DURATION_UNITS_S[unit] < low_s:
            raise ValueError(text)
        return value * _DURATION_UNITS_S[unit]

    bound = f", {low_s:g} s or more" if low_s else ""
    return Parser(read, f"a duration such as 2s, 500ms or a number of seconds{bound}")


def milliseconds(low: float = 0) -> Parser:
    """A standard variable in milliseconds, as seconds; `configure(...)` takes it in seconds."""

    def read(text: str) -> float:
        value = _read_number(text)
        if value < low:
            raise ValueError(text)
        return value / 1000

    return Parser(
        read,
        f"milliseconds, {_bounds_text(low, math.inf)}",
        write_milliseconds,
        as_keyword=f"seconds, {_bounds_text(low / 1000, math.inf)}",
    )


def choice(*allowed: str) -> Parser:
    """One of the `allowed` words, in any case; the result is spelt as in `allowed`."""
    by_lower = {word.lower(): word for word in allowed}

    def read(text: str) -> str:
        if text.lower() not in by_lower:
            raise ValueError(text)
        return by_lower[text.lower()]

    return Parser(read, "one of " + ", ".join(allowed))


def _read_names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError(text)
    return names


def component(group: str, *builtin: str, several: bool = False) -> Parser:
    """The name of an installed component (with `several`: names, separated by commas), or one of `builtin`."""

    def read(text: str) -> Any:
        found = _read_names(text) if several else (text,)
        if not set(found) <= set(builtin) and not set(found) <= components.installed(group) | set(builtin):
            raise ValueError(text)
        return found if several else text

    def explain() -> str:
        return ": " + ", ".join(sorted(components.installed(group) | set(builtin)))

    return Parser(read, "what is installed" + (", separated by commas" if several else ""), explain=explain)


def _read_pairs(text: str) -> dict[str, str]:
    pairs = {}
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(text)
        pairs[key.strip()] = unquote(value.strip())
    return pairs


def _read_endpoint(text: str) -> str:
    # gRPC endpoints may come without a scheme: `collector:4317`.
    parts = urlsplit(text if "://" in text else f"//{text}")
    if parts.scheme not in ("", "http", "https", "unix") or not (parts.hostname or parts.scheme == "unix"):
        raise ValueError(text)
    _ = parts.port  # raises ValueError when it is no port number
    return text


def _read_budget(text: str) -> float:
    if text.lower() in ("all", "inf"):
        return math.inf
    value = _read_number(text)
    if value < 0:
        raise ValueError(text)
    return value


def _write_budget(value: Any) -> str:
    return "all" if value == math.inf else write_value(value)


def _read_level(text: str) -> str:
    level = {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(text.upper(), text.upper())
    if level not in LOG_LEVELS:
        raise ValueError(text)
    return level


def _read_logger_levels(text: str) -> tuple[tuple[str, str], ...]:
    if text.lower() == "none":
        return ()
    levels = []
    for part in _read_names(text):
        name, _, level = part.partition("=")
        if not name.strip():
            raise ValueError(text)
        levels.append((name.strip(), _read_level(level.strip() or "WARNING")))
    return tuple(levels)


def _write_logger_levels(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.items()
    parts = value.split(",") if isinstance(value, str) else value
    texts = (part if isinstance(part, str) else "=".join(part) for part in parts)
    return ",".join(text.removesuffix("=WARNING") for text in texts) or "none"


def _read_gpu_devices(text: str) -> str:
    if text.lower() in GPU_POLICIES:
        return text.lower()
    ids = _read_names(text)
    if not all(_GPU_ID.fullmatch(part) for part in ids):
        raise ValueError(text)
    return ",".join(ids)


def _read_files(text: str) -> tuple[str, ...]:
    files = tuple(part.strip() for part in text.split(os.pathsep) if part.strip())
    if not files:
        raise ValueError(text)
    return files


def _write_files(value: Any) -> str:
    return str(value) if isinstance(value, (str, Path)) else os.pathsep.join(str(part) for part in value)


def _read_identifier(text: str) -> str:
    if len(text) > 128 or not text.isprintable():
        raise ValueError(text)
    return text


def _read_environment_name(text: str) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(text) or text.lower() == "none":
        raise ValueError(text)
    return text


def _read_release(text: str) -> str:
    if not _RELEASE.fullmatch(text) or text in (".", ".."):
        raise ValueError(text)
    return text


def _read_path(text: str) -> Path:
    return Path(text).expanduser()


ratio = Parser(_read_ratio, "a number from 0 to 1, or a percentage such as 10%")
flag = Parser(_read_flag, "true or false")
standard_flag = Parser(_read_standard_flag, "true or false")
size_bytes = Parser(_read_size, "a size such as 100MiB, 1GB or a number of bytes, 1 or more", _write_size)
duration_s = duration()
names = Parser(_read_names, "names, separated by commas")
pairs = Parser(_read_pairs, "key=value pairs, separated by commas, values percent-encoded")
endpoint = Parser(_read_endpoint, "a URL such as http://127.0.0.1:4318")
span_budget = Parser(
    _read_budget, "a number of spans a second for each name, 0 or more, or `all`", _write_budget
)
log_level = Parser(_read_level, "one of " + ", ".join(LOG_LEVELS))
logger_levels = Parser(
    _read_logger_levels,
    "logger names, each with an optional =LEVEL (WARNING without), separated by commas, or `none`",
    _write_logger_levels,
)
gpu_devices = Parser(
    _read_gpu_devices,
    "rank, visible, all, none, or GPUs separated by commas: indices of NVML, UUIDs that start with GPU- or MIG-, "
    "or their beginnings, PCI bus ids such as 0000:3b:00.0",
)
files = Parser(_read_files, "names or paths, separated by `:` (on Windows `;`)", _write_files)
identifier = Parser(_read_identifier, "printable text of at most 128 characters")
text = Parser(str, "text")
dsn = Parser(read_dsn, "a DSN such as https://0123abcd@o1.ingest.sentry.io/123")
sentry_release = Parser(_read_release, "text of at most 200 characters, without slashes, tabs and line ends")
sentry_environment = Parser(
    _read_environment_name, "text of at most 64 characters, without spaces and slashes, and not None"
)
path = Parser(_read_path, "a path")
port = integer(0, 65535)


def mask_endpoint(url: str) -> str:
    """`url` without its user, password and query values, which may be keys."""
    if "@" not in url and "?" not in url:
        return url
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:
        return "***"
    host = parts.netloc.rpartition("@")
    netloc = f"***@{host[2]}" if host[1] else parts.netloc
    masked = urlunsplit(parts._replace(netloc=netloc, query=parts.query and "***"))
    return masked if "://" in url else masked.removeprefix("//")
