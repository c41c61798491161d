"""Logs: one shape for every source, whole tracebacks, root causes, patterns."""
