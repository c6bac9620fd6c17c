"""The command `otelml`. Each module of this package is one subcommand: its name, dashed, is the module's.

A subcommand has a docstring whose first sentence is its help, `add_arguments(parser)` and `run(arguments) -> int`,
the exit status. Heavy imports belong into `run`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from otelml._version import __version__


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="otelml", description="OpenTelemetry for machine learning.")
    parser.add_argument("--version", action="version", version=f"otelml {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(
            found.name.replace("_", "-"),
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for a wrong command line, as argparse has it)."""
    parsed = _create_parser().parse_args(arguments)
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
    except BrokenPipeError:
        # `otelml env | head`: the reader has what it wanted. Nothing may be flushed into the closed pipe at exit.
        _leave_output()
        return 0
    except OSError as error:
        # `otelml env >/dev/full`: commands report errors about files of theirs themselves.
        _leave_output()
        print(f"otelml: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 2  # 1 may be an answer, such as that there is drift
    return status


def show(text: str, status: int) -> int:
    """Print `text`, the last that a command says, and return its exit status, also where nobody reads on (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _leave_output()
    return status


def _leave_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
