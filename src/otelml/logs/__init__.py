"""Logs: the bridge from stdlib logging to OpenTelemetry, the flat JSON form, formatters, set-up on request."""
