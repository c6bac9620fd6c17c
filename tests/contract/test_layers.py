"""The layer rules of docs/architecture.md, read off the source; each is shown to fail on a tree that breaks it."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parents[2] / "src"

LAYERS = (
    ("semconv",),
    ("instruments", "events", "settings", "context"),
    ("stages", "logs"),
    ("inferences", "quantizer", "pipeline", "drift", "training", "quality", "gpu"),
    ("export", "instrumentation", "resource", "lifecycle", "configurator", "distro", "health", "stack"),
    ("analysis", "cli", "shims", "testing"),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
DOMAIN, TOP = 3, 5
ANY_ROOM = ("_version", "__init__", "__main__")

SDK_PLACES = ("instruments/drain", "export", "resource", "lifecycle", "configurator", "testing")
SDK_PRIVATE_PLACES = ("instruments/drain", "configurator")
HEAVY = ("numpy", "torch", "pynvml", "duckdb", "rich", "sentry_sdk", "pandas", "scipy", "sklearn", "psutil")
NVML_FILE = "gpu/nvml.py"


@dataclass(frozen=True)
class Import:
    """One imported module, with the names taken from it, and how it is imported."""

    module: str
    names: tuple[str, ...]
    line: int
    in_function: bool
    for_types: bool


def is_for_types(test: ast.expr) -> bool:
    """Whether an `if` has TYPE_CHECKING as its condition."""
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def read_imports(
    tree: ast.AST, package: str, *, in_function: bool = False, for_types: bool = False
) -> Iterator[Import]:
    """All imports below `tree`, wherever they stand; relative ones are resolved against `package`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, in_function, for_types)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield Import(module, tuple(a.name for a in node.names), node.lineno, in_function, for_types)
        elif isinstance(node, ast.If) and is_for_types(node.test):
            yield from read_imports(
                ast.Module(node.body, []), package, in_function=in_function, for_types=True
            )
            yield from read_imports(
                ast.Module(node.orelse, []), package, in_function=in_function, for_types=for_types
            )
        else:
            inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from read_imports(node, package, in_function=inside, for_types=for_types)


def is_within(path: str, places: tuple[str, ...]) -> bool:
    """Whether a file is one of `places`, which name modules or packages."""
    return any(path == f"{place}.py" or path.startswith(f"{place}/") for place in places)


def rooms_of(found: Import) -> set[str]:
    """The rooms of ours that an import reaches; the package itself is the room `otelml`."""
    root, _, rest = found.module.partition(".")
    if root != "otelml":
        return set()
    if rest:
        return {rest.split(".")[0]}
    known = {name for name in found.names if name in LEVEL or name == "_version"}
    return known | ({"otelml"} if set(found.names) - known or not found.names else set())


def check_layer(room: str, found: Import) -> Iterator[str]:
    """Imports go down, or sideways outside the domain rooms; only the top may import the package itself."""
    for target in rooms_of(found) - {room, "_version"}:
        if target == "otelml":
            if LEVEL[room] < TOP:
                yield f"{room} imports the package itself"
        elif target not in LEVEL:
            yield f"{target} has no layer"
        elif LEVEL[target] > LEVEL[room]:
            yield f"{room} imports {target} from above"
        elif LEVEL[target] == LEVEL[room] == DOMAIN:
            yield f"{room} imports {target}, another domain room"


def check_sdk(path: str, found: Import) -> Iterator[str]:
    """The SDK, and its private names, only in the files that are named for it."""
    names = [f"{found.module}.{name}" for name in found.names] or [found.module]
    if found.for_types or not any(f"{name}.".startswith("opentelemetry.sdk.") for name in names):
        return
    if not is_within(path, SDK_PLACES):
        yield f"{path} imports the SDK"
    # `_logs` is public in all but its name: the SDK marks the logs signal so while it may still change.
    private = {part for name in names for part in name.split(".") if part.startswith("_")} - {"_logs"}
    if private and not is_within(path, SDK_PRIVATE_PLACES):
        yield f"{path} imports private names of the SDK: {', '.join(sorted(private))}"


def check_heavy(path: str, found: Import) -> Iterator[str]:
    """Heavy libraries are imported inside functions, NVML in one file."""
    root = found.module.split(".")[0]
    if root in HEAVY and not found.in_function and not found.for_types:
        yield f"{path} imports {root} at module level"
    if root == "pynvml" and path != NVML_FILE:
        yield f"{path} imports pynvml"


def check_private_attributes(path: str, tree: ast.AST, imports: list[Import]) -> Iterator[str]:
    """A file that uses the SDK reads no underscore attribute of an object other than its own."""
    if is_within(path, SDK_PRIVATE_PLACES) or not is_within(path, SDK_PLACES):
        return
    modules = {found.module.split(".")[0] for found in imports if not found.names}
    # Modules of the API, whose one way to set a global provider back, in the test kit, is a private name.
    modules |= {name for found in imports if found.module == "opentelemetry" for name in found.names} - {
        "sdk"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            is_super = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            if owner not in {"self", "cls", *modules} and not is_super:
                yield f"{path} reads private {node.attr} at line {node.lineno}"


def check_file(package: Path, file: Path) -> Iterator[str]:
    """What one file breaks."""
    path = file.relative_to(package).as_posix()
    room = path.split("/")[0].removesuffix(".py")
    parent = ".".join(("otelml", *Path(path).parent.parts))
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imports = list(read_imports(tree, parent))
    if room not in LEVEL and room not in ANY_ROOM:
        yield f"{room} has no layer"
    for found in imports:
        if room in LEVEL:
            yield from check_layer(room, found)
        yield from check_sdk(path, found)
        yield from check_heavy(path, found)
    yield from check_private_attributes(path, tree, imports)


def find_violations(package: Path) -> list[str]:
    """What the files below `package` break, one line each."""
    return [line for file in sorted(package.rglob("*.py")) for line in check_file(package, file)]


def find_circles(package: Path) -> list[str]:
    """Rooms that need each other to be imported, directly or through others."""
    needs: dict[str, set[str]] = {room: set() for room in LEVEL}
    for file in package.rglob("*.py"):
        path = file.relative_to(package)
        room = path.parts[0].removesuffix(".py")
        if room in LEVEL:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for found in read_imports(tree, ".".join(("otelml", *path.parent.parts))):
                later = found.for_types or found.in_function
                needs[room] |= set() if later else rooms_of(found) & set(LEVEL) - {room}
    for middle, start, end in itertools.product(needs, repeat=3):
        if middle in needs[start] and end in needs[middle]:
            needs[start].add(end)
    return sorted(room for room in needs if room in needs[room])


def loaded_after(program: str) -> set[str]:
    """Which of the modules that `import otelml` must not load a fresh interpreter has loaded after `program`."""
    banned = [*HEAVY, "opentelemetry.sdk"]
    code = f"{program}\nimport sys\nprint(*(name for name in {banned!r} if name in sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_package_keeps_the_layer_rules() -> None:
    """No file of the package imports from above, or the SDK or a heavy library where that is not allowed."""
    assert find_violations(SOURCE / "otelml") == []


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("semconv/model.py", "from otelml.instruments import counter", "semconv imports instruments from above"),
        ("settings.py", "def f():\n    import otelml.export.files", "settings imports export from above"),
        ("stages.py", "from . import configurator", "stages imports configurator from above"),
        ("logs/setup.py", "from ..export import files", "logs imports export from above"),
        ("drift/monitor.py", "from otelml import quantizer", "drift imports quantizer, another domain room"),
        ("events.py", "import otelml", "events imports the package itself"),
        ("events.py", "from otelml import configure", "events imports the package itself"),
        ("events.py", "if TYPE_CHECKING:\n    from otelml import cli", "events imports cli from above"),
        ("common.py", "", "common has no layer"),
        ("stages.py", "from opentelemetry.sdk.trace import Span", "stages.py imports the SDK"),
        ("stages.py", "from opentelemetry import sdk", "stages.py imports the SDK"),
        ("instruments/table.py", "def f():\n    import opentelemetry.sdk", "instruments/table.py imports the SDK"),
        (
            "export/files.py",
            "from opentelemetry.sdk.metrics._internal import point",
            "export/files.py imports private names of the SDK: _internal",
        ),
        (
            "resource.py",
            "from opentelemetry.sdk.resources import _DEFAULT",
            "resource.py imports private names of the SDK: _DEFAULT",
        ),
        ("lifecycle.py", "def f(reader):\n    reader._collect()", "lifecycle.py reads private _collect at line 2"),
        ("instruments/bound.py", "import numpy as np", "instruments/bound.py imports numpy at module level"),
        ("drift/scores.py", "try:\n    import torch\nfinally: f()", "drift/scores.py imports torch at module level"),
        ("health.py", "def f():\n    import pynvml", "health.py imports pynvml"),
    ],
)  # fmt: skip
def test_each_rule_can_fail(tmp_path: Path, path: str, code: str, said: str) -> None:
    """A tree that breaks one rule is told so, and nothing else."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(code)
    assert find_violations(tmp_path) == [said]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("stages.py", "from otelml import _version, events\nfrom otelml.instruments import counter"),
        ("stages.py", "if TYPE_CHECKING:\n    import numpy\n    from opentelemetry.sdk.trace import Span"),
        ("instruments/bound.py", "def f():\n    import numpy"),
        ("instruments/drain.py", "from opentelemetry.sdk.metrics._internal import point\npoint.f()._x"),
        (
            "export/files.py",
            "import os\nfrom opentelemetry.sdk._logs import LogRecord\nself._x\nsuper()._y\nos._exit(1)",
        ),
        ("testing.py", "import otelml"),
        ("testing.py", "from opentelemetry import trace\ntrace._TRACER_PROVIDER"),
    ],
)
def test_what_is_allowed_is_left_alone(tmp_path: Path, path: str, code: str) -> None:
    """The rules do not forbid more than they say."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(code)
    assert find_violations(tmp_path) == []


def test_rooms_do_not_need_each_other() -> None:
    """No room needs itself to be imported, however long the way round."""
    assert find_circles(SOURCE / "otelml") == []


def test_the_circle_test_can_fail(tmp_path: Path) -> None:
    """Three rooms in a circle are all named; an import for types or inside a function makes no circle."""
    (tmp_path / "distro.py").write_text("from otelml import configurator")
    (tmp_path / "configurator.py").write_text("import otelml.lifecycle")
    (tmp_path / "lifecycle.py").write_text("from otelml.distro import x")
    (tmp_path / "resource.py").write_text("if TYPE_CHECKING:\n    from otelml import health")
    (tmp_path / "health.py").write_text("from otelml import resource\ndef f():\n    import otelml.distro")
    assert find_circles(tmp_path) == ["configurator", "distro", "lifecycle"]


def test_importing_the_package_is_light() -> None:
    """`import otelml` loads neither the SDK nor a numerical library."""
    assert loaded_after("import otelml") == set()


def test_the_lightness_test_can_fail() -> None:
    """A program that does load one of them is found out."""
    assert loaded_after("import otelml, opentelemetry.sdk, numpy") == {"opentelemetry.sdk", "numpy"}
