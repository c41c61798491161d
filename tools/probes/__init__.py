"""Probes: what can be seen of a target, asked at once; ``run_probes`` is the way in."""

from tools.probes.run import run_probes

__all__ = ["run_probes"]
