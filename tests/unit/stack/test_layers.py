"""Layers: how they are chosen and merged, what they refer to, and that they agree with the registry."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from otelml.semconv import _generated as semconv
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES
from otelml.stack import layers


@pytest.mark.parametrize(
    ("first", "then", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1, "y": {"z": 1}}}, {"a": {"y": {"w": 2}}}, {"a": {"x": 1, "y": {"z": 1, "w": 2}}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {"a": "text"}, {"a": "text"}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_mappings_are_merged_and_everything_else_is_replaced(
    first: layers.Document, then: layers.Document, merged: layers.Document
) -> None:
    """At any depth, and neither of the two is changed."""
    before = yaml.safe_dump([first, then])
    assert layers.merge(first, then) == merged
    assert yaml.safe_dump([first, then]) == before


def test_layers_come_in_their_order_and_files_of_the_users_last(tmp_path: Path) -> None:
    """Whatever the order they are asked for; those of every combination first."""
    (tmp_path / "mine.yaml").touch()
    chosen = layers.choose(["agent", "local"], [str(tmp_path / "mine.yaml"), "debug"])
    assert [file.stem for file in chosen] == [
        "base",
        "redaction",
        "health",
        "debug",
        "prometheus",
        "agent",
        "mine",
    ]
    assert chosen[-1] == tmp_path / "mine.yaml"
    assert all(file.is_file() for file in chosen)


def test_the_order_does_not_matter() -> None:
    """But for the base, and for `agent`, which completes a list of `health`."""
    documents = {name: layers.load_merged([layers.locate(name)]) for name in layers.LAYERS}
    merged = merge_all(documents, layers.LAYERS)
    names = [name for name in layers.LAYERS if name not in ("base", "agent", "health")]
    for first, last in itertools.permutations(names, 2):
        others = [name for name in names if name not in (first, last)]
        assert merge_all(documents, ["base", first, "health", *others, last, "agent"]) == merged
    wrong = merge_all(documents, ["base", "agent", "health"])
    assert wrong["service"]["extensions"] != merged["service"]["extensions"]


def merge_all(documents: dict[str, layers.Document], order: Iterable[str]) -> layers.Document:
    """`documents` in an order."""
    return functools.reduce(layers.merge, (documents[name] for name in order))


def test_variables_are_found_with_their_defaults() -> None:
    """In keys' values and lists, several in one text, with and without a default, also an empty one."""
    document = {
        "a": ["${env:HOST:-127.0.0.1}:${env:PORT:-4317}", {"b": "x ${env:KEY} y"}],
        "c": "${env:EMPTY:-}",
        "d": "$${env:NO}, ${file:x}, 5",
        "e": 5,
        "f": "${env:URL:-http://127.0.0.1:9090/api}",
    }
    found = layers.find_variables(document)
    assert found.pop("NO", None) is None
    assert found == {
        "EMPTY": "",
        "HOST": "127.0.0.1",
        "KEY": None,
        "PORT": "4317",
        "URL": "http://127.0.0.1:9090/api",
    }


def test_ends_are_where_signals_leave_the_collector() -> None:
    """Neither connectors nor what throws everything away."""
    merged = layers.load_merged(layers.choose(["sentry"], ["remote-write"]))
    assert layers.find_ends(merged) == {
        "traces": ["otlp_http/sentry"],
        "metrics": ["prometheus_remote_write"],
        "logs": ["otlp_http/sentry"],
    }
    assert layers.find_ends({}) == {"traces": [], "metrics": [], "logs": []}


def test_what_is_written_is_what_was_read() -> None:
    """All layers at once, with the references as they were; nothing is written for an empty value."""
    merged = layers.load_merged(map(layers.locate, layers.LAYERS))
    text = layers.write_yaml(merged)
    assert yaml.safe_load(text) == merged
    assert "null" not in text
    assert "endpoint: ${env:OTELCOL_HOST:-127.0.0.1}:${env:OTELCOL_GRPC_PORT:-4317}" in text


@pytest.mark.parametrize("text", ["a: [", "- 1", "text", "", b"\xff"])
def test_a_file_without_a_mapping_is_named(tmp_path: Path, text: str | bytes) -> None:
    """Broken, of another kind, empty or no text at all."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        layers.load_merged([path])


@pytest.mark.parametrize("layer", ["prometheus", "prometheus-otlp", "remote-write"])
def test_labels_are_those_of_every_path(layer: str) -> None:
    """Each layer for metrics promotes the resource attributes that the program's own endpoint does, and no other."""
    statements = layers.load_merged([layers.locate(layer)])["processors"]["transform/labels"][
        "metric_statements"
    ]
    assert statements == [
        f'set(datapoint.attributes["{key}"], resource.attributes["{key}"]) where resource.attributes["{key}"] != nil'
        for key in sorted(
            PROMOTED_RESOURCE_ATTRIBUTES, key=["service.name", "host.name"].__contains__, reverse=True
        )
    ]


def test_the_agent_knows_the_events_of_the_registry() -> None:
    """Exactly those, in the one list that it has of them."""
    document = layers.load_merged([layers.locate("agent")])
    (statement,) = [
        text for text in document["processors"]["transform/flat"]["log_statements"] if "IsMatch" in text
    ]
    names = re.search(r"\^\(([a-z_|]+)\)\$", statement)[1].split("|")
    assert names == sorted(semconv.EVENTS)


def test_redaction_looks_at_no_attribute_of_the_registry() -> None:
    """They hold names, ids and numbers, and are on everything; in the list are also a few of OpenTelemetry's own."""
    ignored = layers.load_merged([layers.locate("redaction")])["processors"]["redaction"]["ignored_keys"]
    assert set(semconv.ATTRIBUTES) <= set(ignored)
    others = {key.partition(".")[0] for key in set(ignored) - set(semconv.ATTRIBUTES)}
    assert others <= {"code", "host", "telemetry", "thread"}


def test_redaction_has_patterns_that_go_finds_fast() -> None:
    """Each begins with plain characters, not with a flag, a class or alternatives: that is worth a factor of ten."""
    redaction = layers.load_merged([layers.locate("redaction")])["processors"]["redaction"]
    patterns = [*redaction["blocked_key_patterns"], *redaction["blocked_values"]]
    assert [text for text in patterns if not re.match(r"\^?(\\[.?])?[\w:/&-]*", text)[0]] == []


def test_what_is_neither_a_layer_nor_a_file_is_named() -> None:
    """With the layers that there are."""
    with pytest.raises(
        ValueError, match=r"^grafanna is neither a file nor a layer; there are base, .*grafana"
    ):
        layers.choose((), ["grafanna"])
