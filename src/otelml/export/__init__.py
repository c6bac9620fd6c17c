"""Where telemetry leaves the process: files, the Prometheus endpoint, and the ends of every other way out."""
