"""Boards are what their code gives, keep their addresses, import as they are, and lead where they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from dashboards.boards.reading import Board, Panel, fill_in, read_board, read_boards

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards" / "grafana"
BOARDS = read_boards()
each_board = pytest.mark.parametrize("board", BOARDS, ids=[board.uid for board in BOARDS])

needs_sdk = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="grafana-foundation-sdk, which makes the boards, needs Python 3.11"
)

UIDS = {
    "otelml-drift",
    "otelml-gpu",
    "otelml-model-quality",
    "otelml-overview",
    "otelml-pipeline",
    "otelml-resources",
    "otelml-stages",
    "otelml-telemetry-health",
    "otelml-training",
}
"""For ever: they are in the addresses that people keep."""

ON_TIME_RANGE_CHANGE = 2

# -- the files


def run_generator(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m dashboards.boards` on another folder."""
    command = [sys.executable, "-m", "dashboards.boards", "--folder", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_sdk
def test_the_files_are_what_the_code_gives() -> None:
    """`python -m dashboards.boards --check` passes on the checkout."""
    done = run_generator(FOLDER, "--check")
    assert (done.returncode, done.stderr) == (0, "")


@needs_sdk
def test_a_changed_a_missing_and_a_stray_file_are_noticed_and_put_right(tmp_path: Path) -> None:
    """The check fails and names them; generating makes it pass."""
    assert run_generator(tmp_path).returncode == 0
    changed, missing, stray = (
        tmp_path / "otelml-gpu.json",
        tmp_path / "otelml-drift.json",
        tmp_path / "old.json",
    )
    changed.write_text(changed.read_text() + "\n")
    missing.unlink()
    stray.write_text("{}")
    done = run_generator(tmp_path, "--check")
    assert done.returncode == 1
    assert {path for path in (changed, missing, stray) if path.name in done.stderr} == {
        changed,
        missing,
        stray,
    }
    run_generator(tmp_path)
    assert run_generator(tmp_path, "--check").returncode == 0
    assert not stray.exists()


def test_addresses_stay() -> None:
    """Each board has its uid as a file name, and the uids are those that were ever given."""
    assert {path.stem for path in FOLDER.glob("*.json")} == {board.uid for board in BOARDS} == UIDS


@needs_sdk
def test_a_new_panel_changes_no_other_panels_id() -> None:
    """Ids follow from row, kind and title, so that links to a panel outlive its neighbours."""
    from dashboards.boards.board import number_panels

    panels = [{"type": "row", "title": "Now"}, {"type": "stat", "title": "a"}, {"type": "stat", "title": "b"}]
    number_panels(panels)
    more = [{"type": "row", "title": "Now"}, {"type": "stat", "title": "new"}, *map(dict, panels[1:])]
    number_panels(more)
    assert [panel["id"] for panel in more[2:]] == [panel["id"] for panel in panels[1:]]


@each_board
def test_ids_are_unique(board: Board) -> None:
    """Of the panels on a board, and of the queries in a panel."""
    ids = [panel["id"] for panel in board.raw["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board.panels:
        assert [target.ref for target in panel.targets] == [
            chr(ord("A") + at) for at in range(len(panel.targets))
        ]


@needs_sdk
@each_board
def test_the_sdk_reads_a_board_as_it_wrote_it(board: Board) -> None:
    """A round trip through the typed model loses nothing; where a panel says nothing it adds its defaults."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(board.raw)))))
    for panel, ours in zip(again["panels"], board.raw["panels"], strict=True):
        if panel["type"] != "row" and "custom" not in ours["fieldConfig"]["defaults"]:
            panel["fieldConfig"]["defaults"].pop("custom", None)
    own = {"__inputs", "__requires", "id"}
    assert again == {key: value for key, value in board.raw.items() if key not in own}


@each_board
def test_nothing_overlaps_and_no_line_has_a_gap(board: Board) -> None:
    """Each line of the grid is 24 wide and filled, but for panels that are repeated over its width."""
    taken: set[tuple[int, int]] = set()
    for panel in board.raw["panels"]:
        place = panel["gridPos"]
        width = 24 if panel.get("repeat") else place["w"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + width)
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    lines = {y for _, y in taken}
    assert taken == {(x, y) for x in range(24) for y in lines}
    assert lines == set(range(max(lines) + 1))


# -- at the import


@each_board
def test_it_says_what_it_needs(board: Board) -> None:
    """One data source to choose at the import, and the version and plugins of Grafana that it uses."""
    (wanted,) = board.raw["__inputs"]
    assert (wanted["name"], wanted["type"], wanted["pluginId"]) == (
        "DS_PROMETHEUS",
        "datasource",
        "prometheus",
    )
    needed = {(each["type"], each["id"]) for each in board.raw["__requires"]}
    kinds = {("panel", panel.kind) for panel in board.panels}
    assert needed == kinds | {("grafana", "grafana"), ("datasource", "prometheus")}
    assert board.raw["id"] is None
    assert 36 <= board.raw["schemaVersion"] <= 41


@each_board
def test_an_import_fills_in_the_data_source_and_nothing_else(board: Board) -> None:
    """As Grafana does it: the input stands in the data source variable alone, which all panels use."""
    text = (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8")
    imported = json.loads(text.replace("${DS_PROMETHEUS}", "uid-of-mine"))
    chosen = [each for each in imported["templating"]["list"] if "uid-of-mine" in json.dumps(each)]
    assert [each["name"] for each in chosen] == ["prometheus_datasource"]
    assert json.dumps(imported).count("uid-of-mine") == json.dumps(chosen).count("uid-of-mine")


@each_board
def test_no_variable_is_used_that_is_not_there_and_none_is_there_unused(board: Board) -> None:
    """Grafana leaves an unknown `$name` as it is, and the query finds nothing."""
    own = {"__rate_interval", "__range", "__from", "__to", "__url_time_range", "__all_variables", "__all"}
    dotted = re.compile(r"__(field\.labels|data\.fields)\.\w+")
    used = {
        braced or plain for braced, plain in re.findall(r"\$(?:\{([^}]+)\}|(\w+))", json.dumps(board.raw))
    }
    used = {name for name in used if not dotted.fullmatch(name)} - own
    there = {each["name"] for each in board.raw["templating"]["list"]}
    assert used == there | {"DS_PROMETHEUS"}


@each_board
def test_variables_offer_all_and_all_means_everything(board: Board) -> None:
    """Also series without the label: rank unknown, no model. Each is a pattern, so that many can be chosen."""
    for variable in board.variables:
        assert variable["refresh"] == ON_TIME_RANGE_CHANGE
        if variable["multi"]:
            assert (variable["allValue"], variable["current"]["value"]) == (".*", ["$__all"])
    for target in (target for panel in board.panels for target in panel.targets):
        assert not re.search(r'(?<!=~")\$(?!__)', target.expression), target.expression


@needs_sdk
@each_board
def test_panels_obey_the_linter(board: Board) -> None:
    """A variable for each data source, named after its kind; not editable; each panel with all that it needs."""
    assert board.raw["editable"] is False
    sources = [each for each in board.raw["templating"]["list"] if each["type"] == "datasource"]
    assert sources[0]["query"] == "prometheus"
    for source in sources:
        assert source["name"] == f"{source['query']}_datasource"
        assert source["label"] == f"{source['query'].title()} data source"
    assert [panel.title for panel in board.panels if not is_complete(panel)] == []


def is_complete(panel: Panel) -> bool:
    """Whether it has a title, a description, queries, the data source's variable, and a unit that Grafana knows."""
    from grafana_foundation_sdk.models import units

    known = {value for name, value in vars(units).items() if isinstance(value, str) and name[0].isupper()}
    is_from_variable = panel.raw["datasource"] == {"type": "prometheus", "uid": "${prometheus_datasource}"}
    is_described = panel.title and panel.raw["description"].endswith(".")
    return bool(is_from_variable and is_described and panel.targets and panel.unit in known)


# -- links


@each_board
def test_boards_lead_to_each_other_with_time_and_variables(board: Board) -> None:
    """By their tag, and by links to single boards that exist."""
    (to_all,) = board.raw["links"]
    assert (to_all["type"], to_all["tags"], to_all["keepTime"], to_all["includeVars"]) == (
        "dashboards",
        ["otelml"],
        True,
        True,
    )
    assert "otelml" in board.raw["tags"]
    for link in (link for panel in board.panels for link in panel.raw.get("links", [])):
        found = re.fullmatch(r"/d/([\w-]+)\?\$\{__url_time_range\}&\$\{__all_variables\}", link["url"])
        assert found is not None, link
        assert found[1] in UIDS


def test_the_overview_leads_to_every_other_board() -> None:
    """From a number to the board that says more."""
    overview = read_board(FOLDER / "otelml-overview.json")
    urls = json.dumps([panel.raw.get("links") for panel in overview.panels])
    elsewhere_than_here = UIDS - {"otelml-overview", "otelml-pipeline"}  # which the row of links has
    assert {uid for uid in UIDS if f"/d/{uid}?" in urls} == elsewhere_than_here


SERVICE = ("${__field.labels.service_name}", "${__data.fields.Service}")
STAGE = ("${__field.labels.ml_stage_name}", "${__data.fields.Stage}")


def read_explore(url: str) -> dict[str, Any]:
    """What a link asks Explore for, once Grafana has put in a service, a stage, the time and the data sources."""
    for names, value in ((SERVICE, "digits"), (STAGE, "encode")):
        for name in names:
            url = url.replace(name, value)
    values = {"__from": "1", "__to": "2", "tempo_datasource": "tempo", "jaeger_datasource": "jaeger"}
    query = urllib.parse.urlsplit(fill_in(url, values | {"loki_datasource": "loki"})).query
    (pane,) = json.loads(urllib.parse.parse_qs(query, strict_parsing=True)["panes"][0]).values()
    assert pane["range"] == {"from": "1", "to": "2"}
    (asked,) = pane["queries"]
    kind = asked.pop("datasource")
    assert pane["datasource"] == kind["uid"] == kind["type"]
    return asked | {"kind": kind["type"]}


def links_of(panel: Panel) -> list[dict[str, Any]]:
    """Of its series, and of the cells of a table."""
    config = panel.raw["fieldConfig"]
    cells = [
        each for override in config["overrides"] for each in override["properties"] if each["id"] == "links"
    ]
    return config["defaults"].get("links", []) + [link for each in cells for link in each["value"]]


@pytest.mark.parametrize(
    "title", ["Stage duration, by stage", "Stage duration, p95", "Stage runs: errors in the range"]
)
def test_stages_lead_to_their_traces_and_logs(title: str) -> None:
    """By service, span and the time shown, in Tempo, Jaeger and Loki."""
    board = read_board(FOLDER / "otelml-stages.json")
    (panel,) = (panel for panel in board.panels if panel.title == title)
    tempo, jaeger, loki = (read_explore(link["url"]) for link in links_of(panel))
    assert (tempo["kind"], tempo["queryType"]) == ("tempo", "traceql")
    assert tempo["query"] == '{resource.service.name="digits" && name="encode"}'
    assert (jaeger["kind"], jaeger["queryType"]) == ("jaeger", "search")
    assert (jaeger["service"], jaeger["operation"]) == ("digits", "encode")
    assert (loki["kind"], loki["expr"]) == ("loki", '{service_name="digits"} | stage="encode"')


# -- the page


def test_the_page_shows_each_board() -> None:
    """docs/dashboards.md has a picture of each, none larger than 250 kB."""
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert {uid for uid in UIDS if f"(images/{uid}.png)" in page} == UIDS
    assert max((ROOT / "docs" / "images" / f"{uid}.png").stat().st_size for uid in UIDS) <= 250_000
