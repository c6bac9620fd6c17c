"""Command line: writes the boards' JSON, or says which of the files differ."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "grafana"
MODULES = (
    "overview",
    "stages",
    "training",
    "gpu",
    "model_quality",
    "pipeline",
    "drift",
    "resources",
    "telemetry_health",
)


def render_boards(folder: Path) -> dict[Path, str]:
    """The text of each board, by the file that it belongs into."""
    boards = [import_module(f"dashboards.boards.{name}").BOARD for name in MODULES]
    return {folder / f"{board.uid}.json": board.render() for board in boards}


def find_differences(files: dict[Path, str], folder: Path) -> list[Path]:
    """Those of `files` that are missing or say something else, and JSON in `folder` that no board makes."""
    wrong = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    return wrong + sorted(set(folder.glob("*.json")) - set(files))


def main() -> int:
    """Write what differs; with `--check` only say so, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.boards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when files differ")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they are (default: %(default)s)")
    options = parser.parse_args()
    if sys.version_info < (3, 11):
        sys.stdout.write("The boards are left as they are: grafana-foundation-sdk needs Python 3.11\n")
        return 0
    files = render_boards(options.folder)
    different = find_differences(files, options.folder)
    names = ", ".join(path.name for path in different)
    if options.check and different:
        parser.exit(1, f"Not what dashboards/boards gives: {names}. Run `make generate`.\n")
    for path in different:
        if path in files:
            path.write_text(files[path], encoding="utf-8")
        else:
            path.unlink()
    sys.stdout.write(f"Written: {names}\n" if names else "The boards are up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
