"""Configurations for an OpenTelemetry Collector: write one, check one, send recorded telemetry to one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otelml.stack import layers

if TYPE_CHECKING:
    from otelml.stack.replay import Tally

_VALIDATE_LIMIT_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="collector_command", required=True
    )
    _add_config(commands.add_parser("config", help=_CONFIG, description=_CONFIG))
    _add_check(commands.add_parser("check", help=_CHECK, description=_CHECK))
    _add_replay(commands.add_parser("replay", help=_REPLAY, description=_REPLAY))


_CONFIG = (
    "Write the layers of a purpose, or of several, as one file, and say in its comments what has to be set."
)
_CHECK = (
    "Have a real collector validate files, merged in their order. The exit status is 1 when they cannot be used, "
    "2 when there is no collector here."
)
_REPLAY = (
    "Send the files of the embedded default to a collector, oldest first: traces, metrics, logs and events. The exit "
    "status is 1 unless everything was taken."
)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="purposes",
        nargs="+",
        default=[],
        choices=layers.PURPOSES,
        metavar="PURPOSE",
        help=", ".join(layers.PURPOSES),
    )
    parser.add_argument(
        "--with",
        dest="more",
        nargs="+",
        default=[],
        metavar="LAYER",
        help=f"a layer by itself ({', '.join(layers.LAYERS)}), or a file of yours",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of printing")


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="configurations, as for --config")


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", type=Path, nargs="*", metavar="PATH", help="files or folders (OTELML_DIR, else ./telemetry)"
    )
    parser.add_argument(
        "--to",
        default="http://localhost:4318",
        metavar="URL",
        help="where OTLP/HTTP is taken (http://localhost:4318)",
    )
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long a request is tried again before it all ends (60)",
    )


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Write, check or send."""
    command = {"config": _run_config, "check": _run_check, "replay": _run_replay}[arguments.collector_command]
    return command(arguments)


def _run_config(arguments: argparse.Namespace) -> int:
    if not arguments.purposes and not arguments.more:
        return _fail("nothing to write: name a purpose (--for) or a layer (--with)", status=2)
    try:
        text = create_config(layers.choose(arguments.purposes, arguments.more))
        if arguments.output is not None:
            arguments.output.write_text(text, encoding="utf-8")
            return 0
    except (OSError, ValueError) as error:
        return _fail(str(error))
    print(text, end="")
    return 0


def create_config(files: Sequence[Path]) -> str:
    """`files` merged, as YAML, with comments that say what it is made of, where signals end and what can be set."""
    document = layers.load_merged(files)
    comments = "".join(f"# {line}\n" for line in _describe(files, document))
    return f"{comments}\n{layers.write_yaml(document)}"


def _describe(files: Sequence[Path], document: layers.Document) -> Iterator[str]:
    names = (file.stem if file == layers.locate(file.stem) else str(file) for file in files)
    yield f"Written by `otelml collector config` from the layers {', '.join(names)}."
    for signal, ends in layers.find_ends(document).items():
        yield f"{signal} go {'to ' + ', '.join(ends) if ends else 'nowhere'}."
    for name, default in layers.find_variables(document).items():
        yield f"{name}: " + ("must be set" if default is None else f"{default} when it is not set")


def _run_check(arguments: argparse.Namespace) -> int:
    from otelml.stack import binaries

    collector = binaries.find("otelcol")
    if collector is None:
        return _fail(binaries.say_missing("otelcol"), status=2)
    try:
        unset = find_unset(layers.load_merged(arguments.files), os.environ)
    except (OSError, ValueError) as error:
        return _fail(str(error))
    problem = _validate(collector, arguments.files)
    for name in unset:
        print(f"otelml: {name} is not set, and has no default", file=sys.stderr)
    if problem:
        return _fail(problem)
    if unset:
        return 1
    print(f"{', '.join(map(str, arguments.files))}: valid for {collector}")
    return 0


def find_unset(document: layers.Document, environ: Mapping[str, str]) -> list[str]:
    """The variables that must be set and are not: the collector takes the empty text for them and may say nothing."""
    variables = layers.find_variables(document)
    return [name for name, default in variables.items() if default is None and not environ.get(name)]


def _validate(collector: Path, files: Sequence[Path]) -> str:
    """What the collector complains about; nothing when all is well."""
    command = [str(collector), "validate", *(f"--config={file}" for file in files)]
    try:
        done = subprocess.run(  # noqa: S603 - the user's collector on the user's files
            command, capture_output=True, text=True, timeout=_VALIDATE_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{collector} cannot be run: {error}"
    said = (done.stderr or done.stdout).strip()
    return (said or f"{collector} ended with {done.returncode}") if done.returncode else ""


def _run_replay(arguments: argparse.Namespace) -> int:
    from otelml import settings
    from otelml.stack.otlp_http import Endpoint
    from otelml.stack.replay import find_files, replay

    paths = arguments.paths or [Path(settings.load_lenient(os.environ).telemetry_dir)]
    try:
        recorded = find_files(paths)
        endpoint = Endpoint(arguments.to, patience_s=arguments.patience)
    except ValueError as error:
        return _fail(str(error), status=2)
    if not recorded:
        return _fail(f"no traces, metrics or logs under {', '.join(map(str, paths))}")
    tally = replay(recorded, endpoint)
    print("\n".join(_summarize(tally, arguments.to)))
    return 0 if tally.is_complete else 1


def _summarize(tally: Tally, url: str) -> Iterator[str]:
    sent = ", ".join(f"{count} {what}" for what, count in tally.sent.items()) or "nothing"
    yield f"sent {sent} of {tally.files} files to {url}"
    for what, count in tally.refused.items():
        yield f"refused: {count} {what}"
    if tally.broken:
        yield f"broken: {tally.broken} lines"
    if tally.unreadable:
        yield f"unreadable: {tally.unreadable} files"
    yield from (f"  {problem}" for problem in tally.problems)
    if tally.problems_left_out:
        yield f"  and {tally.problems_left_out} more"
    if tally.stopped_at:
        yield f"stopped at {tally.stopped_at}: nothing from there on was sent"


def _fail(message: str, status: int = 1) -> int:
    print(f"otelml: {message}", file=sys.stderr)
    return status
