"""Renders the reference tables of docs/reference/ from the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelml.semconv.codegen.registry import RESOURCE_GROUP, Registry, extras
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otelml.semconv.codegen.registry import Reference
    from otelml.semconv.model import Metric

_NOTE = "<!-- Made from src/otelml/semconv/registry/ by `make generate`; do not edit. -->\n"

AREAS = (
    ("Stages", "ml.stage."),
    ("Inference", "ml.inference."),
    ("Models and evaluation", ("ml.model.", "ml.evaluation.")),
    ("Quantizers", "ml.quantizer."),
    ("Drift", "ml.drift."),
    ("Training", "ml.training."),
    ("Clustering, smoothing and data quality", ("ml.clustering.", "ml.smoothing.", "ml.data.")),
    ("GPU", ("hw.", "ml.gpu.")),
    ("Resources that the program measures", "ml.resource."),
    ("System and process", ("process.", "system.")),
    ("The library itself", "otelml."),
)
"""Headings of the metrics' page, each with the beginnings of its names."""


def render(registry: Registry) -> dict[str, str]:
    """The pages by file name."""
    return {
        "metrics.md": _metrics(registry),
        "attributes.md": _attributes(registry),
        "events.md": _events(registry),
        "spans.md": _spans(registry),
        "resource.md": _resource(registry),
    }


def _page(title: str, *parts: str) -> str:
    return "\n".join([_NOTE, f"# {title}\n", *parts])


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _metrics(registry: Registry) -> str:
    promoted = _code(*map(label_name, PROMOTED_RESOURCE_ATTRIBUTES))
    parts = [
        "Attributes in bold are on every point. Names under `hw.`, `process.` and `system.` are OpenTelemetry's.\n",
        f"Every series in Prometheus also has the labels {promoted}, from the resource.\n",
    ]
    for heading, prefixes in AREAS:
        metrics = [m for name, m in sorted(registry.metrics.items()) if name.startswith(prefixes)]
        parts += [f"## {heading}\n", _metric_table(registry, metrics), *_metric_details(registry, metrics)]
    return _page("Metrics", *parts)


def _metric_table(registry: Registry, metrics: Sequence[Metric]) -> str:
    head = ("Name", "Kind, unit", "In Prometheus", "Attributes", "What it says")
    return render_table(
        head,
        (
            (
                _code(metric.name),
                f"{metric.kind} {_code(metric.unit)}",
                _code(prometheus_name(metric)),
                _keys(registry.references["metric", metric.name]),
                metric.brief,
            )
            for metric in metrics
        ),
    )


def _metric_details(registry: Registry, metrics: Iterable[Metric]) -> list[str]:
    lines = []
    for metric in metrics:
        declared = registry.declared["metric", metric.name]
        details = [" ".join(declared["note"].split())] if "note" in declared else []
        if metric.bounds:
            details.append(f"Bounds: {', '.join(f'{bound:g}' for bound in metric.bounds)}.")
        if source := extras(declared).get("source"):
            details.append(f"From {source}.")
        if details:
            lines.append(f"- {_code(metric.name)}: {' '.join(details)}")
    return ["\n".join(lines) + "\n"] if lines else []


def _keys(references: Iterable[Reference]) -> str:
    return ", ".join(
        f"**`{r.key}`**" if r.requirement == "required" else f"`{r.key}`"
        for r in references
        if r.requirement != "opt_in"
    )


def _attributes(registry: Registry) -> str:
    head = ("Key", "Type", "Values", "In Prometheus", "What it says")
    rows: dict[bool, list[tuple[str, ...]]] = {True: [], False: []}
    for key, attribute in sorted(registry.attributes.items()):
        if "." in key:
            values = _code(*map(str, attribute.members)) or _examples(registry, key)
            row = (_code(key), attribute.type, values, _code(label_name(key)), attribute.brief)
            rows[key in registry.upstream].append(row)
    return _page(
        "Attributes",
        "Of spans, metrics and resources. [Events](events.md) have fields of their own.\n",
        render_table(head, rows[False]),
        "## OpenTelemetry's own\n",
        "Used as they are specified there.\n",
        render_table(head, rows[True]),
        *_notes(registry, "attribute"),
    )


def _examples(registry: Registry, key: str) -> str:
    examples = registry.declared["attribute", key].get("examples", ())
    return f"such as {_code(*map(str, examples))}" if examples else ""


def _notes(registry: Registry, sort: str) -> list[str]:
    lines = [
        f"- {_code(name)}: {' '.join(declared['note'].split())}"
        for (found, name), declared in sorted(registry.declared.items())
        if found == sort and "note" in declared
    ]
    return ["\n".join(lines) + "\n"] if lines else []


def _events(registry: Registry) -> str:
    parts = [
        "Log records with a name. In the flat JSON files it is the field `event`, without `ml.`.\n",
        "A field is there where it says `required`; more fields are welcome.\n",
    ]
    for name, event in sorted(registry.events.items()):
        parts += [f"## `{name}`\n", f"{event.brief} Level {event.level}.\n"]
        parts.append(_reference_table(registry, "Field", registry.references["event", name]))
    return _page("Events", *parts)


def _reference_table(registry: Registry, what: str, references: Iterable[Reference]) -> str:
    return render_table(
        (what, "Type", "Requirement", "What it says"),
        (
            (_code(r.key), registry.attributes[r.key].type, _requirement(r), _with_members(registry, r.key))
            for r in references
        ),
    )


def _with_members(registry: Registry, key: str) -> str:
    attribute = registry.attributes[key]
    return (
        f"{attribute.brief} ({_code(*map(str, attribute.members))})" if attribute.members else attribute.brief
    )


def _requirement(reference: Reference) -> str:
    words = reference.requirement.replace("_", " ")
    return f"{words}: {reference.condition}" if reference.condition else words


def _spans(registry: Registry) -> str:
    parts = []
    for name, span in sorted(registry.spans.items()):
        declared = registry.declared["span", name]
        about = [span.brief, " ".join(declared.get("note", "").split())]
        parts += [f"## `{name}`\n", " ".join(filter(None, about)) + "\n"]
        parts.append(f"Kind {declared['kind']}, named {' '.join(declared['name']['note'].split())}.\n")
        parts.append(_reference_table(registry, "Attribute", registry.references["span", name]))
    return _page("Spans", *parts)


def _resource(registry: Registry) -> str:
    parts = [
        "What all telemetry of a process says about it. What is unknown is left out.\n",
        f"Labels of every series in Prometheus are {_code(*PROMOTED_RESOURCE_ATTRIBUTES)}.\n",
        _reference_table(registry, "Attribute", registry.references["group", RESOURCE_GROUP]),
    ]
    for (sort, name), declared in sorted(registry.declared.items()):
        if sort == "entity":
            identity = _code(*(reference["ref"] for reference in declared["identity"]))
            parts += [f"## Entity `{name}`\n", f"{declared['brief']} Identified by {identity}.\n"]
    return _page("Resource", *parts)
