"""What the registry keeps to beyond syntax and single names: ratios, labels, constants, repetitions, durations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from otelml.semconv.codegen.constants import constant
from otelml.semconv.codegen.registry import UPSTREAM_GROUP, Registry, load, resolve

Document = dict[str, Any]
Rule = Callable[[Registry], Iterator[str]]

REGISTRY = load()

RATIOS = {"utilization", "occupancy", "progress", "proportion", "confidence"}
NOT_OUR_RATIOS = {"hw.status", "hw.fan.speed_ratio"}
"""OpenTelemetry's: a 0/1 state, and a ratio by another name."""

UNBOUNDED = {
    "epoch", "step", "run", "file", "filename", "path", "url", "user", "input", "prompt", "message", "text", "pid",
}  # fmt: skip
"""Words in attributes that would make a series of every run, step, file or request."""

GENERATED_TABLES = ("ATTRIBUTES", "EVENTS", "METRICS", "SPANS")


def check_ratios(registry: Registry) -> Iterator[str]:
    """Unit `1` is for what is called a ratio, and what is called a ratio has unit `1`."""
    for name, metric in registry.metrics.items():
        if name not in NOT_OUR_RATIOS and (metric.unit == "1") != (name.rpartition(".")[2] in RATIOS):
            yield f"{name}: unit {metric.unit}"


def check_labels(registry: Registry) -> Iterator[str]:
    """No attribute of a metric says run, epoch, step, file or user."""
    for name, metric in registry.metrics.items():
        for key in metric.attributes:
            if UNBOUNDED.intersection(re.split(r"[._]", key)):
                yield f"{name}: has {key}"


def check_constants(registry: Registry) -> Iterator[str]:
    """The generated module gives no constant two meanings, whatever they are constants of."""
    made = Counter(GENERATED_TABLES)
    made.update(constant(key) for key in registry.attributes if "." in key)
    made.update(f"METRIC_{constant(name)}" for name in registry.metrics)
    made.update(f"EVENT_{constant(event.name)}" for event in registry.events.values())
    made.update(f"SPAN_{constant(name)}" for name in registry.spans)
    yield from (name for name, times in made.items() if times > 1)


def check_repetitions(registry: Registry) -> Iterator[str]:
    """No signal has an attribute twice, by itself or through a group."""
    for (_, name), references in registry.references.items():
        keys = Counter(reference.key for reference in references)
        yield from (f"{name}: {key} is there twice" for key, times in keys.items() if times > 1)


def check_members(registry: Registry) -> Iterator[str]:
    """No two members of an enumeration share an id or a value."""
    for (sort, key), declared in registry.declared.items():
        if sort == "attribute" and isinstance(declared.get("type"), dict):
            members = declared["type"]["members"]
            found = Counter((part, member[part]) for member in members for part in ("id", "value"))
            yield from (
                f"{key}: {part} {value} is there twice" for (part, value), n in found.items() if n > 1
            )


def attributes(*keys: str) -> list[Document]:
    """Declarations of attributes, good but for their keys."""
    return [{"key": key, "type": "string", "brief": "It is."} for key in keys]


def metric(name: str = "ml.m", unit: str = "{m}", refs: tuple[str, ...] = ()) -> Document:
    """A document with a metric and its attributes, good but for what is given."""
    declared = {
        "name": name,
        "instrument": "gauge",
        "unit": unit,
        "brief": "It is.",
        "attributes": [{"ref": key} for key in refs],
        "annotations": {"code_generation": {"metric_value_type": "double"}},
    }
    return {"attributes": attributes(*dict.fromkeys(refs)), "metrics": [declared]}


def imported(name: str, unit: str) -> Document:
    """A document with a metric of OpenTelemetry's likewise."""
    extras = {"instrument": "gauge", "unit": unit}
    annotations = {"code_generation": {"metric_value_type": "double"}, "otelml": extras}
    refinement = {"id": f"{name}.ours", "ref": name, "brief": "It is.", "annotations": annotations}
    return {"imports": {"metrics": [name]}, "metric_refinements": [refinement]}


def repeated_through_a_group() -> Document:
    """A document with a metric that has an attribute by itself and from a group."""
    document = metric(refs=("ml.a",))
    document["metrics"][0]["attributes"].append({"ref_group": "g"})
    return document | {"attribute_groups": [{"id": "g", "attributes": [{"ref": "ml.a"}]}]}


def labelled_by_upstream(key: str) -> Document:
    """A document with a metric that has an attribute of OpenTelemetry's."""
    reference = {"ref": key, "brief": "It is.", "annotations": {"otelml": {"type": "string"}}}
    group = {"id": UPSTREAM_GROUP, "attributes": [reference]}
    return metric(refs=(key,)) | {"attributes": [], "attribute_groups": [group]}


def enumeration(*members: tuple[str, str]) -> Document:
    """A document with an enumeration of ids and values."""
    listed = [{"id": identity, "value": value} for identity, value in members]
    return {"attributes": [{"key": "ml.a", "type": {"members": listed}, "brief": "It is."}]}


GOOD = [
    metric(refs=("ml.a", "ml.b")),
    metric("ml.sm.occupancy", "1"),
    imported("hw.gpu.utilization", "1"),
    imported("hw.status", "1"),
    labelled_by_upstream("hw.id"),
    enumeration(("a", "x"), ("b", "y")),
]
BROKEN: list[tuple[Rule, Document]] = [
    (check_ratios, metric(unit="1")),
    (check_ratios, metric("ml.sm.occupancy", "%")),
    (check_ratios, metric("ml.reference.proportion", "{bin}")),
    (check_ratios, imported("hw.gpu.utilization", "%")),
    (check_labels, metric(refs=("ml.run.id",))),
    (check_labels, metric(refs=("ml.file_name",))),
    (check_labels, metric(refs=("epoch",))),
    (check_labels, labelled_by_upstream("url.full")),
    (check_constants, {**metric(), "attributes": attributes("metric.ml.m")}),
    (check_constants, {"attributes": attributes("ml.a.b", "ml.a_b")}),
    (check_repetitions, metric(refs=("ml.a", "ml.a"))),
    (check_repetitions, repeated_through_a_group()),
    (check_members, enumeration(("a", "x"), ("b", "x"))),
    (check_members, enumeration(("a", "x"), ("a", "y"))),
]
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN))


def named(rule: object) -> str | None:
    """How pytest names a parameter."""
    return getattr(rule, "__name__", None)


def test_every_rule_has_an_example_that_breaks_it() -> None:
    """A rule that is written here is also shown to fail."""
    assert {f for name, f in globals().items() if name.startswith("check_")} == set(RULES)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_registry_keeps_the_rule(rule: Rule) -> None:
    """Nothing in the registry breaks the rule."""
    assert list(rule(REGISTRY)) == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_rule_lets_good_declarations_pass(rule: Rule) -> None:
    """Examples like the broken ones, but without the mistake, are let through."""
    assert [problem for document in GOOD for problem in rule(resolve([document]))] == []


@pytest.mark.parametrize(("rule", "document"), BROKEN, ids=named)
def test_the_rule_notices_what_breaks_it(rule: Rule, document: Document) -> None:
    """A registry with one mistake is found out by the rule that forbids it."""
    assert list(rule(resolve([document])))


@pytest.mark.parametrize("name", ["ml.stage.duration", "ml.inference.duration"])
def test_bounds_of_durations_are_evenly_spread_and_exact(name: str) -> None:
    """1, 2.5 and 5 a decade from a microsecond to 100 s, each the float next to its decimal."""
    steps = [Decimal(step).scaleb(decade) for decade in range(-6, 2) for step in ("1", "2.5", "5")]
    assert REGISTRY.metrics[name].bounds == tuple(float(step) for step in [*steps, Decimal(100)])
