"""Logs: the bridge from stdlib logging to OpenTelemetry, the flat JSON form, formatters, and set-up for who wants it."""
