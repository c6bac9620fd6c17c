"""Every query of every board has data on a real Prometheus: of programs that it scrapes, and of one behind a collector.

What a panel's query gives is compared with what the programs counted themselves, where that is exact.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from emitting import DIRECT, THROUGH_COLLECTOR, EmittingStack
from serverkit import Jaeger, fetch_json, plain_environ, wait_until

from dashboards.boards.reading import Board, Panel, Target, fill_in, read_boards

BOARDS = {board.uid: board for board in read_boards()}
ROUNDS = 14
"""Enough for windows of drift and of the codebook to say something, and for one label to have too many values."""

WHOLE = "10m"
"""Far longer than the test: rates and increases are about all that the programs did."""

EMPTY: dict[tuple[str, str, str], str] = {}
"""Queries that find nothing here (board, panel, letter), and why."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmittingStack]:
    """Programs that have done their rounds, all of it in Prometheus."""
    with EmittingStack(tmp_path_factory.mktemp("boards")) as running:
        # Two scrapes at rest after the first round: a rate that begins with the second is of whole rounds.
        running.do_rounds()
        running.wait_for_scrape()
        running.at_rest = time.time()
        running.wait_for_scrape()
        running.do_rounds(ROUNDS - 1)
        running.wait_for_scrape()
        yield running


class Shown:
    """A board as it is shown, with its variables as they are when it is opened, or as `chosen`."""

    def __init__(self, board: Board, stack: EmittingStack, **chosen: str) -> None:
        self.board, self.prometheus = board, stack.prometheus
        self.values = board.defaults() | {"__rate_interval": WHOLE, "__range": WHOLE} | chosen

    def ask(self, target: Target) -> list[dict[str, Any]]:
        """The series of a query that hold a number."""
        expression = fill_in(target.expression, self.values)
        end = time.time()
        if target.is_instant:
            found = self.prometheus.query(expression, time=end)
        else:
            found = self.prometheus.query_range(expression, end - 60, end, 1)
        return [series for series in found if any(not math.isnan(value) for value in read_values(series))]

    def numbers(self, title: str, ref: str = "A", which: int = 0) -> dict[tuple[str, ...], float]:
        """What a query of a panel gives last, by the values of its labels in alphabetical order."""
        panel = [panel for panel in self.board.panels if panel.title == title][which]
        target = next(each for each in panel.targets if each.ref == ref)
        return {
            tuple(value for _, value in sorted(series["metric"].items())): read_values(series)[-1]
            for series in self.ask(target)
        }


def read_values(series: dict[str, Any]) -> list[float]:
    """The values of a series."""
    points = series["values"] if "values" in series else [series["value"]]
    return [float(value) for _, value in points]


def all_targets(board: Board) -> Iterator[tuple[Panel, Target]]:
    """Every query of a board."""
    return ((panel, target) for panel in board.panels for target in panel.targets)


@pytest.mark.parametrize("uid", BOARDS)
@pytest.mark.parametrize("service", [DIRECT, THROUGH_COLLECTOR])
def test_every_query_has_data(stack: EmittingStack, uid: str, service: str) -> None:
    """Of each of the two ways into Prometheus, by the same board."""
    shown = Shown(BOARDS[uid], stack, service=service)

    def empty() -> set[tuple[str, str, str]]:
        return {
            (uid, panel.title, target.ref)
            for panel, target in all_targets(shown.board)
            if not shown.ask(target)
        }

    wait_until(lambda: empty() <= set(EMPTY), empty)
    assert empty() == {each for each in EMPTY if each[0] == uid}


@pytest.mark.parametrize("uid", BOARDS)
def test_no_query_fails_where_there_is_nothing(stack: EmittingStack, uid: str) -> None:
    """No GPU, no run, no model: a panel without data, and no error."""
    shown = Shown(BOARDS[uid], stack, service="nobody", job="nothing")
    for _, target in all_targets(shown.board):
        if "$service" in target.expression or "$job" in target.expression:
            assert shown.ask(target) == [], target.expression


def options(shown: Shown, name: str) -> dict[str, str]:
    """What a variable offers: values by the texts that are shown for them."""
    variable = next(each for each in shown.board.variables if each["name"] == name)
    query = fill_in(variable["query"], shown.values)
    if found := re.fullmatch(r"label_values\((.*), (\w+)\)", query):
        series = shown.prometheus.query(f"count by ({found[2]}) ({found[1]})")
        return {each["metric"][found[2]]: each["metric"][found[2]] for each in series if each["metric"]}
    (inner,) = re.fullmatch(r"query_result\((.*)\)", query).groups()
    pattern = re.sub(r"\(\?<", "(?P<", variable["regex"].strip("/"))
    texts = (written(each) for each in shown.prometheus.query(inner))
    return {found["text"]: found["value"] for found in map(re.compile(pattern).search, texts) if found}


def written(series: dict[str, Any]) -> str:
    """As Grafana writes the series of a `query_result`, labels in their order, for the variable's pattern."""
    labels = series["metric"]
    inside = ",".join(f"{name}={json.dumps(labels[name])}" for name in sorted(labels) if name != "__name__")
    return f"{labels.get('__name__', '')}{{{inside}}} {series['value'][1]} {series['value'][0] * 1000:.0f}"


@pytest.mark.parametrize("uid", BOARDS)
def test_variables_offer_what_there_is(stack: EmittingStack, uid: str) -> None:
    """Both services; of one of them its ranks; models, stages and features by name; GPUs by host and number."""
    board = BOARDS[uid]
    names = {variable["name"] for variable in board.variables}
    everything, ranked = Shown(board, stack), Shown(board, stack, service=DIRECT)
    assert set(options(everything, "service")) == {DIRECT, THROUGH_COLLECTOR}
    assert set(options(ranked, "rank")) == {"0", "1"}
    expected = {
        "model": {"digits"},
        "stage": {"encode", "postprocess"},
        "feature": {"age", "city", "confidence"},
    }
    expected |= {"method": {"psi", "ks"}, "job": {"otelml", "otelml-collector", "otelcol"}}
    for name in names & set(expected):
        for shown in (everything, ranked):
            assert expected[name] <= set(options(shown, name)), name
    if "gpu" in names:
        (host,) = options(everything, "host")
        assert sorted(options(ranked, "gpu")) == [f"{host} 0", f"{host} 1"]
        assert all(value.startswith("GPU-") for value in options(ranked, "gpu").values())


def test_a_chosen_gpu_rank_and_stage_are_the_only_ones_shown(stack: EmittingStack) -> None:
    """Whatever variable names them."""
    gpus = Shown(BOARDS["otelml-gpu"], stack)
    chosen = Shown(gpus.board, stack, gpu=options(gpus, "gpu")[f"{next(iter(options(gpus, 'host')))} 1"])
    assert (gpus.numbers("GPUs"), chosen.numbers("GPUs")) == ({(): 2}, {(): 1})
    ranks = Shown(BOARDS["otelml-training"], stack, rank="1").numbers("Training step duration, mean by rank")
    assert list(ranks) == [("1", DIRECT)]
    stages = Shown(BOARDS["otelml-stages"], stack, stage="encode|cluster", service=DIRECT).numbers(
        "Stage runs"
    )
    assert {labels[0] for labels in stages} == {"encode", "cluster"}


def test_all_shows_those_without_a_rank_too(stack: EmittingStack) -> None:
    """A series without the label is not left out."""
    ranks = Shown(BOARDS["otelml-training"], stack).numbers("Training step duration, mean by rank")
    assert set(ranks) == {("0", DIRECT), ("1", DIRECT), (THROUGH_COLLECTOR,)}


def test_alerts_are_marked_on_every_board(stack: EmittingStack) -> None:
    """An alert of one of the services shown, which fires."""
    for board in BOARDS.values():
        (query,) = board.raw["annotations"]["list"]
        shown = Shown(board, stack)
        (found,) = shown.prometheus.query(
            fill_in(query["expr"], shown.values) + ' and ALERTS{alertname="Always"}'
        )
        assert found["metric"]["service_name"] == DIRECT


# -- from a stage to its traces

PROGRAM = """
import otelml
otelml.configure(service_name="digits")
for name in ("encode", "cluster"):
    with otelml.stage(name):
        pass
"""


def test_a_stages_link_finds_its_traces(tmp_path: Path) -> None:
    """What the link of a line asks Jaeger for, with the line's labels, is spans of that stage and of no other."""
    with Jaeger(tmp_path) as jaeger:
        environ = plain_environ(
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://{jaeger.grpc_endpoint}",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
        )
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environ, check=True)
        panel = next(
            panel for panel in BOARDS["otelml-stages"].panels if panel.title == "Stage duration, p95"
        )
        (link,) = [
            each
            for each in panel.raw["fieldConfig"]["defaults"]["links"]
            if each["title"] == "Traces in Jaeger"
        ]
        url = link["url"].replace("${__field.labels.service_name}", "digits")
        url = url.replace("${__field.labels.ml_stage_name}", "encode")
        (pane,) = json.loads(parse_qs(urlsplit(url).query)["panes"][0]).values()
        (query,) = pane["queries"]
        wanted = {"service": query["service"], "operation": query["operation"]}
        traces = wait_until(lambda: fetch_json(f"{jaeger.url}/api/traces", **wanted)["data"])
        assert [[span["operationName"] for span in trace["spans"]] for trace in traces] == [["encode"]]


# -- a picture


def test_a_board_can_be_drawn(stack: EmittingStack, tmp_path: Path) -> None:
    """As those in docs/images are: a PNG as wide as the grid."""
    pytest.importorskip("matplotlib")
    from PIL import Image

    from scripts import draw_boards

    end = time.time()
    source = draw_boards.Source(stack.prometheus.url, end - 60, end, WHOLE)
    draw_boards.draw_boards(source, tmp_path, ["otelml-overview", "otelml-drift"])
    for name in ("otelml-overview", "otelml-drift"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width == pytest.approx(24 * draw_boards.CELL_WIDTH * draw_boards.DPI, abs=2)
            assert len(picture.getcolors()) > 50


# -- numbers, compared with what the programs counted


def counted(stack: EmittingStack, service: str, what: str) -> int:
    """What the processes of a service say together."""
    return sum(emitter.counted[what] for emitter in stack.emitters_of(service))


@pytest.mark.parametrize("service", [DIRECT, THROUGH_COLLECTOR])
def test_errors_in_the_range_are_all_of_them(stack: EmittingStack, service: str) -> None:
    """Also the first, which `increase` alone would not see."""
    found = Shown(BOARDS["otelml-stages"], stack, service=service).numbers("Stage runs: errors in the range")
    assert found == {
        ("ValueError", "postprocess", service): counted(stack, service, "failed_postprocessed"),
        ("NotImplementedError", "convert", service): counted(stack, service, "failed_conversions"),
    }


@pytest.mark.parametrize("service", [DIRECT, THROUGH_COLLECTOR])
def test_what_is_counted_over_the_range_is_exact(stack: EmittingStack, service: str) -> None:
    """Conversions, values that are not finite, and the part of the conversions that failed."""
    models = Shown(BOARDS["otelml-model-quality"], stack, service=service)
    failed = counted(stack, service, "failed_conversions")
    assert models.numbers("Model conversions: failed") == {(): failed}
    rounds = counted(stack, service, "rounds")
    assert models.numbers("Model conversions in the range", "A") == {
        ("coreml", "digits", service): failed,
        ("onnx", "digits", service): rounds,
    }
    assert set(models.numbers("Model conversions in the range", "B").values()) == {0, 1}
    training = Shown(BOARDS["otelml-training"], stack, service=service)
    assert training.numbers("Training values not finite") == {(): counted(stack, service, "non_finite")}


@pytest.mark.parametrize("service", [DIRECT, THROUGH_COLLECTOR])
def test_the_share_of_failures_is_exact(stack: EmittingStack, service: str) -> None:
    """A tenth of the requests to a model, a quarter of the runs of a stage, none of another one."""
    chosen = {"service": service, "__rate_interval": f"{int(time.time() - stack.at_rest)}s"}
    stages = Shown(BOARDS["otelml-stages"], stack, **chosen).numbers("Stage runs: failed")
    runs, failed = (counted(stack, service, what) for what in ("postprocessed", "failed_postprocessed"))
    assert stages["postprocess", service] == pytest.approx(failed / runs)
    assert stages["fusion", service] == 0
    models = Shown(BOARDS["otelml-overview"], stack, **chosen).numbers("Inference requests: failed", "A", 1)
    requests, failed = (counted(stack, service, what) for what in ("requests", "failed"))
    assert models == {("digits", service): pytest.approx(failed / requests), ("topics", service): 0}


def test_shares_of_bins_are_the_references(stack: EmittingStack) -> None:
    """Ten quantiles of a feature that did not drift, and what the programs saw of it."""
    shown = Shown(BOARDS["otelml-drift"], stack, feature="age")
    reference = shown.numbers("Drift observations by bin: $feature", "A")
    seen = shown.numbers("Drift observations by bin: $feature", "B")
    assert sum(reference.values()) == pytest.approx(1)
    assert sum(seen.values()) == pytest.approx(1)
    assert [reference[f"{at:02}",] for at in range(10)] == pytest.approx([0.1] * 10, abs=0.01)


def test_each_gpu_counts_once(stack: EmittingStack) -> None:
    """Two GPUs that one program reports by rank and another one whole; power as it was recorded."""
    shown = Shown(BOARDS["otelml-gpu"], stack)
    assert shown.numbers("GPUs") == {(): 2}
    (power,) = shown.numbers("GPU power").values()
    assert 2 * 100 < power < 2 * 700
    assert shown.numbers("GPU errors in the range").values()
    assert set(shown.numbers("GPU errors in the range").values()) == {1}


def test_the_collector_lost_what_it_could_not_deliver(stack: EmittingStack) -> None:
    """Spans go nowhere: all of them are lost, and no metric point is."""
    shown = Shown(BOARDS["otelml-telemetry-health"], stack)
    failed = [sum(shown.numbers("Collector: failed to deliver", ref).values()) for ref in "ABC"]
    assert failed[0] > 0
    assert failed[2] == 0
