"""The layers of collector-config: which there are, what a combination is for, and several merged into one file.

The collector merges in the same way where it is given several `--config`; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from otelml.stack import locate_shipped

ALWAYS = ("base", "redaction", "health")
LAYERS = (
    *ALWAYS,
    "debug",
    "prometheus",
    "prometheus-otlp",
    "remote-write",
    "grafana",
    "sentry",
    "to-files",
    "agent",
    "otlp-files",
    "load-balancing",
    "gateway",
)
"""All of them, in the order in which they are merged: `agent` completes a list of `health`."""

PURPOSES: Mapping[str, tuple[str, ...]] = {
    "local": ("prometheus",),
    "grafana": ("prometheus", "grafana"),
    "sentry": ("sentry",),
    "agent": ("agent",),
    "load-balancing": ("load-balancing",),
    "gateway": ("prometheus", "grafana", "gateway"),
}
"""What `otelml collector config --for` takes, and the layers it stands for beside those of `ALWAYS`."""

SIGNALS = ("traces", "metrics", "logs")
_VARIABLE = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")

Document = dict[str, Any]


def choose(purposes: Iterable[str], more: Iterable[str] = ()) -> list[Path]:
    """The files for `purposes` and for `more`, each the name of a layer or a path of the user's, in their order.

    Raises:
        ValueError: one is neither.
    """
    named = list(more)
    layers = {*ALWAYS, *(layer for purpose in purposes for layer in PURPOSES[purpose]), *named}
    own = [Path(name) for name in named if name not in LAYERS]
    for path in own:
        if not path.is_file():
            raise ValueError(f"{path} is neither a file nor a layer; there are {', '.join(LAYERS)}")
    return [*(locate(layer) for layer in LAYERS if layer in layers), *own]


def locate(layer: str) -> Path:
    """The file of a layer."""
    return locate_shipped("collector-config") / f"{layer}.yaml"


def load_merged(files: Iterable[Path]) -> Document:
    """What `files` say together. Raises OSError, and ValueError for a file that is no YAML mapping."""
    merged: Document = {}
    for file in files:
        merged = merge(merged, _load(file))
    return merged


def merge(first: Mapping[str, Any], then: Mapping[str, Any]) -> Document:
    """As the collector does it: mappings are merged, everything else, lists too, is replaced by what comes later."""
    merged = dict(first)
    for key, value in then.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(before, value)
        else:
            merged[key] = value
    return merged


def _load(file: Path) -> Document:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{file} holds no mapping")  # noqa: TRY004 - what is wrong is the file, not a type
    return document


def write_yaml(document: Document) -> str:
    """`document` as YAML; references to variables stay as they are."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes `nop:` rather than `nop: null`."""

    Dumper.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "")
    )
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)


def find_variables(document: Any) -> dict[str, str | None]:
    """The environment variables that `document` refers to, by name, with their default; None where it has none."""
    found: dict[str, str | None] = {}
    for text in _texts(document):
        found.update({match[1]: match[2] for match in _VARIABLE.finditer(text)})
    return dict(sorted(found.items()))


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, (Mapping, list)):
        for child in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(child)


def find_ends(document: Document) -> dict[str, list[str]]:
    """The exporters in which each signal ends."""
    ends: dict[str, set[str]] = {signal: set() for signal in SIGNALS}
    for name, pipeline in document.get("service", {}).get("pipelines", {}).items():
        ends[name.partition("/")[0]].update(pipeline.get("exporters", ()))
    inner = {*document.get("connectors", {}), "nop"}
    return {signal: sorted(exporters - inner) for signal, exporters in ends.items()}
