"""From variables and keywords to `Settings`: strict for `configure()`, lenient where a program must not stop."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from otelml.settings import parsers
from otelml.settings.table import SETTINGS, SIGNALS, Setting, Settings, Source

_logger = logging.getLogger("otelml.settings")
_BY_FIELD = {setting.field: setting for setting in SETTINGS}
_BY_ENV = {setting.env: setting for setting in SETTINGS}
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")
# The deployment names the service: a name in the code is a default for it, not an override.
_ENVIRONMENT_WINS = frozenset({"service_name"})

_INTERNAL = "OTELML_INTERNAL_"  # what one process of ours tells another
PROGRAM_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        name: f"OTELML_{name.upper()}"
        for name in ("otelcol", "prometheus", "promtool", "alertmanager", "amtool")
    }
)
"""Programs that stand beside the library, and the variable that says where each is: `stack.binaries` reads them."""

_said: set[tuple[str, str]] = set()
_current: Settings | None = None
change_hooks: list[Callable[[], object]] = []
"""Called after `set_current`: for modules above that keep what they once read."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One unusable setting: the variable or keyword, its value (secrets masked), and what is allowed."""

    name: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.name}={self.value!r}: {self.allowed}"


class SettingsError(ValueError):
    """Raised by `configure()` for settings that cannot be used; `problems` has one entry for each."""

    __module__ = "otelml.settings"  # where users import it from, if not from `otelml`

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        what = "one setting" if len(self.problems) == 1 else f"{len(self.problems)} settings"
        super().__init__(f"{what} cannot be used\n" + "\n".join(f"  {problem}" for problem in self.problems))


@dataclass(slots=True)
class _Reading:
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)

    def take(self, setting: Setting, text: str, source: Source, name: str) -> None:
        try:
            self.values[setting.field] = setting.parse.read(text)
            self.sources[setting.field] = source
        except (ValueError, OverflowError):
            self.reject(setting, name, text)

    def reject(self, setting: Setting, name: str, text: str, must_be: str = "") -> None:
        reason = must_be or setting.parse.must_be(keyword=name == setting.field)
        self.problems.append(Problem(name, setting.show(text), reason))
        self.rejected.add(setting.env)

    def forget(self, setting: Setting, must_be: str) -> None:
        text = str(self.values.pop(setting.field))
        name = setting.env if self.sources.pop(setting.field) == "environment" else setting.field
        self.reject(setting, name, text, must_be)

    def settings(self) -> Settings:
        return Settings(
            **self.values, sources=MappingProxyType(self.sources), rejected=frozenset(self.rejected)
        )


def _read_environment(reading: _Reading, environ: Mapping[str, str], given: Collection[str]) -> None:
    for setting in SETTINGS:
        text = environ.get(setting.env, "").strip()
        if text and setting.field not in given:  # an empty variable is an unset one: OpenTelemetry's rule
            reading.take(setting, text, "environment", setting.env)


def _read_keywords(reading: _Reading, keywords: Mapping[str, Any]) -> None:
    for name, value in keywords.items():
        setting = _BY_FIELD.get(name)
        if setting is None:
            reading.problems.append(
                Problem(name, str(value), f"is no setting{_did_you_mean(name, _BY_FIELD)}")
            )
        elif value is not None and not (name in _ENVIRONMENT_WINS and name in reading.values):
            _read_keyword(reading, setting, value)


def _read_keyword(reading: _Reading, setting: Setting, value: Any) -> None:
    try:
        text = setting.parse.write(value).strip()
    except (TypeError, ValueError):
        reading.reject(setting, setting.field, str(value))
    else:
        reading.take(setting, text, "configure()", setting.field)


def _check_together(reading: _Reading) -> None:
    """What one variable alone cannot tell."""
    sampler = str(reading.values.get("sampler", "")).lower()
    if sampler in _RATIO_SAMPLERS and "sampler_arg" in reading.values:
        try:
            parsers.ratio.read(reading.values["sampler_arg"])
        except ValueError:
            reading.forget(_BY_FIELD["sampler_arg"], parsers.ratio.must_be())
    _check_schemes(reading)
    for processor in ("bsp", "blrp"):
        batch, queue = f"{processor}_max_export_batch_size", f"{processor}_max_queue_size"
        limit = reading.values.get(queue, _BY_FIELD[queue].default)
        if reading.values.get(batch, 0) > limit:
            reading.forget(_BY_FIELD[batch], f"must be at most {_BY_FIELD[queue].env}, which is {limit}")


def _check_schemes(reading: _Reading) -> None:
    """Only gRPC's endpoints do without http:// or https://."""
    values = reading.values
    if any("otlp_proto_grpc" in values.get(f"{signal}_exporter", ()) for signal in SIGNALS):
        return
    for scope in ("", *(f"{signal}_" for signal in SIGNALS)):
        protocol = values.get(f"otlp_{scope}protocol", values.get("otlp_protocol"))
        if protocol != "grpc" and "://" not in values.get(f"otlp_{scope}endpoint", "://"):
            reading.forget(
                _BY_FIELD[f"otlp_{scope}endpoint"], "must start with http:// or https://, unless sent by gRPC"
            )


def _read(environ: Mapping[str, str], keywords: Mapping[str, Any]) -> _Reading:
    reading = _Reading()
    given = {name for name, value in keywords.items() if value is not None} - _ENVIRONMENT_WINS
    _read_environment(reading, environ, given)
    _read_keywords(reading, keywords)
    _check_together(reading)
    return reading


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def find_unknown(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none: a misspelt one would do nothing."""
    mine = [*(setting.env for setting in SETTINGS if not setting.is_standard), *PROGRAM_VARIABLES.values()]
    unknown = (
        name for name in sorted(environ) if name.startswith("OTELML_") and name not in {*_BY_ENV, *mine}
    )
    return [
        f"{name} is no variable of otelml{_did_you_mean(name, mine)}"
        for name in unknown
        if not name.startswith(_INTERNAL)
    ]


def _say_once(name: str, value: str, message: str) -> None:
    if (name, value) not in _said:
        _said.add((name, value))
        _logger.warning("otelml: %s", message)


def _name_unknown(environ: Mapping[str, str]) -> None:
    for sentence in find_unknown(environ):
        _say_once(sentence, "", sentence)


def examine(environ: Mapping[str, str], **overrides: Any) -> tuple[Settings, tuple[Problem, ...]]:
    """Settings with defaults for what cannot be used, and every problem there was. Says nothing, never raises."""
    reading = _read(environ, overrides)
    return reading.settings(), tuple(reading.problems)


def load(environ: Mapping[str, str], **overrides: Any) -> Settings:
    """Settings from variables, with keyword arguments (named like the fields) above them.

    `service_name` is the exception: the variable wins, because a deployment names its service.

    Raises SettingsError that lists every unusable variable and keyword.
    """
    settings, problems = examine(environ, **overrides)
    _name_unknown(environ)
    if problems:
        raise SettingsError(problems)
    return settings


def load_lenient(environ: Mapping[str, str], **overrides: Any) -> Settings:
    """As `load`, but what cannot be used is logged once and its default holds. Never raises."""
    settings, problems = examine(environ, **overrides)
    _name_unknown(environ)
    for problem in problems:
        _say_once(problem.name, problem.value, f"{problem}; the default is used")
    return settings


def current() -> Settings:
    """The settings of this process: those of `configure()`, else of the environment, read once."""
    global _current  # noqa: PLW0603 - the settings of the process
    if _current is None:
        _current = load_lenient(os.environ)
    return _current


def set_current(settings: Settings) -> None:
    """Make `settings` those of this process, and tell who decided something from those before."""
    global _current  # noqa: PLW0603 - the settings of the process
    _current = settings
    for hook in change_hooks:
        hook()


def reset() -> None:
    """Forget what was read and said; for tests."""
    global _current  # noqa: PLW0603 - the settings of the process
    _current = None
    _said.clear()
