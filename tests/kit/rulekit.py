"""The rules that ship, read for tests: what they record, what they alert on, what their expressions ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml
from serverkit import ROOT

RULES = ROOT / "dashboards" / "rules"

Rule = dict[str, Any]


def read_rules(folder: Path = RULES) -> list[Rule]:
    """Every rule of every file of `folder`."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def read_tests(folder: Path = RULES / "tests") -> list[dict[str, Any]]:
    """Every group of tests of every file of `folder`."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))]
    return [test for document in documents for test in document["tests"]]


def read_queries() -> list[str]:
    """The queries of the runbook, a line each."""
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```promql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def parts_of(expression: str) -> list[Any]:
    """Every node of an expression."""
    found: list[Any] = []
    promql.walk(promql.parse(expression), found.append)
    return found


def selectors_of(expression: str) -> list[Any]:
    """Every selector of series in it."""
    return [part for part in parts_of(expression) if isinstance(part, promql.VectorSelector)]


def series_of(selector: Any) -> str:
    """The name that a selector asks for; a pattern where it has none."""
    named = [matcher.value for matcher in selector.matchers.matchers if matcher.name == "__name__"]
    return selector.name or named[0]


def labels_of(expression: str) -> Iterator[str]:
    """Every label that it matches, groups or aggregates by."""
    for part in parts_of(expression):
        modifier = getattr(part, "modifier", None)
        for aggregated_or_matched in (modifier, getattr(modifier, "matching", None)):
            yield from getattr(aggregated_or_matched, "labels", None) or ()
        yield from getattr(modifier, "group_labels", None) or ()
        if isinstance(part, promql.VectorSelector):
            yield from (matcher.name for matcher in part.matchers.matchers if matcher.name != "__name__")
