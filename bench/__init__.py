"""Benchmarks: what telemetry costs, as ratios against the floor of any timing and against what users take instead."""
