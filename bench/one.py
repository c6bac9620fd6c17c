"""One benchmark in this process: `python -m bench.one NAME`."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    sys.exit(0 if importlib.import_module(f"bench.{sys.argv[1]}").run() else 1)
