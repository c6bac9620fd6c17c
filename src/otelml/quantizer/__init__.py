"""Codebook health of FSQ and VQ quantizers: how many of its codes a quantizer uses, and whether that collapses."""

from otelml.quantizer.core import Quantizer
from otelml.quantizer.counts import CodeCounts
from otelml.quantizer.statistics import CodebookStats, describe_utilization

__all__ = ["CodeCounts", "CodebookStats", "Quantizer", "describe_utilization"]
