"""The registry's YAML is valid for OTel Weaver, and what is broken is refused with a text that says where.

The rules are those of Weaver's JSON schema for `definition/2` that our files can break.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelml.semconv.codegen.registry import FOLDER, MANIFEST, RegistryError, load_documents, resolve

COMMON = {"brief", "note", "stability", "deprecated", "annotations"}
SIGNAL = COMMON | {"requirement_level", "attributes", "entity_associations"}
# By section: what has to be there, and what may be there too.
KEYS = {
    "attributes": ({"key", "type", "brief", "stability"}, COMMON | {"examples"}),
    "attribute_groups": ({"id", "visibility"}, COMMON | {"attributes"}),
    "metrics": ({"name", "instrument", "unit", "brief", "stability"}, SIGNAL),
    "metric_refinements": ({"id", "ref"}, SIGNAL),
    "events": ({"name", "brief", "stability"}, SIGNAL),
    "spans": ({"type", "kind", "name", "brief", "stability"}, SIGNAL),
    "entities": ({"type", "identity", "brief", "stability"}, COMMON | {"description", "requirement_level"}),
}
REFERENCE = COMMON | {"ref", "requirement_level", "examples"}
SECTIONS = {"file_format", "imports", *KEYS}
TYPES = {f"{name}{array}" for name in ("string", "int", "double", "boolean") for array in ("", "[]")} | {
    "any"
}
INSTRUMENTS = {"counter", "updowncounter", "gauge", "histogram"}
KINDS = {"internal", "client", "server", "producer", "consumer"}
LEVELS = {"required", "recommended", "opt_in"}
PYTHON_TYPES = {"string": str, "int": int, "double": float, "boolean": bool}


def check_document(document: dict[str, Any]) -> Iterator[str]:
    """What Weaver would refuse in one file."""
    yield from (f"section {name}" for name in set(document) - SECTIONS)
    for section, (required, allowed) in KEYS.items():
        for declared in document.get(section, ()):
            name = f"{section} {declared.get('name') or declared.get('key') or declared.get('id')}"
            yield from (f"{name}: lacks {key}" for key in required - set(declared))
            yield from (f"{name}: has {key}" for key in set(declared) - required - allowed)
            yield from (f"{name}: {problem}" for problem in check_values(section, declared))


def check_values(section: str, declared: dict[str, Any]) -> Iterator[str]:
    """The values of one declaration."""
    if declared.get("stability", "development") != "development":
        yield f"stability {declared['stability']}"
    if section == "metrics" and declared.get("instrument") not in INSTRUMENTS:
        yield f"instrument {declared.get('instrument')}"
    if section == "spans" and (
        declared.get("kind") not in KINDS or set(declared.get("name", ())) != {"note"}
    ):
        yield "kind or name"
    if section == "attributes":
        yield from check_type(declared)
    for key in ("attributes", "identity", "description"):
        for reference in declared.get(key, ()):
            yield from check_reference(reference)


def check_type(declared: dict[str, Any]) -> Iterator[str]:
    """The type of an attribute, its members, and that its examples are of that type."""
    kind = declared.get("type")
    if isinstance(kind, dict):
        for member in kind["members"]:
            if set(member) != {"id", "value", "brief", "stability"}:
                yield f"member {member}"
        return
    if kind not in TYPES:
        yield f"type {kind}"
    elif kind != "any":
        examples = declared.get("examples", [])
        values = [v for example in examples for v in (example if kind.endswith("[]") else [example])]
        if not values or any(type(value) is not PYTHON_TYPES[kind.removesuffix("[]")] for value in values):
            yield f"examples {examples} of {kind}"


def check_reference(reference: dict[str, Any]) -> Iterator[str]:
    """A reference to an attribute or to a group of them."""
    if "ref_group" in reference:
        yield from (f"group with {key}" for key in set(reference) - {"ref_group"})
        return
    yield from (f"reference with {key}" for key in set(reference) - REFERENCE)
    level = reference.get("requirement_level", "recommended")
    known = set(level) == {"conditionally_required"} if isinstance(level, dict) else level in LEVELS
    if not known:
        yield f"requirement level {level}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_a_file_is_valid_for_weaver(path: Path) -> None:
    """Each file has the sections, keys and values that `definition/2` knows."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == MANIFEST:
        assert {"schema_url", "dependencies"} <= set(document)
    else:
        assert list(check_document(document)) == []


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"groups": []}, "section groups"),
        ({"events": [{"name": "ml.a", "brief": "A."}]}, "events ml.a: lacks stability"),
        ({"attribute_groups": [{"id": "a", "visibility": "internal", "x": 1}]}, "attribute_groups a: has x"),
        ({"attributes": [{"key": "a", "type": "float"}]}, "attributes a: type float"),
        (
            {"attributes": [{"key": "a", "type": "int", "examples": ["1"]}]},
            "attributes a: examples ['1'] of int",
        ),
        ({"attributes": [{"key": "a", "type": "string"}]}, "attributes a: examples [] of string"),
        (
            {"attributes": [{"key": "a", "type": {"members": [{"id": "b"}]}}]},
            "attributes a: member {'id': 'b'}",
        ),
        ({"metrics": [{"name": "a", "instrument": "timer"}]}, "metrics a: instrument timer"),
        ({"metrics": [{"name": "a", "stability": "new"}]}, "metrics a: stability new"),
        ({"spans": [{"name": "a", "kind": "internal"}]}, "spans a: kind or name"),
        (
            {"events": [{"name": "a", "attributes": [{"ref": "b", "requirement_level": "must"}]}]},
            "events a: requirement level must",
        ),
        (
            {"events": [{"name": "a", "attributes": [{"ref": "b", "type": 1}]}]},
            "events a: reference with type",
        ),
        ({"events": [{"name": "a", "attributes": [{"ref_group": "b", "c": 1}]}]}, "events a: group with c"),
    ],
)
def test_what_weaver_refuses_is_noticed(document: dict[str, Any], problem: str) -> None:
    """A file with something that is not of the format is found out."""
    assert problem in list(check_document(document))


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """Files of the older format, and files that are none, are named."""
    (tmp_path / "a.yaml").write_text("groups: []\n")
    with pytest.raises(RegistryError, match=r"a\.yaml must begin with `file_format: definition/2`"):
        load_documents(tmp_path)


METRIC = {
    "name": "ml.a",
    "instrument": "gauge",
    "unit": "s",
    "brief": "A.",
    "annotations": {"code_generation": {"metric_value_type": "int"}},
}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"metrics": [METRIC, METRIC]}, "metric ml.a is declared twice"),
        ({"metrics": [METRIC | {"attributes": [{"ref": "ml.b"}]}]}, "ml.a refers to the attribute ml.b"),
        ({"metrics": [METRIC | {"attributes": [{"ref_group": "b"}]}]}, "ml.a refers to the group b"),
        ({"metrics": [METRIC | {"instrument": "histogram"}]}, "ml.a is a histogram and has no bounds"),
        ({"metric_refinements": [{"id": "b", "ref": "hw.c"}]}, "b refines hw.c, which is not imported"),
    ],
)
def test_a_contradiction_is_refused(document: dict[str, Any], message: str) -> None:
    """Nothing is declared twice, and nothing refers to what is declared nowhere."""
    with pytest.raises(RegistryError, match=message):
        resolve([document])
