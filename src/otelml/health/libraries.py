"""Libraries that are installed, and their versions, read off their metadata: importing them takes seconds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from functools import cache
from typing import Any

LIBRARIES = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos"),
    "jax": ("jax",),
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn",),
    "pandas": ("pandas",),
    "transformers": ("transformers",),
    "lightning": ("lightning", "pytorch-lightning"),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "coremltools": ("coremltools",),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "sentry_sdk": ("sentry-sdk",),
    "rich": ("rich",),
    "opentelemetry.sdk": ("opentelemetry-sdk",),
    "opentelemetry.instrumentation": ("opentelemetry-instrumentation",),
    "prometheus_client": ("prometheus-client",),
    "pynvml": ("nvidia-ml-py",),
    "psutil": ("psutil",),
}
"""Modules that machine-learning programs and their telemetry stand on, and the distributions that they come in."""


def survey() -> dict[str, Any]:
    """By module: `installed`, `version` (None if nothing tells), `loaded` in this process; of torch also `cuda`."""
    found = {module: _look_at(module, names) for module, names in LIBRARIES.items()}
    if found["torch"]["installed"]:
        found["torch"]["cuda"] = _cuda_of_torch(found["torch"]["version"])
    return found


def _look_at(module: str, distributions: tuple[str, ...]) -> dict[str, Any]:
    version = next(filter(None, map(_version, distributions)), None)
    return {
        "installed": version is not None or is_installed(module),
        "version": version,
        "loaded": module in sys.modules,
    }


@cache  # reading metadata takes 0.3 ms each, and `/healthz` is asked often
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_installed(module: str) -> bool:
    """Whether `module` could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _cuda_of_torch(version: str | None) -> str | None:
    """The CUDA that torch was built for, such as "12.8"; None for a build without, or where nothing tells."""
    loaded = sys.modules.get("torch")
    if loaded is not None:
        return getattr(getattr(loaded, "version", None), "cuda", None)
    tag = (version or "").partition("+")[2]
    if tag.startswith("cu") and tag[2:].isdigit():
        return f"{tag[2:-1]}.{tag[-1]}"
    runtimes = ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11", "nvidia-cuda-runtime")
    runtime = next(filter(None, map(_version, runtimes)), None)
    return ".".join(runtime.split(".")[:2]) if runtime and not tag else None
