"""What an OTLP server says of a request that it took in part: the same for all signals, over HTTP and gRPC."""

from __future__ import annotations

from typing import Any

from otelml.instruments import internal


def read_rejected(response: Any) -> tuple[int, str]:
    """Items that were rejected, and why, of an `Export...ServiceResponse` of any signal."""
    if not response.HasField("partial_success"):
        return 0, ""
    # Number 1 is called rejected_spans, rejected_data_points or rejected_log_records.
    said = {field.number: value for field, value in response.partial_success.ListFields()}
    return int(said.get(1, 0)), str(said.get(2, ""))


def tell_rejected(endpoint: str, rejected: int, message: str) -> None:
    """Say so, once an endpoint."""
    if rejected:
        internal.warn_once(
            f"rejected:{endpoint}",
            "otelml: %s did not take everything (%s); what is lost is counted in otelml.internal.dropped",
            endpoint,
            message or "no reason given",
        )
    elif message:
        internal.warn_once(f"warned:{endpoint}", "otelml: %s says: %s", endpoint, message)
