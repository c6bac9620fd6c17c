"""Turns the registry's YAML into constants and reference tables: `python -m otelml.semconv.codegen [--check]`.

It stands apart from the rest of `semconv`, which programs import, so that only this needs PyYAML.
"""

from __future__ import annotations
