"""Command line of the generator: writes the files, or says which of them differ."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from otelml.semconv.codegen import constants, functions, tables
from otelml.semconv.codegen.registry import RegistryError, load

ROOT = Path(__file__).parents[4]
"""The checkout; an installed package has no docs to generate."""


def render_files(root: Path) -> dict[Path, str]:
    """Everything that is generated below `root`, by path.

    Raises:
        RegistryError: the registry contradicts itself.
    """
    semconv = root / "src" / "otelml" / "semconv"
    registry = load(semconv / "registry")
    pages = {root / "docs" / "reference" / name: text for name, text in tables.render(registry).items()}
    return {
        semconv / "_generated.py": constants.render(registry),
        semconv.parent / "events" / "_generated.py": functions.render(registry),
        **pages,
    }


def find_differences(files: dict[Path, str]) -> list[Path]:
    """Those of `files` that are missing on disk, or that say something else there."""
    return [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]


def main(arguments: list[str] | None = None) -> int:
    """Write what differs; with `--check` only say so. Exit code 1 when something differs, 2 for a broken registry."""
    parser = argparse.ArgumentParser(prog="python -m otelml.semconv.codegen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when files differ")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        files = render_files(options.root)
    except RegistryError as problem:
        parser.exit(2, f"The registry is broken: {problem}\n")
    different = find_differences(files)
    names = [str(path.relative_to(options.root)) for path in different]
    if options.check and names:
        parser.exit(1, f"Not what the registry gives: {', '.join(names)}. Run `make generate`.\n")
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    sys.stdout.write(f"Written: {', '.join(names)}\n" if names else "Everything is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
