"""Benchmarks: what telemetry costs, as ratios against the floor of any timing and against what a user would take instead."""
