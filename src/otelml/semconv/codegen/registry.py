"""Reads the registry (OTel Weaver's `definition/2`) and resolves its references. The only importer of PyYAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelml.semconv.model import Attribute, Event, EventField, Metric, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = Path(__file__).parent.parent / "registry"
MANIFEST = "manifest.yaml"
EVENT_PREFIX = "ml."
UPSTREAM_GROUP = "otelml.upstream"
"""The group that lists every attribute of OpenTelemetry that we refer to."""
RESOURCE_GROUP = "otelml.resource"

Document = dict[str, Any]


class RegistryError(ValueError):
    """The registry contradicts itself; the text names what and where."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute as a signal refers to it; `condition` says when a conditional one is required."""

    key: str
    requirement: str
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    """All declarations with their references resolved, each by name; what they say of themselves is in `declared`.

    Attributes:
        upstream: names of the attributes and metrics that OpenTelemetry defines.
        references: attributes by signal, as `("metric", name)`, `("event", name)`, `("span", type)`, ...
        declared: the YAML of each, by the same pairs and `("attribute", key)`.
    """

    attributes: dict[str, Attribute] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    upstream: set[str] = field(default_factory=set)
    references: dict[tuple[str, str], tuple[Reference, ...]] = field(default_factory=dict)
    declared: dict[tuple[str, str], Document] = field(default_factory=dict)

    @property
    def resource(self) -> tuple[Reference, ...]:
        """Attributes of the resource."""
        return self.references.get(("group", RESOURCE_GROUP), ())


def load_documents(folder: Path = FOLDER) -> dict[str, Document]:
    """The parsed files by name, without the manifest.

    Raises:
        RegistryError: a file is no registry file of the format that we know.
    """
    import yaml

    documents = {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.yaml"))
        if path.name != MANIFEST
    }
    for name, document in documents.items():
        if not isinstance(document, dict) or document.get("file_format") != "definition/2":
            raise RegistryError(f"{name} must begin with `file_format: definition/2`")
    return documents


def load(folder: Path = FOLDER) -> Registry:
    """The registry in `folder`.

    Raises:
        RegistryError: see `resolve`.
    """
    return resolve(load_documents(folder).values())


def resolve(documents: Iterable[Document]) -> Registry:
    """Put documents together.

    Raises:
        RegistryError: a name is declared twice, or referred to and not declared anywhere.
    """
    documents = list(documents)
    registry = Registry()
    _add_attributes(registry, documents)
    groups = {group["id"]: group for group in _all(documents, "attribute_groups")}
    _add_upstream_attributes(registry, groups.get(UPSTREAM_GROUP, {}))
    for name, group in groups.items():
        _declare(registry, "group", name, group)
        registry.references["group", name] = tuple(_references(registry, groups, name, group))
    _add_metrics(registry, groups, documents)
    _add_events(registry, groups, documents)
    _add_spans(registry, groups, documents)
    for entity in _all(documents, "entities"):
        _declare(registry, "entity", entity["type"], entity)
        attributes = {"attributes": entity["identity"] + entity.get("description", [])}
        registry.references["entity", entity["type"]] = tuple(
            _references(registry, groups, entity["type"], attributes)
        )
    return registry


def extras(declared: Document) -> Document:
    """What stands under `annotations.otelml`."""
    found: Document = declared.get("annotations", {}).get("otelml", {})
    return found


def _all(documents: Iterable[Document], section: str) -> Iterator[Document]:
    for document in documents:
        yield from document.get(section) or ()


def _declare(registry: Registry, sort: str, name: str, declared: Document) -> None:
    if (sort, name) in registry.declared:
        raise RegistryError(f"{sort} {name} is declared twice")
    registry.declared[sort, name] = declared


def _add_attributes(registry: Registry, documents: Iterable[Document]) -> None:
    for declared in _all(documents, "attributes"):
        key, kind = declared["key"], declared["type"]
        members: tuple[str | int, ...] = ()
        if isinstance(kind, dict):
            members = tuple(member["value"] for member in kind["members"])
            kind = "int" if all(isinstance(member, int) for member in members) else "string"
        _declare(registry, "attribute", key, declared)
        registry.attributes[key] = Attribute(
            key, kind, _one_line(declared["brief"]), members, extras(declared).get("cardinality")
        )


def _add_upstream_attributes(registry: Registry, group: Document) -> None:
    for reference in group.get("attributes", ()):
        key, more = reference["ref"], extras(reference)
        _declare(registry, "attribute", key, reference)
        registry.upstream.add(key)
        registry.attributes[key] = Attribute(
            key, more["type"], _one_line(reference["brief"]), tuple(more.get("members", ()))
        )


def _references(
    registry: Registry, groups: dict[str, Document], name: str, declared: Document
) -> Iterator[Reference]:
    for reference in declared.get("attributes", ()):
        if "ref_group" in reference:
            if reference["ref_group"] not in groups:
                raise RegistryError(f"{name} refers to the group {reference['ref_group']}, declared nowhere")
            yield from _references(registry, groups, name, groups[reference["ref_group"]])
            continue
        if reference["ref"] not in registry.attributes:
            raise RegistryError(
                f"{name} refers to the attribute {reference['ref']}, which is neither declared nor listed in "
                f"the group {UPSTREAM_GROUP}"
            )
        yield _reference(reference)


def _reference(declared: Document) -> Reference:
    level = declared.get("requirement_level", "recommended")
    if isinstance(level, dict):
        ((level, condition),) = level.items()
        return Reference(declared["ref"], level, _one_line(condition))
    return Reference(declared["ref"], level)


def _add_metrics(registry: Registry, groups: dict[str, Document], documents: list[Document]) -> None:
    imported = {name for document in documents for name in (document.get("imports") or {}).get("metrics", ())}
    for declared in _all(documents, "metrics"):
        _add_metric(registry, groups, declared, declared)
    for declared in _all(documents, "metric_refinements"):
        name = declared["ref"]
        if name not in imported:
            raise RegistryError(f"{declared['id']} refines {name}, which is not imported")
        registry.upstream.add(name)
        _add_metric(registry, groups, declared, {"name": name, **extras(declared)})


def _add_metric(
    registry: Registry, groups: dict[str, Document], declared: Document, identity: Document
) -> None:
    """`identity` has name, instrument and unit, which of an imported metric stand elsewhere than of our own."""
    name, kind = identity["name"], identity["instrument"]
    _declare(registry, "metric", name, declared)
    references = registry.references["metric", name] = tuple(_references(registry, groups, name, declared))
    more = extras(declared)
    bounds = more.get("bounds")
    if (bounds is not None) != (kind == "histogram"):
        raise RegistryError(f"{name} is a {kind} and has {'no ' if bounds is None else ''}bounds")
    registry.metrics[name] = Metric(
        name=name,
        kind=kind,
        unit=identity["unit"],
        brief=_one_line(declared["brief"]),
        attributes=tuple(reference.key for reference in references),
        value_type=declared["annotations"]["code_generation"]["metric_value_type"],
        bounds=tuple(float(bound) for bound in bounds) if bounds else None,
        cardinality=more.get("cardinality"),
        required=_required(references),
    )


def _add_events(registry: Registry, groups: dict[str, Document], documents: Iterable[Document]) -> None:
    for declared in _all(documents, "events"):
        name = declared["name"]
        _declare(registry, "event", name, declared)
        references = registry.references["event", name] = tuple(_references(registry, groups, name, declared))
        fields = tuple(EventField(r.key, registry.attributes[r.key].type, r.requirement) for r in references)
        registry.events[name] = Event(
            name.removeprefix(EVENT_PREFIX), _one_line(declared["brief"]), extras(declared)["level"], fields
        )


def _add_spans(registry: Registry, groups: dict[str, Document], documents: Iterable[Document]) -> None:
    for declared in _all(documents, "spans"):
        name = declared["type"]
        _declare(registry, "span", name, declared)
        references = registry.references["span", name] = tuple(_references(registry, groups, name, declared))
        keys = tuple(reference.key for reference in references)
        registry.spans[name] = Span(name, _one_line(declared["brief"]), keys, _required(references))


def _required(references: Iterable[Reference]) -> tuple[str, ...]:
    return tuple(reference.key for reference in references if reference.requirement == "required")


def _one_line(text: str) -> str:
    return " ".join(text.split())
