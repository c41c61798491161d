"""Documents: a runbook is a failure signature with prose."""
