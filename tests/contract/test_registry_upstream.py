"""What the registry says of OpenTelemetry's own names, compared with the installed opentelemetry.semconv."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opentelemetry.semconv
import pytest

from otelml.semconv.codegen import registry as codegen
from otelml.semconv.model import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCES = [Path(folder) for folder in opentelemetry.semconv.__path__]
OUR_ROOTS = ("ml", "otelml")

INSTRUMENTS = {
    "create_counter": "counter",
    "create_observable_counter": "counter",
    "create_up_down_counter": "updowncounter",
    "create_observable_up_down_counter": "updowncounter",
    "create_gauge": "gauge",
    "create_observable_gauge": "gauge",
    "create_histogram": "histogram",
}

OF_ANY_HARDWARE = ("hw.energy", "hw.errors", "hw.power", "hw.status")
ABOUT_THE_PLUGIN = ("ml.gpu.collect.duration", "ml.gpu.collect.errors")

Document = dict[str, Any]


class RecordingMeter:
    """Stands for a meter; keeps what the last instrument was asked to be."""

    def __init__(self) -> None:
        self.asked: tuple[str, str, str] | None = None

    def __getattr__(self, method: str) -> Any:
        def create(name: str, unit: str = "", **_: Any) -> None:
            self.asked = (name, INSTRUMENTS[method], unit)

        return create


@cache
def read_attributes() -> dict[str, str]:
    """OpenTelemetry's attributes by key, each with its description; of two modules the stable one wins."""
    files = [
        path
        for source in SOURCES
        for folder in (source / "_incubating" / "attributes", source / "attributes")
        for path in sorted(folder.glob("*_attributes.py"))
    ]
    return {key: text for path in files for key, text in _read_constants(path)}


def _read_constants(path: Path) -> Iterator[tuple[str, str]]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.AnnAssign(value=ast.Constant(value=str(key))):
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        yield key, text.strip()
                    case _:
                        yield key, ""


@cache
def read_members(key: str) -> frozenset[str]:
    """The values of OpenTelemetry's enumeration of an attribute; empty for one that is none."""
    root = key.partition(".")[0]
    module = importlib.import_module(f"opentelemetry.semconv._incubating.attributes.{root}_attributes")
    name = "".join(word.capitalize() for word in key.replace(".", "_").split("_")) + "Values"
    return frozenset(member.value for member in getattr(module, name, ()))


@cache
def read_metric(name: str) -> tuple[str, str, str] | None:
    """Name, instrument and unit of a metric of OpenTelemetry's; None when there is no such metric."""
    try:
        module = importlib.import_module(
            f"opentelemetry.semconv._incubating.metrics.{name.partition('.')[0]}_metrics"
        )
    except ModuleNotFoundError:
        return None
    create = getattr(module, f"create_{name.replace('.', '_')}", None)
    if create is None:
        return None
    meter = RecordingMeter()
    create(*[meter, None][: len(inspect.signature(create).parameters)])
    return meter.asked


def list_upstream_references(documents: dict[str, Document]) -> list[Document]:
    """The group of OpenTelemetry's attributes that we use."""
    return [
        reference
        for document in documents.values()
        for group in document.get("attribute_groups", ())
        if group["id"] == codegen.UPSTREAM_GROUP
        for reference in group["attributes"]
    ]


def list_refinements(documents: dict[str, Document]) -> list[Document]:
    """Metrics of OpenTelemetry's as we use them."""
    return [r for document in documents.values() for r in document.get("metric_refinements", ())]


def list_imports(documents: dict[str, Document]) -> list[str]:
    """Metrics of OpenTelemetry's that we say we use."""
    return [n for document in documents.values() for n in (document.get("imports") or {}).get("metrics", ())]


def find_unknown_attributes(documents: dict[str, Document]) -> list[str]:
    """References to attributes that OpenTelemetry lacks or has given up."""
    keys = [reference["ref"] for reference in list_upstream_references(documents)]
    return [
        key for key in keys if key not in (ours := read_attributes()) or ours[key].startswith("Deprecated")
    ]


def find_unknown_members(documents: dict[str, Document]) -> list[str]:
    """Values of OpenTelemetry's enumerations that it does not have."""
    return [
        f"{reference['ref']}: {member}"
        for reference in list_upstream_references(documents)
        for member in codegen.extras(reference).get("members", ())
        if member not in read_members(reference["ref"])
    ]


def find_differing_metrics(documents: dict[str, Document]) -> list[str]:
    """Metrics whose name, instrument or unit is not OpenTelemetry's, and imports that no refinement describes."""
    refined = {refinement["ref"]: codegen.extras(refinement) for refinement in list_refinements(documents)}
    problems = [f"{name}: only imported or only refined" for name in refined.keys() ^ list_imports(documents)]
    for name, ours in refined.items():
        if read_metric(name) != (name, ours["instrument"], ours["unit"]):
            problems.append(f"{name}: {ours['instrument']} {ours['unit']}, not {read_metric(name)}")
    return problems


def find_defined_upstream(documents: dict[str, Document]) -> list[str]:
    """Attributes and metrics of OpenTelemetry's that we define again."""
    return [
        name
        for document in documents.values()
        for name in [
            *(declared["key"] for declared in document.get("attributes", ())),
            *(declared["name"] for declared in document.get("metrics", ())),
        ]
        if name in read_attributes() or read_metric(name)
    ]


def find_unidentified(metrics: Iterable[Metric]) -> list[str]:
    """Metrics of GPUs whose points may lack the GPU's id, or that it is a GPU where others have them too."""
    ours = [m for m in metrics if m.name.startswith(("hw.", "ml.gpu.")) and m.name not in ABOUT_THE_PLUGIN]
    return [
        metric.name
        for metric in ours
        if not {"hw.id", *(["hw.type"] if metric.name in OF_ANY_HARDWARE else [])} <= set(metric.required)
    ]


@pytest.fixture
def documents() -> dict[str, Document]:
    """The registry's files, free to be changed."""
    return copy.deepcopy(codegen.load_documents())


def test_opentelemetry_has_every_attribute_that_we_refer_to(documents: dict[str, Document]) -> None:
    """Each attribute that we do not define is one of OpenTelemetry's, and not a deprecated one."""
    assert list_upstream_references(documents)
    assert find_unknown_attributes(documents) == []


@pytest.mark.parametrize("key", ["hw.gpu.tusk", "vcs.repository.ref.revision"])
def test_an_attribute_that_opentelemetry_lacks_is_found(documents: dict[str, Document], key: str) -> None:
    """A misspelt reference is reported, and so is one to a deprecated attribute."""
    list_upstream_references(documents)[0]["ref"] = key
    assert find_unknown_attributes(documents) == [key]


def test_opentelemetry_has_every_member_that_we_list(documents: dict[str, Document]) -> None:
    """The values listed for OpenTelemetry's enumerations are among its own."""
    assert any(codegen.extras(reference).get("members") for reference in list_upstream_references(documents))
    assert find_unknown_members(documents) == []


def test_a_member_that_opentelemetry_lacks_is_found(documents: dict[str, Document]) -> None:
    """A value that is not OpenTelemetry's is reported with its attribute."""
    (task,) = [r for r in list_upstream_references(documents) if r["ref"] == "hw.gpu.task"]
    task["annotations"]["otelml"]["members"].append("knitting")
    assert find_unknown_members(documents) == ["hw.gpu.task: knitting"]


def test_metrics_of_opentelemetry_are_as_it_specifies_them(documents: dict[str, Document]) -> None:
    """Name, instrument and unit of each imported metric are OpenTelemetry's."""
    assert list_imports(documents)
    assert find_differing_metrics(documents) == []


@pytest.mark.parametrize(
    ("field", "value"), [("ref", "hw.gpu.mood"), ("instrument", "histogram"), ("unit", "kJ")]
)
def test_a_metric_that_differs_from_opentelemetrys_is_found(
    documents: dict[str, Document], field: str, value: str
) -> None:
    """Another name, instrument or unit than OpenTelemetry's is reported."""
    refinement = list_refinements(documents)[0]
    (refinement if field == "ref" else refinement["annotations"]["otelml"])[field] = value
    assert any(refinement["ref"] in problem for problem in find_differing_metrics(documents))


def test_an_import_without_a_description_is_found(documents: dict[str, Document]) -> None:
    """An imported metric needs its refinement, from which the spec is made."""
    name = list_imports(documents)[0]
    for document in documents.values():
        document["metric_refinements"] = [
            r for r in document.get("metric_refinements", ()) if r["ref"] != name
        ]
    assert find_differing_metrics(documents) == [f"{name}: only imported or only refined"]


def test_nothing_of_opentelemetrys_is_defined_again(documents: dict[str, Document]) -> None:
    """What OpenTelemetry defines is referred to and imported only."""
    assert find_defined_upstream(documents) == []


def test_a_second_definition_is_found(documents: dict[str, Document]) -> None:
    """An attribute or metric that OpenTelemetry has already is reported."""
    documents["gpu.yaml"]["attributes"].append({"key": "hw.id"})
    documents["gpu.yaml"]["metrics"].append({"name": "hw.power"})
    assert find_defined_upstream(documents) == ["hw.id", "hw.power"]


def test_our_roots_are_free_in_opentelemetry() -> None:
    """OpenTelemetry has no attribute and no metrics module under a root of ours."""
    roots = {key.partition(".")[0] for key in read_attributes()}
    roots |= {
        path.stem.removesuffix("_metrics") for source in SOURCES for path in source.rglob("*_metrics.py")
    }
    assert "hw" in roots
    assert roots.isdisjoint(OUR_ROOTS)


def test_metrics_of_gpus_say_which_gpu_it_is() -> None:
    """Every point has `hw.id`, and `hw.type` where OpenTelemetry has the metric for all hardware."""
    assert find_unidentified(codegen.load().metrics.values()) == []


@pytest.mark.parametrize(
    ("name", "required"),
    [("ml.gpu.sm.utilization", ()), ("hw.power", ("hw.id",)), ("hw.energy", ("hw.type",))],
)
def test_a_metric_of_an_unknown_gpu_is_found(name: str, required: tuple[str, ...]) -> None:
    """A metric that lacks either attribute is reported."""
    assert find_unidentified([Metric(name, "gauge", "1", "It is.", required=required)]) == [name]
