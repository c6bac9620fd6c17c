"""`make bench`: run all benchmarks (or those named), each in a process of its own; exit code 1 if a limit is missed."""

from __future__ import annotations

import platform
import subprocess
import sys

BENCHMARKS = (
    "hot_path", "whole_stage", "real_work", "drain_pauses", "gpu", "inference", "quantizer", "drift", "training",
    "logging", "export",
)  # fmt: skip
ON_REQUEST = ("collector",)
"""Run only by name: they measure other programs than ours."""


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all."""
    known = (*BENCHMARKS, *ON_REQUEST)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    print(
        f"Python {platform.python_version()}, {platform.python_compiler()}. "
        "F: two clock readings. P: prometheus_client's observe."
    )
    missed = [
        name
        for name in names or BENCHMARKS
        if subprocess.run([sys.executable, "-m", "bench.one", name], check=False).returncode
    ]
    print(f"\nmissed a limit: {', '.join(missed)}" if missed else "\nall limits hold")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
