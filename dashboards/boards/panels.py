"""The few kinds of panels that the boards are made of, each with its data source, description and unit.

A description says what the registry says of the metrics in the panel's queries, then how to read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    statetimeline,
    table,
)
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.builders import stat as numbers
from grafana_foundation_sdk.builders import timeseries as lines
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.boards import units
from dashboards.boards.elsewhere import threshold
from dashboards.boards.links import Link
from otelml.semconv import _generated as semconv
from otelml.semconv.prometheus import label_name

DATA_SOURCE = "prometheus_datasource"
HEIGHT, STAT_HEIGHT = 8, 4
"""In rows of the grid, of about 30 pixels."""
GREEN, YELLOW, RED = "green", "yellow", "red"
LIMIT = "limit"
"""A word in the name of a series that is drawn as a dashed line: what others are compared with."""

Panel = Any
"""A builder of the SDK, of whatever kind."""


@dataclass(frozen=True)
class Query:
    """An expression, and what its series are called: text with `{{label}}` in it."""

    expression: str
    legend: str = ""


def legend(*keys: str, text: str = "") -> str:
    """The values of attributes, a rank as such, and in brackets the service: `encode rank 0 (digits)`."""
    return " ".join(filter(None, [text, *map(_shown, keys)]))


def _shown(key: str) -> str:
    value = f"{{{{{label_name(key)}}}}}"
    return {semconv.SERVICE_NAME: f"({value})", semconv.ML_DISTRIBUTED_RANK: f"rank {value}"}.get(key, value)


def limit(alert: str) -> Query:
    """The dashed line at which an alert fires; none where its rules are not loaded."""
    return Query(threshold(alert), f"alert {LIMIT} {{{{severity}}}}")


def source() -> model.DataSourceRef:
    """The data source that the user chose."""
    return model.DataSourceRef(type_val="prometheus", uid=f"${{{DATA_SOURCE}}}")


def timeseries(
    title: str,
    unit: str,
    *shown: Query,
    hint: str = "",
    width: int = 8,
    stacked: bool = False,
    logarithmic: bool = False,
    most: float | None = None,
    many: bool = False,
    links: Sequence[Link] = (),
    repeat: str | None = None,
) -> Panel:
    """Lines over time. `most` is where the axis ends; it begins at 0 unless it is logarithmic. `many` have a table."""
    panel = (
        lines.Panel().line_width(1).fill_opacity(60 if stacked else 8).show_points(looks.VisibilityMode.NEVER)
    )
    panel = _prepare(panel, title, unit, shown, hint, width, HEIGHT)
    panel.tooltip(
        common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
    )
    panel.legend(_table_legend() if many else _list_legend())
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if logarithmic:
        panel.scale_distribution(common.ScaleDistributionConfig().type(looks.ScaleDistribution.LOG).log(10))
    else:
        panel.axis_soft_min(0)
    if most is not None:
        panel.max(most)
    panel.override_by_regexp(f"/ {LIMIT}( |$)/", _dashed())
    panel.data_links([link.build() for link in links])
    return _repeated(panel, repeat)


def stat(
    title: str,
    unit: str,
    expression: str,
    *,
    hint: str = "",
    width: int = 4,
    bad: float | None = None,
    worse: float | None = None,
    instant: bool = False,
    nothing: str | None = None,
    link: Link | None = None,
) -> Panel:
    """One number, with its course behind it unless it is about the whole range.

    It is yellow from `bad` on, red from `worse`, and says `nothing` where there is no data.
    """
    panel = _prepare(
        numbers.Panel(), title, unit, [Query(expression)], hint, width, STAT_HEIGHT, instant=instant
    )
    panel.graph_mode(looks.BigValueGraphMode.NONE if instant else looks.BigValueGraphMode.AREA)
    if unit == units.WHOLE:
        panel.decimals(0)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.color_mode(looks.BigValueColorMode.VALUE).text_mode(looks.BigValueTextMode.VALUE)
    first = (None, "text" if bad is None and worse is None else GREEN)
    panel.thresholds(_thresholds(first, *_steps(bad, worse)))
    if nothing:
        panel.no_value(nothing)
    if link:
        panel.links([link.build()])
    return panel


def heatmaps(
    title: str, unit: str, expression: str, *, hint: str = "", width: int = 12, repeat: str | None = None
) -> Panel:
    """How often each bucket of a histogram was hit, over time."""
    panel = _prepare(
        heatmap.Panel(),
        title,
        unit,
        [Query(expression, "{{le}}")],
        hint,
        width,
        HEIGHT,
        form=PromQueryFormat.HEATMAP,
    )
    panel.calculate(calculate=False).cell_gap(1).show_legend()
    panel.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(looks.AxisPlacement.LEFT))
    panel.cell_values(heatmap.CellValues().unit(units.COUNT).decimals(0))
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges").exponent(0.5).steps(64).fill("dark-orange")
    )  # fmt: skip
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.show_y_histogram().mode(looks.TooltipDisplayMode.SINGLE)
    return _repeated(panel, repeat)


@dataclass(frozen=True)
class Column:
    """A column of a table: what it shows, and from where on it is yellow and red."""

    title: str
    unit: str
    expression: str
    bad: float | None = None
    worse: float | None = None


def tables(
    title: str,
    keys: dict[str, str],
    *columns: Column,
    hint: str = "",
    width: int = 24,
    height: int = HEIGHT,
    links: Sequence[Link] = (),
    sort: str | None = None,
) -> Panel:
    """A row for each set of `keys` (attributes and their headings), and what each column says of it now."""
    shown = [Query(column.expression) for column in columns]
    panel = _prepare(
        table.Panel(),
        title,
        units.COUNT,
        shown,
        hint,
        width,
        height,
        instant=True,
        form=PromQueryFormat.TABLE,
    )
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(_organized(keys, columns))
    for column in columns:
        panel.override_by_name(column.title, _cell(column))
    first = next(iter(keys.values()))
    if links:
        panel.override_by_name(first, [_value("links", [link.build().build() for link in links])])
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=True)])
    return panel


def bars(title: str, unit: str, query: Query, *, hint: str = "", width: int = 8) -> Panel:
    """A horizontal bar for each series, as it is now."""
    panel = _prepare(bargauge.Panel(), title, unit, [query], hint, width, HEIGHT, instant=True)
    panel.display_mode(looks.BarGaugeDisplayMode.GRADIENT).orientation(looks.VizOrientation.HORIZONTAL)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.min(0).color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.CONTINUOUS_BL_PU))


def columns(
    title: str, unit: str, key: str, *shown: Query, hint: str = "", width: int = 8, repeat: str | None = None
) -> Panel:
    """A group of vertical bars for each value of an attribute, one bar a query."""
    panel = _prepare(
        barchart.Panel(), title, unit, shown, hint, width, HEIGHT, instant=True, form=PromQueryFormat.TABLE
    )
    heading = label_name(key)
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    names = {f"Value #{ref}": query.legend for ref, query in zip(_REFS, shown, strict=False)}
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names},
        )
    )
    panel.with_transformation(
        model.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": heading}]})
    )
    panel.x_field(heading).x_tick_label_rotation(-45).legend(_list_legend()).min(0)
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
    return _repeated(panel, repeat)


def states(
    title: str, query: Query, meanings: dict[str, tuple[str, str]], *, hint: str = "", width: int = 12
) -> Panel:
    """A band for each series, coloured by its value: what values mean, and the colour of each."""
    panel = _prepare(statetimeline.Panel(), title, "none", [query], hint, width, HEIGHT)
    results = {
        value: model.ValueMappingResult(text=text, color=color, index=at)
        for at, (value, (text, color)) in enumerate(meanings.items())
    }
    panel.mappings([model.ValueMap(options=results)])
    panel.show_value(looks.VisibilityMode.NEVER).row_height(0.8).merge_values(merge_values=True)
    panel.legend(_list_legend())
    return panel


# -- what they have in common

_REFS = [chr(ord("A") + at) for at in range(26)]


def _prepare(  # noqa: PLR0917 - what every kind of panel hands on
    panel: Panel,
    title: str,
    unit: str,
    shown: Sequence[Query],
    hint: str,
    width: int,
    height: int,
    *,
    instant: bool = False,
    form: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> Panel:
    said = units.describe(*(query.expression for query in shown))
    panel.title(title).description(" ".join(filter(None, (said, hint)))).unit(unit).datasource(source())
    panel.height(height).span(width)
    for ref, query in zip(_REFS, shown, strict=False):
        panel.with_target(_target(query, instant=instant, form=form).ref_id(ref))
    if isinstance(panel, (numbers.Panel, table.Panel)):
        panel.mappings([_nothing()])
    return panel


def _target(query: Query, *, instant: bool, form: PromQueryFormat) -> queries.Dataquery:
    target = queries.Dataquery().expr(query.expression).legend_format(query.legend).format(form)
    target.datasource(source())
    return target.instant() if instant else target.range()


def _nothing() -> model.ValueMapping:
    """0 / 0 is neither good nor bad: nothing happened."""
    result = model.ValueMappingResult(text="-", color="text")
    return model.SpecialValueMap(
        model.DashboardSpecialValueMapOptions(match=model.SpecialValueMatch.NULL_AND_NAN, result=result)
    )


def _list_legend() -> common.VizLegendOptions:
    options = common.VizLegendOptions().show_legend(show_legend=True)
    return options.display_mode(looks.LegendDisplayMode.LIST).placement(looks.LegendPlacement.BOTTOM)


def _table_legend() -> common.VizLegendOptions:
    options = common.VizLegendOptions().show_legend(show_legend=True).calcs(["lastNotNull", "max"])
    options.display_mode(looks.LegendDisplayMode.TABLE).placement(looks.LegendPlacement.RIGHT)
    return options.sort_by("Max").sort_desc(sort_desc=True)


def _repeated(panel: Panel, variable: str | None) -> Panel:
    if variable:
        panel.repeat(variable).repeat_direction("h").max_per_row(3)
    return panel


def _thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )


def _steps(bad: float | None, worse: float | None) -> list[tuple[float | None, str]]:
    return [(at, color) for at, color in ((bad, YELLOW), (worse, RED)) if at is not None]


def _value(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


def _dashed() -> list[model.DynamicConfigValue]:
    return [
        _value("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        _value("custom.fillOpacity", 0),
        _value("custom.stacking", {"mode": "none", "group": "limits"}),
        _value("color", {"mode": "fixed", "fixedColor": RED}),
    ]


def _cell(column: Column) -> list[model.DynamicConfigValue]:
    decimals = 0 if column.unit == units.WHOLE else 3 if column.unit == units.COUNT else 2
    values = [_value("unit", column.unit), _value("decimals", decimals)]
    if column.bad is None and column.worse is None:
        return values
    steps = [(None, "transparent"), *_steps(column.bad, column.worse)]
    return [
        *values,
        _value(
            "thresholds",
            {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in steps]},
        ),
        _value("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
    ]


def _organized(keys: dict[str, str], columns: Sequence[Column]) -> model.DataTransformerConfig:
    names = {label_name(key): heading for key, heading in keys.items()}
    names |= {f"Value #{ref}": column.title for ref, column in zip(_REFS, columns, strict=False)}
    if len(columns) == 1:
        names["Value"] = columns[0].title
    order = {name: at for at, name in enumerate(names)}
    return model.DataTransformerConfig(
        id_val="organize",
        options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names},
    )
