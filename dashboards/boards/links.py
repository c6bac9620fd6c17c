"""Where boards lead: to each other, and from a stage to its traces and logs, with time and variables kept."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

TAG = "otelml"
"""What all boards have, by which they find each other."""
TEMPO, JAEGER, LOKI = "tempo_datasource", "jaeger_datasource", "loki_datasource"
"""Variables that name the data source; a board has those that its links use."""


@dataclass(frozen=True)
class Link:
    """A link of a panel, or of its values."""

    title: str
    url: str

    def build(self) -> dashboard.DashboardLink:
        """As Grafana has it."""
        link = dashboard.DashboardLink(self.title).type(DashboardLinkType.LINK).url(self.url)
        return link.target_blank(target_blank=self.url.startswith("/explore"))


def to_board(uid: str, title: str) -> Link:
    """To another board, with time and variables."""
    return Link(title, f"/d/{uid}?${{__url_time_range}}&${{__all_variables}}")


def to_all_boards(*, as_dropdown: bool) -> dashboard.DashboardLink:
    """To each board, with time and variables."""
    link = dashboard.DashboardLink("otelml boards").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(as_dropdown).include_vars(include_vars=True).keep_time(keep_time=True)


def to_traces(service: str, span: str) -> list[Link]:
    """To the traces that have a span of that name, in Tempo and in Jaeger. Both texts may hold `${...}`."""
    search = f'{{resource.service.name="{service}" && name="{span}"}}'
    return [
        Link("Traces in Tempo", _explore(TEMPO, "tempo", queryType="traceql", query=search, limit=20)),
        Link(
            "Traces in Jaeger",
            _explore(JAEGER, "jaeger", queryType="search", service=service, operation=span),
        ),
    ]


def to_logs(service: str, stage: str) -> list[Link]:
    """To the log records that tell of a stage."""
    search = f'{{service_name="{service}"}} | stage="{stage}"'
    return [Link("Logs in Loki", _explore(LOKI, "loki", expr=search, queryType="range"))]


def _explore(variable: str, kind: str, **query: Any) -> str:
    """The address of Explore with one query. What is left as `${...}` Grafana fills in, and encodes itself."""
    chosen = f"${{{variable}}}"
    asked = {"refId": "A", "datasource": {"type": kind, "uid": chosen}, **query}
    pane = {"datasource": chosen, "queries": [asked], "range": {"from": "${__from}", "to": "${__to}"}}
    text = json.dumps({"a": pane}, separators=(",", ":"))
    parts = re.split(r"(\$\{[^}]+\})", text)
    return "/explore?schemaVersion=1&orgId=1&panes=" + "".join(
        part if part.startswith("${") else quote(part, safe="") for part in parts
    )
