"""A board: rows of panels, its variables, links and annotations, as the JSON that Grafana imports."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.boards import links
from dashboards.boards.panels import DATA_SOURCE, Panel, source
from dashboards.boards.promql import GPU, SERVICE, Scope, Variable, labels, sample_name
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric
from otelml.semconv.prometheus import label_name, prometheus_name

INPUT = "DS_PROMETHEUS"
"""What Grafana asks for at an import by hand; a provisioned board takes the first data source there is."""
GRAFANA = "11.0.0"
"""The oldest version that the boards are made for."""
SOURCES = {links.TEMPO: "tempo", links.JAEGER: "jaeger", links.LOKI: "loki"}


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """What a module of a board makes.

    Attributes:
        uid: for ever; it is in the addresses that people keep.
        title, description: as Grafana lists it.
        scope: the variables that its expressions use.
        of: the metrics that are sure to be there when the board has something to show.
        rows: what it shows.
        is_home: whether it shows the other boards side by side.
    """

    uid: str
    title: str
    description: str
    scope: Scope
    of: Sequence[Metric]
    rows: Sequence[Row]
    is_home: bool = False

    def render(self) -> str:
        """The file's text."""
        built = json.loads(JSONEncoder(ensure_ascii=False).encode(self._build()))
        number_panels(built["panels"])
        whole = {"__inputs": [_input()], "__requires": list(_requirements(built)), "id": None, **built}
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"

    def _build(self) -> model.Dashboard:
        board = dashboard.Dashboard(f"otelml / {self.title}").uid(self.uid).description(self.description)
        board.tags([links.TAG]).readonly().timezone("browser").time("now-1h", "now").refresh("30s")
        board.tooltip(model.DashboardCursorSync.CROSSHAIR).version(1)
        board.link(links.to_all_boards(as_dropdown=not self.is_home))
        board.annotation(_alerts(self.scope))
        for row in self.rows:
            board.with_row(dashboard.Row(row.title))
            for panel in row.panels:
                board.with_panel(panel)
        for variable in self._variables(JSONEncoder().encode(board.build())):
            board.with_variable(variable)
        return board.build()

    def _variables(self, used: str) -> list[Any]:
        chosen = [_choose_source(DATA_SOURCE, "prometheus")]
        chosen += [_choose_source(name, kind) for name, kind in SOURCES.items() if f"${{{name}}}" in used]
        before: list[Variable] = []
        for variable in self.scope.variables:
            chosen.append(_choose(variable, self.of, before))
            before.append(variable)
        return chosen


def number_panels(panels: list[dict[str, Any]]) -> None:
    """Give each panel an id that follows from its row and title, so that links to a panel outlive its neighbours."""
    row = ""
    for panel in panels:
        row = panel["title"] if panel["type"] == "row" else row
        panel["id"] = zlib.crc32(f"{row}/{panel['type']}/{panel['title']}".encode()) % 1_000_000 + 1


def _input() -> dict[str, str]:
    return {
        "name": INPUT,
        "label": "Prometheus",
        "description": "Where the metrics are",
        "type": "datasource",
        "pluginId": "prometheus",
        "pluginName": "Prometheus",
    }


def _requirements(built: dict[str, Any]) -> list[dict[str, str]]:
    kinds = sorted({panel["type"] for panel in built["panels"]} - {"row"})
    return [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": GRAFANA},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds),
    ]


# -- variables


def _choose_source(name: str, kind: str) -> dashboard.DatasourceVariable:
    variable = dashboard.DatasourceVariable(name).label(f"{kind.title()} data source").type(kind)
    if kind == "prometheus":
        return variable.current(
            model.VariableOption(text=f"${{{INPUT}}}", value=f"${{{INPUT}}}", selected=True)
        )
    # Few have all of them, and one that is missing would show as an error.
    return variable.hide(model.VariableHide.HIDE_VARIABLE)


def _choose(variable: Variable, of: Sequence[Metric], before: Sequence[Variable]) -> dashboard.QueryVariable:
    chosen = dashboard.QueryVariable(variable.name).label(variable.title).datasource(source())
    chosen.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    metrics = [variable.of] if variable.of else [metric for metric in of if variable.selects(metric)]
    matchers = [other.matcher for other in before if any(other.selects(metric) for metric in metrics)]
    if variable == GPU:
        chosen.query(_gpus(matchers)).regex('/gpu="(?<text>[^"]+)".*hw_id="(?<value>[^"]+)"/')
    else:
        chosen.query(f"label_values({_any_of(metrics, matchers)}, {label_name(variable.attribute)})")
    if variable.default is None:
        every = model.VariableOption(text=["All"], value=["$__all"], selected=True)
        return chosen.multi(multi=True).include_all(include_all=True).all_value(".*").current(every)
    return chosen.current(model.VariableOption(text=variable.default, value=variable.default, selected=True))


def _any_of(metrics: Sequence[Metric], matchers: Sequence[str]) -> str:
    names = [sample_name(metric) for metric in metrics]
    if len(names) == 1:
        return f"{names[0]}{{{', '.join(matchers)}}}" if matchers else names[0]
    return "{" + ", ".join([f'__name__=~"{"|".join(names)}"', *matchers]) + "}"


def _gpus(matchers: Sequence[str]) -> str:
    """Shown as host and number, which are short, chosen by UUID, which is unique."""
    keys = (semconv.HW_ID, semconv.HOST_NAME, semconv.ML_GPU_INDEX)
    shown = ", ".join(f'"{label_name(key)}"' for key in keys[1:])
    there = f"{prometheus_name(semconv.METRIC_HW_GPU_MEMORY_LIMIT)}{{{', '.join(matchers)}}}"
    return f'query_result(label_join(group by ({labels(keys)}) ({there}), "gpu", " ", {shown}))'


# -- annotations


def _alerts(scope: Scope) -> dashboard.AnnotationQuery:
    """Marks where an alert fired, of the services shown or of no service."""
    service = [f'{label_name(SERVICE.attribute)}=~"${SERVICE.name}|"'] if SERVICE in scope.variables else []
    expression = "ALERTS{" + ", ".join(['alertstate="firing"', *service]) + "}"
    return (
        dashboard.AnnotationQuery()
        .name("Firing alerts")
        .datasource(source())
        .expr(expression)
        .icon_color("red")
        .enable(enable=True)
    )
