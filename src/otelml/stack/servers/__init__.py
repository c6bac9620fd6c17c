"""The servers that `otelml up` runs beside the program: what is started with what, and a supervisor for it all."""
