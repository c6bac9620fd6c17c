"""What stands beside the program: the configurations that ship with the package, and the servers that run on them."""

from __future__ import annotations

from pathlib import Path


def locate_shipped(folder: str) -> Path:
    """The folder `collector-config` or `dashboards`: within the installed package, or in the checkout."""
    here = Path(__file__).parent
    installed = here / folder
    return installed if installed.is_dir() else here.parents[2] / folder
