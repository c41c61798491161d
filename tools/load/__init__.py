"""Load generation and measurement: sweeps, records, summaries, comparisons and their pictures."""
