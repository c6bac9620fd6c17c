"""The real promtool accepts the rules and their unit tests, and each of those tests fails where its rule is wrong."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rulekit import RULES, read_tests
from serverkit import PATIENCE_S, find

TESTS = read_tests()
QUIET = [test for test in TESTS if not test.get("alert_rule_test") and "count_over_time(ALERTS" in str(test)]


find_promtool = functools.cache(lambda: find("promtool"))


def run_promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    command = [find_promtool(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_promtool_accepts_the_rules() -> None:
    """Every file is valid, and no rule is in it twice."""
    done = run_promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(RULES.glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((RULES / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_unit_tests_of_rules_pass(path: Path) -> None:
    """What promtool computes from made-up series is what the tests say."""
    done = run_promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


# -- the quiet tests are about something: a rule that is less careful fails them

ALWAYS = {"codebook_collapse": 1e9, "gpu_busy_but_stuck": 1e9, "training_stalled": 1e9}
"""Thresholds below which, not above which, something is wrong."""


def eager(rules: str) -> str:
    """With thresholds that are always crossed."""

    def crossed(found: re.Match[str]) -> str:
        return f"{found[1]}vector({ALWAYS.get(found[2], -1e9):.0f})"

    return re.sub(r"(record: otelml:threshold:(\w+)\n(?:.*labels.*\n)?.*expr: )vector\(.*\)", crossed, rules)


def hasty(rules: str) -> str:
    """Without waiting whether it lasts."""
    return re.sub(r"for: \w+", "for: 0s", rules)


def unguarded(rules: str) -> str:
    """Without what has to be the case besides."""
    return re.sub(
        r"(alert: .*\n +expr: \|\n)((?: {10}.*\n)+)",
        lambda found: found[1] + re.split(r" +(?:unless|and)\b", found[2])[0],
        rules,
    )


def forgetful(rules: str) -> str:
    """Where a series is new that was absent a while ago."""
    return re.sub(r"last_over_time\(([^()]*)\[1h\] (offset \w+)\)", r"\1 \2", rules)


def indifferent(rules: str) -> str:
    """Whatever the labels of a series say."""
    return re.sub(
        r"(?<=[a-z])\{\s*(error_type|ml_gpu_throttle_reason|ml_metric_name|ml_training_phase|otelml_reason|hw_state)=[^}]*\}",
        "",
        rules,
    )


def renamed(rules: str) -> str:
    """With thresholds that nobody finds."""
    return rules.replace("record: otelml:threshold:", "record: threshold:").replace("for: 15m", "for: 0s")


CARELESS: list[tuple[Callable[[str], str], ...]] = [
    (eager, hasty), (unguarded, hasty), (indifferent, hasty), (forgetful,), (renamed,),
]  # fmt: skip


@pytest.fixture(scope="module")
def careless_rules(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder for each way to be less careful, with all rules so."""
    folders = []
    for changes in CARELESS:
        folder = tmp_path_factory.mktemp("_".join(change.__name__ for change in changes))
        folders.append(folder)
        for path in RULES.glob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            for change in changes:
                text = change(text)
            (folder / path.name).write_text(text)
        done = run_promtool("check", "rules", *folder.glob("*.yaml"))
        assert done.returncode == 0, done.stderr  # else every test would fail, and show nothing
    return folders


def run_test(test: dict[str, Any], rules: Path) -> bool:
    """Whether a test group passes with the rules of a folder."""
    path = rules / "test.yaml"
    files = [str(rules / name) for name in ("thresholds.yaml", "rules.yaml", "alerts.yaml")]
    path.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": [test]}))
    return run_promtool("test", "rules", path).returncode == 0


@pytest.mark.parametrize("test", QUIET, ids=lambda test: test["name"][:60])
def test_quiet_tests_can_fail(test: dict[str, Any], careless_rules: list[Path]) -> None:
    """With rules that are less careful in one of a few ways the alert is not quiet."""
    assert not all(run_test(test, rules) for rules in careless_rules)


WITHOUT_THRESHOLDS = {"GpuUnhealthy", "TargetDown", "ThresholdsMissing"}
"""Alerts that have none, or one for a part of what they are about."""


def firing_tests() -> list[Any]:
    """Each alert that has a threshold and fires in a test group, with that group."""
    return [
        pytest.param(test, alert, id=f"{alert} {number}")
        for number, test in enumerate(TESTS)
        for alert in sorted({t["alertname"] for t in test.get("alert_rule_test", ()) if t["exp_alerts"]})
        if alert not in WITHOUT_THRESHOLDS
    ]


@pytest.mark.parametrize(("test", "alert"), firing_tests())
def test_an_alert_without_its_threshold_is_off(
    test: dict[str, Any], alert: str, careless_rules: list[Path]
) -> None:
    """What fires otherwise does not where nobody has said from when on."""
    checks = [{**t, "exp_alerts": []} for t in test["alert_rule_test"] if t["alertname"] == alert]
    silenced = {"name": test["name"], "interval": test["interval"], "input_series": test["input_series"]}
    assert run_test({**silenced, "alert_rule_test": checks}, careless_rules[CARELESS.index((renamed,))])


def test_a_wrong_rule_is_found(tmp_path: Path) -> None:
    """An alert that looks the wrong way fails the tests, and one that is no PromQL is not accepted."""
    rules = tmp_path / "rules"
    shutil.copytree(RULES, rules)
    alerts = rules / "alerts.yaml"
    right = alerts.read_text()
    alerts.write_text(right.replace("entropy_utilization_ratio <", "entropy_utilization_ratio >"))
    done = run_promtool("test", "rules", rules / "tests" / "models.yaml")
    assert done.returncode == 1
    assert "CodebookCollapse" in done.stdout + done.stderr
    alerts.write_text(right.replace("hw_status{", "hw_status{{"))
    assert run_promtool("check", "rules", alerts).returncode != 0
