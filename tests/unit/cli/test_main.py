"""The command itself: its subcommands, help and exit status."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import pytest

from otelml import cli
from otelml._version import __version__


def test_each_module_is_a_subcommand_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    """A new file in the package is a new subcommand."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    printed = capsys.readouterr().out
    names = [found.name.replace("_", "-") for found in pkgutil.iter_modules(cli.__path__)]
    assert caught.value.code == 0
    assert {"env", "export-config", "settings-docs"} <= set(names)
    assert [name for name in names if f"  {name}" not in printed] == []


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["env", "--nonsense"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    """Exit status 2, as argparse has it."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_python_m_otelml_is_the_command() -> None:
    """Where no script is on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "otelml", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"otelml {__version__}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")  # noqa: PTH110
def test_a_full_disk_is_no_answer() -> None:
    """Output that cannot be written ends with status 2, and says why; 1 would be degraded, or drift."""
    command = f"{sys.executable} -m otelml settings-docs >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "otelml: the output cannot be written: No space left on device\n"


def test_a_closed_pipe_is_no_error() -> None:
    """`otelml env | head -1` ends quietly."""
    command = f"set -o pipefail; {sys.executable} -m otelml settings-docs | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
