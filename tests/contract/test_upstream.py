"""What we use of OpenTelemetry's own conventions is what the installed ones say."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any, ClassVar

import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv._incubating.metrics as incubating_metrics
import pytest
from opentelemetry.semconv import attributes as stable

from otelml.semconv.codegen.registry import extras, load

REGISTRY = load()
USED_METRICS = sorted(REGISTRY.upstream & set(REGISTRY.metrics))
USED_ATTRIBUTES = sorted(REGISTRY.upstream - set(REGISTRY.metrics))


class RecordingMeter:
    """Stands in for a Meter, and keeps the kind and unit that it is asked for."""

    KINDS: ClassVar = {
        "create_counter": "counter",
        "create_observable_counter": "counter",
        "create_up_down_counter": "updowncounter",
        "create_observable_up_down_counter": "updowncounter",
        "create_gauge": "gauge",
        "create_observable_gauge": "gauge",
        "create_histogram": "histogram",
    }

    def __init__(self) -> None:
        self.made: tuple[str, str] | None = None

    def __getattr__(self, name: str) -> Any:
        def create(*, unit: str, **_: Any) -> None:
            self.made = (self.KINDS[name], unit)

        return create


def read_modules(*packages: ModuleType) -> Iterator[dict[str, Any]]:
    """The contents of all modules of some packages."""
    for package in packages:
        for found in pkgutil.iter_modules(package.__path__):
            yield vars(importlib.import_module(f"{package.__name__}.{found.name}"))


def read_constants(*packages: ModuleType) -> dict[str, dict[str, Any]]:
    """The module in which each name is defined."""
    return {
        value: content
        for content in read_modules(*packages)
        for key, value in content.items()
        if key.isupper() and isinstance(value, str)
    }


ATTRIBUTES = read_constants(incubating, stable)
METRICS = read_constants(incubating_metrics)


def upstream_kind_and_unit(name: str) -> tuple[str, str] | None:
    """What OpenTelemetry's own factory asks a meter for, for the metric `name`."""
    create = METRICS[name][f"create_{name.replace('.', '_')}"]
    meter = RecordingMeter()
    create(meter, **({"callbacks": []} if "callbacks" in create.__annotations__ else {}))
    return meter.made


def upstream_members(key: str) -> set[Any] | None:
    """The values of the enumeration that belongs to the attribute `key`, None where it is none."""
    name = "".join(part.capitalize() for part in key.replace(".", "_").split("_")) + "Values"
    values = ATTRIBUTES[key].get(name)
    return (
        {member.value for member in values} if isinstance(values, type) and issubclass(values, Enum) else None
    )


@pytest.mark.parametrize("name", USED_METRICS)
def test_a_metric_is_used_as_it_is_specified(name: str) -> None:
    """Kind and unit are upstream's."""
    metric = REGISTRY.metrics[name]
    assert (metric.kind, metric.unit) == upstream_kind_and_unit(name)


@pytest.mark.parametrize("key", USED_ATTRIBUTES)
def test_an_attribute_exists_upstream(key: str) -> None:
    """The key is one of the installed conventions, and the values that we use are among its own."""
    assert key in ATTRIBUTES
    members = upstream_members(key)
    if members is not None and key != "error.type":
        assert set(REGISTRY.attributes[key].members) <= members


def test_nothing_of_ours_is_upstream() -> None:
    """A name that OpenTelemetry has meanwhile defined is referred to, not declared."""
    ours = {name for sort, name in REGISTRY.declared if sort in ("attribute", "metric")} - REGISTRY.upstream
    assert ours & (set(ATTRIBUTES) | set(METRICS)) == set()


def test_the_gpu_metrics_have_one_identity() -> None:
    """Every metric of a GPU has its `hw.id`, and those for all kinds of hardware say that it is one."""
    for name, metric in REGISTRY.metrics.items():
        if name.startswith(("hw.", "ml.gpu.")) and not name.startswith("ml.gpu.collect."):
            assert "hw.id" in metric.required, name
    for name in ("hw.energy", "hw.errors", "hw.power", "hw.status"):
        assert "hw.type" in REGISTRY.metrics[name].required


def test_the_check_can_fail() -> None:
    """Another kind, unit or key than upstream's is noticed."""
    assert upstream_kind_and_unit("hw.status") == ("updowncounter", "1")
    assert upstream_kind_and_unit("hw.gpu.utilization") == ("gauge", "1")
    assert upstream_members("hw.gpu.task") == {"general", "encoder", "decoder"}
    assert upstream_members("hw.id") is None
    assert "hw.gpu.sm" not in ATTRIBUTES
    assert all(extras(REGISTRY.declared["metric", name])["instrument"] for name in USED_METRICS)
