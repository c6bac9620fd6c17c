"""What the registry's YAML keeps to beyond its names: OTel Weaver's syntax, references, units, labels, bounds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from otelml.semconv.codegen.constants import constant
from otelml.semconv.codegen.registry import EVENT_PREFIX, UPSTREAM_GROUP, extras, load_documents

Document = dict[str, Any]
Documents = dict[str, Document]
Rule = Callable[[Documents], Iterator[str]]

REGISTRY = load_documents()


class Shape(NamedTuple):
    """The keys of a mapping, and which of its values are mappings or lists of them, by the name of their shape."""

    required: str
    optional: str = ""
    parts: dict[str, str] = {}  # noqa: RUF012 - never changed, and a tuple's field


SHAPES = {
    "document": Shape(
        "file_format",
        "attributes attribute_groups metrics metric_refinements events spans entities imports",
        {
            "attributes": "attribute",
            "attribute_groups": "group",
            "metrics": "metric",
            "metric_refinements": "refinement",
            "events": "event",
            "spans": "span",
            "entities": "entity",
            "imports": "imports",
        },
    ),
    "attribute": Shape("key type brief stability", "examples note deprecated annotations", {"type": "enum"}),
    "enum": Shape("members", parts={"members": "member"}),
    "member": Shape("id value brief stability", "note deprecated annotations"),
    "group": Shape("id visibility attributes", parts={"attributes": "reference"}),
    "metric": Shape(
        "name instrument unit brief stability annotations",
        "note deprecated attributes requirement_level entity_associations",
        {"attributes": "reference", "annotations": "annotations"},
    ),
    "refinement": Shape(
        "id ref brief annotations",
        "note deprecated stability attributes entity_associations",
        {"attributes": "reference", "annotations": "annotations"},
    ),
    "annotations": Shape("code_generation", "otelml", {"code_generation": "code_generation"}),
    "code_generation": Shape("metric_value_type"),
    "event": Shape(
        "name brief stability attributes",
        "note deprecated annotations requirement_level entity_associations",
        {"attributes": "reference"},
    ),
    "span": Shape(
        "type kind name brief stability",
        "note deprecated annotations attributes requirement_level entity_associations",
        {"attributes": "reference", "name": "span_name"},
    ),
    "span_name": Shape("note"),
    "entity": Shape(
        "type identity brief stability",
        "description note deprecated annotations requirement_level",
        {"identity": "reference", "description": "reference"},
    ),
    "imports": Shape("", "metrics events spans entities attribute_groups"),
    "reference": Shape("ref", "requirement_level brief note examples stability deprecated annotations"),
    "group_reference": Shape("ref_group"),
}

TYPES = {"string": str, "int": int, "double": float, "boolean": bool}
VALUES = {
    "stability": {"development", "alpha", "beta", "release_candidate", "stable"},
    "instrument": {"counter", "updowncounter", "gauge", "histogram"},
    "kind": {"internal", "client", "server", "producer", "consumer"},
    "visibility": {"internal", "public"},
    "metric_value_type": {"int", "double"},
    "file_format": {"definition/2"},
}
LEVELS = {"required", "recommended", "opt_in"}
CONDITIONS = {"conditionally_required", "recommended", "opt_in"}

RATIOS = {"utilization", "occupancy", "progress", "proportion", "confidence"}
NOT_OUR_RATIOS = {"hw.status", "hw.fan.speed_ratio"}
"""OpenTelemetry's: a 0/1 state, and a ratio by another name."""

UNBOUNDED = {
    "epoch",
    "step",
    "run",
    "file",
    "filename",
    "path",
    "url",
    "user",
    "input",
    "prompt",
    "message",
    "text",
    "pid",
}
"""Words of attributes that would make a series of every run, step, file or request."""

GENERATED_TABLES = ("ATTRIBUTES", "METRICS", "EVENTS", "SPANS")


def check_syntax(documents: Documents) -> Iterator[str]:
    """Each mapping has the keys that Weaver wants and no others, and each fixed word is one that it knows."""
    for name, document in documents.items():
        yield from _check_shape("document", document, name)


def _check_shape(sort: str, found: Any, where: str) -> Iterator[str]:
    if sort == "reference" and isinstance(found, dict) and "ref_group" in found:
        sort = "group_reference"
    shape = SHAPES[sort]
    if not isinstance(found, dict):
        yield f"{where}: no mapping"
        return
    required, optional = set(shape.required.split()), set(shape.optional.split())
    yield from (f"{where}: {key} is missing" for key in sorted(required - found.keys()))
    yield from (f"{where}: {key} is unknown" for key in sorted(found.keys() - required - optional))
    for key, value in found.items():
        if key in VALUES and value not in VALUES[key]:
            yield f"{where}: {key} {value}"
        if key == "requirement_level":
            yield from _check_level(value, where)
        if key in shape.parts and not (sort == "attribute" and isinstance(value, str)):
            for number, part in enumerate(value if isinstance(value, list) else [value]):
                yield from _check_shape(shape.parts[key], part, f"{where}.{key}[{number}]")


def _check_level(level: Any, where: str) -> Iterator[str]:
    if isinstance(level, dict):
        if len(level) != 1 or not level.keys() <= CONDITIONS:
            yield f"{where}: requirement_level {level}"
    elif level not in LEVELS:
        yield f"{where}: requirement_level {level}"


def check_types(documents: Documents) -> Iterator[str]:
    """A type is one of OpenTelemetry's; examples have it, and are there where words alone would not do."""
    for declared in _all(documents, "attributes"):
        key, kind, examples = declared["key"], declared["type"], declared.get("examples", [])
        if isinstance(kind, dict):
            found = Counter((part, member[part]) for member in kind["members"] for part in ("id", "value"))
            yield from (
                f"{key}: two members of {part} {i}" for (part, i), times in found.items() if times > 1
            )
        elif kind.removesuffix("[]") not in {*TYPES, "any"}:
            yield f"{key}: type {kind}"
        elif kind != "any" and not (examples and all(_is_of(kind, example) for example in examples)):
            yield f"{key}: no examples that are {kind}: {examples}"


def _is_of(kind: str, value: Any) -> bool:
    if kind.endswith("[]"):
        return isinstance(value, list) and all(_is_of(kind.removesuffix("[]"), item) for item in value)
    return type(value) is TYPES[kind]


def check_references(documents: Documents) -> Iterator[str]:
    """What is referred to is declared, here or in the list of OpenTelemetry's, and nothing of ours is in that list."""
    groups = {group["id"]: group for group in _all(documents, "attribute_groups")}
    declared = {attribute["key"] for attribute in _all(documents, "attributes")}
    upstream = {reference["ref"] for reference in groups.get(UPSTREAM_GROUP, {}).get("attributes", ())}
    yield from (f"{key}: declared here and OpenTelemetry's" for key in sorted(declared & upstream))
    for where, references in _uses(documents):
        for reference in references:
            if reference.get("ref_group", UPSTREAM_GROUP) not in {*groups, UPSTREAM_GROUP}:
                yield f"{where}: no group {reference['ref_group']}"
            if "ref" in reference and reference["ref"] not in declared | upstream:
                yield f"{where}: no attribute {reference['ref']}"
        keys = Counter(reference.get("ref", reference.get("ref_group")) for reference in references)
        yield from (f"{where}: {key} is there twice" for key, times in keys.items() if times > 1)


def check_ratios(documents: Documents) -> Iterator[str]:
    """Unit `1` is for what is called a ratio, and what is called a ratio has unit `1`."""
    for name, declared in _metrics(documents):
        unit = declared.get("unit", extras(declared).get("unit"))
        if name not in NOT_OUR_RATIOS and (unit == "1") != (name.rpartition(".")[2] in RATIOS):
            yield f"{name}: unit {unit}"


def check_labels(documents: Documents) -> Iterator[str]:
    """No attribute of a metric says run, epoch, step, file or user."""
    groups = {group["id"]: group for group in _all(documents, "attribute_groups")}
    for name, declared in _metrics(documents):
        for key in _keys(groups, declared):
            if UNBOUNDED.intersection(re.split(r"[._]", key)):
                yield f"{name}: has {key}"


def check_bounds(documents: Documents) -> Iterator[str]:
    """Histograms have bounds, numbers that increase; nothing else has any."""
    for name, declared in _metrics(documents):
        bounds = extras(declared).get("bounds")
        kind = declared.get("instrument", extras(declared).get("instrument"))
        if (bounds is not None) != (kind == "histogram"):
            yield f"{name}: a {kind} with bounds {bounds}"
        if bounds is not None and not (
            bounds
            and all(type(bound) in {int, float} for bound in bounds)
            and all(low < high for low, high in zip(bounds, bounds[1:], strict=False))
        ):
            yield f"{name}: bounds {bounds}"


def check_constants(documents: Documents) -> Iterator[str]:
    """The generated module gives no constant two meanings, whatever they are constants of."""
    made = Counter(GENERATED_TABLES)
    made.update(constant(a["key"]) for a in _all(documents, "attributes") if "." in a["key"])
    made.update(f"METRIC_{constant(name)}" for name, _ in _metrics(documents))
    made.update(f"EVENT_{constant(e['name'].removeprefix(EVENT_PREFIX))}" for e in _all(documents, "events"))
    made.update(f"SPAN_{constant(span['type'])}" for span in _all(documents, "spans"))
    yield from (name for name, times in made.items() if times > 1)


def _all(documents: Documents, section: str) -> Iterator[Document]:
    for document in documents.values():
        yield from document.get(section, ())


def _metrics(documents: Documents) -> Iterator[tuple[str, Document]]:
    yield from ((declared["name"], declared) for declared in _all(documents, "metrics"))
    yield from ((declared["ref"], declared) for declared in _all(documents, "metric_refinements"))


def _uses(documents: Documents) -> Iterator[tuple[str, list[Document]]]:
    for section, name in (
        ("attribute_groups", "id"),
        ("metrics", "name"),
        ("metric_refinements", "ref"),
        ("events", "name"),
        ("spans", "type"),
    ):
        yield from ((found[name], found.get("attributes", [])) for found in _all(documents, section))
    for entity in _all(documents, "entities"):
        yield entity["type"], entity["identity"] + entity.get("description", [])


def _keys(groups: Documents, declared: Document) -> Iterator[str]:
    for reference in declared.get("attributes", ()):
        if "ref_group" in reference:
            yield from _keys(groups, groups[reference["ref_group"]])
        else:
            yield reference["ref"]


def attribute(**changes: Any) -> Document:
    """A document with an attribute, good but for the changes."""
    good = {"key": "ml.a", "type": "string", "brief": "It is.", "stability": "development", "examples": ["x"]}
    return {"file_format": "definition/2", "attributes": [good | changes]}


def metric(*, otelml: Document | None = None, **changes: Any) -> Document:
    """A document with a metric and its attribute likewise."""
    good = {
        "name": "ml.m",
        "instrument": "counter",
        "unit": "{m}",
        "brief": "It is.",
        "stability": "development",
        "attributes": [{"ref": "ml.a", "requirement_level": "required"}],
        "annotations": {"code_generation": {"metric_value_type": "int"}, "otelml": otelml or {}},
    }
    return attribute() | {"metrics": [good | changes]}


def histogram(*bounds: Any) -> Document:
    """A document with a histogram likewise."""
    return metric(instrument="histogram", otelml={"bounds": list(bounds)})


def measured_by(key: str) -> Document:
    """A document with a metric that has the attribute."""
    return metric(attributes=[{"ref": key}]) | {"attributes": attribute(key=key)["attributes"]}


TWICE = {"members": [{"id": "a", "value": "x"}, {"id": "b", "value": "x"}]}
BROKEN: list[tuple[Rule, Document]] = [
    (check_syntax, attribute() | {"file_format": "definition/1"}),
    (check_syntax, attribute() | {"groups": []}),
    (check_syntax, attribute(stability="experimental")),
    (check_syntax, attribute(type={"members": [{"id": "x"}]})),
    (check_syntax, attribute(requirement_level="required")),
    (check_syntax, metric(instrument="summary")),
    (check_syntax, metric(attributes=["ml.a"])),
    (check_syntax, metric(attributes=[{"ref_group": "g", "requirement_level": "required"}])),
    (check_syntax, metric(attributes=[{"ref": "ml.a", "requirement_level": "perhaps"}])),
    (check_syntax, metric(attributes=[{"ref": "ml.a", "requirement_level": {"perhaps": "Sometimes."}}])),
    (check_syntax, metric(annotations={"code_generation": {"metric_value_type": "float"}})),
    (check_syntax, metric(annotations={})),
    (check_syntax, attribute() | {"spans": [{"type": "ml.s", "kind": "outer", "name": "ml.s"}]}),
    (check_types, attribute(type="float")),
    (check_types, attribute(examples=[])),
    (check_types, attribute(examples=[7])),
    (check_types, attribute(type="int[]", examples=[7])),
    (check_types, attribute(type=TWICE)),
    (check_references, metric(attributes=[{"ref": "ml.b"}])),
    (check_references, metric(attributes=[{"ref_group": "g"}])),
    (check_references, metric(attributes=[{"ref": "ml.a"}, {"ref": "ml.a"}])),
    (check_references, attribute() | {"entities": [{"type": "ml.e", "identity": [{"ref": "ml.b"}]}]}),
    (check_references, attribute() | {"attribute_groups": [{"id": UPSTREAM_GROUP, "attributes": [{"ref": "ml.a"}]}]}),
    (check_ratios, metric(unit="1")),
    (check_ratios, metric(name="ml.sm.occupancy", unit="%")),
    (check_ratios, attribute() | {"metric_refinements": [{"ref": "hw.gpu.utilization", "id": "r"}]}),
    (check_labels, measured_by("ml.run.id")),
    (check_labels, measured_by("ml.file_name")),
    (check_labels, measured_by("epoch")),
    (check_bounds, histogram()),
    (check_bounds, histogram(1, 3, 2)),
    (check_bounds, histogram(1, 1)),
    (check_bounds, histogram("1e-06", 1)),
    (check_bounds, metric(instrument="histogram")),
    (check_bounds, metric(otelml={"bounds": [1]})),
    (check_constants, attribute(key="metric.ml.m") | {"metrics": metric()["metrics"]}),
    (check_constants, attribute() | {"events": [{"name": "ml.b.c"}, {"name": "ml.b_c"}]}),
]  # fmt: skip
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN))


def named(rule: object) -> str | None:
    """How pytest names a parameter."""
    return getattr(rule, "__name__", None)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_registry_keeps_the_rule(rule: Rule) -> None:
    """Nothing in the registry breaks the rule."""
    assert list(rule(REGISTRY)) == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_what_the_bad_examples_start_from_is_good(rule: Rule) -> None:
    """The rule lets an example pass that has nothing wrong with it, so that it is the change that it notices."""
    assert [p for good in (attribute(), metric(), histogram(1, 2)) for p in rule({"x.yaml": good})] == []


@pytest.mark.parametrize(("rule", "document"), BROKEN, ids=named)
def test_the_rule_can_fail(rule: Rule, document: Document) -> None:
    """A registry with one mistake is found out by the rule that forbids it."""
    assert list(rule({"bad.yaml": document}))


@pytest.mark.parametrize("name", ["ml.stage.duration", "ml.inference.duration"])
def test_bounds_of_durations_are_evenly_spread_and_exact(name: str) -> None:
    """1, 2.5 and 5 a decade from a microsecond to 100 s, each the float next to its decimal."""
    steps = [Decimal(step).scaleb(decade) for decade in range(-6, 2) for step in ("1", "2.5", "5")]
    expected = [float(step) for step in [*steps, Decimal(100)]]
    assert extras(dict(_metrics(REGISTRY))[name])["bounds"] == expected
