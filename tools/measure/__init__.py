"""Live measurement: windows over the server's own metrics, their verdicts, and objectives."""
