"""What the boards ask Prometheus for obeys dashboard-linter's rules, and exists: series, labels, rules.

The linter's rules that want a job and an instance in each query are left out: our series are told apart by service,
host and rank, which both ways into Prometheus give them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from dashboards.boards import elsewhere
from dashboards.boards.reading import Board, Panel, Target, fill_in, read_boards
from otelml.semconv._generated import METRICS
from otelml.semconv.model import Metric
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

ROOT = Path(__file__).parents[2]
BOARDS = read_boards()
each_board = pytest.mark.parametrize("board", BOARDS, ids=[board.uid for board in BOARDS])

NOT_SHOWN: dict[str, str] = {}
"""Metrics of the registry that no board shows, and why."""

RATE_INTERVAL_S, RANGE_S = 60.0, 3600.0


def series_names(metric: Metric) -> list[str]:
    """The names of a metric's series."""
    suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    return [prometheus_name(metric) + suffix for suffix in suffixes]


def collector_name(metric: Metric) -> str:
    """What one of the collector's own series is called when it is scraped; tests/e2e asks a real one."""
    return metric.name + ("_seconds" if metric == elsewhere.COLLECTOR_CPU else "")


KNOWN = {name: metric for metric in (*METRICS.values(), *elsewhere.ALL) for name in series_names(metric)}
OF_COLLECTOR = {collector_name(metric): metric for metric in elsewhere.COLLECTOR}


def read_rules() -> set[str]:
    """The names of the recording rules that ship."""
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / "dashboards" / "rules").glob("*.yaml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule["record"] for rule in rules if "record" in rule}


RULES = read_rules()


def queries(board: Board) -> Iterator[tuple[Panel, Target, str]]:
    """Each query of a board, and its expression with every variable as it is when the board is opened."""
    values = board.defaults() | {"__rate_interval": "1m", "__range": "1h"}
    for panel in board.panels:
        for target in panel.targets:
            yield panel, target, fill_in(target.expression, values)


# -- walking through expressions


def walk(node: Any) -> Iterator[Any]:
    """A node, and all that are in it."""
    yield node
    for part in ("expr", "lhs", "rhs", "args"):
        inner = getattr(node, part, None) or []
        for each in inner if isinstance(inner, list) else [inner]:
            yield from walk(each)


def selectors(expression: str) -> Iterator[Any]:
    """Every selector in an expression, with a range or without one."""
    for node in walk(promql.parse(expression)):
        if isinstance(node, promql.VectorSelector):
            yield node
        elif isinstance(node, promql.MatrixSelector):
            yield node.vector_selector


def uses(node: Any, call: str = "") -> Iterator[tuple[str, str, float | None]]:
    """Each selector in an expression: the function around it, its metric, its range in seconds.

    In `x unless last_over_time(x[1h] offset 1h)` it is `new`: what is new of a counter is how much it grew, which
    `increase` would miss.
    """
    if isinstance(node, promql.VectorSelector):
        yield call, node.name or "", None
    elif isinstance(node, promql.MatrixSelector):
        yield call, node.vector_selector.name or "", node.range.total_seconds()
    elif isinstance(node, promql.Call):
        for argument in node.args:
            yield from uses(argument, node.func.name)
    elif isinstance(node, promql.BinaryExpr):
        is_new = str(node.op) == "unless" and f"last_over_time({node.lhs}[1h] offset" in str(node.rhs)
        yield from uses(node.lhs, "new" if is_new else "")
        yield from () if is_new else uses(node.rhs)
    elif hasattr(node, "expr"):
        yield from uses(node.expr, call if isinstance(node, promql.ParenExpr) else "")


# -- the linter's rules


def complaints(kind: str, expression: str) -> Iterator[str]:
    """What dashboard-linter would say of a query in a panel of that kind."""
    for call, name, over_s in uses(promql.parse(expression)):
        if call == "rate" and over_s != RATE_INTERVAL_S:
            yield f"{name}: a rate over {over_s} s, not over $__rate_interval"
        if call == "increase" and over_s not in {RATE_INTERVAL_S, RANGE_S}:
            yield f"{name}: an increase over {over_s} s"
        grows = name in KNOWN and KNOWN[name].kind in {"counter", "histogram"}
        if grows and call not in {"rate", "increase", "new"}:
            yield f"{name}: a counter, and no rate or increase"
        if name.endswith("_bucket") and kind != "heatmap" and "histogram_quantile" not in expression:
            yield f"{name}: buckets, and no quantile"


@each_board
def test_queries_obey_the_linter(board: Board) -> None:
    """Rates over Grafana's interval, counters only as they grow, buckets only in quantiles and heatmaps."""
    assert [each for panel, _, text in queries(board) for each in complaints(panel.kind, text)] == []


@pytest.mark.parametrize(
    "expression",
    [
        "ml_stage_items_total",
        "-max(ml_stage_duration_seconds_count) + 1",
        "sum by (a) (rate(ml_stage_items_total[5m])) / 2",
        "increase(ml_stage_items_total[5m])",
        "(ml_stage_items_total unless last_over_time(ml_drift_alerts_total[1h] offset 1h))",
        "sum by (le) (rate(ml_stage_duration_seconds_bucket[1m]))",
    ],
)
def test_the_linter_would_complain(expression: str) -> None:
    """Each rule finds what breaks it."""
    assert list(complaints("timeseries", expression))


def test_what_is_new_of_a_counter_is_growth() -> None:
    """The form that counts the first of something rare."""
    text = "(ml_drift_alerts_total unless last_over_time(ml_drift_alerts_total[1h] offset 1h))"
    assert list(complaints("stat", f"sum({text} or increase(ml_drift_alerts_total[1h]))")) == []


# -- series, labels, legends


def labels_of(metric: Metric) -> set[str]:
    """The labels that its series may have."""
    promoted = () if metric in elsewhere.OF_NO_PROGRAM else PROMOTED_RESOURCE_ATTRIBUTES
    return set(map(label_name, (*metric.attributes, *promoted))) | {"le", "job", "instance"}


def find_metric(selector: Any) -> Metric | None:
    """What a selector asks for; None for a recording rule, and for what nobody has."""
    if selector.name is not None:
        return KNOWN.get(selector.name)
    (pattern,) = [each.value for each in selector.matchers.matchers if each.name == "__name__"]
    return next((metric for name, metric in OF_COLLECTOR.items() if re.fullmatch(pattern, name)), None)


def unknown_names(expression: str) -> Iterator[str]:
    """Series, and labels in matchers and in `by (...)`, that do not exist."""
    for selector in selectors(expression):
        metric = find_metric(selector)
        if metric is None and selector.name not in RULES:
            yield str(selector)
        elif metric is not None:
            own = labels_of(metric) | {"__name__"}
            yield from (
                f"{each.name} of {metric.name}" for each in selector.matchers.matchers if each.name not in own
            )
    for node in walk(promql.parse(expression)):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            yield from (
                f"by ({label})" for label in node.modifier.labels if label not in labels_within(node.expr)
            )


def labels_within(node: Any) -> set[str]:
    """The labels of all metrics in an expression."""
    found = [find_metric(selector) for selector in selectors(str(node))]
    return {label for metric in found if metric is not None for label in labels_of(metric)}


@each_board
def test_every_series_and_label_exists(board: Board) -> None:
    """Names are the registry's, a rule's, or in dashboards/boards/elsewhere.py; labels are attributes of the metric."""
    assert [name for _, _, text in queries(board) for name in unknown_names(text)] == []


@pytest.mark.parametrize(
    "expression",
    [
        "ml_stage_duration",
        "otelml:threshold:nothing",
        'ml_training_loss{ml_model_name="a"}',
        'up{service_name="a"}',
        "sum by (ml_stage_name) (rate(ml_training_steps_total[1m]))",
        '{__name__=~"otelcol_exporter_sent_span(_total)?"}',
    ],
)
def test_what_does_not_exist_is_found(expression: str) -> None:
    """A wrong name of a series, a rule, a label."""
    assert len(list(unknown_names(expression))) == 1


@each_board
def test_legends_have_only_labels_that_the_query_keeps(board: Board) -> None:
    """Each label in a legend stands in a `by (...)`, or in a query that adds nothing up."""
    lost = []
    for _, target, text in queries(board):
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", text))))
        if kept:
            lost += [
                (label, text) for label in re.findall(r"\{\{(\w+)\}\}", target.legend) if label not in kept
            ]
    assert lost == []


@each_board
def test_variables_ask_for_what_exists(board: Board) -> None:
    """The values of a label, of series that have it; of GPUs a series that they all have."""
    for variable in board.variables:
        function, _, inner = fill_in(variable["query"], board.defaults())[:-1].partition("(")
        if function == "query_result":
            assert list(unknown_names(inner.replace('"gpu"', '"hw_id"'))) == []
            continue
        text, _, label = inner.rpartition(", ")
        (selector,) = selectors(text)
        needed = {label, *(each.name for each in selector.matchers.matchers)} - {"__name__"}
        assert [name for name in asked_names(selector) if not needed <= labels_of(KNOWN[name])] == []


def asked_names(selector: Any) -> list[str]:
    """The series that a variable looks for: one, or any of some."""
    if selector.name is not None:
        return [selector.name]
    (pattern,) = [each.value for each in selector.matchers.matchers if each.name == "__name__"]
    return list(pattern.split("|"))


# -- completeness


def test_every_metric_is_on_a_board() -> None:
    """Or on the list with a reason; and what is on the list is on no board."""
    asked = {
        selector.name for board in BOARDS for _, _, text in queries(board) for selector in selectors(text)
    }
    missing = {metric.name for metric in METRICS.values() if not asked & set(series_names(metric))}
    assert missing == set(NOT_SHOWN)


def test_nothing_is_declared_that_no_board_shows() -> None:
    """Each metric in dashboards/boards/elsewhere.py is on a board."""
    found = {
        find_metric(each) for board in BOARDS for _, _, text in queries(board) for each in selectors(text)
    }
    assert set(elsewhere.ALL) - found == set()


def test_no_board_spells_a_series_out() -> None:
    """Names of series and metrics come from the registry: no text in the code of the boards holds one."""
    known = {name for metric in METRICS.values() for name in (*series_names(metric), metric.name)}
    found = [
        (path.name, text)
        for path in (ROOT / "dashboards" / "boards").glob("*.py")
        for text in re.findall(r'"([^"\n]*)"', path.read_text(encoding="utf-8"))
        if known & set(re.findall(r"[\w.:]+", text))
    ]
    assert found == []
