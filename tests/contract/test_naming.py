"""The naming policy: what every declaration of the registry keeps to, and that each rule notices what breaks it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import opentelemetry.semconv._incubating.attributes as upstream_attributes
import opentelemetry.semconv._incubating.metrics as upstream_metrics
import pytest

from otelml.semconv.codegen import constants
from otelml.semconv.codegen.registry import Registry, extras, load, resolve

REGISTRY = load()

OUR_ROOTS = {"ml", "otelml"}
# fmt: off
UNIT_WORDS = {
    "total", "s", "sec", "secs", "second", "seconds", "ms", "millis", "milliseconds", "us", "ns",
    "minute", "minutes", "hour", "hours", "day", "days", "byte", "bytes", "kb", "mb", "gb", "kib",
    "mib", "gib", "hertz", "hz", "mhz", "watt", "watts", "joule", "joules", "celsius", "percent",
    "percentage", "pct", "ratio", "meters", "volts", "amperes",
}
# fmt: on
UNITS = {"s", "By", "By/s", "J", "W", "Hz", "Cel", "1"}
NEVER_ON_METRICS = (
    *("ml.run.", "ml.training.epoch", "ml.training.step"),
    *("code.", "file.", "url.", "user.", "enduser.", "session."),
)
LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
LONGEST_BRIEF = 100
"""A brief is help text, and a line of the generated module."""


def read_upstream_roots() -> set[str]:
    """The first words of all names in the installed OpenTelemetry conventions."""
    names: set[str] = set()
    for package in (upstream_attributes, upstream_metrics):
        for module in pkgutil.iter_modules(package.__path__):
            content = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            names |= {value for key, value in content.items() if key.isupper() and isinstance(value, str)}
    return {name.partition(".")[0] for name in names}


UPSTREAM_ROOTS = read_upstream_roots()


def names_of(registry: Registry, sort: str) -> list[str]:
    """The names of one sort that are ours."""
    return [name for found, name in registry.declared if found == sort and name not in registry.upstream]


def our_names(registry: Registry) -> Iterator[tuple[str, str]]:
    """All our names that stand for themselves: without fields of events, which have no dot."""
    for sort in ("attribute", "metric", "event", "span", "entity"):
        yield from ((sort, name) for name in names_of(registry, sort) if "." in name)


def check_briefs(registry: Registry) -> Iterator[str]:
    """A brief is one sentence, not too long, that ends in a period."""
    for (sort, name), declared in registry.declared.items():
        for brief in _briefs(declared):
            if not re.fullmatch(r"[A-Z`].*[^.]\.", brief) or ". " in brief or len(brief) > LONGEST_BRIEF:
                yield f"{sort} {name}: the brief {brief!r} is no short sentence"


def _briefs(declared: dict[str, Any]) -> Iterator[str]:
    kind = declared.get("type")
    if "brief" in declared:
        yield " ".join(declared["brief"].split())
    for member in kind["members"] if isinstance(kind, dict) else ():
        yield member["brief"]


def check_spelling(registry: Registry) -> Iterator[str]:
    """Names are small letters and digits in words, joined by dots and underscores."""
    for sort, name in registry.declared:
        if not re.fullmatch(r"[a-z][a-z0-9]*([._][a-z0-9]+)*", name):
            yield f"{sort} {name}: misspelt"


def check_namespaces(registry: Registry) -> Iterator[str]:
    """No name of a sort is also the beginning of another one of that sort."""
    for sort, name in our_names(registry):
        if any(other.startswith(f"{name}.") for found, other in registry.declared if found == sort):
            yield f"{sort} {name}: also a namespace"


def check_constants(registry: Registry) -> Iterator[str]:
    """No two names of a sort become the same constant."""
    named = ((sort, name) for sort, name in registry.declared if "." in name)
    made = Counter((sort, constants.constant(name)) for sort, name in named)
    for (sort, name), times in made.items():
        if times > 1:
            yield f"{sort}: {times} names become {name}"


def check_words(registry: Registry) -> Iterator[str]:
    """Neither `total` nor a unit stands in a name."""
    for sort, name in our_names(registry):
        for word in UNIT_WORDS.intersection(re.split(r"[._]", name)):
            yield f"{sort} {name}: {word} in a name"


def check_roots(registry: Registry) -> Iterator[str]:
    """Names are below our roots, and below none of OpenTelemetry's."""
    assert not OUR_ROOTS & UPSTREAM_ROOTS
    for sort, name in our_names(registry):
        if name.partition(".")[0] not in OUR_ROOTS:
            yield f"{sort} {name}: not below one of our roots"


def check_bare_names(registry: Registry) -> Iterator[str]:
    """A name without a dot is the field of an event, and no root of OpenTelemetry's."""
    bare = {name for name in names_of(registry, "attribute") if "." not in name}
    yield from (f"attribute {name}: a root of OpenTelemetry's" for name in bare & UPSTREAM_ROOTS)
    for (sort, name), references in registry.references.items():
        if sort in ("metric", "span", "entity"):
            yield from (f"{sort} {name}: has the bare {r.key}" for r in references if r.key in bare)
    used = {
        r.key for (sort, _), references in registry.references.items() for r in references if sort == "event"
    }
    yield from (f"attribute {name}: no event has it" for name in bare - used)


def check_plurals(registry: Registry) -> Iterator[str]:
    """Only counters of countable things have a plural as their name, and their unit is the singular."""
    for name in names_of(registry, "metric"):
        metric, word = registry.metrics[name], name.rpartition(".")[2]
        if re.search(r"[^siu]s$", word) and (metric.kind, metric.unit) != ("counter", f"{{{word[:-1]}}}"):
            yield f"metric {name}: a plural, but a {metric.kind} of {metric.unit}"


def check_utilizations(registry: Registry) -> Iterator[str]:
    """A utilization is a gauge that is a ratio."""
    for name in names_of(registry, "metric"):
        metric = registry.metrics[name]
        if name.endswith(("utilization", "utilisation")) and (metric.kind, metric.unit) != ("gauge", "1"):
            yield f"metric {name}: a {metric.kind} of {metric.unit}"


def check_units(registry: Registry) -> Iterator[str]:
    """Units are known ones or annotations, and `1` is for what is declared to lie between 0 and 1."""
    for name in names_of(registry, "metric"):
        metric, declared = registry.metrics[name], extras(registry.declared["metric", name])
        if metric.unit not in UNITS and not re.fullmatch(r"\{[a-z_]+\}", metric.unit):
            yield f"metric {name}: unit {metric.unit}"
        if (metric.unit == "1") != (declared.get("range") == [0, 1]) or (
            metric.unit == "1" and metric.kind not in ("gauge", "histogram")
        ):
            yield f"metric {name}: unit {metric.unit}, range {declared.get('range')}, {metric.kind}"


def check_metric_attributes(registry: Registry) -> Iterator[str]:
    """What has no bound is on no metric: run, epoch, step, file, user."""
    for name in names_of(registry, "metric"):
        for key in registry.metrics[name].attributes:
            if key.startswith(NEVER_ON_METRICS):
                yield f"metric {name}: has {key}"


def check_cardinality(registry: Registry) -> Iterator[str]:
    """Every attribute of ours on a metric says how many values to expect."""
    for name in names_of(registry, "metric"):
        for key in registry.metrics[name].attributes:
            if key not in registry.upstream and registry.attributes[key].cardinality is None:
                yield f"metric {name}: nobody knows how many {key} there are"


def check_bounds(registry: Registry) -> Iterator[str]:
    """Bounds increase, are positive, and print as they were written."""
    for name in names_of(registry, "metric"):
        bounds = registry.metrics[name].bounds or ()
        if list(bounds) != sorted(set(bounds)) or any(bound <= 0 for bound in bounds):
            yield f"metric {name}: bounds do not increase from above 0"
        for bound in bounds:
            if len(re.sub(r"e.*|\.0$|\.", "", repr(bound)).strip("0")) > 5:
                yield f"metric {name}: bound {bound!r} is no short decimal"


def check_levels(registry: Registry) -> Iterator[str]:
    """Events have a level that `logging` knows."""
    for event in registry.events.values():
        if event.level not in LEVELS:
            yield f"event {event.name}: level {event.level}"


Policy = Callable[[Registry], Iterable[str]]


def metric(name: str = "ml.a.b", **more: Any) -> dict[str, Any]:
    """A metric in YAML's form, good but for what is given."""
    annotations = {"code_generation": {"metric_value_type": "int"}, "otelml": more.pop("otelml", {})}
    declared = {
        "name": name,
        "instrument": "gauge",
        "unit": "{b}",
        "brief": "It is.",
        "annotations": annotations,
    }
    return declared | more


def attribute(key: str = "ml.a.c", **more: Any) -> dict[str, Any]:
    """An attribute likewise."""
    return {"key": key, "type": "string", "brief": "It is."} | more


def metrics(*declared: dict[str, Any]) -> dict[str, Any]:
    """A document of metrics."""
    return {"metrics": list(declared)}


def measured(key: str) -> dict[str, Any]:
    """A document with a metric that has an attribute."""
    return {"attributes": [attribute(key)], **metrics(metric(attributes=[{"ref": key}]))}


def histogram(*bounds: float) -> dict[str, Any]:
    """A document with a histogram."""
    return metrics(metric(instrument="histogram", otelml={"bounds": list(bounds)}))


LEVEL = {"annotations": {"otelml": {"level": "NOTICE"}}}
BROKEN: list[tuple[Policy, dict[str, Any]]] = [
    (check_briefs, metrics(metric(brief="no capital."))),
    (check_briefs, metrics(metric(brief="No period"))),
    (check_briefs, metrics(metric(brief="Two. Sentences."))),
    (check_briefs, {"attributes": [attribute(type={"members": [{"value": "a", "brief": "Nothing"}]})]}),
    (check_spelling, metrics(metric("ml.camelCase"))),
    (check_spelling, metrics(metric("ml.a-b"))),
    (check_namespaces, metrics(metric("ml.a"), metric("ml.a.b"))),
    (check_namespaces, {"attributes": [attribute("ml.a"), attribute("ml.a.b")]}),
    (check_constants, metrics(metric("ml.a.b"), metric("ml.a_b"))),
    (check_words, metrics(metric("ml.rows.total"))),
    (check_words, metrics(metric("ml.size_bytes"))),
    (check_words, {"attributes": [attribute("ml.wait.seconds")]}),
    (check_roots, metrics(metric("hw.gpu.sm"))),
    (check_roots, {"attributes": [attribute("gen_ai.codebook")]}),
    (check_roots, {"attributes": [attribute("robocache.stage")]}),
    (check_bare_names, measured("loss")),
    (check_bare_names, {"attributes": [attribute("process")]}),
    (check_bare_names, {"attributes": [attribute("unused")]}),
    (check_plurals, metrics(metric("ml.rows"))),
    (check_plurals, metrics(metric("ml.rows", instrument="counter", unit="{line}"))),
    (check_utilizations, metrics(metric("ml.a.utilization", unit="By"))),
    (check_units, metrics(metric(unit="bananas"))),
    (check_units, metrics(metric(unit="1"))),
    (check_units, metrics(metric(unit="1", instrument="updowncounter", otelml={"range": [0, 1]}))),
    (check_metric_attributes, measured("ml.run.id")),
    (check_metric_attributes, measured("ml.training.step")),
    (check_metric_attributes, measured("code.file.path")),
    (check_cardinality, measured("ml.a.c")),
    (check_bounds, histogram(1, 3, 2)),
    (check_bounds, histogram(0, 1)),
    (check_bounds, histogram(2.5 * 10**-6)),
    (check_levels, {"events": [{"name": "ml.a", "brief": "It is.", **LEVEL}]}),
]
POLICIES = list(dict.fromkeys(policy for policy, _ in BROKEN))


def named(policy: object) -> str | None:
    """How pytest names a parameter."""
    return getattr(policy, "__name__", None)


def test_every_policy_is_among_those_that_are_tested() -> None:
    """A rule that is written here is also shown to fail."""
    assert {f for name, f in globals().items() if name.startswith("check_")} == set(POLICIES)


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_the_registry_keeps_to_the_policy(policy: Policy) -> None:
    """No declaration of ours breaks the rule."""
    assert list(policy(REGISTRY)) == []


@pytest.mark.parametrize(("policy", "document"), BROKEN, ids=named)
def test_a_policy_notices_what_breaks_it(policy: Policy, document: dict[str, Any]) -> None:
    """A registry with one bad declaration is found out by the rule that it breaks."""
    assert list(policy(resolve([document])))
