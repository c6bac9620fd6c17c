"""Recording rules and alerts ask for what exists, say what they should, and are tested; promtool's part is in e2e."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rulekit import Rule, labels_of, read_queries, read_rules, read_tests, selectors_of, series_of
from serverkit import ROOT

from otelml.gpu.throttling import WORTH_TELLING
from otelml.semconv import _generated as semconv
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

RUNBOOK = "https://otelml.invalid/docs/runbook.md#"
SEVERITIES = {"critical", "warning"}

FOREIGN = re.compile(
    r"up|scrape_duration_seconds|target_info|process_memory_usage_bytes"
    r"|otelcol_(exporter|process|receiver)_[a-z_()?]+"
)
"""Series that are not ours: Prometheus' own, one of OpenTelemetry's instrumentation, and the collector's.

tests/e2e asks real ones for them.
"""
FOREIGN_LABELS = {"job", "instance", "namespace", "pod", "le", "exporter", "receiver"}
OWN_LABELS = {"severity", "part", "whole", "loss", "signal", "telemetry_distro_name"}
"""Labels that rules make, and one of `target_info`."""

NOT_LOST = {
    # By design.
    "span_budget", "rate_limit",
    # What the program handed in was no value of its kind, or reading it would have made the program wait.
    "attribute_type", "batch_not_counted", "confidence_out_of_range", "graph_capture", "model_size", "no_class",
    "no_count", "no_text_*", "non_finite_value", "*_value", "resource_out_of_range", "unknown_feature",
    # Named by a variable: an argument of `pipeline`, a code of a quantizer; and in `NAMED_LATER` what is a loss.
    "name", "reason", "*_*",
    # Kept elsewhere all the same.
    "recursion", "summary_full",
}  # fmt: skip

NAMED_LATER = {"queue_full", "exit_deadline", "spans_undelivered", "log_records_rejected"}
"""Losses that the source names by a variable: of log handlers, and of the queues of exporters."""

Rules = list[Rule]
Check = Callable[[Rules], Iterator[str]]


def names_of(rules: Rules) -> set[str]:
    """What the recording rules record."""
    return {rule["record"] for rule in rules if "record" in rule}


def alerts_of(rules: Rules) -> Rules:
    """The alerts."""
    return [rule for rule in rules if "alert" in rule]


def registered_series() -> dict[str, Any]:
    """Every series of the registry by its name in Prometheus."""
    found = {}
    for spec in semconv.METRICS.values():
        suffixes = ("_bucket", "_sum", "_count") if spec.kind == "histogram" else ("",)
        found.update({prometheus_name(spec) + suffix: spec for suffix in suffixes})
    return found


SERIES = registered_series()
LABELS = {label_name(key) for key in (*semconv.ATTRIBUTES, *PROMOTED_RESOURCE_ATTRIBUTES)}


# -- what has to hold of all rules; each yields what does not


def check_series(rules: Rules) -> Iterator[str]:
    """Every series that an expression asks for is in the registry, recorded, or known to be somebody else's."""
    known = names_of(rules) | set(SERIES)
    for rule in rules:
        for name in map(series_of, selectors_of(rule["expr"])):
            if name not in known and not FOREIGN.fullmatch(name) and name != "otelml:threshold:.+":
                yield f"{name} in {title(rule)}"


def check_labels(rules: Rules) -> Iterator[str]:
    """Every label is one, and what a series is matched by is a label that it has."""
    for rule in rules:
        known = LABELS | FOREIGN_LABELS | OWN_LABELS
        yield from (f"{label} in {title(rule)}" for label in labels_of(rule["expr"]) if label not in known)
        for selector in selectors_of(rule["expr"]):
            spec = SERIES.get(series_of(selector))
            for matcher in selector.matchers.matchers if spec is not None else ():
                has = {label_name(key) for key in (*spec.attributes, *PROMOTED_RESOURCE_ATTRIBUTES)}
                if matcher.name not in has | FOREIGN_LABELS:
                    yield f"{spec.name} has no {matcher.name}, in {title(rule)}"


def check_values(rules: Rules) -> Iterator[str]:
    """What a series of the registry is matched with is a value that the registry knows, where it lists them."""
    for rule in rules:
        for selector in selectors_of(rule["expr"]):
            for matcher in selector.matchers.matchers if series_of(selector) in SERIES else ():
                attribute = ATTRIBUTE_OF.get(matcher.name)
                members = set(getattr(attribute, "members", None) or ())
                words = set(matcher.value.split("|")) - {""}
                if members and not words <= members:
                    yield f"{matcher.name} is never {words - members}, in {title(rule)}"


def check_thresholds(rules: Rules) -> Iterator[str]:
    """Every threshold is used, and by the alert whose name it has, unless several need it."""
    thresholds = {name for name in names_of(rules) if name.startswith("otelml:threshold:")}
    used = {series_of(s) for rule in rules for s in selectors_of(rule["expr"])}
    yield from (f"{name} is not used" for name in thresholds - used)
    named = {f"otelml:threshold:{snake_case(rule['alert'])}" for rule in alerts_of(rules)}
    shared = {"otelml:threshold:minimum_requests", "otelml:threshold:gpu_busy"}
    yield from (f"{name} is no alert's" for name in thresholds - named - shared)


def check_texts(rules: Rules) -> Iterator[str]:
    """Every alert has a severity, a summary, a description, and a link to its own section of the runbook."""
    anchors = read_anchors()
    for rule in alerts_of(rules):
        annotations = rule.get("annotations", {})
        if rule.get("labels", {}).get("severity") not in SEVERITIES:
            yield f"{title(rule)}: no severity"
        yield from (
            f"{title(rule)}: no {key}" for key in ("summary", "description") if not annotations.get(key)
        )
        url = annotations.get("runbook_url", "")
        if url != RUNBOOK + rule["alert"].lower() or url.removeprefix(RUNBOOK) not in anchors:
            yield f"{title(rule)}: {url} leads nowhere"


def check_recorded_names(rules: Rules) -> Iterator[str]:
    """What is recorded is called `otelml:<what>:<operation>`, or as the page on drift has long called it."""
    for name in names_of(rules):
        if not re.fullmatch(r"otelml:[a-z_]+:[a-z_0-9]+|ml_drift:[a-z_]+(:1h|:increase1h)?", name):
            yield name


CHECKS: list[Check] = [
    check_series, check_labels, check_values, check_thresholds, check_texts, check_recorded_names,
]  # fmt: skip


def title(rule: Rule) -> str:
    """How a rule is called in a failure."""
    labels = rule.get("labels", {})
    return f"{rule.get('alert') or rule['record']} {labels}"


def snake_case(name: str) -> str:
    """`gpu_xid_error` for `GpuXidError`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def read_anchors() -> set[str]:
    """The anchors that a page has for its headings, as those who show Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", read_page("runbook.md"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


ATTRIBUTE_OF = {label_name(key): spec for key, spec in semconv.ATTRIBUTES.items()}


@pytest.mark.parametrize("check", CHECKS)
def test_rules_keep_to_it(check: Check) -> None:
    """Each of the checks above finds nothing in the rules that ship."""
    assert list(check(read_rules())) == []


def change(rules: Rules, name: str, **changes: Any) -> Rules:
    """The rules with changes in those of one name."""
    changed = copy.deepcopy(rules)
    chosen = [rule for rule in changed if name in (rule.get("alert"), rule.get("record"))]
    assert chosen
    for rule in chosen:
        rule.update(changes)
    return changed


BROKEN: list[tuple[Check, str, dict[str, Any]]] = [
    (check_series, "CodebookCollapse", {"expr": "ml_quantizer_entropy_utilisation_ratio < 0.5"}),
    (check_series, "CodebookCollapse", {"expr": "hw_status > scalar(otelml:threshold:nothing)"}),
    (check_labels, "GpuUnhealthy", {"expr": 'hw_status{hw_stat="failed"} == 1'}),
    (check_labels, "GpuUnhealthy", {"expr": "sum by (host) (hw_status) == 1"}),
    (check_labels, "GpuUnhealthy", {"expr": 'hw_status{ml_stage_name="encode"} == 1'}),
    (check_labels, "GpuUnhealthy", {"expr": "hw_status * on (hw_id) group_left (node) hw_status"}),
    (check_values, "GpuUnhealthy", {"expr": 'hw_status{hw_state="broken"} == 1'}),
    (check_values, "GpuUnhealthy", {"expr": 'hw_status{hw_state=~"failed|broken"} == 1'}),
    (check_thresholds, "CodebookCollapse", {"expr": "ml_quantizer_entropy_utilization_ratio < 0.5"}),
    (check_thresholds, "otelml:threshold:codebook_collapse", {"record": "otelml:threshold:collapse"}),
    (check_texts, "GpuUnhealthy", {"labels": {"severity": "page"}}),
    (check_texts, "GpuUnhealthy", {"alert": "GpuIll"}),
    (check_texts, "GpuUnhealthy", {"annotations": {"summary": "x", "runbook_url": f"{RUNBOOK}gpuunhealthy"}}),
    (check_recorded_names, "otelml:stages:rate5m", {"record": "otelml_stages"}),
]


@pytest.mark.parametrize(("check", "name", "changes"), BROKEN)
def test_checks_find_what_is_wrong(check: Check, name: str, changes: dict[str, Any]) -> None:
    """Each of the checks can fail."""
    assert list(check(change(read_rules(), name, **changes)))


def test_every_section_of_the_runbook_is_an_alerts() -> None:
    """No alert went away and left its section behind."""
    sections = set(re.findall(r"^### (.+)$", read_page("runbook.md"), re.MULTILINE))
    assert sections == {rule["alert"] for rule in alerts_of(read_rules())}


# -- what the pages say

PAGES = ("runbook.md", "alerts.md", "drift.md")


def read_page(name: str) -> str:
    """A page of the docs."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_queries_of_the_runbook_ask_for_what_there_is() -> None:
    """Each is PromQL; its series and labels exist."""
    queries = [{"record": query, "expr": query} for query in read_queries()]
    assert len(queries) > 50
    assert list(check_series([*read_rules(), *queries])) == []
    assert list(check_labels(queries)) == []
    assert list(check_values(queries)) == []


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_is_recorded(page: str) -> None:
    """Every recorded series that a page names is recorded."""
    known = names_of(read_rules())
    named = set(re.findall(r"\b(?:otelml:[a-z_]+|ml_drift):[a-z_0-9:]+\b", read_page(page)))
    assert named - known == set()


def test_the_page_lists_every_alert() -> None:
    """With its severities and a link to its section."""
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbook\.md#(\w+)\) \| ([a-z, ]+) \|", read_page("alerts.md"), re.MULTILINE
    )
    assert all(name.lower() == anchor for name, anchor, _ in rows)
    listed = {(name, severity) for name, _, severities in rows for severity in severities.split(", ")}
    assert listed == {(rule["alert"], rule["labels"]["severity"]) for rule in alerts_of(read_rules())}


# -- every rule is tested


def fires(test: dict[str, Any], alert: str, severity: str) -> bool:
    """Whether a test group says that an alert fires, with this severity."""
    expected = [
        e for t in test.get("alert_rule_test", ()) if t["alertname"] == alert for e in t["exp_alerts"]
    ]
    return any(each["exp_labels"]["severity"] == severity for each in expected)


def stays_quiet(test: dict[str, Any], alert: str, severity: str) -> bool:
    """Whether a test group says that it never fires, with this severity, in all of the time."""
    for each in test.get("promql_expr_test", ()):
        if each["expr"].startswith("count_over_time(ALERTS{") and not each["exp_samples"]:
            about = dict(re.findall(r'(\w+)="(\w+)"', each["expr"]))
            if about["alertname"] == alert and about.get("severity", severity) == severity:
                return True
    return False


def untested(rules: Rules, tests: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Alerts without a test that they fire, or that they stay quiet; records of which no value is tested."""
    tests = list(tests)
    for rule in alerts_of(rules):
        alert, severity = rule["alert"], rule["labels"]["severity"]
        yield from (
            f"{alert}, {severity}: {told.__name__}"
            for told in (fires, stays_quiet)
            if not any(told(test, alert, severity) for test in tests)
        )
    valued = [e["expr"] for t in tests for e in t.get("promql_expr_test", ()) if e["exp_samples"]]
    asked = {series_of(selector) for expression in valued for selector in selectors_of(expression)}
    recorded = {name for name in names_of(rules) if not name.startswith("otelml:threshold:")}
    yield from sorted(recorded - asked)


def test_every_rule_is_tested() -> None:
    """Each alert has a test that it fires and one that it stays quiet, at each severity; each record one of a value."""
    assert list(untested(read_rules(), read_tests())) == []


def test_a_rule_without_tests_is_found() -> None:
    """The check above can fail, in each of its parts."""
    rules, tests = read_rules(), read_tests()
    found = set(untested(change(rules, "GpuUnhealthy", alert="GpuIll"), tests))
    assert {"GpuIll, critical: fires", "GpuIll, critical: stays_quiet"} <= found
    assert list(untested(change(rules, "otelml:stages:rate5m", record="otelml:new:rate5m"), tests)) == [
        "otelml:new:rate5m"
    ]


def test_every_test_of_rules_has_a_name_of_its_own() -> None:
    """A failure says which one it is."""
    names = [test["name"] for test in read_tests()]
    assert len(names) == len(set(names))


# -- what stands in an expression and in the source


def expression_of(name: str) -> str:
    """The expression of the one record of this name."""
    (rule,) = (rule for rule in read_rules() if rule.get("record") == name)
    return rule["expr"]


def matched(expression: str, label: str) -> set[str]:
    """The patterns that it matches a label with."""
    matchers = [m for selector in selectors_of(expression) for m in selector.matchers.matchers]
    return {matcher.value for matcher in matchers if matcher.name == label}


def test_the_reasons_to_slow_down_are_those_that_are_told() -> None:
    """The alert and the event `gpu_throttled` are about the same reasons."""
    (pattern,) = matched(expression_of("otelml:gpu_throttled:share10m"), "ml_gpu_throttle_reason")
    assert set(pattern.split("|")) == WORTH_TELLING


def dropped_reasons(source: Path = ROOT / "src" / "otelml") -> set[str]:
    """The reasons that the source drops for, with `*` for what is put in when it runs."""
    found: set[str] = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "internal.count":
                kind, _, reason, *_ = map(ast.unparse, node.args)
                if kind == "'dropped'":
                    found.add(re.sub(r"\{.*?\}", "*", reason.removeprefix("f")).strip("'\""))
    return found


def test_every_reason_to_drop_is_a_loss_or_none() -> None:
    """A new reason has to be told apart: the alert looks for the ones that are a loss."""
    (pattern,) = matched(expression_of("otelml:telemetry_lost:increase15m"), "otelml_reason")
    reasons = dropped_reasons()
    lost = {reason for reason in reasons if re.fullmatch(pattern, reason)}
    assert reasons - lost == NOT_LOST
    assert all(re.fullmatch(pattern, reason) for reason in NAMED_LATER)
